/*
 * Comparison, the predicates of CMPSS and its kin, minimum and maximum, and FXAM's classes.
 * Intel SDM vol. 1 §8.3.6 (x87), §11.4.2 (SSE); vol. 2 CMPPD table 3-1, MINSS, MAXSS, FXAM.
 */
#include "core.h"

/* Both finite and non-zero. */
static enum fp_relation compare_magnitudes(const struct fp_parts *a, const struct fp_parts *b)
{
	if (a->exp != b->exp)
		return a->exp < b->exp ? FP_LESS : FP_GREATER;
	if (a->sig != b->sig)
		return a->sig < b->sig ? FP_LESS : FP_GREATER;
	return FP_EQUAL;
}

static enum fp_relation flip(enum fp_relation r)
{
	return r == FP_LESS ? FP_GREATER : r == FP_GREATER ? FP_LESS : r;
}

/* No NaNs. The kinds zero, finite, infinity are ordered by magnitude as they are declared. */
static enum fp_relation compare_numbers(const struct fp_parts *a, const struct fp_parts *b)
{
	enum fp_relation r;

	if (a->kind == FP_KIND_ZERO && b->kind == FP_KIND_ZERO)
		return FP_EQUAL;
	if (a->sign != b->sign)
		return a->sign ? FP_LESS : FP_GREATER;
	if (a->kind != b->kind)
		r = a->kind < b->kind ? FP_LESS : FP_GREATER;
	else
		r = a->kind == FP_KIND_FINITE ? compare_magnitudes(a, b) : FP_EQUAL;
	return a->sign ? flip(r) : r;
}

static enum fp_relation compare(struct fp_env *env, const struct fp_parts *a,
				const struct fp_parts *b, bool signaling)
{
	if (fp_is_nan(a) || fp_is_nan(b)) {
		bool quiet = a->kind <= FP_KIND_QNAN && b->kind <= FP_KIND_QNAN;
		if (signaling || !quiet)
			fp_raise(env, FP_INVALID);
		return FP_UNORDERED;
	}
	fp_raise_denormal(env, a->denormal || b->denormal);
	return compare_numbers(a, b);
}

static enum fp_relation sse_compare(struct fp_env *env, const struct fp_format *f, fp_u128 a,
				    fp_u128 b, bool signaling)
{
	struct fp_parts x = fp_unpack_operand(env, f, a);
	struct fp_parts y = fp_unpack_operand(env, f, b);

	return compare(env, &x, &y, signaling);
}

enum fp_relation fp_f32_compare(struct fp_env *env, f32_bits a, f32_bits b, bool signaling)
{
	return sse_compare(env, &fp_f32, a, b, signaling);
}

enum fp_relation fp_f64_compare(struct fp_env *env, f64_bits a, f64_bits b, bool signaling)
{
	return sse_compare(env, &fp_f64, a, b, signaling);
}

static enum fp_relation x87_compare(struct fp_env *env, struct f80 a, struct fp_parts b,
				    bool signaling)
{
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(a));

	return compare(env, &x, &b, signaling);
}

enum fp_relation fp_f80_compare(struct fp_env *env, struct f80 a, struct f80 b, bool signaling)
{
	return x87_compare(env, a, fp_unpack(&fp_f80, fp_f80_raw(b)), signaling);
}

enum fp_relation fp_f80_compare_f32(struct fp_env *env, struct f80 a, f32_bits b)
{
	return x87_compare(env, a, fp_unpack(&fp_f32, b), true);
}

enum fp_relation fp_f80_compare_f64(struct fp_env *env, struct f80 a, f64_bits b)
{
	return x87_compare(env, a, fp_unpack(&fp_f64, b), true);
}

/* ---- predicates ---- */

/* Vol. 2 table 3-1 for imm8[3:0]: the relations that make the predicate true, as a set of
 * 1 << enum fp_relation. */
enum { LT = 1 << FP_LESS, EQ = 1 << FP_EQUAL, GT = 1 << FP_GREATER, UN = 1 << FP_UNORDERED };
static const uint8_t predicate_holds[16] = {
    EQ,		  LT,		LT | EQ,      UN,		 /* EQ LT LE UNORD */
    LT | GT | UN, EQ | GT | UN, GT | UN,      LT | EQ | GT,	 /* NEQ NLT NLE ORD */
    EQ | UN,	  LT | UN,	LT | EQ | UN, 0,		 /* EQ_U NGE NGT FALSE */
    LT | GT,	  EQ | GT,	GT,	      LT | EQ | GT | UN, /* NEQ_O GE GT TRUE */
};

/* LT LE NLT NLE NGE NGT GE GT signal on quiet NaNs; imm8[4] swaps the two behaviours. */
static bool predicate_signals(unsigned predicate)
{
	static const uint16_t signaling = 0x6666;

	return (signaling >> (predicate & 15) & 1) != (predicate >> 4 & 1);
}

static bool holds(unsigned predicate, enum fp_relation relation)
{
	return predicate_holds[predicate & 15] >> relation & 1;
}

bool fp_f32_predicate(struct fp_env *env, f32_bits a, f32_bits b, unsigned predicate)
{
	return holds(predicate, fp_f32_compare(env, a, b, predicate_signals(predicate)));
}

bool fp_f64_predicate(struct fp_env *env, f64_bits a, f64_bits b, unsigned predicate)
{
	return holds(predicate, fp_f64_compare(env, a, b, predicate_signals(predicate)));
}

/* ---- minimum and maximum ---- */

/* `wanted` is the relation of a to b that selects a; everything else selects b. A denormal that is
 * returned under DAZ is the zero it stands for. */
static fp_u128 select_operand(struct fp_env *env, const struct fp_format *f, fp_u128 a, fp_u128 b,
			      enum fp_relation wanted)
{
	bool first = sse_compare(env, f, a, b, true) == wanted;
	fp_u128 chosen = first ? a : b;
	bool flushed = env->daz && fp_unpack(f, chosen).denormal;

	return flushed ? chosen >> (f->stored + f->exp_bits) << (f->stored + f->exp_bits) : chosen;
}

f32_bits fp_f32_min(struct fp_env *env, f32_bits a, f32_bits b)
{
	return (f32_bits)select_operand(env, &fp_f32, a, b, FP_LESS);
}

f32_bits fp_f32_max(struct fp_env *env, f32_bits a, f32_bits b)
{
	return (f32_bits)select_operand(env, &fp_f32, a, b, FP_GREATER);
}

f64_bits fp_f64_min(struct fp_env *env, f64_bits a, f64_bits b)
{
	return (f64_bits)select_operand(env, &fp_f64, a, b, FP_LESS);
}

f64_bits fp_f64_max(struct fp_env *env, f64_bits a, f64_bits b)
{
	return (f64_bits)select_operand(env, &fp_f64, a, b, FP_GREATER);
}

/* ---- FXAM ---- */

enum fp_class fp_f80_classify(struct f80 a)
{
	struct fp_parts p = fp_unpack(&fp_f80, fp_f80_raw(a));

	switch (p.kind) {
	case FP_KIND_BAD:
		return FP_CLASS_UNSUPPORTED;
	case FP_KIND_ZERO:
		return FP_CLASS_ZERO;
	case FP_KIND_INF:
		return FP_CLASS_INFINITY;
	case FP_KIND_FINITE:
		return p.denormal ? FP_CLASS_DENORMAL : FP_CLASS_NORMAL;
	default:
		return FP_CLASS_NAN;
	}
}
