/*
 * FXSAVE and the XSAVE family (SDM vol. 1 §10.5 and ch. 13).
 *
 * The area is the legacy region of 512 bytes (x87 and SSE state), the header of 64 bytes and, at
 * the same place in the standard and the compacted format, the upper halves of the YMM registers.
 */
#include "isa/x86/sem/simd.h"

#define OFFSET_MXCSR      24u
#define OFFSET_ST         32u
#define OFFSET_XMM        160u
#define OFFSET_FX_END     416u /* what lies above is software's */
#define OFFSET_HEADER     512u /* XSTATE_BV, XCOMP_BV, 48 reserved bytes */
#define OFFSET_AVX        576u
#define AREA_SIZE         832u
#define XCOMP_BV_COMPACT  (UINT64_C(1) << 63)

/* An image of the area, or the part of it that an instruction touches. */
struct save_area {
	uint8_t b[AREA_SIZE];
};

/* Registers 8 to 15 are neither saved nor restored outside 64-bit mode. */
static unsigned vector_count(const struct x86_cpu *c)
{
	return c->code_size == CODE_64 ? 16 : 8;
}

/* ---- Components to and from the image ---- */

/* `wide`: the REX.W forms store 64-bit pointers, the others 32 bits and a selector. */
static void encode_x87(const struct x86_cpu *c, struct save_area *a, bool wide)
{
	const struct x86_fpu *f = &c->s.fpu;
	unsigned pointer = wide ? 8 : 4;

	memset(a->b, 0, OFFSET_MXCSR);
	memset(a->b + OFFSET_ST, 0, OFFSET_XMM - OFFSET_ST);
	le_store(a->b, f->fcw, 2);
	le_store(a->b + 2, f->fsw, 2);
	a->b[4] = f->ftw;
	le_store(a->b + 6, f->fop, 2);
	le_store(a->b + 8, f->fip, pointer);
	le_store(a->b + 16, f->fdp, pointer);
	for (unsigned n = 0; n < 8; n++) {
		le_store(a->b + OFFSET_ST + 16 * n, x87_st(c, n).sig, 8);
		le_store(a->b + OFFSET_ST + 16 * n + 8, x87_st(c, n).se, 2);
	}
}

static void decode_x87(struct x86_cpu *c, const struct save_area *a, bool wide)
{
	struct x86_fpu *f = &c->s.fpu;
	unsigned pointer = wide ? 8 : 4;

	f->fcw = (uint16_t)((le_load(a->b, 2) & FCW_WRITABLE) | FCW_FIXED);
	f->fsw = (uint16_t)le_load(a->b + 2, 2);
	f->ftw = a->b[4];
	f->fop = le_load(a->b + 6, 2) & FOP_MASK;
	f->fip = le_load(a->b + 8, pointer);
	f->fdp = le_load(a->b + 16, pointer);
	f->fcs = f->fds = 0;
	for (unsigned n = 0; n < 8; n++)
		f->st[x87_physical(c, n)] = (struct f80){
			.sig = le_load(a->b + OFFSET_ST + 16 * n, 8),
			.se = (uint16_t)le_load(a->b + OFFSET_ST + 16 * n + 8, 2),
		};
	x87_summarize(c);
}

static void init_x87(struct x86_cpu *c)
{
	memset(c->s.fpu.st, 0, sizeof(c->s.fpu.st));
	x87_init(c);
}

static void encode_mxcsr(const struct x86_cpu *c, struct save_area *a)
{
	le_store(a->b + OFFSET_MXCSR, c->s.mxcsr, 4);
	le_store(a->b + OFFSET_MXCSR + 4, MXCSR_MASK, 4);
}

static uint32_t decode_mxcsr(const struct save_area *a)
{
	return (uint32_t)le_load(a->b + OFFSET_MXCSR, 4);
}

static void check_mxcsr(struct x86_cpu *c, const struct save_area *a)
{
	if (decode_mxcsr(a) & ~MXCSR_MASK)
		x86_raise_gp(c, 0);
}

/* The low (half 0) or high (half 1) 16 bytes of the vector registers, side by side. */
static void encode_halves(const struct x86_cpu *c, uint8_t *to, unsigned half)
{
	for (unsigned r = 0; r < vector_count(c); r++)
		memcpy(to + 16 * r, c->s.vec[r].b + 16 * half, 16);
}

static void decode_halves(struct x86_cpu *c, const uint8_t *from, unsigned half)
{
	for (unsigned r = 0; r < vector_count(c); r++)
		memcpy(c->s.vec[r].b + 16 * half, from + 16 * r, 16);
}

static void init_halves(struct x86_cpu *c, unsigned half)
{
	for (unsigned r = 0; r < vector_count(c); r++)
		memset(c->s.vec[r].b + 16 * half, 0, 16);
}

/* ---- FXSAVE, FXRSTOR ---- */

static gva_t fx_operand(struct x86_cpu *c, const struct insn *i, enum mem_access access)
{
	gva_t gva = mem_operand(c, i, OFFSET_HEADER, access);

	simd_check_aligned(c, gva, 16);
	return gva;
}

static void fxsave(struct x86_cpu *c, const struct insn *i, bool wide)
{
	gva_t gva = fx_operand(c, i, ACCESS_WRITE);
	struct save_area a;

	encode_x87(c, &a, wide);
	encode_mxcsr(c, &a);
	encode_halves(c, a.b + OFFSET_XMM, 0);
	lin_write_block(c, gva, a.b, OFFSET_XMM + 16 * vector_count(c));
}

void xsave_fxsave(struct x86_cpu *c, const struct insn *i)
{
	fxsave(c, i, false);
}

void xsave_fxsave64(struct x86_cpu *c, const struct insn *i)
{
	fxsave(c, i, true);
}

static void fxrstor(struct x86_cpu *c, const struct insn *i, bool wide)
{
	gva_t gva = fx_operand(c, i, ACCESS_READ);
	struct save_area a;

	lin_read_block(c, gva, a.b, OFFSET_FX_END);
	check_mxcsr(c, &a);
	c->s.mxcsr = decode_mxcsr(&a);
	decode_halves(c, a.b + OFFSET_XMM, 0);
	decode_x87(c, &a, wide);
}

void xsave_fxrstor(struct x86_cpu *c, const struct insn *i)
{
	fxrstor(c, i, false);
}

void xsave_fxrstor64(struct x86_cpu *c, const struct insn *i)
{
	fxrstor(c, i, true);
}

/* ---- What the XSAVE instructions have in common (SDM vol. 1 §13.5, §13.6) ---- */

/* Requested-feature bitmap. No supervisor component exists, so IA32_XSS adds nothing. */
static uint64_t requested(const struct x86_cpu *c)
{
	uint64_t edx_eax = (uint32_t)c->s.gpr[RAX] | c->s.gpr[RDX] << 32;

	return c->s.xcr0 & edx_eax;
}

static bool x87_in_use(const struct x86_fpu *f)
{
	uint64_t any = f->fsw | f->ftw | f->fop | f->fip | f->fdp;

	for (unsigned r = 0; r < 8; r++)
		any |= f->st[r].sig | f->st[r].se;
	return any || f->fcw != FCW_INITIAL;
}

static bool halves_in_use(const struct x86_cpu *c, unsigned half)
{
	uint64_t any = 0;

	for (unsigned r = 0; r < vector_count(c); r++)
		any |= c->s.vec[r].q[2 * half] | c->s.vec[r].q[2 * half + 1];
	return any;
}

/* XINUSE (§13.6): what is not in its initial configuration. MXCSR does not count as SSE state. */
static uint64_t in_use(const struct x86_cpu *c)
{
	uint64_t components = 0;

	if (x87_in_use(&c->s.fpu))
		components |= XCR0_X87;
	if (halves_in_use(c, 0))
		components |= XCR0_SSE;
	if (halves_in_use(c, 1))
		components |= XCR0_AVX;
	return components;
}

static void check_enabled(struct x86_cpu *c, bool supervisor)
{
	if (!(c->s.cr4 & CR4_OSXSAVE))
		x86_raise(c, VEC_UD);
	if (c->s.cr0 & CR0_TS)
		x86_raise(c, VEC_NM);
	if (supervisor && c->cpl)
		x86_raise_gp(c, 0);
}

/* The area's address; it reaches as far as the components in `layout` need. */
static gva_t area_operand(struct x86_cpu *c, const struct insn *i, uint64_t layout,
			  enum mem_access access)
{
	unsigned size = layout & XCR0_AVX ? AREA_SIZE : OFFSET_AVX;
	gva_t gva = mem_operand(c, i, size, access);

	simd_check_aligned(c, gva, 64);
	if (access == ACCESS_WRITE)
		lin_probe(c, gva, size, access);
	return gva;
}

static void write_piece(struct x86_cpu *c, gva_t gva, const struct save_area *a, unsigned offset,
			unsigned len)
{
	lin_write_block(c, GVA(gva.v + offset), a->b + offset, len);
}

/* Writes the components in `save`, and MXCSR if asked; the area was probed. */
static void write_components(struct x86_cpu *c, gva_t gva, uint64_t save, bool mxcsr, bool wide)
{
	struct save_area a;

	if (save & XCR0_X87) {
		encode_x87(c, &a, wide);
		write_piece(c, gva, &a, 0, OFFSET_MXCSR);
		write_piece(c, gva, &a, OFFSET_ST, OFFSET_XMM - OFFSET_ST);
	}
	if (mxcsr) {
		encode_mxcsr(c, &a);
		write_piece(c, gva, &a, OFFSET_MXCSR, 8);
	}
	if (save & XCR0_SSE) {
		encode_halves(c, a.b + OFFSET_XMM, 0);
		write_piece(c, gva, &a, OFFSET_XMM, 16 * vector_count(c));
	}
	if (save & XCR0_AVX) {
		encode_halves(c, a.b + OFFSET_AVX, 1);
		write_piece(c, gva, &a, OFFSET_AVX, 16 * vector_count(c));
	}
}

/* ---- XSAVE, XSAVEOPT: standard format (§13.7, §13.9) ---- */

static void save_standard(struct x86_cpu *c, const struct insn *i, bool wide, bool optimised)
{
	uint64_t rfbm, used, old;
	gva_t gva, header;

	check_enabled(c, false);
	rfbm = requested(c);
	used = in_use(c);
	gva = area_operand(c, i, rfbm, ACCESS_WRITE);
	header = GVA(gva.v + OFFSET_HEADER);
	old = lin_read_rmw(c, header, 8);
	write_components(c, gva, optimised ? rfbm & used : rfbm, rfbm & (XCR0_SSE | XCR0_AVX),
			 wide);
	lin_write(c, header, (old & ~rfbm) | (rfbm & used), 8);
}

void xsave_xsave(struct x86_cpu *c, const struct insn *i)
{
	save_standard(c, i, false, false);
}

void xsave_xsave64(struct x86_cpu *c, const struct insn *i)
{
	save_standard(c, i, true, false);
}

void xsave_xsaveopt(struct x86_cpu *c, const struct insn *i)
{
	save_standard(c, i, false, true);
}

void xsave_xsaveopt64(struct x86_cpu *c, const struct insn *i)
{
	save_standard(c, i, true, true);
}

/* ---- XSAVEC, XSAVES: compacted format (§13.10, §13.11) ---- */

static void save_compacted(struct x86_cpu *c, const struct insn *i, bool wide, bool supervisor)
{
	uint64_t rfbm, save;
	gva_t gva;

	check_enabled(c, supervisor);
	rfbm = requested(c);
	save = rfbm & in_use(c);
	if (c->s.mxcsr != MXCSR_INITIAL)
		save |= rfbm & XCR0_SSE; /* here it does count (vol. 2 XSAVEC) */
	gva = area_operand(c, i, save, ACCESS_WRITE);
	write_components(c, gva, save, save & XCR0_SSE, wide);
	lin_write(c, GVA(gva.v + OFFSET_HEADER), save, 8);
	lin_write(c, GVA(gva.v + OFFSET_HEADER + 8), rfbm | XCOMP_BV_COMPACT, 8);
}

void xsave_xsavec(struct x86_cpu *c, const struct insn *i)
{
	save_compacted(c, i, false, false);
}

void xsave_xsavec64(struct x86_cpu *c, const struct insn *i)
{
	save_compacted(c, i, true, false);
}

void xsave_xsaves(struct x86_cpu *c, const struct insn *i)
{
	save_compacted(c, i, false, true);
}

void xsave_xsaves64(struct x86_cpu *c, const struct insn *i)
{
	save_compacted(c, i, true, true);
}

/* ---- XRSTOR, XRSTORS (§13.8, §13.12) ---- */

struct restore_header {
	uint64_t xstate_bv, xcomp_bv;
	bool compacted;
};

static bool all_zero(const uint8_t *b, unsigned len)
{
	for (unsigned k = 0; k < len; k++)
		if (b[k])
			return false;
	return true;
}

/* False: reserved bits are set, raise #GP(0). */
static bool header_valid(const struct x86_cpu *c, const struct restore_header *h,
			 const struct save_area *a)
{
	const uint8_t *header = a->b + OFFSET_HEADER;

	if (!h->compacted)
		return !(h->xstate_bv & ~c->s.xcr0) && all_zero(header + 8, 16);
	return !(h->xcomp_bv & ~XCOMP_BV_COMPACT & ~c->s.xcr0) &&
	       !(h->xstate_bv & ~(h->xcomp_bv & ~XCOMP_BV_COMPACT)) && all_zero(header + 16, 48);
}

static struct restore_header read_header(struct x86_cpu *c, const struct save_area *a,
					 bool supervisor)
{
	struct restore_header h = {
		.xstate_bv = le_load(a->b + OFFSET_HEADER, 8),
		.xcomp_bv = le_load(a->b + OFFSET_HEADER + 8, 8),
	};

	h.compacted = h.xcomp_bv & XCOMP_BV_COMPACT;
	if (!header_valid(c, &h, a) || (supervisor && !h.compacted))
		x86_raise_gp(c, 0);
	return h;
}

/* Loads the requested components that the area holds and initialises the other requested ones. */
static void load_components(struct x86_cpu *c, const struct save_area *a, uint64_t rfbm,
			    uint64_t held, bool wide)
{
	uint64_t load = rfbm & held, init = rfbm & ~held;

	if (load & XCR0_SSE)
		decode_halves(c, a->b + OFFSET_XMM, 0);
	if (init & XCR0_SSE)
		init_halves(c, 0);
	if (load & XCR0_AVX)
		decode_halves(c, a->b + OFFSET_AVX, 1);
	if (init & XCR0_AVX)
		init_halves(c, 1);
	if (load & XCR0_X87)
		decode_x87(c, a, wide);
	if (init & XCR0_X87)
		init_x87(c);
}

/* MXCSR is restored with SSE or AVX in the standard, and is part of SSE in the compacted format. */
static void restore(struct x86_cpu *c, const struct insn *i, bool wide, bool supervisor)
{
	struct restore_header h;
	struct save_area a;
	uint64_t rfbm;
	bool load_mxcsr;
	gva_t gva;

	check_enabled(c, supervisor);
	rfbm = requested(c);
	gva = area_operand(c, i, 0, ACCESS_READ);
	lin_read_block(c, gva, a.b, OFFSET_AVX);
	h = read_header(c, &a, supervisor);
	if (rfbm & h.xstate_bv & XCR0_AVX)
		lin_read_block(c, GVA(gva.v + OFFSET_AVX), a.b + OFFSET_AVX,
			       16 * vector_count(c));
	load_mxcsr = h.compacted ? rfbm & h.xstate_bv & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX);
	if (load_mxcsr) {
		check_mxcsr(c, &a);
		c->s.mxcsr = decode_mxcsr(&a);
	} else if (rfbm & XCR0_SSE) {
		c->s.mxcsr = MXCSR_INITIAL;
	}
	load_components(c, &a, rfbm, h.xstate_bv, wide);
}

void xsave_xrstor(struct x86_cpu *c, const struct insn *i)
{
	restore(c, i, false, false);
}

void xsave_xrstor64(struct x86_cpu *c, const struct insn *i)
{
	restore(c, i, true, false);
}

void xsave_xrstors(struct x86_cpu *c, const struct insn *i)
{
	restore(c, i, false, true);
}

void xsave_xrstors64(struct x86_cpu *c, const struct insn *i)
{
	restore(c, i, true, true);
}
