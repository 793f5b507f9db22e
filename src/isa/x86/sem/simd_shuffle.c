/* Shuffles, packs, unpacks, blends and byte alignment within 128-bit blocks. */
#include "isa/x86/sem/simd.h"

/* ---- Shuffles by immediate: two bits choose each element ---- */

static unsigned select2(uint64_t imm, unsigned k)
{
	return (imm >> (2 * (k & 3))) & 3;
}

void simd_pshufd(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v, r;

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < 8; k++)
		r.d[k] = v.d[(k & 4) + select2(i->imm, k)];
	vec_write(c, i, &r);
}

/* Shuffles the four words from `first` on in every block. */
static void shuffle_words(struct x86_cpu *c, const struct insn *i, unsigned first)
{
	union x86_vec v, r;

	vec_read(c, i, 1, &v);
	r = v;
	for (unsigned block = 0; block < 16; block += 8)
		for (unsigned k = 0; k < 4; k++)
			r.w[block + first + k] = v.w[block + first + select2(i->imm, k)];
	vec_write(c, i, &r);
}

/* PSHUFLW, and PSHUFW of MMX */
void simd_pshuflw(struct x86_cpu *c, const struct insn *i)
{
	shuffle_words(c, i, 0);
}

void simd_pshufhw(struct x86_cpu *c, const struct insn *i)
{
	shuffle_words(c, i, 4);
}

void simd_shufps(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 8; k++)
		p.r.d[k] = (k & 2 ? &p.b : &p.a)->d[(k & 4) + select2(i->imm, k)];
	vec_write(c, i, &p.r);
}

void simd_shufpd(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 4; k++)
		p.r.q[k] = (k & 1 ? &p.b : &p.a)->q[(k & 2) + (i->imm >> k & 1)];
	vec_write(c, i, &p.r);
}

/* ---- Shuffles by vector ---- */

void simd_pshufb(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;
	unsigned mask = simd_block(i) - 1;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 32; k++)
		p.r.b[k] = p.b.b[k] & 0x80 ? 0 : p.a.b[(k & ~mask) + (p.b.b[k] & mask)];
	vec_write(c, i, &p.r);
}

/* VPERMILPS and VPERMILPD: the control is a vector or an immediate. */
void simd_vpermilps(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	if (i->op[2].kind == OPK_IMM) {
		simd_pshufd(c, i);
		return;
	}
	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 8; k++)
		p.r.d[k] = p.a.d[(k & 4) + (p.b.d[k] & 3)];
	vec_write(c, i, &p.r);
}

void simd_vpermilpd(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read(c, i, 1, &p.a);
	if (i->op[2].kind == OPK_IMM)
		p.b = (union x86_vec){ .q = { i->imm << 1, i->imm, i->imm >> 1, i->imm >> 2 } };
	else
		vec_read(c, i, 2, &p.b);
	for (unsigned k = 0; k < 4; k++)
		p.r.q[k] = p.a.q[(k & 2) + (p.b.q[k] >> 1 & 1)];
	vec_write(c, i, &p.r);
}

/* PALIGNR: bytes imm8 and up of the first source above the second, block by block. */
void simd_palignr(struct x86_cpu *c, const struct insn *i)
{
	unsigned block = simd_block(i), shift = (unsigned)(i->imm & 0xff);
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 32; k++) {
		unsigned from = (k & (block - 1)) + shift, base = k & ~(block - 1);

		if (from < block)
			p.r.b[k] = p.b.b[base + from];
		else
			p.r.b[k] = from < 2 * block ? p.a.b[base + from - block] : 0;
	}
	vec_write(c, i, &p.r);
}

/* ---- Interleaving: lower or upper halves of each block of a and b ---- */

#define UNPACK(name, field, upper)                                                                 \
	void name(struct x86_cpu *c, const struct insn *i)                                         \
	{                                                                                          \
		struct vec_pair p;                                                                 \
		unsigned count = simd_block(i) / sizeof(p.a.field[0]);                             \
                                                                                                   \
		vec_read_pair(c, i, &p);                                                           \
		for (unsigned k = 0; k < LM_ARRAY_SIZE(p.r.field); k += 2) {                       \
			unsigned block = k & ~(count - 1), within = (k & (count - 1)) / 2;         \
			unsigned from = block + within + ((upper) ? count / 2 : 0);                \
			p.r.field[k] = p.a.field[from];                                            \
			p.r.field[k + 1] = p.b.field[from];                                        \
		}                                                                                  \
		vec_write(c, i, &p.r);                                                             \
	}

UNPACK(simd_punpcklbw, b, false)
UNPACK(simd_punpcklwd, w, false)
UNPACK(simd_punpckldq, d, false)
UNPACK(simd_punpcklqdq, q, false)
UNPACK(simd_punpckhbw, b, true)
UNPACK(simd_punpckhwd, w, true)
UNPACK(simd_punpckhdq, d, true)
UNPACK(simd_punpckhqdq, q, true)

/* ---- Narrowing with saturation: each block gets a's elements, then b's ---- */

#define PACK(name, to, from, saturate)                                                             \
	void name(struct x86_cpu *c, const struct insn *i)                                         \
	{                                                                                          \
		struct vec_pair p;                                                                 \
		unsigned half = simd_block(i) / sizeof(p.a.from[0]);                               \
                                                                                                   \
		vec_read_pair(c, i, &p);                                                           \
		for (unsigned k = 0; k < LM_ARRAY_SIZE(p.r.to); k++) {                             \
			const union x86_vec *s = k & half ? &p.b : &p.a;                           \
			p.r.to[k] = saturate(s->from[(k / (2 * half)) * half + (k & (half - 1))]); \
		}                                                                                  \
		vec_write(c, i, &p.r);                                                             \
	}

PACK(simd_packsswb, sb, sw, saturate_i8)
PACK(simd_packssdw, sw, sd, saturate_i16)
PACK(simd_packuswb, b, sw, saturate_u8)
PACK(simd_packusdw, w, sd, saturate_u16)

/* ---- Blends by immediate: bit k of imm8 takes element k from b ---- */

SIMD_LANES2(simd_blendps, d, i->imm >> k & 1 ? b : a)
SIMD_LANES2(simd_blendpd, q, i->imm >> k & 1 ? b : a)
SIMD_LANES2(simd_pblendw, w, i->imm >> (k & 7) & 1 ? b : a)

/* ---- Blends by the sign bits of a mask: XMM0, or operand 3 of the VEX form ---- */

#define BLEND_BY_SIGN(name, field, signed_field)                                                   \
	void name(struct x86_cpu *c, const struct insn *i)                                         \
	{                                                                                          \
		const union x86_vec mask = c->s.vec[i->vex ? i->op[3].reg : 0];                    \
		struct vec_pair p;                                                                 \
                                                                                                   \
		vec_read_pair(c, i, &p);                                                           \
		for (unsigned k = 0; k < LM_ARRAY_SIZE(p.r.field); k++)                            \
			p.r.field[k] = mask.signed_field[k] < 0 ? p.b.field[k] : p.a.field[k];     \
		vec_write(c, i, &p.r);                                                             \
	}

BLEND_BY_SIGN(simd_pblendvb, b, sb)
BLEND_BY_SIGN(simd_blendvps, d, sd)
BLEND_BY_SIGN(simd_blendvpd, q, sq)
