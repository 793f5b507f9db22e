/* Packed shifts (SDM vol. 2: PSLL, PSRL, PSRA, PSLLDQ, VPSLLV and their kin). */
#include "isa/x86/sem/simd.h"

/* The count: an immediate, or the low 64 bits of a vector or MMX operand. */
static uint64_t shift_count(struct x86_cpu *c, const struct insn *i)
{
	unsigned n = simd_first(i) + 1;
	union x86_vec v;

	if (i->op[n].kind == OPK_IMM)
		return i->imm & 0xff;
	vec_read(c, i, n, &v);
	return v.q[0];
}

/* One count for all lanes; a count that does not fit the lane acts as `most` does. */
#define SHIFT(name, field, most, op, drained)                                                      \
	void name(struct x86_cpu *c, const struct insn *i)                                         \
	{                                                                                          \
		uint64_t count = shift_count(c, i);                                                \
		unsigned n = (unsigned)LM_MIN(count, (uint64_t)(most));                            \
		union x86_vec v;                                                                   \
                                                                                                   \
		vec_read(c, i, simd_first(i), &v);                                                 \
		for (unsigned k = 0; k < LM_ARRAY_SIZE(v.field); k++)                              \
			v.field[k] = (__typeof__(v.field[0]))(v.field[k] op n);                    \
		if ((drained) && count > (most))                                                   \
			v = (union x86_vec){ 0 };                                                  \
		vec_write(c, i, &v);                                                               \
	}

SHIFT(simd_psllw, w, 15, <<, true)
SHIFT(simd_pslld, d, 31, <<, true)
SHIFT(simd_psllq, q, 63, <<, true)
SHIFT(simd_psrlw, w, 15, >>, true)
SHIFT(simd_psrld, d, 31, >>, true)
SHIFT(simd_psrlq, q, 63, >>, true)
SHIFT(simd_psraw, sw, 15, >>, false)
SHIFT(simd_psrad, sd, 31, >>, false)

/* ---- Whole blocks by bytes ---- */

void simd_pslldq(struct x86_cpu *c, const struct insn *i)
{
	unsigned n = (unsigned)LM_MIN(i->imm & 0xff, 16u);
	union x86_vec v, r = { 0 };

	vec_read(c, i, simd_first(i), &v);
	for (unsigned block = 0; block < 32; block += 16)
		memcpy(r.b + block + n, v.b + block, 16 - n);
	vec_write(c, i, &r);
}

void simd_psrldq(struct x86_cpu *c, const struct insn *i)
{
	unsigned n = (unsigned)LM_MIN(i->imm & 0xff, 16u);
	union x86_vec v, r = { 0 };

	vec_read(c, i, simd_first(i), &v);
	for (unsigned block = 0; block < 32; block += 16)
		memcpy(r.b + block, v.b + block + n, 16 - n);
	vec_write(c, i, &r);
}

/* ---- A count for each lane: AVX2 ---- */

SIMD_LANES2(simd_vpsllvd, d, b < 32 ? a << (b & 31) : 0)
SIMD_LANES2(simd_vpsllvq, q, b < 64 ? a << (b & 63) : 0)
SIMD_LANES2(simd_vpsrlvd, d, b < 32 ? a >> (b & 31) : 0)
SIMD_LANES2(simd_vpsrlvq, q, b < 64 ? a >> (b & 63) : 0)
SIMD_LANES2(simd_vpsravd, sd, a >> ((uint32_t)b < 32 ? b : 31))
