/*
 * Conversion between floating point formats, and the two SSE approximations.
 * Intel SDM vol. 1 §4.8.4.2 (NaNs), §8.3.3 (FLD, FST), §11.4.4.1 (CVTSS2SD), §14.4.1 (half
 * precision); vol. 2 RCPSS, RSQRTSS.
 */
#include "core.h"

/* FP_DENORMAL here is what a denormal operand raises: nothing for the half precision input. */
static fp_u128 convert(struct fp_env *env, const struct fp_format *out, struct fp_parts p,
		       unsigned denormal_flag)
{
	struct fp_parts result;

	if (!fp_nan_result1(env, &p, &result)) {
		fp_raise(env, p.denormal ? denormal_flag : 0);
		result = p;
	}
	return fp_round_pack(env, out, &result);
}

f64_bits fp_f32_to_f64(struct fp_env *env, f32_bits a)
{
	struct fp_parts p = fp_unpack_operand(env, &fp_f32, a);

	return (f64_bits)convert(env, &fp_f64, p, FP_DENORMAL);
}

f32_bits fp_f64_to_f32(struct fp_env *env, f64_bits a)
{
	struct fp_parts p = fp_unpack_operand(env, &fp_f64, a);

	return (f32_bits)convert(env, &fp_f32, p, FP_DENORMAL);
}

f32_bits fp_f16_to_f32(struct fp_env *env, f16_bits a)
{
	return (f32_bits)convert(env, &fp_f32, fp_unpack(&fp_f16, a), 0);
}

f16_bits fp_f32_to_f16(struct fp_env *env, f32_bits a, enum fp_rounding mode)
{
	struct fp_parts p = fp_unpack_operand(env, &fp_f32, a);
	struct fp_env local = *env;

	local.rounding = mode;
	local.ftz = false;
	f16_bits half = (f16_bits)convert(&local, &fp_f16, p, FP_DENORMAL);
	fp_raise(env, local.flags);
	/* Vol. 2 VCVTPS2PH: DE, UE and PE. Without the last an unmasked underflow could be exact. */
	fp_raise(env, p.denormal ? FP_INEXACT : 0);
	return half;
}

struct f80 fp_f32_to_f80(struct fp_env *env, f32_bits a)
{
	return fp_f80_from_raw(convert(env, &fp_f80, fp_unpack(&fp_f32, a), FP_DENORMAL));
}

struct f80 fp_f64_to_f80(struct fp_env *env, f64_bits a)
{
	return fp_f80_from_raw(convert(env, &fp_f80, fp_unpack(&fp_f64, a), FP_DENORMAL));
}

/* A store does not report a denormal operand (vol. 2 FST: #IA, #U, #O, #P). Where an unmasked
 * overflow or underflow keeps it from happening, nothing was rounded. */
static fp_u128 store(struct fp_env *env, const struct fp_format *f, struct f80 a)
{
	struct fp_env local = *env;

	local.flags = 0;
	fp_u128 raw = convert(&local, f, fp_unpack(&fp_f80, fp_f80_raw(a)), 0);
	if (fp_blocks_store(&local)) {
		local.flags &= ~FP_INEXACT;
		local.rounded_up = false;
	}
	fp_raise(env, local.flags);
	env->rounded_up = local.rounded_up;
	return raw;
}

f32_bits fp_f80_to_f32(struct fp_env *env, struct f80 a)
{
	return (f32_bits)store(env, &fp_f32, a);
}

f64_bits fp_f80_to_f64(struct fp_env *env, struct f80 a)
{
	return (f64_bits)store(env, &fp_f64, a);
}

/* ---- approximations ---- */

/* Nothing in MXCSR matters to RCPSS and RSQRTSS and nothing is reported; these answer with the
 * correctly rounded value, which the architecture's error bound allows. */
static const struct fp_env approximation_env = {
    .rounding = FP_ROUND_NEAREST, .masks = FP_ALL_FLAGS, .daz = true, .ftz = true};

f32_bits fp_f32_rcp(f32_bits a)
{
	const f32_bits one = 0x3f800000;
	struct fp_env env = approximation_env;

	return fp_f32_div(&env, one, a);
}

f32_bits fp_f32_rsqrt(f32_bits a)
{
	const f64_bits one = 0x3ff0000000000000;
	struct fp_env env = approximation_env;
	f64_bits root = fp_f64_sqrt(&env, fp_f32_to_f64(&env, a));

	return fp_f64_to_f32(&env, fp_f64_div(&env, one, root));
}
