/*
 * The format-independent middle of the soft floating point library: every operation unpacks its
 * operands to struct fp_parts, computes there, and lets fp_round_pack() produce the bit pattern.
 * Internal to this folder.
 */
#ifndef LM_ISA_X86_FP_CORE_H
#define LM_ISA_X86_FP_CORE_H

#include "softfp.h"

typedef unsigned __int128 fp_u128;

enum fp_kind { FP_KIND_ZERO, FP_KIND_FINITE, FP_KIND_INF, FP_KIND_QNAN, FP_KIND_SNAN, FP_KIND_BAD };

/*
 * FINITE: value = sig * 2^(exp - 127) with bit 127 of sig set; operations that drop bits leave
 * their OR in bit 0 (sticky), which is far below the rounding position of every format.
 * QNAN and SNAN: the significand left-aligned as if it were finite, so that payloads of different
 * formats compare and convert. BAD: an unsupported x87 encoding (vol. 1 §8.2.2).
 */
struct fp_parts {
	fp_u128 sig;
	int32_t exp;
	uint8_t kind;
	bool sign;
	bool denormal; /* the operand was a denormal or pseudo-denormal, before normalization */
};

struct fp_format {
	uint8_t precision; /* significand bits to round to, integer bit included */
	uint8_t stored;	   /* significand bits in the encoding, without an implicit integer bit */
	uint8_t exp_bits;  /* width of the exponent field */
	bool x87;	   /* explicit integer bit; x87 NaN rules; wraps exponents */
};

extern const struct fp_format fp_f16, fp_f32, fp_f64, fp_f80;

/* f80 rounded as FCW.PC says (vol. 1 §8.1.5.2). */
const struct fp_format *fp_f80_controlled(const struct fp_env *env);

static inline int32_t fp_bias(const struct fp_format *f)
{
	return (1 << (f->exp_bits - 1)) - 1;
}

static inline fp_u128 fp_f80_raw(struct f80 a)
{
	return (fp_u128)a.se << 64 | a.sig;
}

static inline struct f80 fp_f80_from_raw(fp_u128 raw)
{
	return (struct f80){.sig = (uint64_t)raw, .se = (uint16_t)(raw >> 64)};
}

static inline bool fp_is_nan(const struct fp_parts *p)
{
	return p->kind >= FP_KIND_QNAN;
}

static inline void fp_raise(struct fp_env *env, unsigned flags)
{
	env->flags |= flags;
}

static inline void fp_raise_denormal(struct fp_env *env, bool any_denormal)
{
	if (any_denormal)
		fp_raise(env, FP_DENORMAL);
}

static inline struct fp_parts fp_zero(bool sign)
{
	return (struct fp_parts){.kind = FP_KIND_ZERO, .sign = sign};
}

static inline struct fp_parts fp_infinity(bool sign)
{
	return (struct fp_parts){.kind = FP_KIND_INF, .sign = sign};
}

static inline struct fp_parts fp_finite(bool sign, int32_t exp, fp_u128 sig)
{
	return (struct fp_parts){.kind = FP_KIND_FINITE, .sign = sign, .exp = exp, .sig = sig};
}

/* The QNaN floating point indefinite (vol. 1 §4.8.3.7). */
struct fp_parts fp_default_nan(void);
/* The same, raising FP_INVALID. */
struct fp_parts fp_invalid(struct fp_env *env);

/* Shift right by any distance, ORing what falls off into bit 0. */
fp_u128 fp_shift_right_sticky(fp_u128 sig, uint32_t distance);
/* sig * 2^(exp - 127) with any position of the top bit; zero gives a zero of that sign. */
struct fp_parts fp_normalize(bool sign, int32_t exp, fp_u128 sig);

/* sig with its low `drop` bits (any number above 0) rounded away. */
struct fp_rounded {
	fp_u128 sig;
	bool inexact;
	bool up; /* the magnitude grew */
};
struct fp_rounded fp_round_bits(fp_u128 sig, uint32_t drop, bool sign, enum fp_rounding mode);

/* Raises FP_INEXACT and sets C1 as `r` says. */
void fp_note_rounding(struct fp_env *env, struct fp_rounded r);

/* The integer nearest to a finite p of magnitude below 2^126. */
struct fp_rounded fp_round_to_integer(const struct fp_parts *p, enum fp_rounding mode);

/* An integer destination: largest magnitudes, and what stands for "does not fit". */
struct fp_int_type {
	uint64_t max_positive, max_negative, indefinite;
};
/* The two's complement result, with FP_INVALID or FP_INEXACT raised; p may be anything. */
uint64_t fp_to_integer(struct fp_env *env, const struct fp_int_type *type, struct fp_parts p,
		       enum fp_rounding mode);

struct fp_parts fp_unpack(const struct fp_format *f, fp_u128 raw);
/* With DAZ applied: what an arithmetic instruction sees. */
struct fp_parts fp_unpack_operand(const struct fp_env *env, const struct fp_format *f, fp_u128 raw);
fp_u128 fp_round_pack(struct fp_env *env, const struct fp_format *f, const struct fp_parts *p);

static inline struct f80 fp_pack_f80(struct fp_env *env, struct fp_parts p)
{
	return fp_f80_from_raw(fp_round_pack(env, &fp_f80, &p));
}

/* An operand that is the result as it stands: nothing was computed, hence a denormal is no
 * underflow, masked or not. */
static inline struct f80 fp_pack_operand(struct fp_env *env, struct fp_parts p)
{
	struct fp_env quiet = {.masks = FP_ALL_FLAGS};

	env->rounded_up = false;
	return fp_pack_f80(&quiet, p);
}

/* If an operand is a NaN or an unsupported encoding: raise what it raises, store the operation's
 * result, which is ready to pack, and return true. */
bool fp_nan_result(struct fp_env *env, const struct fp_format *f, const struct fp_parts *a,
		   const struct fp_parts *b, struct fp_parts *result);
bool fp_nan_result1(struct fp_env *env, const struct fp_parts *a, struct fp_parts *result);

/* Arithmetic on operands that are not NaNs. They raise FP_INVALID, FP_DIVZERO and FP_DENORMAL;
 * what rounding raises is left to fp_round_pack(). */
struct fp_parts fp_add(struct fp_env *env, const struct fp_parts *a, const struct fp_parts *b);
struct fp_parts fp_sub(struct fp_env *env, const struct fp_parts *a, const struct fp_parts *b);
struct fp_parts fp_mul(struct fp_env *env, const struct fp_parts *a, const struct fp_parts *b);
struct fp_parts fp_div(struct fp_env *env, const struct fp_parts *a, const struct fp_parts *b);

#endif
