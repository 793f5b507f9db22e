/*
 * F2XM1, FYL2X and FYL2XP1. Intel SDM vol. 1 §8.3.9, §8.3.10; vol. 2 tables of each.
 */
#include "wide.h"

/* Correctly truncated to 128 bits. */
static const struct fp_parts ln_2 = {
    .kind = FP_KIND_FINITE, .exp = -1, .sig = FP_BITS(0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af)};
static const struct fp_parts two_log2_e = {
    .kind = FP_KIND_FINITE, .exp = 1, .sig = FP_BITS(0xb8aa3b295c17f0bb, 0xbe87fed0691d3e88)};

/* ---- F2XM1 ---- */

/* (e^t - 1) / t for t a fraction of at most ln 2: 1 + t/2 (1 + t/3 (1 + ...)). The first term left
 * out is below 2^-129. */
static fp_u128 expm1_series(fp_u128 t)
{
	fp_u128 sum = WIDE_ONE;

	for (unsigned k = 32; k >= 2; k--)
		sum = WIDE_ONE + fp_mul_high(t, sum) / k;
	return sum;
}

/* 2^x - 1 for 0 < |x| < 1. For negative x it is -(2^|x| - 1) / 2^|x|: no cancellation. */
static struct fp_parts exp2m1(struct fp_parts x)
{
	bool negative = x.sign;
	x.sign = false;
	struct fp_parts t = wide_mul(x, ln_2);
	struct fp_parts e = wide_mul(t, wide_from_fixed(expm1_series(wide_to_fraction(t))));

	if (!negative)
		return e;
	e = wide_div(e, wide_add(e, wide_from_int(1)));
	e.sign = true;
	return e;
}

static bool is_power_of_two(const struct fp_parts *x)
{
	return x->sig << 1 == 0;
}

/* Where the manual leaves the result undefined, CPUs return the operand. */
static struct f80 out_of_domain(struct fp_env *env, struct f80 a)
{
	fp_raise(env, FP_INEXACT);
	return a;
}

/* 2^1 - 1 = 1 and 2^-1 - 1 = -1/2, which CPUs report as inexact all the same. */
static struct f80 at_one(struct fp_env *env, bool negative)
{
	fp_raise(env, FP_INEXACT);
	return fp_pack_f80(env, fp_finite(negative, negative ? -1 : 0, (fp_u128)1 << 127));
}

struct f80 fp_f80_f2xm1(struct fp_env *env, struct f80 a)
{
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(a)), nan;

	if (fp_nan_result1(env, &x, &nan))
		return fp_pack_f80(env, nan);
	fp_raise_denormal(env, x.denormal);
	if (x.kind == FP_KIND_INF)
		return fp_pack_f80(env, x.sign ? wide_from_int(-1) : x);
	if (x.kind == FP_KIND_ZERO)
		return a;
	if (is_power_of_two(&x) && x.exp == 0)
		return at_one(env, x.sign);
	if (x.exp >= 0)
		return out_of_domain(env, a);
	return wide_to_f80(env, exp2m1(x));
}

/* ---- logarithms ---- */

/* arctanh(s) / s as a function of z = s^2 <= 0.0295: the sum of z^k / (2k + 1). The first term left
 * out is below 2^-137. */
static fp_u128 arctanh_series(fp_u128 z)
{
	fp_u128 sum = 0;

	for (int k = 26; k >= 0; k--)
		sum = WIDE_ONE / (unsigned)(2 * k + 1) + fp_mul_high(z, sum);
	return sum;
}

/* log2((1 + s) / (1 - s)) = 2 log2(e) arctanh(s). */
static struct fp_parts log2_of_ratio(struct fp_parts s)
{
	fp_u128 fraction = wide_to_fraction(s);
	fp_u128 series = arctanh_series(fp_mul_high(fraction, fraction));

	return wide_mul(wide_mul(two_log2_e, s), wide_from_fixed(series));
}

/* log2(x) for finite positive x that is not a power of two: x = m * 2^k with m between sqrt(1/2)
 * and sqrt(2), so that the sum never cancels. */
static struct fp_parts log2_wide(struct fp_parts x)
{
	const fp_u128 sqrt_2 = FP_BITS(0xb504f333f9de6484, 0x597d89b3754abe9f);
	const struct fp_parts one = wide_from_int(1);
	bool high = x.sig > sqrt_2;
	int32_t k = x.exp + high;

	x.exp = high ? -1 : 0;
	struct fp_parts log_m = log2_of_ratio(wide_div(wide_sub(x, one), wide_add(x, one)));
	return k ? wide_add(wide_from_int(k), log_m) : log_m;
}

/* log2(1 + x) for finite x > -1. Near zero the ratio is x / (2 + x). */
static struct fp_parts log2_1p(struct fp_parts x)
{
	if (x.exp < -2)
		return log2_of_ratio(wide_div(x, wide_add(wide_from_int(2), x)));
	return log2_wide(wide_add(wide_from_int(1), x));
}

/* The rows and columns of FYL2X's table where a factor is zero or infinite, and logarithms of
 * powers of two, with which the product is exact. */
static struct f80 exact_log(struct fp_env *env, struct fp_parts y, struct fp_parts log,
			    bool denormal)
{
	y.denormal = denormal;
	return fp_pack_f80(env, fp_mul(env, &y, &log));
}

/* CPUs report even the product with an exact logarithm as inexact. For Intel's a negative one falls
 * short of it, as directed rounding shows. */
static struct f80 power_of_two_log(struct fp_env *env, struct fp_parts y, int32_t k, bool denormal)
{
	struct fp_parts log = wide_from_int(k);

	if (k == 0 || y.kind != FP_KIND_FINITE)
		return exact_log(env, y, log, denormal);
	fp_raise_denormal(env, denormal);
	struct fp_parts product = fp_mul(env, &y, &log);
	return k < 0 ? wide_to_f80(env, wide_below(product)) : wide_to_f80_unmoved(env, product);
}

static struct f80 y_times_log2(struct fp_env *env, struct fp_parts y, struct fp_parts log,
			       bool denormal)
{
	if (y.kind != FP_KIND_FINITE)
		return exact_log(env, y, log, denormal);
	fp_raise_denormal(env, denormal);
	return wide_to_f80(env, wide_mul(y, log));
}

struct f80 fp_f80_fyl2x(struct fp_env *env, struct f80 y_bits, struct f80 x_bits)
{
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(x_bits)), nan;
	struct fp_parts y = fp_unpack(&fp_f80, fp_f80_raw(y_bits));
	bool denormal = x.denormal || y.denormal;

	if (fp_nan_result(env, &fp_f80, &x, &y, &nan))
		return fp_pack_f80(env, nan);
	if (x.sign && x.kind != FP_KIND_ZERO)
		return fp_pack_f80(env, fp_invalid(env));
	if (x.kind == FP_KIND_ZERO) {
		if (y.kind == FP_KIND_FINITE) {
			fp_raise(env, FP_DIVZERO);
			return fp_pack_f80(env, fp_infinity(!y.sign));
		}
		return exact_log(env, y, fp_infinity(true), denormal);
	}
	if (x.kind == FP_KIND_INF)
		return exact_log(env, y, fp_infinity(false), denormal);
	if (is_power_of_two(&x))
		return power_of_two_log(env, y, x.exp, denormal);
	return y_times_log2(env, y, log2_wide(x), denormal);
}

struct f80 fp_f80_fyl2xp1(struct fp_env *env, struct f80 y_bits, struct f80 x_bits)
{
	const struct fp_parts one = wide_from_int(1);
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(x_bits)), nan;
	struct fp_parts y = fp_unpack(&fp_f80, fp_f80_raw(y_bits));
	bool denormal = x.denormal || y.denormal;

	if (fp_nan_result(env, &fp_f80, &x, &y, &nan))
		return fp_pack_f80(env, nan);
	if (x.kind == FP_KIND_INF && x.sign)
		return fp_pack_f80(env, fp_invalid(env));
	if (x.kind != FP_KIND_FINITE) /* the logarithm of 1 + x is x */
		return exact_log(env, y, x, denormal);
	if (x.sign && x.exp >= 0)
		return out_of_domain(env, x_bits);
	struct fp_parts sum = wide_add(one, x);
	if (x.exp >= -63 && is_power_of_two(&sum))
		return power_of_two_log(env, y, sum.exp, denormal);
	return y_times_log2(env, y, log2_1p(x), denormal);
}
