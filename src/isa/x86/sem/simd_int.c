/* Packed integer arithmetic, comparison and logic of MMX, SSE and AVX (SDM vol. 1 ch. 9-12). */
#include "isa/x86/sem/simd.h"

/* ---- Addition and subtraction ---- */

SIMD_LANES2(simd_paddb, b, a + b)
SIMD_LANES2(simd_paddw, w, a + b)
SIMD_LANES2(simd_paddd, d, a + b)
SIMD_LANES2(simd_paddq, q, a + b)
SIMD_LANES2(simd_psubb, b, a - b)
SIMD_LANES2(simd_psubw, w, a - b)
SIMD_LANES2(simd_psubd, d, a - b)
SIMD_LANES2(simd_psubq, q, a - b)

SIMD_LANES2(simd_paddsb, sb, saturate_i8(a + b))
SIMD_LANES2(simd_paddsw, sw, saturate_i16(a + b))
SIMD_LANES2(simd_paddusb, b, saturate_u8(a + b))
SIMD_LANES2(simd_paddusw, w, saturate_u16(a + b))
SIMD_LANES2(simd_psubsb, sb, saturate_i8(a - b))
SIMD_LANES2(simd_psubsw, sw, saturate_i16(a - b))
SIMD_LANES2(simd_psubusb, b, saturate_u8(a - b))
SIMD_LANES2(simd_psubusw, w, saturate_u16(a - b))

/* ---- Logic: the lane width does not matter ---- */

SIMD_LANES2(simd_and, q, a & b)
SIMD_LANES2(simd_andn, q, ~a & b)
SIMD_LANES2(simd_or, q, a | b)
SIMD_LANES2(simd_xor, q, a ^ b)

/* ---- Comparison: all ones where it holds ---- */

SIMD_LANES2(simd_pcmpeqb, b, a == b ? 0xff : 0)
SIMD_LANES2(simd_pcmpeqw, w, a == b ? 0xffff : 0)
SIMD_LANES2(simd_pcmpeqd, sd, -(a == b))
SIMD_LANES2(simd_pcmpeqq, sq, -(int64_t)(a == b))
SIMD_LANES2(simd_pcmpgtb, sb, -(a > b))
SIMD_LANES2(simd_pcmpgtw, sw, -(a > b))
SIMD_LANES2(simd_pcmpgtd, sd, -(a > b))
SIMD_LANES2(simd_pcmpgtq, sq, -(int64_t)(a > b))

/* ---- Minimum, maximum, average, absolute value, sign ---- */

SIMD_LANES2(simd_pminub, b, LM_MIN(a, b))
SIMD_LANES2(simd_pminuw, w, LM_MIN(a, b))
SIMD_LANES2(simd_pminud, d, LM_MIN(a, b))
SIMD_LANES2(simd_pminsb, sb, LM_MIN(a, b))
SIMD_LANES2(simd_pminsw, sw, LM_MIN(a, b))
SIMD_LANES2(simd_pminsd, sd, LM_MIN(a, b))
SIMD_LANES2(simd_pmaxub, b, LM_MAX(a, b))
SIMD_LANES2(simd_pmaxuw, w, LM_MAX(a, b))
SIMD_LANES2(simd_pmaxud, d, LM_MAX(a, b))
SIMD_LANES2(simd_pmaxsb, sb, LM_MAX(a, b))
SIMD_LANES2(simd_pmaxsw, sw, LM_MAX(a, b))
SIMD_LANES2(simd_pmaxsd, sd, LM_MAX(a, b))

SIMD_LANES2(simd_pavgb, b, (a + b + 1) >> 1)
SIMD_LANES2(simd_pavgw, w, (a + b + 1) >> 1)

/* The most negative number is its own absolute value and its own negation. */
SIMD_LANES1(simd_pabsb, sb, a < 0 ? -a : a)
SIMD_LANES1(simd_pabsw, sw, a < 0 ? -a : a)
SIMD_LANES1(simd_pabsd, d, a >> 31 ? -a : a)

SIMD_LANES2(simd_psignb, sb, b < 0 ? -a : b == 0 ? 0 : a)
SIMD_LANES2(simd_psignw, sw, b < 0 ? -a : b == 0 ? 0 : a)
SIMD_LANES2(simd_psignd, d, b >> 31 ? -a : b == 0 ? 0 : a)

/* ---- Multiplication ---- */

SIMD_LANES2(simd_pmullw, w, (uint32_t)a * b)
SIMD_LANES2(simd_pmulhw, sw, (a * b) >> 16)
SIMD_LANES2(simd_pmulhuw, w, ((uint32_t)a * b) >> 16)
SIMD_LANES2(simd_pmulhrsw, sw, (((a * b) >> 14) + 1) >> 1)
SIMD_LANES2(simd_pmulld, d, a * b)
SIMD_LANES2(simd_pmuludq, q, (a & UINT32_MAX) * (b & UINT32_MAX))
SIMD_LANES2(simd_pmuldq, sq, (int64_t)(int32_t)a * (int32_t)b)

/* PMADDWD wraps in one case: all four words 8000h. */
void simd_pmaddwd(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 8; k++)
		p.r.d[k] = (uint32_t)(p.a.sw[2 * k] * p.b.sw[2 * k]) +
			   (uint32_t)(p.a.sw[2 * k + 1] * p.b.sw[2 * k + 1]);
	vec_write(c, i, &p.r);
}

/* PMADDUBSW: unsigned bytes of the first source times signed bytes of the second. */
void simd_pmaddubsw(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 16; k++)
		p.r.sw[k] = saturate_i16(p.a.b[2 * k] * p.b.sb[2 * k] +
					 p.a.b[2 * k + 1] * p.b.sb[2 * k + 1]);
	vec_write(c, i, &p.r);
}

/* ---- Sums of absolute differences ---- */

static unsigned sum_of_differences(const uint8_t *a, const uint8_t *b, unsigned count)
{
	unsigned sum = 0;

	for (unsigned k = 0; k < count; k++)
		sum += (unsigned)(a[k] < b[k] ? b[k] - a[k] : a[k] - b[k]);
	return sum;
}

void simd_psadbw(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 4; k++)
		p.r.q[k] = sum_of_differences(p.a.b + 8 * k, p.b.b + 8 * k, 8);
	vec_write(c, i, &p.r);
}

/* MPSADBW: imm8[2] and imm8[1:0] choose the start in a and in b, imm8[5] and [4:3] in the upper
 * block. */
void simd_mpsadbw(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned block = 0; block < 2; block++) {
		unsigned select = (unsigned)i->imm >> (3 * block);
		const uint8_t *a = p.a.b + 16 * block + (select & 4);
		const uint8_t *b = p.b.b + 16 * block + 4 * (select & 3);

		for (unsigned k = 0; k < 8; k++)
			p.r.w[8 * block + k] = (uint16_t)sum_of_differences(a + k, b, 4);
	}
	vec_write(c, i, &p.r);
}

void simd_phminposuw(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v;
	unsigned least = 0;

	vec_read(c, i, 1, &v);
	for (unsigned k = 1; k < 8; k++)
		if (v.w[k] < v.w[least])
			least = k;
	v = (union x86_vec){ .w = { v.w[least], (uint16_t)least } };
	vec_write(c, i, &v);
}

/* ---- Horizontal addition and subtraction ---- */

/*
 * In each block the lower half of the result comes from neighbours of a, the upper from b's. The
 * expression's x is the even, y the odd neighbour.
 */
#define HORIZONTAL(name, field, expr)                                                              \
	void name(struct x86_cpu *c, const struct insn *i)                                         \
	{                                                                                          \
		struct vec_pair p;                                                                 \
		unsigned half = simd_block(i) / sizeof(p.a.field[0]) / 2;                          \
                                                                                                   \
		vec_read_pair(c, i, &p);                                                           \
		for (unsigned k = 0; k < LM_ARRAY_SIZE(p.r.field); k++) {                          \
			unsigned block = k & ~(2 * half - 1), pair = k & (half - 1);               \
			const __typeof__(p.a.field[0]) *s = k & half ? p.b.field : p.a.field;      \
			const __typeof__(p.a.field[0]) x = s[block + 2 * pair];                    \
			const __typeof__(p.a.field[0]) y = s[block + 2 * pair + 1];                \
			p.r.field[k] = (__typeof__(p.a.field[0]))(expr);                           \
		}                                                                                  \
		vec_write(c, i, &p.r);                                                             \
	}

HORIZONTAL(simd_phaddw, w, x + y)
HORIZONTAL(simd_phaddd, d, x + y)
HORIZONTAL(simd_phaddsw, sw, saturate_i16(x + y))
HORIZONTAL(simd_phsubw, w, x - y)
HORIZONTAL(simd_phsubd, d, x - y)
HORIZONTAL(simd_phsubsw, sw, saturate_i16(x - y))

/* ---- Flags: PTEST, VTESTPS, VTESTPD ---- */

/* ZF: no bit of `mask` is set in a & b; CF: none in ~a & b. The other status flags are cleared. */
static void test_bits(struct x86_cpu *c, const struct insn *i, uint64_t mask)
{
	uint64_t both = 0, only_b = 0;
	union x86_vec a, b;

	vec_read(c, i, 0, &a);
	vec_read(c, i, 1, &b);
	for (unsigned k = 0; k < i->vlen / 8u; k++) {
		both |= a.q[k] & b.q[k] & mask;
		only_b |= ~a.q[k] & b.q[k] & mask;
	}
	flags_set_arith(c, FLAGS_ARITH, (both ? 0 : FLAG_ZF) | (only_b ? 0 : FLAG_CF));
}

void simd_ptest(struct x86_cpu *c, const struct insn *i)
{
	test_bits(c, i, UINT64_MAX);
}

void simd_vtestps(struct x86_cpu *c, const struct insn *i)
{
	test_bits(c, i, UINT64_C(0x8000000080000000));
}

void simd_vtestpd(struct x86_cpu *c, const struct insn *i)
{
	test_bits(c, i, UINT64_C(0x8000000000000000));
}
