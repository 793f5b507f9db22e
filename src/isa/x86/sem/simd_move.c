/* Data transfer of MMX, SSE and AVX (SDM vol. 1 §9.4.1, §10.4.1.1, §11.4.1.1, §14.1). */
#include "isa/x86/sem/simd.h"

/* ---- Whole vectors ---- */

static void store_vector(struct x86_cpu *c, const struct insn *i, bool aligned)
{
	unsigned size = i->op[0].size;
	gva_t gva = mem_operand(c, i, size, ACCESS_WRITE);

	if (aligned)
		simd_check_aligned(c, gva, size);
	vec_store(c, gva, &c->s.vec[i->op[1].reg], size);
}

/* MOVAPS, MOVAPD, MOVDQA; MOVNTPS, MOVNTPD, MOVNTDQ, MOVNTDQA: aligned in the VEX forms too. */
void simd_mov_aligned(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v;

	if (i->op[0].kind == OPK_MEM) {
		store_vector(c, i, true);
		return;
	}
	vec_read_aligned(c, i, 1, &v);
	vec_write(c, i, &v);
}

/* MOVUPS, MOVUPD, MOVDQU, LDDQU */
void simd_mov_unaligned(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v;

	if (i->op[0].kind == OPK_MEM) {
		store_vector(c, i, false);
		return;
	}
	vec_read_unaligned(c, i, 1, &v);
	vec_write(c, i, &v);
}

/* ---- One element, zero-extended ---- */

static void move_low(struct x86_cpu *c, const struct insn *i, unsigned size)
{
	uint64_t value = vec_read_low(c, i, 1, size);

	if (i->op[0].kind == OPK_VEC || i->op[0].kind == OPK_MMX)
		vec_write(c, i, &(union x86_vec){ .q = { value } });
	else
		op_write(c, i, 0, value);
	mmx_enter_for(c, i);
}

void simd_movd(struct x86_cpu *c, const struct insn *i)
{
	move_low(c, i, 4);
}

/* MOVQ, MOVNTQ, MOVQ2DQ, MOVDQ2Q */
void simd_movq(struct x86_cpu *c, const struct insn *i)
{
	move_low(c, i, 8);
}

/* ---- One element, merged: MOVSS, MOVSD ---- */

static void move_scalar(struct x86_cpu *c, const struct insn *i, unsigned size)
{
	bool is_load = i->op[i->op_count - 1].kind == OPK_MEM;
	union x86_vec v = { 0 };
	uint64_t value;

	if (i->op[0].kind == OPK_MEM) {
		op_write(c, i, 0, vec_read_low(c, i, 1, size));
		return;
	}
	value = vec_read_low(c, i, i->op_count - 1, size);
	if (!is_load)
		vec_read(c, i, simd_first(i), &v);
	memcpy(v.b, &value, size);
	if (is_load)
		vec_write_reg(c, i, i->op[0].reg, 16, &v);
	else
		vec_write(c, i, &v);
}

void simd_movss(struct x86_cpu *c, const struct insn *i)
{
	move_scalar(c, i, 4);
}

void simd_movsd(struct x86_cpu *c, const struct insn *i)
{
	move_scalar(c, i, 8);
}

/* ---- Halves of 8 bytes ---- */

/* MOVLPS, MOVHPS and their kin: memory is one half, the first source gives the other. */
static void move_half(struct x86_cpu *c, const struct insn *i, unsigned half)
{
	union x86_vec v;

	if (i->op[0].kind == OPK_MEM) {
		op_write(c, i, 0, c->s.vec[i->op[1].reg].q[half]);
		return;
	}
	v = c->s.vec[i->op[simd_first(i)].reg];
	v.q[half] = vec_read_low(c, i, simd_first(i) + 1, 8);
	vec_write(c, i, &v);
}

/* MOVLPS, MOVLPD */
void simd_movlp(struct x86_cpu *c, const struct insn *i)
{
	move_half(c, i, 0);
}

/* MOVHPS, MOVHPD */
void simd_movhp(struct x86_cpu *c, const struct insn *i)
{
	move_half(c, i, 1);
}

void simd_movhlps(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	p.a.q[0] = p.b.q[1];
	vec_write(c, i, &p.a);
}

void simd_movlhps(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	p.a.q[1] = p.b.q[0];
	vec_write(c, i, &p.a);
}

/* ---- Duplicates ---- */

void simd_movddup(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v;

	vec_read(c, i, 1, &v);
	v.q[1] = v.q[0];
	v.q[3] = v.q[2];
	vec_write(c, i, &v);
}

void simd_movsldup(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v;

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < 8; k += 2)
		v.d[k + 1] = v.d[k];
	vec_write(c, i, &v);
}

void simd_movshdup(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v;

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < 8; k += 2)
		v.d[k] = v.d[k + 1];
	vec_write(c, i, &v);
}

/* ---- Sign bits to a general register ---- */

void simd_pmovmskb(struct x86_cpu *c, const struct insn *i)
{
	unsigned count = i->op[1].size;
	uint32_t mask = 0;
	union x86_vec v;

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < count; k++)
		mask |= (uint32_t)(v.b[k] >> 7) << k;
	gpr_write(c, i->op[0].reg, mask, 8);
	mmx_enter_for(c, i);
}

void simd_movmskps(struct x86_cpu *c, const struct insn *i)
{
	const union x86_vec *v = &c->s.vec[i->op[1].reg];
	unsigned count = i->vlen == 32 ? 8 : 4; /* a constant bound: compilers check the subscript */
	uint32_t mask = 0;

	for (unsigned k = 0; k < count; k++)
		mask |= (v->d[k] >> 31) << k;
	gpr_write(c, i->op[0].reg, mask, 8);
}

void simd_movmskpd(struct x86_cpu *c, const struct insn *i)
{
	const union x86_vec *v = &c->s.vec[i->op[1].reg];
	uint64_t mask = 0;

	for (unsigned k = 0; k < i->vlen / 8u; k++)
		mask |= (v->q[k] >> 63) << k;
	gpr_write(c, i->op[0].reg, mask, 8);
}

/* ---- AVX and MMX state as a whole ---- */

/* Registers 8 to 15 exist in 64-bit mode only; elsewhere these leave them alone. */
static unsigned register_count(const struct x86_cpu *c)
{
	return c->code_size == CODE_64 ? 16 : 8;
}

void simd_vzeroall(struct x86_cpu *c, const struct insn *i)
{
	memset(c->s.vec, 0, register_count(c) * sizeof(c->s.vec[0]));
}

void simd_vzeroupper(struct x86_cpu *c, const struct insn *i)
{
	for (unsigned r = 0; r < register_count(c); r++)
		c->s.vec[r].q[2] = c->s.vec[r].q[3] = 0;
}

void simd_emms(struct x86_cpu *c, const struct insn *i)
{
	c->s.fpu.ftw = 0;
	c->s.fpu.fsw &= (uint16_t)~FSW_TOP;
}

/* ---- MXCSR (SDM vol. 1 §10.2.3) ---- */

void simd_ldmxcsr(struct x86_cpu *c, const struct insn *i)
{
	uint32_t value = (uint32_t)op_read(c, i, 0);

	if (value & ~MXCSR_MASK)
		x86_raise_gp(c, 0);
	c->s.mxcsr = value;
}

void simd_stmxcsr(struct x86_cpu *c, const struct insn *i)
{
	op_write(c, i, 0, c->s.mxcsr);
}
