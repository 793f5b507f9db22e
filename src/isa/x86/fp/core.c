/*
 * Unpacking, rounding, packing and NaN selection for all formats.
 * Intel SDM vol. 1 §4.8 (encodings), §4.9 (exceptions), §8.2 and §8.5 (x87), §11.5 (SSE).
 */
#include "core.h"

#define TOP_BIT	  ((fp_u128)1 << 127)
#define QUIET_BIT ((fp_u128)1 << 126)

/* Added to or taken from the exponent of an unmasked under- or overflowing x87 result
 * (vol. 1 §8.5.4). */
#define X87_WRAP 24576

const struct fp_format fp_f16 = {.precision = 11, .stored = 10, .exp_bits = 5};
const struct fp_format fp_f32 = {.precision = 24, .stored = 23, .exp_bits = 8};
const struct fp_format fp_f64 = {.precision = 53, .stored = 52, .exp_bits = 11};
const struct fp_format fp_f80 = {.precision = 64, .stored = 64, .exp_bits = 15, .x87 = true};
static const struct fp_format f80_53 = {.precision = 53, .stored = 64, .exp_bits = 15, .x87 = true};
static const struct fp_format f80_24 = {.precision = 24, .stored = 64, .exp_bits = 15, .x87 = true};

const struct fp_format *fp_f80_controlled(const struct fp_env *env)
{
	return env->precision == 24 ? &f80_24 : env->precision == 53 ? &f80_53 : &fp_f80;
}

struct fp_parts fp_default_nan(void)
{
	return (struct fp_parts){.kind = FP_KIND_QNAN, .sign = true, .sig = TOP_BIT | QUIET_BIT};
}

struct fp_parts fp_invalid(struct fp_env *env)
{
	fp_raise(env, FP_INVALID);
	return fp_default_nan();
}

/* ---- shifting and normalizing ---- */

fp_u128 fp_shift_right_sticky(fp_u128 sig, uint32_t distance)
{
	if (distance == 0)
		return sig;
	if (distance > 127)
		return sig != 0;
	return sig >> distance | (sig << (128 - distance) != 0);
}

static unsigned leading_zeros(fp_u128 sig)
{
	uint64_t high = (uint64_t)(sig >> 64);

	return high ? __builtin_clzll(high) : 64 + __builtin_clzll((uint64_t)sig);
}

struct fp_parts fp_normalize(bool sign, int32_t exp, fp_u128 sig)
{
	if (sig == 0)
		return fp_zero(sign);
	unsigned shift = leading_zeros(sig);
	return fp_finite(sign, exp - (int32_t)shift, sig << shift);
}

/* ---- unpacking ---- */

/* `fraction` is left-aligned below the integer bit. */
static struct fp_parts unpack_special(bool sign, fp_u128 fraction)
{
	bool quiet = fraction & QUIET_BIT;

	if (fraction == 0)
		return fp_infinity(sign);
	return (struct fp_parts){
	    .kind = quiet ? FP_KIND_QNAN : FP_KIND_SNAN, .sign = sign, .sig = TOP_BIT | fraction};
}

struct fp_parts fp_unpack(const struct fp_format *f, fp_u128 raw)
{
	int32_t exp_max = (1 << f->exp_bits) - 1;
	int32_t field = (int32_t)(uint64_t)(raw >> f->stored) & exp_max;
	bool sign = raw >> (f->stored + f->exp_bits) & 1;
	/* The integer bit, stored or implied, goes to bit 127. */
	fp_u128 sig = raw << (f->x87 ? 64 : 127 - f->stored);
	bool integer = f->x87 ? sig >> 127 : field != 0;

	if (f->x87 && field != 0 && !integer)
		return (struct fp_parts){.kind = FP_KIND_BAD, .sign = sign};
	sig = integer ? sig | TOP_BIT : sig & ~TOP_BIT;
	if (field == exp_max)
		return unpack_special(sign, sig & ~TOP_BIT);
	if (field != 0)
		return fp_finite(sign, field - fp_bias(f), sig);
	struct fp_parts p = fp_normalize(sign, 1 - fp_bias(f), sig);
	p.denormal = p.kind == FP_KIND_FINITE;
	return p;
}

struct fp_parts fp_unpack_operand(const struct fp_env *env, const struct fp_format *f, fp_u128 raw)
{
	struct fp_parts p = fp_unpack(f, raw);

	if (p.denormal && env->daz) {
		p.kind = FP_KIND_ZERO;
		p.denormal = false;
	}
	return p;
}

/* ---- rounding ---- */

/* The bits decide without branches: they are as good as random. */
static bool rounds_up(fp_u128 kept, bool half, bool sticky, bool sign, enum fp_rounding mode)
{
	switch (mode) {
	case FP_ROUND_NEAREST:
		return half & (sticky | (kept & 1));
	case FP_ROUND_DOWN:
		return sign && (half | sticky);
	case FP_ROUND_UP:
		return !sign && (half | sticky);
	case FP_ROUND_ZERO:
		break;
	}
	return false;
}

struct fp_rounded fp_round_bits(fp_u128 sig, uint32_t drop, bool sign, enum fp_rounding mode)
{
	if (drop > 128) {
		sig = sig != 0; /* all of it is sticky */
		drop = 2;
	}
	fp_u128 half_bit = (fp_u128)1 << (drop - 1);
	fp_u128 kept = drop == 128 ? 0 : sig >> drop;
	bool half = sig & half_bit;
	bool sticky = sig & (half_bit - 1);
	bool up = rounds_up(kept, half, sticky, sign, mode);

	return (struct fp_rounded){.sig = kept + up, .inexact = half | sticky, .up = up};
}

void fp_note_rounding(struct fp_env *env, struct fp_rounded r)
{
	if (r.inexact)
		fp_raise(env, FP_INEXACT);
	env->rounded_up = r.up;
}

struct fp_rounded fp_round_to_integer(const struct fp_parts *p, enum fp_rounding mode)
{
	uint32_t drop = p->exp < -2 ? 129 : (uint32_t)(127 - p->exp);

	return fp_round_bits(p->sig, drop, p->sign, mode);
}

/* ---- packing ---- */

/* `sig` has f->precision bits, fewer for a denormal (then `field` is 0 or, after a carry into the
 * integer bit, 0 as well and is corrected here). */
static fp_u128 pack(const struct fp_format *f, bool sign, int32_t field, fp_u128 sig)
{
	fp_u128 integer_bit = (fp_u128)1 << (f->precision - 1);

	if (field == 0 && (sig & integer_bit))
		field = 1;
	if (f->x87)
		sig <<= f->stored - f->precision;
	else
		sig &= ~integer_bit;
	uint32_t exp = (uint32_t)field & ((1u << f->exp_bits) - 1);
	return (fp_u128)sign << (f->stored + f->exp_bits) | (fp_u128)exp << f->stored | sig;
}

static fp_u128 pack_infinity(const struct fp_format *f, bool sign)
{
	fp_u128 sig = f->x87 ? (fp_u128)1 << (f->precision - 1) : 0;

	return pack(f, sign, (1 << f->exp_bits) - 1, sig);
}

static fp_u128 pack_nan(const struct fp_format *f, const struct fp_parts *p)
{
	if (f->x87)
		f = &fp_f80; /* precision control does not shorten a payload */
	fp_u128 sig = (p->sig | QUIET_BIT) >> (128 - f->precision);

	return pack(f, p->sign, (1 << f->exp_bits) - 1, sig);
}

/* The masked response (vol. 1 table 4-10): infinity or the largest finite number. */
static fp_u128 overflow(struct fp_env *env, const struct fp_format *f, bool sign)
{
	bool to_infinity = rounds_up(1, true, true, sign, env->rounding);
	fp_u128 all_ones = ((fp_u128)1 << f->precision) - 1;

	fp_raise(env, FP_OVERFLOW | FP_INEXACT);
	env->rounded_up = to_infinity;
	return to_infinity ? pack_infinity(f, sign)
			   : pack(f, sign, (1 << f->exp_bits) - 2, all_ones);
}

/* The masked response to a tiny result: a denormal, or zero under FTZ (vol. 1 §4.9.1.5). */
static fp_u128 underflow(struct fp_env *env, const struct fp_format *f, const struct fp_parts *p)
{
	if (env->ftz && !f->x87) {
		fp_raise(env, FP_UNDERFLOW | FP_INEXACT);
		return pack(f, p->sign, 0, 0);
	}
	uint32_t drop = 128 - f->precision + (uint32_t)(1 - fp_bias(f) - p->exp);
	struct fp_rounded r = fp_round_bits(p->sig, drop, p->sign, env->rounding);

	if (r.inexact)
		fp_raise(env, FP_UNDERFLOW);
	fp_note_rounding(env, r);
	return pack(f, p->sign, 0, r.sig);
}

/* Unmasked, and beyond reach of the exponent adjustment: FSCALE alone gets here (vol. 1 §8.5.4). */
static fp_u128 massive(struct fp_env *env, fp_u128 result, bool up)
{
	fp_raise(env, FP_INEXACT);
	env->rounded_up = up;
	return result;
}

/* Unmasked overflow and underflow deliver the adjusted exponent; outside the x87 registers nobody
 * looks at that result. */
static fp_u128 round_pack_finite(struct fp_env *env, const struct fp_format *f,
				 const struct fp_parts *p)
{
	/* Tininess and overflow are judged after rounding with an unbounded exponent. */
	struct fp_rounded r = fp_round_bits(p->sig, 128 - f->precision, p->sign, env->rounding);
	bool carry = r.sig >> f->precision & 1;
	int32_t field = p->exp + carry + fp_bias(f);
	int32_t field_max = (1 << f->exp_bits) - 2;

	if (field > field_max) {
		if (env->masks & FP_OVERFLOW)
			return overflow(env, f, p->sign);
		fp_raise(env, FP_OVERFLOW);
		if (f->x87 && field - X87_WRAP > field_max)
			return massive(env, pack_infinity(f, p->sign), true);
		field -= X87_WRAP;
	} else if (field < 1) {
		if (env->masks & FP_UNDERFLOW)
			return underflow(env, f, p);
		fp_raise(env, FP_UNDERFLOW);
		if (f->x87 && field + X87_WRAP < 1)
			return massive(env, pack(f, p->sign, 0, 0), false);
		field += X87_WRAP;
	}
	fp_note_rounding(env, r);
	return pack(f, p->sign, field, r.sig >> carry);
}

fp_u128 fp_round_pack(struct fp_env *env, const struct fp_format *f, const struct fp_parts *p)
{
	env->rounded_up = false;
	switch (p->kind) {
	case FP_KIND_FINITE:
		return round_pack_finite(env, f, p);
	case FP_KIND_ZERO:
		return pack(f, p->sign, 0, 0);
	case FP_KIND_INF:
		return pack_infinity(f, p->sign);
	default:
		return pack_nan(f, p);
	}
}

/* ---- NaN selection (vol. 1 table 4-7) ---- */

/* Two NaNs of the same kind: the larger significand, then the positive sign. */
static const struct fp_parts *x87_larger_nan(const struct fp_parts *a, const struct fp_parts *b)
{
	if (a->sig != b->sig)
		return a->sig > b->sig ? a : b;
	return a->sign ? b : a;
}

static const struct fp_parts *x87_nan(const struct fp_parts *a, const struct fp_parts *b)
{
	if (!fp_is_nan(a) || !fp_is_nan(b))
		return fp_is_nan(a) ? a : b;
	if (a->kind != b->kind)
		return a->kind == FP_KIND_QNAN ? a : b;
	return x87_larger_nan(a, b);
}

bool fp_nan_result(struct fp_env *env, const struct fp_format *f, const struct fp_parts *a,
		   const struct fp_parts *b, struct fp_parts *result)
{
	if (!fp_is_nan(a) && !fp_is_nan(b))
		return false;
	if (a->kind == FP_KIND_BAD || b->kind == FP_KIND_BAD) {
		*result = fp_invalid(env);
		return true;
	}
	if (a->kind == FP_KIND_SNAN || b->kind == FP_KIND_SNAN)
		fp_raise(env, FP_INVALID);
	*result = f->x87 ? *x87_nan(a, b) : fp_is_nan(a) ? *a : *b;
	return true;
}

bool fp_nan_result1(struct fp_env *env, const struct fp_parts *a, struct fp_parts *result)
{
	if (!fp_is_nan(a))
		return false;
	if (a->kind != FP_KIND_QNAN)
		fp_raise(env, FP_INVALID);
	*result = a->kind == FP_KIND_BAD ? fp_default_nan() : *a;
	return true;
}
