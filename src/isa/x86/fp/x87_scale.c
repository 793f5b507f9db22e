/*
 * FSCALE, FXTRACT and the loadable constants. Intel SDM vol. 1 §8.3.4, §8.3.5; vol. 2 FSCALE table,
 * FXTRACT, FLD1.
 */
#include "core.h"

/* ---- FSCALE ---- */

/* trunc(p), limited to a magnitude beyond every exponent difference. */
static int32_t truncated_exponent(const struct fp_parts *p)
{
	const int32_t limit = 1 << 17;

	if (p->kind == FP_KIND_ZERO || p->exp < 0)
		return 0;
	int32_t n = p->exp > 16 ? limit : (int32_t)fp_round_to_integer(p, FP_ROUND_ZERO).sig;
	return p->sign ? -n : n;
}

static struct fp_parts scale(struct fp_env *env, struct fp_parts a, struct fp_parts b)
{
	bool b_infinite = b.kind == FP_KIND_INF;

	if (b_infinite && a.kind == (b.sign ? FP_KIND_INF : FP_KIND_ZERO))
		return fp_invalid(env); /* inf * 2^-inf, 0 * 2^inf */
	fp_raise_denormal(env, a.denormal || b.denormal);
	if (b_infinite)
		return b.sign ? fp_zero(a.sign) : fp_infinity(a.sign);
	if (a.kind == FP_KIND_FINITE)
		a.exp += truncated_exponent(&b);
	return a;
}

struct f80 fp_f80_scale(struct fp_env *env, struct f80 a, struct f80 b)
{
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(a));
	struct fp_parts y = fp_unpack(&fp_f80, fp_f80_raw(b));
	struct fp_parts result;

	if (!fp_nan_result(env, &fp_f80, &x, &y, &result))
		result = scale(env, x, y);
	/* By zero even a denormal stays as it is. */
	return y.kind == FP_KIND_ZERO ? fp_pack_operand(env, result) : fp_pack_f80(env, result);
}

/* ---- FXTRACT ---- */

static void extract(struct fp_env *env, struct fp_parts *significand, struct fp_parts *exponent)
{
	bool negative = significand->exp < 0;

	if (fp_nan_result1(env, significand, exponent)) {
		*significand = *exponent;
	} else if (significand->kind == FP_KIND_ZERO) {
		fp_raise(env, FP_DIVZERO);
		*exponent = fp_infinity(true);
	} else if (significand->kind == FP_KIND_INF) {
		*exponent = fp_infinity(false);
	} else {
		fp_raise_denormal(env, significand->denormal);
		uint32_t n = (uint32_t)(negative ? -significand->exp : significand->exp);
		*exponent = fp_normalize(negative, 127, n);
		significand->exp = 0;
	}
}

struct f80 fp_f80_extract(struct fp_env *env, struct f80 a, struct f80 *exponent)
{
	struct fp_parts significand = fp_unpack(&fp_f80, fp_f80_raw(a)), e;

	extract(env, &significand, &e);
	*exponent = fp_pack_f80(env, e);
	return fp_pack_f80(env, significand);
}

/* ---- constants ---- */

struct f80 fp_f80_constant(enum fp_constant which, enum fp_rounding mode)
{
	/* The first 128 bits of each, the last one set as sticky where more follow. */
#define BITS(high, low) ((fp_u128)(high) << 64 | (low))
	static const struct {
		int32_t exp;
		fp_u128 sig;
	} table[] = {
	    [FP_ONE] = {0, BITS(0x8000000000000000, 0)},
	    [FP_L2T] = {1, BITS(0xd49a784bcd1b8afe, 0x492bf6ff4dafdb4d)},
	    [FP_L2E] = {0, BITS(0xb8aa3b295c17f0bb, 0xbe87fed0691d3e89)},
	    [FP_PI] = {1, BITS(0xc90fdaa22168c234, 0xc4c6628b80dc1cd1)},
	    [FP_LG2] = {-2, BITS(0x9a209a84fbcff798, 0x8f8959ac0b7c9179)},
	    [FP_LN2] = {-1, BITS(0xb17217f7d1cf79ab, 0xc9e3b39803f2f6af)},
	    [FP_ZERO] = {0, 0},
	};
#undef BITS
	struct fp_env env = {.rounding = mode, .masks = FP_ALL_FLAGS};

	struct fp_parts p = fp_normalize(false, table[which].exp, table[which].sig);
	return fp_pack_f80(&env, p);
}
