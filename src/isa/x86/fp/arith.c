/*
 * Addition, subtraction, multiplication, division and square root for every format.
 * Intel SDM vol. 1 §8.3.5 and §8.5 (x87), §11.5.2 (SSE); vol. 2 tables of FADD, FMUL, FDIV, FSQRT.
 */
#include "core.h"

/* The sum of two finite values of equal sign. */
static struct fp_parts add_magnitudes(const struct fp_parts *big, const struct fp_parts *small)
{
	fp_u128 sum = fp_shift_right_sticky(big->sig, 1) +
		      fp_shift_right_sticky(small->sig, (uint32_t)(big->exp - small->exp) + 1);

	return fp_normalize(big->sign, big->exp + 1, sum);
}

/* big - small, both finite, |big| >= |small|; an exact zero is -0 only when rounding down. */
static struct fp_parts sub_magnitudes(const struct fp_env *env, const struct fp_parts *big,
				      const struct fp_parts *small)
{
	fp_u128 aligned = fp_shift_right_sticky(small->sig, (uint32_t)(big->exp - small->exp));

	if (big->sig == aligned)
		return fp_zero(env->rounding == FP_ROUND_DOWN);
	return fp_normalize(big->sign, big->exp, big->sig - aligned);
}

static bool magnitude_less(const struct fp_parts *a, const struct fp_parts *b)
{
	return a->exp != b->exp ? a->exp < b->exp : a->sig < b->sig;
}

static struct fp_parts add_finite(const struct fp_env *env, const struct fp_parts *a,
				  const struct fp_parts *b)
{
	bool swap = magnitude_less(a, b);
	const struct fp_parts *big = swap ? b : a, *small = swap ? a : b;

	return a->sign == b->sign ? add_magnitudes(big, small) : sub_magnitudes(env, big, small);
}

struct fp_parts fp_add(struct fp_env *env, const struct fp_parts *a, const struct fp_parts *b)
{
	if (a->kind == FP_KIND_INF && b->kind == FP_KIND_INF && a->sign != b->sign)
		return fp_invalid(env);
	fp_raise_denormal(env, a->denormal || b->denormal);
	if (a->kind == FP_KIND_INF || b->kind == FP_KIND_INF)
		return a->kind == FP_KIND_INF ? *a : *b;
	if (a->kind == FP_KIND_ZERO && b->kind == FP_KIND_ZERO)
		return fp_zero(a->sign == b->sign ? a->sign : env->rounding == FP_ROUND_DOWN);
	if (a->kind == FP_KIND_ZERO || b->kind == FP_KIND_ZERO)
		return a->kind == FP_KIND_ZERO ? *b : *a;
	return add_finite(env, a, b);
}

struct fp_parts fp_sub(struct fp_env *env, const struct fp_parts *a, const struct fp_parts *b)
{
	struct fp_parts minus_b = *b;

	minus_b.sign = !b->sign;
	return fp_add(env, a, &minus_b);
}

struct fp_parts fp_mul(struct fp_env *env, const struct fp_parts *a, const struct fp_parts *b)
{
	bool sign = a->sign != b->sign;
	bool zero = a->kind == FP_KIND_ZERO || b->kind == FP_KIND_ZERO;
	bool infinite = a->kind == FP_KIND_INF || b->kind == FP_KIND_INF;

	if (zero && infinite)
		return fp_invalid(env);
	fp_raise_denormal(env, a->denormal || b->denormal);
	if (infinite)
		return fp_infinity(sign);
	if (zero)
		return fp_zero(sign);
	/* No operand has more than 64 significant bits: the product is exact. */
	fp_u128 product = (a->sig >> 64) * (b->sig >> 64);
	return fp_normalize(sign, a->exp + b->exp + 1, product);
}

/* 128 quotient bits of a / b with sticky; both have at most 64 significant bits. */
static struct fp_parts div_finite(bool sign, const struct fp_parts *a, const struct fp_parts *b)
{
	uint64_t divisor = (uint64_t)(b->sig >> 64);
	bool less = a->sig < b->sig;
	fp_u128 dividend = less ? a->sig : a->sig >> 1;
	uint64_t high = (uint64_t)(dividend / divisor);
	fp_u128 rest = (dividend % divisor) << 64;
	fp_u128 sig = (fp_u128)high << 64 | (uint64_t)(rest / divisor) | (rest % divisor != 0);

	return fp_finite(sign, a->exp - b->exp - less, sig);
}

struct fp_parts fp_div(struct fp_env *env, const struct fp_parts *a, const struct fp_parts *b)
{
	bool sign = a->sign != b->sign;

	if (a->kind == b->kind && a->kind != FP_KIND_FINITE)
		return fp_invalid(env); /* 0/0, inf/inf */
	if (b->kind == FP_KIND_ZERO && a->kind == FP_KIND_FINITE) {
		fp_raise(env, FP_DIVZERO);
		return fp_infinity(sign);
	}
	fp_raise_denormal(env, a->denormal || b->denormal);
	if (a->kind == FP_KIND_INF || b->kind == FP_KIND_ZERO)
		return fp_infinity(sign);
	if (a->kind == FP_KIND_ZERO || b->kind == FP_KIND_INF)
		return fp_zero(sign);
	return div_finite(sign, a, b);
}

/* ---- square root ---- */

/* floor(sqrt(n)), bit by bit. */
static uint32_t isqrt64(uint64_t n)
{
	uint32_t root = 0;

	for (uint32_t bit = 1u << 31; bit; bit >>= 1) {
		uint64_t trial = root | bit;
		if (trial * trial <= n)
			root |= bit;
	}
	return root;
}

/* floor(sqrt(n)) for n >= 2^126 and the remainder n - root^2: one step of Zimmermann's "Karatsuba
 * Square Root" (INRIA RR-3805). */
static uint64_t isqrt128(fp_u128 n, fp_u128 *remainder)
{
	uint64_t high = (uint64_t)(n >> 64);
	uint64_t root = isqrt64(high);
	fp_u128 dividend = (fp_u128)(high - root * root) << 32 | (uint32_t)(n >> 32);
	fp_u128 quotient = dividend / (2 * root);

	fp_u128 full = ((fp_u128)root << 32) + quotient;
	if (full >> 64 || full * full > n)
		full--;
	*remainder = n - full * full;
	return (uint64_t)full;
}

static struct fp_parts sqrt_finite(struct fp_parts a)
{
	bool odd = a.exp & 1;
	fp_u128 remainder;
	uint64_t root = isqrt128(odd ? a.sig : a.sig >> 1, &remainder);
	/* (root + 1/2)^2 = root^2 + root + 1/4: the half bit is set iff remainder > root. */
	fp_u128 fraction = (fp_u128)(remainder > root) << 63 | (remainder != 0);

	return fp_finite(false, (a.exp - odd) / 2, (fp_u128)root << 64 | fraction);
}

static struct fp_parts fp_sqrt(struct fp_env *env, struct fp_parts a)
{
	if (a.kind == FP_KIND_ZERO)
		return a;
	if (a.sign)
		return fp_invalid(env);
	fp_raise_denormal(env, a.denormal);
	return a.kind == FP_KIND_INF ? a : sqrt_finite(a);
}

/* ---- the public functions ---- */

typedef struct fp_parts binary_op(struct fp_env *env, const struct fp_parts *a,
				  const struct fp_parts *b);

static struct fp_parts apply(struct fp_env *env, const struct fp_format *f, binary_op *op,
			     const struct fp_parts *a, const struct fp_parts *b)
{
	struct fp_parts result;

	if (!fp_nan_result(env, f, a, b, &result))
		result = op(env, a, b);
	return result;
}

static fp_u128 sse_binary(struct fp_env *env, const struct fp_format *f, binary_op *op, fp_u128 a,
			  fp_u128 b)
{
	struct fp_parts x = fp_unpack_operand(env, f, a);
	struct fp_parts y = fp_unpack_operand(env, f, b);

	struct fp_parts result = apply(env, f, op, &x, &y);

	return fp_round_pack(env, f, &result);
}

static fp_u128 square_root(struct fp_env *env, const struct fp_format *in,
			   const struct fp_format *out, fp_u128 a)
{
	struct fp_parts x = fp_unpack_operand(env, in, a), result;

	if (!fp_nan_result1(env, &x, &result))
		result = fp_sqrt(env, x);
	return fp_round_pack(env, out, &result);
}

f32_bits fp_f32_add(struct fp_env *env, f32_bits a, f32_bits b)
{
	return (f32_bits)sse_binary(env, &fp_f32, fp_add, a, b);
}

f32_bits fp_f32_sub(struct fp_env *env, f32_bits a, f32_bits b)
{
	return (f32_bits)sse_binary(env, &fp_f32, fp_sub, a, b);
}

f32_bits fp_f32_mul(struct fp_env *env, f32_bits a, f32_bits b)
{
	return (f32_bits)sse_binary(env, &fp_f32, fp_mul, a, b);
}

f32_bits fp_f32_div(struct fp_env *env, f32_bits a, f32_bits b)
{
	return (f32_bits)sse_binary(env, &fp_f32, fp_div, a, b);
}

f32_bits fp_f32_sqrt(struct fp_env *env, f32_bits a)
{
	return (f32_bits)square_root(env, &fp_f32, &fp_f32, a);
}

f64_bits fp_f64_add(struct fp_env *env, f64_bits a, f64_bits b)
{
	return (f64_bits)sse_binary(env, &fp_f64, fp_add, a, b);
}

f64_bits fp_f64_sub(struct fp_env *env, f64_bits a, f64_bits b)
{
	return (f64_bits)sse_binary(env, &fp_f64, fp_sub, a, b);
}

f64_bits fp_f64_mul(struct fp_env *env, f64_bits a, f64_bits b)
{
	return (f64_bits)sse_binary(env, &fp_f64, fp_mul, a, b);
}

f64_bits fp_f64_div(struct fp_env *env, f64_bits a, f64_bits b)
{
	return (f64_bits)sse_binary(env, &fp_f64, fp_div, a, b);
}

f64_bits fp_f64_sqrt(struct fp_env *env, f64_bits a)
{
	return (f64_bits)square_root(env, &fp_f64, &fp_f64, a);
}

/* x87: the second operand may come from memory in another format. */
static struct f80 x87_arith(struct fp_env *env, enum fp_arith op, struct f80 a, struct fp_parts b)
{
	static binary_op *const ops[8] = {
	    [FP_ARITH_ADD] = fp_add,  [FP_ARITH_MUL] = fp_mul, [FP_ARITH_SUB] = fp_sub,
	    [FP_ARITH_SUBR] = fp_sub, [FP_ARITH_DIV] = fp_div, [FP_ARITH_DIVR] = fp_div,
	};
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(a));
	bool reversed = op == FP_ARITH_SUBR || op == FP_ARITH_DIVR;
	struct fp_parts result =
	    apply(env, &fp_f80, ops[op], reversed ? &b : &x, reversed ? &x : &b);

	return fp_f80_from_raw(fp_round_pack(env, fp_f80_controlled(env), &result));
}

struct f80 fp_f80_arith(struct fp_env *env, enum fp_arith op, struct f80 a, struct f80 b)
{
	return x87_arith(env, op, a, fp_unpack(&fp_f80, fp_f80_raw(b)));
}

struct f80 fp_f80_arith_f32(struct fp_env *env, enum fp_arith op, struct f80 a, f32_bits b)
{
	return x87_arith(env, op, a, fp_unpack(&fp_f32, b));
}

struct f80 fp_f80_arith_f64(struct fp_env *env, enum fp_arith op, struct f80 a, f64_bits b)
{
	return x87_arith(env, op, a, fp_unpack(&fp_f64, b));
}

struct f80 fp_f80_add(struct fp_env *env, struct f80 a, struct f80 b)
{
	return fp_f80_arith(env, FP_ARITH_ADD, a, b);
}

struct f80 fp_f80_sub(struct fp_env *env, struct f80 a, struct f80 b)
{
	return fp_f80_arith(env, FP_ARITH_SUB, a, b);
}

struct f80 fp_f80_mul(struct fp_env *env, struct f80 a, struct f80 b)
{
	return fp_f80_arith(env, FP_ARITH_MUL, a, b);
}

struct f80 fp_f80_div(struct fp_env *env, struct f80 a, struct f80 b)
{
	return fp_f80_arith(env, FP_ARITH_DIV, a, b);
}

struct f80 fp_f80_sqrt(struct fp_env *env, struct f80 a)
{
	fp_u128 raw = square_root(env, &fp_f80, fp_f80_controlled(env), fp_f80_raw(a));

	return fp_f80_from_raw(raw);
}
