/* Random operands for the differential tests, weighted towards special values. */
#include "fp_diff.h"

/* SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static unsigned below(uint64_t *state, unsigned n)
{
	return (unsigned)(random_next(state) >> 32) % n;
}

struct layout {
	unsigned fraction_bits, exp_bits;
	bool explicit_integer;
};

static const struct layout layouts[] = {
    [F16] = {10, 5, false},
    [F32] = {23, 8, false},
    [F64] = {52, 11, false},
    [F80] = {63, 15, true},
};

/* ---- fractions and exponents ---- */

static uint64_t random_fraction(uint64_t *state, unsigned bits)
{
	uint64_t mask = (UINT64_C(1) << bits) - 1;
	uint64_t r = random_next(state);

	switch (below(state, 8)) {
	case 0:
		return 0;
	case 1:
		return mask;
	case 2: /* a run of ones from the top */
		return mask & ~(mask >> below(state, bits));
	case 3: /* a run of ones from the bottom */
		return mask >> below(state, bits);
	case 4: /* one bit */
		return UINT64_C(1) << below(state, bits);
	case 5: /* long zeros in the middle */
		return (r & 7) | (r >> 61 << (bits - 3));
	default:
		return r & mask;
	}
}

static unsigned random_exponent(uint64_t *state, unsigned exp_bits)
{
	unsigned max = (1u << exp_bits) - 1, bias = max >> 1;

	switch (below(state, 8)) {
	case 0:
		return 0;
	case 1:
		return max - below(state, 2);
	case 2:
		return 1 + below(state, 4);
	case 3: /* products and quotients of these straddle the limits */
		return bias / 2 + below(state, 5) - 2;
	case 4:
		return bias + bias / 2 + below(state, 5) - 2;
	case 5: /* integers and fractions */
		return (bias + below(state, 72) - 4) & max;
	case 6:
		return (bias + below(state, 7) - 3) & max;
	default:
		return (unsigned)random_next(state) & max;
	}
}

static u128 assemble(const struct layout *l, bool sign, unsigned exp, uint64_t fraction,
		     bool integer)
{
	unsigned shift = l->fraction_bits + l->explicit_integer;
	u128 raw = (u128)(sign ? 1u << l->exp_bits : 0) << shift | (u128)exp << shift | fraction;

	return l->explicit_integer ? raw | (u128)integer << l->fraction_bits : raw;
}

static u128 random_float(uint64_t *state, enum operand_kind kind)
{
	const struct layout *l = &layouts[kind];
	unsigned exp = random_exponent(state, l->exp_bits);
	uint64_t fraction = random_fraction(state, l->fraction_bits);
	/* x87: one in 32 is a pseudo-denormal or unsupported. */
	bool integer = (exp != 0) != (below(state, 32) == 0);

	return assemble(l, below(state, 2), exp, fraction, integer);
}

/* How far apart two exponents should be for a sum to be delicate: cancellation, alignment anywhere
 * within the significand, or right at the rounding position. */
static int random_distance(uint64_t *state, unsigned fraction_bits)
{
	int bits = (int)fraction_bits;

	switch (below(state, 3)) {
	case 0:
		return (int)below(state, 5) - 2;
	case 1:
		return (int)below(state, 2 * fraction_bits + 8) - bits - 4;
	default:
		return (below(state, 2) ? 1 : -1) * (bits + (int)below(state, 5) - 1);
	}
}

static unsigned exponent_of(const struct layout *l, u128 raw)
{
	return (unsigned)(raw >> (l->fraction_bits + l->explicit_integer)) &
	       ((1u << l->exp_bits) - 1);
}

static uint64_t fraction_of(const struct layout *l, u128 raw)
{
	return (uint64_t)raw & ((UINT64_C(1) << l->fraction_bits) - 1);
}

/* A value whose sum with one of exponent field `exp` is delicate. */
static u128 near_float(uint64_t *state, const struct layout *l, unsigned exp, uint64_t fraction)
{
	exp += (unsigned)random_distance(state, l->fraction_bits);
	exp &= (1u << l->exp_bits) - 1;
	if (below(state, 2))
		fraction = random_fraction(state, l->fraction_bits);
	fraction = (fraction + below(state, 7) - 3) & ((UINT64_C(1) << l->fraction_bits) - 1);
	return assemble(l, below(state, 2), exp, fraction, exp != 0);
}

/* Operand i, delicate with respect to an earlier one or, for the third, to their product. */
static u128 related_float(uint64_t *state, enum operand_kind kind, int i, const struct fp_case *c)
{
	const struct layout *l = &layouts[kind];
	u128 other = c->operand[below(state, (unsigned)i)];
	unsigned exp = exponent_of(l, other);

	if (i == 2 && below(state, 2))
		exp = exponent_of(l, c->operand[0]) + exponent_of(l, c->operand[1]) -
		      ((1u << (l->exp_bits - 1)) - 1);
	return near_float(state, l, exp, fraction_of(l, other));
}

/* ---- integers and BCD ---- */

static u128 random_integer(uint64_t *state)
{
	uint64_t r = random_next(state) >> below(state, 64);

	if (below(state, 4) == 0)
		r = (UINT64_C(1) << below(state, 64)) + below(state, 5) - 2;
	return below(state, 2) ? -r : r;
}

static u128 random_bcd(uint64_t *state)
{
	uint64_t low = 0;

	for (int i = 0; i < 64; i += 4)
		low |= (uint64_t)below(state, 10) << i;
	low >>= below(state, 4) ? 0 : 4 * below(state, 16);
	uint16_t high =
	    (uint16_t)(below(state, 10) | below(state, 10) << 4 | below(state, 2) << 15);
	return (u128)high << 64 | low;
}

/* ---- cases ---- */

static u128 random_operand(uint64_t *state, const struct fp_op *op, int i, const struct fp_case *c)
{
	enum operand_kind kind = op->operand[i];

	switch (kind) {
	case NONE:
		return 0;
	case I16:
	case I32:
	case I64:
		return random_integer(state);
	case BCD:
		return random_bcd(state);
	default:
		if (i > 0 && kind == op->operand[i - 1] && below(state, 3) == 0)
			return related_float(state, kind, i, c);
		return random_float(state, kind);
	}
}

/* Three in four with everything masked. */
static unsigned random_masks(uint64_t *state)
{
	return below(state, 4) ? FP_ALL_FLAGS : (unsigned)random_next(state) & FP_ALL_FLAGS;
}

static uint16_t random_control(uint64_t *state, bool x87)
{
	static const uint8_t precision[8] = {0, 2, 3, 3, 3, 3, 3, 2};
	unsigned masks = random_masks(state), rounding = below(state, 4);

	if (x87)
		return (uint16_t)(rounding << 10 | precision[below(state, 8)] << 8 | 0x40 | masks);
	bool daz = below(state, 4) == 0, ftz = below(state, 4) == 0;
	return (uint16_t)(ftz << 15 | rounding << 13 | masks << 7 | daz << 6);
}

struct fp_case random_case(uint64_t *state, const struct fp_op *op)
{
	struct fp_case c = {0};

	for (int i = 0; i < 3; i++)
		c.operand[i] = random_operand(state, op, i, &c);
	c.imm = op->imm_count ? below(state, op->imm_count) : 0;
	c.control = random_control(state, op->x87);
	return c;
}
