/*
 * Fused multiply-add. Intel SDM vol. 1 §14.5.2, §14.5.3 (table 14-17: NaNs and invalid).
 */
#include "core.h"

/* A NaN operand decides the result, in the order a, b, c. With a quiet NaN as c, infinity times
 * zero is not an invalid operation. */
static bool fma_nan(struct fp_env *env, const struct fp_parts *a, const struct fp_parts *b,
		    const struct fp_parts *c, struct fp_parts *result)
{
	const struct fp_parts *first = fp_is_nan(a) ? a : fp_is_nan(b) ? b : c;

	if (!fp_is_nan(first))
		return false;
	if (a->kind == FP_KIND_SNAN || b->kind == FP_KIND_SNAN || c->kind == FP_KIND_SNAN)
		fp_raise(env, FP_INVALID);
	*result = *first;
	return true;
}

static struct fp_parts multiply_add(struct fp_env *env, struct fp_parts a, struct fp_parts b,
				    struct fp_parts c, enum fp_fma_negate neg)
{
	bool any_denormal = a.denormal || b.denormal || c.denormal;
	struct fp_env quiet = *env;
	struct fp_parts result;

	/* The product of two 53-bit significands is exact, and its low bits are clear as
	 * fp_add() needs them. The two steps' flags are replaced by those of the whole. */
	a.sign ^= (neg & FP_FNMADD) != 0;
	c.sign ^= (neg & FP_FMSUB) != 0;
	result = fp_mul(&quiet, &a, &b);
	if (!fp_is_nan(&result))
		result = fp_add(&quiet, &result, &c);
	if (fp_is_nan(&result))
		fp_raise(env, FP_INVALID);
	else
		fp_raise_denormal(env, any_denormal);
	return result;
}

static fp_u128 fused(struct fp_env *env, const struct fp_format *f, const fp_u128 operand[3],
		     enum fp_fma_negate neg)
{
	struct fp_parts a = fp_unpack_operand(env, f, operand[0]);
	struct fp_parts b = fp_unpack_operand(env, f, operand[1]);
	struct fp_parts c = fp_unpack_operand(env, f, operand[2]);
	struct fp_parts result;

	if (!fma_nan(env, &a, &b, &c, &result))
		result = multiply_add(env, a, b, c, neg);
	return fp_round_pack(env, f, &result);
}

f32_bits fp_f32_fma(struct fp_env *env, f32_bits a, f32_bits b, f32_bits c, enum fp_fma_negate neg)
{
	return (f32_bits)fused(env, &fp_f32, (fp_u128[]){a, b, c}, neg);
}

f64_bits fp_f64_fma(struct fp_env *env, f64_bits a, f64_bits b, f64_bits c, enum fp_fma_negate neg)
{
	return (f64_bits)fused(env, &fp_f64, (fp_u128[]){a, b, c}, neg);
}
