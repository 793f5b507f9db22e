/*
 * Rounding to an integral value in the same format. Intel SDM vol. 2 ROUNDSS, FRNDINT.
 */
#include "core.h"

/* The result and, for the caller to report, how it was rounded. */
static struct fp_parts round_integral(struct fp_parts p, enum fp_rounding mode,
				      struct fp_rounded *how)
{
	*how = (struct fp_rounded){0};
	if (p.kind != FP_KIND_FINITE || p.exp >= 63)
		return p;
	*how = fp_round_to_integer(&p, mode);
	return fp_normalize(p.sign, 127, how->sig);
}

static fp_u128 sse_round(struct fp_env *env, const struct fp_format *f, fp_u128 a,
			 enum fp_rounding mode, bool exact)
{
	struct fp_parts p = fp_unpack_operand(env, f, a), result;
	struct fp_rounded how;

	if (!fp_nan_result1(env, &p, &result)) {
		result = round_integral(p, mode, &how);
		fp_raise(env, how.inexact && !exact ? FP_INEXACT : 0);
	}
	return fp_round_pack(env, f, &result);
}

f32_bits fp_f32_round(struct fp_env *env, f32_bits a, enum fp_rounding mode, bool exact)
{
	return (f32_bits)sse_round(env, &fp_f32, a, mode, exact);
}

f64_bits fp_f64_round(struct fp_env *env, f64_bits a, enum fp_rounding mode, bool exact)
{
	return (f64_bits)sse_round(env, &fp_f64, a, mode, exact);
}

struct f80 fp_f80_round(struct fp_env *env, struct f80 a)
{
	struct fp_parts p = fp_unpack(&fp_f80, fp_f80_raw(a)), result;
	struct fp_rounded how = {0};

	if (!fp_nan_result1(env, &p, &result)) {
		fp_raise_denormal(env, p.denormal);
		result = round_integral(p, env->rounding, &how);
	}
	struct f80 rounded = fp_pack_f80(env, result);
	fp_note_rounding(env, how);
	return rounded;
}
