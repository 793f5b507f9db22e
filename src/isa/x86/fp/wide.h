/*
 * Arithmetic with 128-bit significands, for the transcendental functions. Internal to this folder.
 *
 * Wide numbers are finite struct fp_parts; every operation truncates, with a relative error below
 * 2^-126. Series are summed in fixed point, where WIDE_ONE stands for 1.
 */
#ifndef LM_ISA_X86_FP_WIDE_H
#define LM_ISA_X86_FP_WIDE_H

#include "core.h"

#define FP_BITS(high, low) ((fp_u128)(high) << 64 | (low))

#define WIDE_ONE ((fp_u128)1 << 126)

struct fp_parts wide_mul(struct fp_parts a, struct fp_parts b);
struct fp_parts wide_div(struct fp_parts a, struct fp_parts b);
/* The result may be a zero. */
struct fp_parts wide_add(struct fp_parts a, struct fp_parts b);
struct fp_parts wide_sub(struct fp_parts a, struct fp_parts b);

struct fp_parts wide_from_int(int32_t n);
/* A fixed point number, WIDE_ONE = 1. */
struct fp_parts wide_from_fixed(fp_u128 fixed);
/* |a| < 1 as a fraction of 2^128. */
fp_u128 wide_to_fraction(struct fp_parts a);

/* a * b / 2^128, truncated: fraction times fraction, or fraction times fixed point. */
fp_u128 fp_mul_high(fp_u128 a, fp_u128 b);

/* A value beyond |a| by less than a rounding can see except that it is. */
static inline struct fp_parts wide_above(struct fp_parts a)
{
	a.sig |= 1;
	return a;
}

/* The same for a value short of |a|. */
static inline struct fp_parts wide_below(struct fp_parts a)
{
	return wide_above(fp_normalize(a.sign, a.exp, a.sig - 1));
}

/* Rounds the result of a transcendental function to an f80; it is inexact by nature. */
struct f80 wide_to_f80(struct fp_env *env, struct fp_parts a);
/* The same for a value that CPUs deliver as it is, if it fits, but report as inexact, and so a
 * denormal one as an underflow. */
struct f80 wide_to_f80_unmoved(struct fp_env *env, struct fp_parts a);

#endif
