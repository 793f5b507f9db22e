/*
 * Floating point with x86 semantics, computed with integers only.
 *
 * Every function is pure apart from the struct fp_env it is given: no host floating point, no
 * global state, callable from any thread. Values travel as bit patterns. Results are those of the
 * *masked* response (Intel SDM vol. 1 §4.9.1), with two exceptions of x87 arithmetic that delivers
 * into a register: unmasked overflow and underflow deliver the result with its exponent adjusted by
 * 24576 (vol. 1 §8.5.4, §8.5.5).
 *
 * The contract for one guest instruction:
 *   1. build an env (fp_env_from_mxcsr / fp_env_from_fcw): flags start at zero;
 *   2. run the operation, for packed instructions once per lane with the same env;
 *   3. OR fp_reported_flags() into MXCSR or the x87 status word;
 *   4. SSE: if fp_unmasked_flags() is non-zero, write no destination and raise #XM;
 *      x87: if fp_blocks_result() is true, leave the destination (and the stack) alone.
 *
 * Families: f32 and f64 functions follow SSE/AVX rules (NaN of the first operand wins, DAZ and FTZ
 * obeyed); f80 functions follow x87 rules (NaN with the larger significand wins, `precision`
 * obeyed by add, sub, mul, div and sqrt, C1 reported in `rounded_up`).
 */
#ifndef LM_ISA_X86_FP_SOFTFP_H
#define LM_ISA_X86_FP_SOFTFP_H

#include <stdbool.h>
#include <stdint.h>

typedef uint16_t f16_bits; /* IEEE binary16 */
typedef uint32_t f32_bits; /* IEEE binary32, "single" */
typedef uint64_t f64_bits; /* IEEE binary64, "double" */

/* Double extended: significand with explicit integer bit 63; sign and biased exponent
 * (vol. 1 §4.2.2). */
struct f80 {
	uint64_t sig;
	uint16_t se;
};

/* ---- environment (vol. 1 §8.1.5 x87 control word, §10.2.3 MXCSR) ---- */

enum fp_rounding { /* the encoding of MXCSR.RC, FCW.RC and ROUNDSS imm8[1:0] */
		   FP_ROUND_NEAREST = 0,
		   FP_ROUND_DOWN = 1,
		   FP_ROUND_UP = 2,
		   FP_ROUND_ZERO = 3,
};

enum fp_flag { /* the bit positions of MXCSR[5:0], FSW[5:0] and FCW[5:0] */
	       FP_INVALID = 0x01,
	       FP_DENORMAL = 0x02,
	       FP_DIVZERO = 0x04,
	       FP_OVERFLOW = 0x08,
	       FP_UNDERFLOW = 0x10,
	       FP_INEXACT = 0x20,
	       FP_PRECOMPUTATION = FP_INVALID | FP_DENORMAL | FP_DIVZERO,
	       FP_ALL_FLAGS = 0x3f,
};

struct fp_env {
	uint8_t rounding;  /* in: enum fp_rounding */
	uint8_t flags;	   /* out: enum fp_flag bits, accumulated */
	uint8_t masks;	   /* in: enum fp_flag bits, 1 = masked */
	uint8_t precision; /* in, f80 only: 24, 53 or 64 significand bits */
	bool daz;	   /* in, SSE only: denormals are zeros */
	bool ftz;	   /* in, SSE only: flush to zero, acts only while underflow is masked */
	bool rounded_up;   /* out, x87 C1: the last rounding increased the magnitude */
};

static inline struct fp_env fp_env_from_mxcsr(uint32_t mxcsr)
{
	return (struct fp_env){
	    .rounding = (mxcsr >> 13) & 3,
	    .masks = (mxcsr >> 7) & FP_ALL_FLAGS,
	    .precision = 64,
	    .daz = (mxcsr >> 6) & 1,
	    .ftz = (mxcsr >> 15) & 1,
	};
}

static inline struct fp_env fp_env_from_fcw(uint16_t fcw)
{
	static const uint8_t bits[4] = {24, 64, 53, 64}; /* 01 is reserved (vol. 1 §8.1.5.2) */

	return (struct fp_env){
	    .rounding = (fcw >> 10) & 3,
	    .masks = fcw & FP_ALL_FLAGS,
	    .precision = bits[(fcw >> 8) & 3],
	};
}

/* Exceptions to deliver: non-zero means #XM (SSE) or a pending #MF (x87). */
static inline uint8_t fp_unmasked_flags(const struct fp_env *env)
{
	return env->flags & ~env->masks & FP_ALL_FLAGS;
}

/* x87: an unmasked #IA, #D or #Z leaves the operands as they were (vol. 1 §4.9.2, §8.5). FLD of
 * m32fp and m64fp is the exception: it pushes in spite of an unmasked #D. Comparisons set C3..C0
 * even then; FPREM and FPREM1 clear them. */
static inline bool fp_blocks_result(const struct fp_env *env)
{
	return fp_unmasked_flags(env) & FP_PRECOMPUTATION;
}

/* x87 stores to memory (FST, FIST, FBSTP) also write nothing, and do not pop, after an unmasked
 * overflow or underflow (vol. 1 §8.5.4, §8.5.5). */
static inline bool fp_blocks_store(const struct fp_env *env)
{
	return fp_unmasked_flags(env) & ~FP_INEXACT;
}

/* The flags that become visible: an unmasked pre-computation exception in any lane hides all
 * post-computation ones, as nothing was computed (vol. 1 §4.9.2, §11.5.3). */
static inline uint8_t fp_reported_flags(const struct fp_env *env)
{
	return fp_blocks_result(env) ? env->flags & FP_PRECOMPUTATION : env->flags;
}

/* ---- SSE arithmetic (vol. 1 §11.5.2; NaN rules table 4-7) ---- */

f32_bits fp_f32_add(struct fp_env *env, f32_bits a, f32_bits b);
f32_bits fp_f32_sub(struct fp_env *env, f32_bits a, f32_bits b);
f32_bits fp_f32_mul(struct fp_env *env, f32_bits a, f32_bits b);
f32_bits fp_f32_div(struct fp_env *env, f32_bits a, f32_bits b);
f32_bits fp_f32_sqrt(struct fp_env *env, f32_bits a);

f64_bits fp_f64_add(struct fp_env *env, f64_bits a, f64_bits b);
f64_bits fp_f64_sub(struct fp_env *env, f64_bits a, f64_bits b);
f64_bits fp_f64_mul(struct fp_env *env, f64_bits a, f64_bits b);
f64_bits fp_f64_div(struct fp_env *env, f64_bits a, f64_bits b);
f64_bits fp_f64_sqrt(struct fp_env *env, f64_bits a);

/* MINSS/MAXSS: b whenever either is a NaN or both are zero; b is not quieted. */
f32_bits fp_f32_min(struct fp_env *env, f32_bits a, f32_bits b);
f32_bits fp_f32_max(struct fp_env *env, f32_bits a, f32_bits b);
f64_bits fp_f64_min(struct fp_env *env, f64_bits a, f64_bits b);
f64_bits fp_f64_max(struct fp_env *env, f64_bits a, f64_bits b);

/* a * b + c rounded once (vol. 1 §14.5.3). NaN priority is a, b, c; negations never touch a NaN.
 * With the operands numbered as in the instruction, the forms are
 *   132: fma(op1, op3, op2)   213: fma(op2, op1, op3)   231: fma(op2, op3, op1). */
enum fp_fma_negate {
	FP_FMADD = 0,
	FP_FNMADD = 1, /* -(a * b) + c */
	FP_FMSUB = 2,  /*   a * b  - c */
	FP_FNMSUB = 3, /* -(a * b) - c */
};
f32_bits fp_f32_fma(struct fp_env *env, f32_bits a, f32_bits b, f32_bits c, enum fp_fma_negate neg);
f64_bits fp_f64_fma(struct fp_env *env, f64_bits a, f64_bits b, f64_bits c, enum fp_fma_negate neg);

/* RCPSS and RSQRTSS: relative error below 1.5 * 2^-12, no exceptions, denormals are zeros in and
 * out whatever MXCSR says (vol. 2 RCPPS, RSQRTPS). The low bits differ between CPU models. */
f32_bits fp_f32_rcp(f32_bits a);
f32_bits fp_f32_rsqrt(f32_bits a);

/* ROUNDSS/ROUNDSD: `mode` is imm8[1:0], or env->rounding where imm8[2] is set; `exact` is imm8[3],
 * which suppresses the inexact flag. Never raises FP_DENORMAL. */
f32_bits fp_f32_round(struct fp_env *env, f32_bits a, enum fp_rounding mode, bool exact);
f64_bits fp_f64_round(struct fp_env *env, f64_bits a, enum fp_rounding mode, bool exact);

/* ---- comparison ---- */

enum fp_relation { FP_LESS, FP_EQUAL, FP_GREATER, FP_UNORDERED };

/* `signaling`: a quiet NaN raises FP_INVALID too (COMISS, FCOM); otherwise only a signaling NaN
 * does (UCOMISS, FUCOM). Denormals raise FP_DENORMAL unless the result is unordered. */
enum fp_relation fp_f32_compare(struct fp_env *env, f32_bits a, f32_bits b, bool signaling);
enum fp_relation fp_f64_compare(struct fp_env *env, f64_bits a, f64_bits b, bool signaling);
enum fp_relation fp_f80_compare(struct fp_env *env, struct f80 a, struct f80 b, bool signaling);
/* FCOM m32fp, m64fp */
enum fp_relation fp_f80_compare_f32(struct fp_env *env, struct f80 a, f32_bits b);
enum fp_relation fp_f80_compare_f64(struct fp_env *env, struct f80 a, f64_bits b);

/* CMPSS and its kin: `predicate` is imm8[4:0] (vol. 2 CMPPD, table 3-1). */
bool fp_f32_predicate(struct fp_env *env, f32_bits a, f32_bits b, unsigned predicate);
bool fp_f64_predicate(struct fp_env *env, f64_bits a, f64_bits b, unsigned predicate);

/* ---- conversion between formats ---- */

f64_bits fp_f32_to_f64(struct fp_env *env, f32_bits a); /* CVTSS2SD */
f32_bits fp_f64_to_f32(struct fp_env *env, f64_bits a); /* CVTSD2SS */
/* VCVTPH2PS: DAZ ignored, denormals raise nothing. VCVTPS2PH: FTZ ignored; `mode` is imm8[1:0] or
 * env->rounding (vol. 1 §14.4.1, vol. 2 VCVTPS2PH). */
f32_bits fp_f16_to_f32(struct fp_env *env, f16_bits a);
f16_bits fp_f32_to_f16(struct fp_env *env, f32_bits a, enum fp_rounding mode);

struct f80 fp_f32_to_f80(struct fp_env *env, f32_bits a); /* FLD m32fp */
struct f80 fp_f64_to_f80(struct fp_env *env, f64_bits a); /* FLD m64fp */
f32_bits fp_f80_to_f32(struct fp_env *env, struct f80 a); /* FST m32fp */
f64_bits fp_f80_to_f64(struct fp_env *env, struct f80 a); /* FST m64fp */

/* ---- conversion to and from integers ----
 * Out of range, NaN and infinity give the "integer indefinite" 0x80... (all ones for the unsigned
 * ones, AVX-512) and FP_INVALID (vol. 1 §4.2, §11.5.2.1). Truncating forms
 * (CVTTSS2SI, FISTTP) pass FP_ROUND_ZERO as `mode`, the others env->rounding. */

int32_t fp_f32_to_i32(struct fp_env *env, f32_bits a, enum fp_rounding mode);
int64_t fp_f32_to_i64(struct fp_env *env, f32_bits a, enum fp_rounding mode);
uint32_t fp_f32_to_u32(struct fp_env *env, f32_bits a, enum fp_rounding mode);
uint64_t fp_f32_to_u64(struct fp_env *env, f32_bits a, enum fp_rounding mode);
int32_t fp_f64_to_i32(struct fp_env *env, f64_bits a, enum fp_rounding mode);
int64_t fp_f64_to_i64(struct fp_env *env, f64_bits a, enum fp_rounding mode);
uint32_t fp_f64_to_u32(struct fp_env *env, f64_bits a, enum fp_rounding mode);
uint64_t fp_f64_to_u64(struct fp_env *env, f64_bits a, enum fp_rounding mode);
int16_t fp_f80_to_i16(struct fp_env *env, struct f80 a, enum fp_rounding mode);
int32_t fp_f80_to_i32(struct fp_env *env, struct f80 a, enum fp_rounding mode);
int64_t fp_f80_to_i64(struct fp_env *env, struct f80 a, enum fp_rounding mode);

f32_bits fp_i32_to_f32(struct fp_env *env, int32_t a);
f32_bits fp_i64_to_f32(struct fp_env *env, int64_t a);
f32_bits fp_u32_to_f32(struct fp_env *env, uint32_t a);
f32_bits fp_u64_to_f32(struct fp_env *env, uint64_t a);
f64_bits fp_i32_to_f64(int32_t a); /* exact */
f64_bits fp_i64_to_f64(struct fp_env *env, int64_t a);
f64_bits fp_u32_to_f64(uint32_t a); /* exact */
f64_bits fp_u64_to_f64(struct fp_env *env, uint64_t a);
struct f80 fp_i64_to_f80(int64_t a); /* exact; serves FILD and FIADD of any width */

/* FBLD and FBSTP: 18 decimal digits, two to a byte, sign in bit 7 of bcd[9] (vol. 1 §4.7). A value
 * that does not fit stores the BCD indefinite FFFFC000...00h and raises FP_INVALID. */
struct f80 fp_f80_from_bcd(const uint8_t bcd[10]);
void fp_f80_to_bcd(struct fp_env *env, struct f80 a, uint8_t bcd[10]);

/* ---- x87 arithmetic (vol. 1 §8.3.5, §8.5) ---- */

struct f80 fp_f80_add(struct fp_env *env, struct f80 a, struct f80 b);
struct f80 fp_f80_sub(struct fp_env *env, struct f80 a, struct f80 b);
struct f80 fp_f80_mul(struct fp_env *env, struct f80 a, struct f80 b);
struct f80 fp_f80_div(struct fp_env *env, struct f80 a, struct f80 b);
struct f80 fp_f80_sqrt(struct fp_env *env, struct f80 a);

/* The memory forms (D8, DC): a signaling NaN or denormal in memory must be seen as such, hence not
 * fp_f80_add(fp_f32_to_f80()). The values are ModRM.reg of D8/DC; 2 and 3 are FCOM, FCOMP. */
enum fp_arith {
	FP_ARITH_ADD = 0,
	FP_ARITH_MUL = 1,
	FP_ARITH_SUB = 4,  /* a - b */
	FP_ARITH_SUBR = 5, /* b - a */
	FP_ARITH_DIV = 6,  /* a / b */
	FP_ARITH_DIVR = 7, /* b / a */
};
struct f80 fp_f80_arith(struct fp_env *env, enum fp_arith op, struct f80 a, struct f80 b);
struct f80 fp_f80_arith_f32(struct fp_env *env, enum fp_arith op, struct f80 a, f32_bits b);
struct f80 fp_f80_arith_f64(struct fp_env *env, enum fp_arith op, struct f80 a, f64_bits b);

struct f80 fp_f80_round(struct fp_env *env, struct f80 a); /* FRNDINT */
struct f80 fp_f80_scale(struct fp_env *env, struct f80 a,
			struct f80 b); /* FSCALE: a * 2^trunc(b) */
/* FXTRACT: returns the significand, which is pushed; *exponent replaces ST(0). */
struct f80 fp_f80_extract(struct fp_env *env, struct f80 a, struct f80 *exponent);

/* FPREM (quotient truncated) and FPREM1 (quotient to nearest even). */
enum fp_rem_kind { FP_REM_TRUNCATE, FP_REM_NEAREST };
struct fp_rem {
	struct f80 value;
	uint8_t quotient; /* low three bits: bit 0 -> C1, bit 1 -> C3, bit 2 -> C0 */
	bool partial;	  /* C2: run the instruction again with `value`; quotient is then zero */
};
struct fp_rem fp_f80_rem(struct fp_env *env, struct f80 a, struct f80 b, enum fp_rem_kind kind);

/* FXAM without the tag: the values are C3:C2:C0 read as a number (vol. 2 FXAM); 5 is "empty". */
enum fp_class {
	FP_CLASS_UNSUPPORTED = 0,
	FP_CLASS_NAN = 1,
	FP_CLASS_NORMAL = 2,
	FP_CLASS_INFINITY = 3,
	FP_CLASS_ZERO = 4,
	FP_CLASS_DENORMAL = 6,
};
enum fp_class fp_f80_classify(struct f80 a);

/* FLD1 ... FLDZ in opcode order D9 E8..EE; rounded per `mode`, no flags (vol. 1 §8.3.4). <math.h>,
 * which nothing that emulates should need, has an FP_ZERO of its own. */
enum fp_constant { FP_ONE, FP_L2T, FP_L2E, FP_PI, FP_LG2, FP_LN2, FP_ZERO };
struct f80 fp_f80_constant(enum fp_constant which, enum fp_rounding mode);

static inline struct f80 fp_f80_neg(struct f80 a) /* FCHS: no exceptions, any encoding */
{
	return (struct f80){a.sig, a.se ^ 0x8000};
}

static inline struct f80 fp_f80_abs(struct f80 a) /* FABS: no exceptions, any encoding */
{
	return (struct f80){a.sig, a.se & 0x7fff};
}

/* ---- x87 transcendentals (vol. 1 §8.3.7, §8.3.10; vol. 2 tables of results) ----
 * Error below one unit in the last place; argument reduction uses the 66-bit pi of the hardware.
 * Results are rounded per env->rounding; `precision` is ignored. */

struct f80 fp_f80_f2xm1(struct fp_env *env, struct f80 x);		   /* 2^x - 1 */
struct f80 fp_f80_fyl2x(struct fp_env *env, struct f80 y, struct f80 x);   /* y * log2(x) */
struct f80 fp_f80_fyl2xp1(struct fp_env *env, struct f80 y, struct f80 x); /* y * log2(x + 1) */
struct f80 fp_f80_fpatan(struct fp_env *env, struct f80 y, struct f80 x);  /* arctan(y / x) */

/* These return false, and store nothing, where |x| >= 2^63: C2 is set and ST(0) kept. FSINCOS
 * pushes the cosine; after FPTAN push 1.0, or the result once more if it is a NaN. */
bool fp_f80_fsin(struct fp_env *env, struct f80 x, struct f80 *sin);
bool fp_f80_fcos(struct fp_env *env, struct f80 x, struct f80 *cos);
bool fp_f80_fsincos(struct fp_env *env, struct f80 x, struct f80 *sin, struct f80 *cos);
bool fp_f80_fptan(struct fp_env *env, struct f80 x, struct f80 *tan);

#endif
