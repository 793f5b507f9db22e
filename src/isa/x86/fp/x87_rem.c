/*
 * FPREM and FPREM1: exact remainders, 63 bits of exponent difference at a time.
 * Intel SDM vol. 1 §8.3.5, vol. 2 FPREM, FPREM1.
 */
#include "core.h"

/* A step that cannot finish takes off between 32 and 63 quotient bits; the manual leaves the
 * number open. This is the one that makes the next exponent difference a multiple of 32. */
static int32_t partial_bits(int32_t distance)
{
	return (distance & 31) | 32;
}

/* a - b * trunc(a / b) for a.exp - b.exp = distance in 0..63. Shifting both significands down by
 * 64 makes them integers; the quotient has at most 64 bits. */
static struct fp_parts remainder_step(struct fp_parts a, struct fp_parts b, int32_t distance,
				      uint64_t *quotient)
{
	fp_u128 dividend = (a.sig >> 64) << distance;
	uint64_t divisor = (uint64_t)(b.sig >> 64);

	*quotient = (uint64_t)(dividend / divisor);
	return fp_normalize(a.sign, b.exp + 64, dividend % divisor);
}

/* Turns the truncated remainder r (|r| < |b|) of `quotient` into the one of the nearest. */
static struct fp_parts to_nearest(struct fp_parts r, struct fp_parts b, uint64_t *quotient)
{
	if (r.kind == FP_KIND_ZERO || r.exp < b.exp - 1)
		return r;
	/* Both in units of half of the last place of b. */
	fp_u128 rest = r.exp == b.exp ? r.sig >> 63 : r.sig >> 64;
	fp_u128 whole = b.sig >> 63;
	if (2 * rest < whole || (2 * rest == whole && !(*quotient & 1)))
		return r;
	++*quotient;
	return fp_normalize(!r.sign, b.exp + 63, whole - rest);
}

static struct fp_parts reduce(struct fp_parts a, struct fp_parts b, enum fp_rem_kind kind,
			      struct fp_rem *out)
{
	int32_t distance = a.exp - b.exp;
	uint64_t quotient = 0;
	struct fp_parts r = a;

	if (distance > 63) {
		int32_t step = partial_bits(distance);
		out->partial = true;
		b.exp = a.exp - step;
		return remainder_step(a, b, step, &quotient);
	}
	if (distance >= 0)
		r = remainder_step(a, b, distance, &quotient);
	if (kind == FP_REM_NEAREST)
		r = to_nearest(r, b, &quotient);
	out->quotient = quotient & 7;
	return r;
}

static struct fp_parts remainder_of(struct fp_env *env, struct fp_parts a, struct fp_parts b,
				    enum fp_rem_kind kind, struct fp_rem *out)
{
	struct fp_parts result;

	if (fp_nan_result(env, &fp_f80, &a, &b, &result))
		return result;
	if (a.kind == FP_KIND_INF || b.kind == FP_KIND_ZERO)
		return fp_invalid(env);
	fp_raise_denormal(env, a.denormal || b.denormal);
	if (a.kind == FP_KIND_ZERO || b.kind == FP_KIND_INF)
		return a;
	return reduce(a, b, kind, out);
}

struct fp_rem fp_f80_rem(struct fp_env *env, struct f80 a, struct f80 b, enum fp_rem_kind kind)
{
	struct fp_rem out = {0};
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(a));
	struct fp_parts y = fp_unpack(&fp_f80, fp_f80_raw(b));
	struct fp_parts r = remainder_of(env, x, y, kind, &out);

	/* Tables of vol. 2 FPREM, FPREM1: by an infinity the result is ST(0). */
	out.value = y.kind == FP_KIND_INF ? fp_pack_operand(env, r) : fp_pack_f80(env, r);
	return out;
}
