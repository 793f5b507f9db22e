/*
 * The listed differences between vendors: see vendor.h. What is said of AMD was observed on a
 * Zen 4, what is said of Intel on a Xeon with AMX and AVX512-FP16.
 */
#include <cpuid.h>
#include <string.h>

#include "vendor.h"
#include "x87_host.h"

/* Says whether the case is one of this difference and, if so, adjusts the outcome. */
typedef bool vendor_difference(const struct fp_case *c, struct fp_outcome *soft);

/* ---- conversion to half precision ---- */

/* VCVTPS2PH of a denormal with an unmasked underflow: Intel always reports it as inexact (SDM vol. 2
 * VCVTPS2PH); AMD as any other number, if the half precision significand does not hold it. */
static bool exact_denormal_to_half(const struct fp_case *c, struct fp_outcome *soft)
{
	const uint32_t fraction = (uint32_t)c->operand[0] & 0x7fffff;
	const bool denormal = fraction != 0 && ((uint32_t)c->operand[0] & 0x7f800000) == 0;

	if (!denormal || fraction >> __builtin_ctz(fraction) >= 1u << 11)
		return false;
	if (!(soft->flags & FP_UNDERFLOW) || (c->control >> 7 & FP_UNDERFLOW))
		return false;
	soft->flags &= ~FP_INEXACT;
	return true;
}

/* ---- FSCALE by zero, FPREM by infinity ---- */

/* A denormal ST(0) that is the result as it stands, with an unmasked underflow: Intel leaves it
 * alone; AMD reports the underflow and adjusts the exponent. */
static bool unchanged_denormal(const struct fp_case *c, struct fp_outcome *soft)
{
	const bool denormal = (c->operand[0] >> 63 & 0xffff) == 0 && (uint64_t)c->operand[0] != 0;
	struct fp_env env = fp_env_from_fcw(c->control | 0x300);

	if (!denormal || (env.masks & FP_UNDERFLOW) || !(env.masks & FP_DENORMAL))
		return false;
	struct f80 one = fp_f80_constant(FP_ONE, FP_ROUND_NEAREST);
	soft->value[0] = raw_of(fp_f80_mul(&env, f80_of(c->operand[0]), one));
	soft->flags = env.flags;
	return true;
}

static bool by_zero(const struct fp_case *c, struct fp_outcome *soft)
{
	return c->operand[1] << 49 == 0 && unchanged_denormal(c, soft);
}

static bool by_infinity(const struct fp_case *c, struct fp_outcome *soft)
{
	const u128 infinity = (u128)0x7fff << 64 | (u128)1 << 63;

	return c->operand[1] << 49 == infinity << 49 && unchanged_denormal(c, soft);
}

/* ---- functions that are their argument, of the smallest normal number ---- */

static bool rounds_towards_zero(unsigned fcw, bool negative)
{
	unsigned mode = fcw >> 10 & 3;

	return mode == FP_ROUND_ZERO || mode == (negative ? FP_ROUND_UP : FP_ROUND_DOWN);
}

/* Rounded towards zero: Intel answers with the argument; AMD with the next smaller number, which
 * underflows. */
static bool smallest_underflows(const struct fp_case *c, u128 *value, uint8_t *flags)
{
	const u128 smallest = (u128)1 << 64 | (u128)1 << 63, largest_denormal = INT64_MAX;
	const u128 adjusted = (u128)0x6000 << 64 | UINT64_MAX;
	const u128 sign = *value >> 79 << 79;

	if (*value != (sign | smallest) || !(*flags & FP_INEXACT) ||
	    !rounds_towards_zero(c->control, sign != 0))
		return false;
	*value = sign | (c->control & FP_UNDERFLOW ? largest_denormal : adjusted);
	*flags |= FP_UNDERFLOW;
	return true;
}

static bool sine(const struct fp_case *c, struct fp_outcome *soft)
{
	return smallest_underflows(c, &soft->value[0], &soft->flags);
}

static bool pushed_sine(const struct fp_case *c, struct fp_outcome *soft)
{
	return smallest_underflows(c, &soft->value[1], &soft->flags);
}

static uint64_t normalized(u128 raw)
{
	return (uint64_t)raw ? (uint64_t)raw << __builtin_clzll((uint64_t)raw) : 0;
}

/* The quotient is exactly that number only if it is a power of two. */
static bool arctangent(const struct fp_case *c, struct fp_outcome *soft)
{
	return normalized(c->operand[0]) == normalized(c->operand[1]) &&
	       smallest_underflows(c, &soft->value[0], &soft->flags);
}

/* ---- the list ---- */

static const struct {
	const char *op;
	vendor_difference *apply;
} amd[] = {
    {"cvtps2ph", exact_denormal_to_half},
    {"fscale", by_zero},
    {"fprem", by_infinity},
    {"fprem1", by_infinity},
    {"fsin", sine},
    {"fsincos", pushed_sine},
    {"fpatan", arctangent},
};

static bool host_is_amd(void)
{
	unsigned eax, vendor[3];

	return __get_cpuid(0, &eax, &vendor[0], &vendor[2], &vendor[1]) &&
	       memcmp(vendor, "AuthenticAMD", sizeof(vendor)) == 0;
}

bool fp_vendor_outcome(const char *op, const struct fp_case *c, struct fp_outcome *soft)
{
	static int is_amd = -1;

	if (is_amd < 0)
		is_amd = host_is_amd();
	for (size_t i = 0; is_amd && i < sizeof(amd) / sizeof(amd[0]); i++) {
		if (strcmp(amd[i].op, op) == 0)
			return amd[i].apply(c, soft);
	}
	return false;
}
