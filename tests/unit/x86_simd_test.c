/*
 * What a comparison with the host's 64-bit user mode cannot show of SIMD, x87 and XSAVE: state
 * images of other modes, reserved bits, faults in the middle, enabling bits.
 */
#include "x86_box.h"
#include "check.h"
#include "isa/x86/sem/simd.h"

#define AREA 0x8000u /* guest address all memory operands use, in EBX */

static struct x86_box box;
static struct x86_cpu *c;

/* Executes one instruction; the vector it raises, -1 for none, -2 when it does not decode. */
static int run(const uint8_t *bytes, unsigned len)
{
	uint8_t padded[INSN_MAX_LENGTH] = { 0 };
	struct insn i;

	memcpy(padded, bytes, len);
	if (insn_decode(&i, padded, INSN_MAX_LENGTH, c->code_size, c->real_or_v86,
			&box.sys.model) != DECODE_OK)
		return -2;
	c->next_rip = c->s.rip + i.length;
	return BOX_FAULT(c, i.exec(c, &i));
}

#define RUN(...) run((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static uint64_t at(unsigned offset, unsigned size)
{
	return box_get(&box, AREA + offset, size);
}

static void put(unsigned offset, uint64_t value, unsigned size)
{
	box_put(&box, AREA + offset, value, size);
}

static void start(void)
{
	box_init(&box, 1);
	c = box.sys.cpu[0];
	for (unsigned k = 0; k < 4; k++) /* real mode: everything at 0 */
		c->s.seg[k].base = c->s.seg[k].selector = 0;
	c->s.gpr[RBX] = AREA;
	c->s.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	c->s.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	x86_cpu_load(c);
	memset(ram_ptr(&box.ram, GPA(AREA), 4096), 0xcc, 4096);
}

/* ---- FNSTENV (SDM vol. 1 figures 8-9 to 8-12) ---- */

static void set_pointers(void)
{
	c->s.fpu.fcw = 0x027f;
	c->s.fpu.fsw = 0x3801;
	c->s.fpu.ftw = 0x80;
	c->s.fpu.st[7] = (struct f80){ 0 };
	c->s.fpu.fop = 0x5a5;
	c->s.fpu.fip = 0x000fedcb;
	c->s.fpu.fdp = 0x00012345;
}

static void test_env_real(void)
{
	start();
	set_pointers();
	CHECK_EQ(RUN(0xd9, 0x37), -1); /* fnstenv [bx] */
	CHECK_EQ(at(0, 2), 0x027f);
	CHECK_EQ(at(2, 2), 0x3801);
	CHECK_EQ(at(4, 2), 0x7fff); /* register 7 holds a zero */
	CHECK_EQ(at(6, 2), 0xedcb);
	CHECK_EQ(at(8, 2), 0xf5a5);
	CHECK_EQ(at(10, 2), 0x2345);
	CHECK_EQ(at(12, 2), 0x1000);
	CHECK_EQ(at(14, 2), 0xcccc);
	set_pointers();
	CHECK_EQ(RUN(0x66, 0xd9, 0x37), -1);
	CHECK_EQ(at(12, 4), 0xffffedcb);
	CHECK_EQ(at(16, 4), 0x0000f5a5);
	CHECK_EQ(at(20, 4), 0xffff2345);
	CHECK_EQ(at(24, 4), 0x00001000);
	c->s.fpu.fip = c->s.fpu.fdp = c->s.fpu.fop = 0;
	CHECK_EQ(RUN(0x66, 0xd9, 0x27), -1); /* fldenv */
	CHECK_EQ(c->s.fpu.fip, 0xfedcb);
	CHECK_EQ(c->s.fpu.fdp, 0x12345);
	CHECK_EQ(c->s.fpu.fop, 0x5a5);
	CHECK_EQ(c->s.fpu.ftw, 0x80);
	box_fini(&box);
}

static void test_env_protected(void)
{
	start();
	box_protected(&box, c);
	set_pointers();
	CHECK_EQ(RUN(0xd9, 0x33), -1); /* fnstenv [ebx] */
	CHECK_EQ(at(0, 4), 0xffff027f);
	CHECK_EQ(at(12, 4), 0xfedcb);
	CHECK_EQ(at(16, 4), 0x05a50000);
	CHECK_EQ(at(20, 4), 0x12345);
	CHECK_EQ(at(24, 4), 0xffff0000);
	CHECK_EQ(c->s.fpu.fcw, 0x027f | 0x3f);
	box_fini(&box);
}

/* An unmasked exception is pending until it is cleared, and guards are told. */
static void test_pending_exception(void)
{
	start();
	box_protected(&box, c);
	CHECK_EQ(RUN(0xdb, 0xe3), -1); /* fninit */
	c->s.fpu.fcw = 0x037e;
	CHECK_EQ(RUN(0xd9, 0xe0), -1); /* fchs of an empty register */
	CHECK_EQ(c->s.fpu.fsw, FSW_B | FSW_ES | FSW_SF | FSW_IE);
	CHECK(c->guard_traps & GUARD_MF);
	CHECK_EQ(c->s.fpu.ftw, 0);
	CHECK_EQ(RUN(0xdb, 0xe2), -1); /* fnclex */
	CHECK_EQ(c->s.fpu.fsw, 0);
	CHECK(!(c->guard_traps & GUARD_MF));
	box_fini(&box);
}

/* One that comes with a saved state is as pending as it was there, and ends with another. */
static void test_loaded_exception(void)
{
	start();
	box_long(&box, c);
	CHECK_EQ(RUN(0x0f, 0xae, 0x03), -1); /* fxsave [rbx] */
	put(0, 0x037b, 2);		     /* zero divide unmasked */
	put(2, 0x8084, 2);		     /* and there, with ES and B as hardware saves them */
	CHECK_EQ(RUN(0x0f, 0xae, 0x0b), -1); /* fxrstor [rbx] */
	CHECK_EQ(c->guard_traps & GUARD_MF, GUARD_MF);
	put(2, 0, 2);
	CHECK_EQ(RUN(0x0f, 0xae, 0x0b), -1);
	CHECK_EQ(c->guard_traps & GUARD_MF, 0);
	CHECK_EQ(RUN(0xd9, 0x33), -1); /* fnstenv [rbx] */
	put(0, 0x037b, 2);
	put(4, 0x8084, 2);
	CHECK_EQ(RUN(0xd9, 0x23), -1); /* fldenv [rbx] */
	CHECK_EQ(c->guard_traps & GUARD_MF, GUARD_MF);
	box_fini(&box);
}

/* ---- XSAVE ---- */

static void fill_vectors(void)
{
	for (unsigned r = 0; r < 16; r++)
		memset(&c->s.vec[r], (int)(0x10 + r), sizeof(c->s.vec[r]));
}

static void test_xsave_32bit(void)
{
	start();
	box_protected(&box, c);
	fill_vectors();
	put(512, 0, 8);
	c->s.gpr[RAX] = 7;
	c->s.gpr[RDX] = 0;
	CHECK_EQ(RUN(0x0f, 0xae, 0x23), -1); /* xsave [ebx] */
	CHECK_EQ(at(160 + 7 * 16, 1), 0x17);
	CHECK_EQ(at(160 + 8 * 16, 1), 0xcc);
	CHECK_EQ(at(576 + 7 * 16, 1), 0x17);
	CHECK_EQ(at(576 + 8 * 16, 1), 0xcc);
	CHECK_EQ(at(512, 8) & 6, 6);
	memset(c->s.vec, 0, sizeof(c->s.vec));
	c->s.vec[8].b[0] = 0x55;
	put(520, 0, 8);
	put(528, 0, 8);
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), -1); /* xrstor [ebx] */
	CHECK_EQ(c->s.vec[7].q[3], 0x1717171717171717);
	CHECK_EQ(c->s.vec[8].q[0], 0x55);
	box_fini(&box);
}

/* What is in its initial state is not written, and comes back as such. */
static void test_xsavec_init(void)
{
	start();
	box_long(&box, c);
	c->s.vec[3].b[0] = 9;
	CHECK_EQ(RUN(0xdb, 0xe3), -1); /* fninit */
	c->s.mxcsr = MXCSR_INITIAL;
	memset(c->s.fpu.st, 0, sizeof(c->s.fpu.st));
	memset(ram_ptr(&box.ram, GPA(AREA + 512), 64), 0, 64);
	c->s.gpr[RAX] = 7;
	c->s.gpr[RDX] = 0;
	CHECK_EQ(RUN(0x0f, 0xc7, 0x23), -1); /* xsavec [rbx] */
	CHECK_EQ(at(512, 8), 2);
	CHECK_EQ(at(520, 8), UINT64_C(0x8000000000000007));
	CHECK_EQ(at(0, 2), 0xcccc);
	CHECK_EQ(at(576, 2), 0xcccc);
	fill_vectors();
	c->s.fpu.fcw = 0x40;
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), -1); /* xrstor [rbx] */
	CHECK_EQ(c->s.vec[3].q[0], 9);
	CHECK_EQ(c->s.vec[3].q[3], 0);
	CHECK_EQ(c->s.vec[4].q[0], 0);
	CHECK_EQ(c->s.fpu.fcw, 0x37f);
	box_fini(&box);
}

static void test_xrstor_checks(void)
{
	start();
	box_long(&box, c);
	memset(ram_ptr(&box.ram, GPA(AREA), 1024), 0, 1024);
	c->s.gpr[RAX] = 7;
	c->s.gpr[RDX] = 0;
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), -1); /* xrstor [rbx] */
	put(512, 8, 8); /* a component that XCR0 does not have */
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), VEC_GP);
	put(512, 0, 8);
	put(528, 1, 8); /* reserved */
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), VEC_GP);
	put(528, 0, 8);
	put(520, UINT64_C(1) << 63 | 1, 8);
	put(512, 2, 8); /* XSTATE_BV beyond XCOMP_BV */
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), VEC_GP);
	put(512, UINT64_C(1) << 63 | 1, 8); /* its bit 63 is no component */
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), VEC_GP);
	put(520, 0, 8);
	put(512, 0, 8);
	CHECK_EQ(RUN(0x0f, 0xc7, 0x1b), VEC_GP); /* xrstors wants the compacted format */
	put(24, 0x10000, 4); /* MXCSR */
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), VEC_GP);
	c->s.gpr[RBX] += 16;
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), VEC_GP);
	c->s.cr0 |= CR0_TS;
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), VEC_NM);
	c->s.cr4 &= ~CR4_OSXSAVE;
	CHECK_EQ(RUN(0x0f, 0xae, 0x2b), VEC_UD);
	box_fini(&box);
}

/* ---- SIMD ---- */

static void test_xm_or_ud(void)
{
	start();
	box_long(&box, c);
	c->s.mxcsr = 0x1f80 & ~0x200u; /* divide-by-zero unmasked */
	c->s.vec[0] = (union x86_vec){ .d = { 0x3f800000 } };
	c->s.vec[1] = (union x86_vec){ 0 };
	CHECK_EQ(RUN(0xf3, 0x0f, 0x5e, 0xc1), VEC_XM); /* divss xmm0, xmm1 */
	CHECK_EQ(c->s.vec[0].d[0], 0x3f800000);
	CHECK_EQ(c->s.mxcsr & 0x3f, 4);
	c->s.cr4 &= ~CR4_OSXMMEXCPT;
	CHECK_EQ(RUN(0xf3, 0x0f, 0x5e, 0xc1), VEC_UD);
	box_fini(&box);
}

/*
 * The third of four elements faults: two are there, their mask is clear; that of the others has its
 * sign in all bits. Then it goes on.
 */
static void test_gather_restart(void)
{
	start();
	box_long(&box, c);
	for (unsigned k = 0; k < 4; k++)
		put(4 * k, 100 + k, 4);
	c->s.vec[0] = (union x86_vec){ .d = { 1, 1, 1, 1, 1, 1, 1, 1 } };
	c->s.vec[1] = (union x86_vec){ .d = { 0, 1, 0x40000000, 3 } };
	c->s.vec[2] = (union x86_vec){ .d = { 1u << 31, 1u << 31, 1u << 31, 1u << 31 } };
	/* vpgatherdd xmm0, [rbx + xmm1 * 4], xmm2 */
	CHECK_EQ(RUN(0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8b), VEC_PF);
	CHECK_EQ(c->s.vec[0].d[1], 101);
	CHECK_EQ(c->s.vec[0].d[2], 1);
	CHECK_EQ(c->s.vec[2].d[1], 0);
	CHECK_EQ(c->s.vec[2].d[2], UINT32_MAX);
	c->s.vec[1].d[2] = 2;
	put(0, 0, 4); /* is not read again */
	CHECK_EQ(RUN(0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8b), -1);
	CHECK_EQ(c->s.vec[0].q[0], UINT64_C(101) << 32 | 100);
	CHECK_EQ(c->s.vec[0].q[1], UINT64_C(103) << 32 | 102);
	CHECK_EQ(c->s.vec[0].q[2], 0);
	CHECK_EQ(c->s.vec[2].q[1], 0);
	box_fini(&box);
}

static void test_masked_elements_do_not_fault(void)
{
	start();
	box_long(&box, c);
	c->s.gpr[RBX] = 0x40000000 - 8; /* the upper two of four elements are not mapped */
	c->s.vec[1] = (union x86_vec){ .d = { 1u << 31, 1u << 31 } };
	c->s.vec[2] = (union x86_vec){ .d = { 7, 8, 9, 10 } };
	/* vpmaskmovd [rbx], xmm1, xmm2 */
	CHECK_EQ(RUN(0xc4, 0xe2, 0x71, 0x8e, 0x13), -1);
	c->s.vec[1].d[2] = 1u << 31;
	CHECK_EQ(RUN(0xc4, 0xe2, 0x71, 0x8e, 0x13), VEC_PF);
	box_fini(&box);
}

/* Outside 64-bit mode the upper eight registers are out of reach. */
static void test_vzero_32bit(void)
{
	start();
	box_protected(&box, c);
	fill_vectors();
	CHECK_EQ(RUN(0xc5, 0xf8, 0x77), -1); /* vzeroupper */
	CHECK_EQ(c->s.vec[7].q[2], 0);
	CHECK_EQ(c->s.vec[7].b[15], 0x17);
	CHECK_EQ(c->s.vec[8].b[16], 0x18);
	box_fini(&box);
}

static void test_mmx_state(void)
{
	start();
	box_long(&box, c);
	c->s.fpu.fsw = 0x2800;
	c->s.fpu.ftw = 0;
	c->s.vec[1].q[0] = 42;
	CHECK_EQ(RUN(0xf2, 0x0f, 0xd6, 0xd1), -1); /* movdq2q mm2, xmm1 */
	CHECK_EQ(c->s.fpu.st[2].sig, 42);
	CHECK_EQ(c->s.fpu.st[2].se, 0xffff);
	CHECK_EQ(c->s.fpu.ftw, 0xff);
	CHECK_EQ(c->s.fpu.fsw, 0);
	CHECK_EQ(RUN(0x0f, 0x77), -1); /* emms */
	CHECK_EQ(c->s.fpu.ftw, 0);
	box_fini(&box);
}

static void test_alignment(void)
{
	start();
	box_long(&box, c);
	c->s.gpr[RBX] += 8;
	CHECK_EQ(RUN(0x66, 0x0f, 0xef, 0x03), VEC_GP);	     /* pxor xmm0, [rbx] */
	CHECK_EQ(RUN(0xf3, 0x0f, 0x6f, 0x03), -1);	     /* movdqu */
	CHECK_EQ(RUN(0xc5, 0xf9, 0xef, 0x03), -1);	     /* vpxor */
	CHECK_EQ(RUN(0xc5, 0xf9, 0x6f, 0x03), VEC_GP);	     /* vmovdqa */
	CHECK_EQ(RUN(0x66, 0x0f, 0x3a, 0x63, 0x03, 0), -1); /* pcmpistri */
	box_fini(&box);
}

int main(void)
{
	test_env_real();
	test_env_protected();
	test_pending_exception();
	test_loaded_exception();
	test_xsave_32bit();
	test_xsavec_init();
	test_xrstor_checks();
	test_xm_or_ud();
	test_gather_restart();
	test_masked_elements_do_not_fault();
	test_vzero_32bit();
	test_mmx_state();
	test_alignment();
	return check_done();
}
