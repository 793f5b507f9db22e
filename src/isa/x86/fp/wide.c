/* Arithmetic with 128-bit significands: see wide.h. */
#include "wide.h"

fp_u128 fp_mul_high(fp_u128 a, fp_u128 b)
{
	fp_u128 a1 = a >> 64, a0 = (uint64_t)a;
	fp_u128 b1 = b >> 64, b0 = (uint64_t)b;
	fp_u128 middle = a1 * b0 + (a0 * b0 >> 64);
	fp_u128 middle2 = a0 * b1 + (uint64_t)middle;

	return a1 * b1 + (middle >> 64) + (middle2 >> 64);
}

struct fp_parts wide_mul(struct fp_parts a, struct fp_parts b)
{
	return fp_normalize(a.sign != b.sign, a.exp + b.exp + 1, fp_mul_high(a.sig, b.sig));
}

/* Restoring division, a bit at a time; `carry` is the bit above `rest`. */
struct fp_parts wide_div(struct fp_parts a, struct fp_parts b)
{
	fp_u128 quotient = 0, rest = a.sig;
	bool carry = false;

	for (int i = 0; i < 128; i++) {
		bool fits = carry || rest >= b.sig;
		quotient = quotient << 1 | fits;
		rest -= fits ? b.sig : 0;
		carry = rest >> 127;
		rest <<= 1;
	}
	return fp_normalize(a.sign != b.sign, a.exp - b.exp, quotient);
}

struct fp_parts wide_add(struct fp_parts a, struct fp_parts b)
{
	struct fp_env ignored = {0};

	return fp_add(&ignored, &a, &b);
}

struct fp_parts wide_sub(struct fp_parts a, struct fp_parts b)
{
	struct fp_env ignored = {0};

	return fp_sub(&ignored, &a, &b);
}

struct fp_parts wide_from_int(int32_t n)
{
	return fp_normalize(n < 0, 127, n < 0 ? -(fp_u128)(int64_t)n : (fp_u128)n);
}

struct fp_parts wide_from_fixed(fp_u128 fixed)
{
	return fp_normalize(false, 1, fixed);
}

fp_u128 wide_to_fraction(struct fp_parts a)
{
	return a.kind == FP_KIND_ZERO ? 0 : fp_shift_right_sticky(a.sig, (uint32_t)(-1 - a.exp));
}

struct f80 wide_to_f80(struct fp_env *env, struct fp_parts a)
{
	return fp_pack_f80(env, wide_above(a));
}

struct f80 wide_to_f80_unmoved(struct fp_env *env, struct fp_parts a)
{
	struct f80 result = fp_pack_f80(env, a);
	bool denormal = fp_f80_classify(result) == FP_CLASS_DENORMAL;

	fp_raise(env, denormal ? FP_INEXACT | FP_UNDERFLOW : FP_INEXACT);
	return result;
}
