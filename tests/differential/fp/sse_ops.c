/*
 * SSE, AVX, FMA, F16C and AVX-512 scalar instructions: the host's and ours, row by row.
 */
#include <cpuid.h>
#include <string.h>

#include "fp_diff.h"

typedef uint64_t vec __attribute__((vector_size(16)));

#define DEFAULT_MXCSR 0x1f80

static const uint32_t default_mxcsr = DEFAULT_MXCSR;

static vec load(u128 a)
{
	return (vec){(uint64_t)a, (uint64_t)(a >> 64)};
}

static void store(struct fp_outcome *out, vec result, u128 mask, uint32_t mxcsr)
{
	out->value[0] = ((u128)result[1] << 64 | result[0]) & mask;
	out->flags = mxcsr & FP_ALL_FLAGS;
}

/* Runs one instruction under the case's MXCSR; nothing else may execute under it. */
#define UNDER_MXCSR(instruction)                                                                   \
	"vldmxcsr %[set]\n\t" instruction "\n\tvstmxcsr %[got]\n\tvldmxcsr %[back]"

#define MASK32 ((u128)UINT32_MAX)
#define MASK64 ((u128)UINT64_MAX)
#define MASK16 ((u128)UINT16_MAX)

#define HOST(id, mask, instruction)                                                                \
	static void host_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		uint32_t set = c->control, got;                                                    \
		vec a = load(c->operand[0]), b = load(c->operand[1]), r = load(c->operand[2]);     \
		__asm__ volatile(                                                                  \
		    UNDER_MXCSR(instruction)                                                       \
		    : [r] "+x"(r), [got] "=m"(got)                                                 \
		    : [a] "x"(a), [b] "x"(b), [set] "m"(set), [back] "m"(default_mxcsr));          \
		store(out, r, mask, got);                                                          \
	}

/* Between vector and general registers. */
#define HOST_TO_INT(id, type, instruction)                                                         \
	static void host_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		uint32_t set = c->control, got;                                                    \
		vec a = load(c->operand[0]);                                                       \
		type r;                                                                            \
		__asm__ volatile(UNDER_MXCSR(instruction)                                          \
				 : [r] "=r"(r), [got] "=m"(got)                                    \
				 : [a] "x"(a), [set] "m"(set), [back] "m"(default_mxcsr));         \
		store(out, (vec){r, 0}, MASK64, got);                                              \
	}

#define HOST_FROM_INT(id, type, mask, instruction)                                                 \
	static void host_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		uint32_t set = c->control, got;                                                    \
		type a = (type)c->operand[0];                                                      \
		vec r = {0};                                                                       \
		__asm__ volatile(UNDER_MXCSR(instruction)                                          \
				 : [r] "+x"(r), [got] "=m"(got)                                    \
				 : [a] "r"(a), [set] "m"(set), [back] "m"(default_mxcsr));         \
		store(out, r, mask, got);                                                          \
	}

static void report(struct fp_outcome *out, const struct fp_env *env, u128 value)
{
	out->flags = fp_reported_flags(env);
	out->faulted = fp_unmasked_flags(env) != 0;
	out->value[0] = value;
}

/* `expression` sees env, a, b, d (operands) and imm. */
#define SOFT(id, type, expression)                                                                 \
	static void soft_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		struct fp_env e = fp_env_from_mxcsr(c->control), *env = &e;                        \
		type a = (type)c->operand[0], b = (type)c->operand[1], d = (type)c->operand[2];    \
		unsigned imm = c->imm;                                                             \
		(void)b, (void)d, (void)imm;                                                       \
		u128 value = expression;                                                           \
		report(out, env, value);                                                           \
	}

/* ---- arithmetic ---- */

#define BINARY(op)                                                                                 \
	HOST(op##ss, MASK32, "v" #op "ss %[b], %[a], %[r]")                                        \
	HOST(op##sd, MASK64, "v" #op "sd %[b], %[a], %[r]")                                        \
	SOFT(op##ss, f32_bits, fp_f32_##op(env, a, b))                                             \
	SOFT(op##sd, f64_bits, fp_f64_##op(env, a, b))
BINARY(add)
BINARY(sub)
BINARY(mul)
BINARY(div)
BINARY(min)
BINARY(max)

HOST(sqrtss, MASK32, "vsqrtss %[a], %[a], %[r]")
HOST(sqrtsd, MASK64, "vsqrtsd %[a], %[a], %[r]")
SOFT(sqrtss, f32_bits, fp_f32_sqrt(env, a))
SOFT(sqrtsd, f64_bits, fp_f64_sqrt(env, a))

/* AT&T order: op3, op2, op1; here a is op2, b is op3 and the third operand op1. */
#define FMA(name, neg)                                                                             \
	HOST(name##132ss, MASK32, "v" #name "132ss %[b], %[a], %[r]")                              \
	HOST(name##213ss, MASK32, "v" #name "213ss %[b], %[a], %[r]")                              \
	HOST(name##231ss, MASK32, "v" #name "231ss %[b], %[a], %[r]")                              \
	HOST(name##132sd, MASK64, "v" #name "132sd %[b], %[a], %[r]")                              \
	HOST(name##213sd, MASK64, "v" #name "213sd %[b], %[a], %[r]")                              \
	HOST(name##231sd, MASK64, "v" #name "231sd %[b], %[a], %[r]")                              \
	SOFT(name##132ss, f32_bits, fp_f32_fma(env, d, b, a, neg))                                 \
	SOFT(name##213ss, f32_bits, fp_f32_fma(env, a, d, b, neg))                                 \
	SOFT(name##231ss, f32_bits, fp_f32_fma(env, a, b, d, neg))                                 \
	SOFT(name##132sd, f64_bits, fp_f64_fma(env, d, b, a, neg))                                 \
	SOFT(name##213sd, f64_bits, fp_f64_fma(env, a, d, b, neg))                                 \
	SOFT(name##231sd, f64_bits, fp_f64_fma(env, a, b, d, neg))
FMA(fmadd, FP_FMADD)
FMA(fnmadd, FP_FNMADD)
FMA(fmsub, FP_FMSUB)
FMA(fnmsub, FP_FNMSUB)

/* ---- comparison ---- */

#define HOST_COMPARE(id)                                                                           \
	static void host_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		uint32_t set = c->control, got;                                                    \
		vec a = load(c->operand[0]), b = load(c->operand[1]);                              \
		bool zf, pf, cf;                                                                   \
		__asm__ volatile(                                                                  \
		    UNDER_MXCSR("v" #id " %[b], %[a]")                                             \
		    : "=@ccz"(zf), "=@ccp"(pf), "=@ccc"(cf), [got] "=m"(got)                       \
		    : [a] "x"(a), [b] "x"(b), [set] "m"(set), [back] "m"(default_mxcsr));          \
		store(out, (vec){0}, 0, got);                                                      \
		out->condition = (uint8_t)(zf << 2 | pf << 1 | cf);                                \
	}

static u128 relation_condition(struct fp_outcome *out, enum fp_relation relation)
{
	static const uint8_t zf_pf_cf[] = {
	    [FP_LESS] = 1, [FP_EQUAL] = 4, [FP_GREATER] = 0, [FP_UNORDERED] = 7};

	out->condition = zf_pf_cf[relation];
	return 0;
}

#define COMPARE(bits, suffix)                                                                      \
	HOST_COMPARE(comis##suffix)                                                                \
	HOST_COMPARE(ucomis##suffix)                                                               \
	SOFT(comis##suffix, f##bits##_bits,                                                        \
	     relation_condition(out, fp_f##bits##_compare(env, a, b, true)))                       \
	SOFT(ucomis##suffix, f##bits##_bits,                                                       \
	     relation_condition(out, fp_f##bits##_compare(env, a, b, false)))
COMPARE(32, s)
COMPARE(64, d)

/* ---- instructions with an immediate: one function for each value ---- */

#define EACH8(X, name, first)                                                                      \
	X(name, first##0)                                                                          \
	X(name, first##1)                                                                          \
	X(name, first##2)                                                                          \
	X(name, first##3) X(name, first##4) X(name, first##5) X(name, first##6) X(name, first##7)

#define CMP_INSTANCE(name, n)                                                                      \
	HOST(name##_##n, (name##_mask), "v" #name " $" #n ", %[b], %[a], %[r]")
#define ROUND_INSTANCE(name, n)                                                                    \
	HOST(name##_##n, name##_mask, "v" #name " $" #n ", %[a], %[a], %[r]")
#define PH_INSTANCE(name, n) HOST(name##_##n, MASK16, "v" #name " $" #n ", %[a], %[r]")
#define ENTRY(name, n)	     host_##name##_##n,

#define cmpss_mask   MASK32
#define cmpsd_mask   MASK64
#define roundss_mask MASK32
#define roundsd_mask MASK64

/* GNU as takes octal: 00..07, 010..017, 020..027, 030..037 name the 32 predicates. */
#define EACH32(X, name) EACH8(X, name, 0) EACH8(X, name, 01) EACH8(X, name, 02) EACH8(X, name, 03)
#define EACH16(X, name) EACH8(X, name, 0) EACH8(X, name, 01)

typedef void host_function(const struct fp_case *c, struct fp_outcome *out);

#define DISPATCH(name, each, instance)                                                             \
	each(instance, name) static void host_##name(const struct fp_case *c,                      \
						     struct fp_outcome *out)                       \
	{                                                                                          \
		static host_function *const table[] = {each(ENTRY, name)};                         \
		table[c->imm](c, out);                                                             \
	}
#define EACH8_ONLY(X, name) EACH8(X, name, 0)

DISPATCH(cmpss, EACH32, CMP_INSTANCE)
DISPATCH(cmpsd, EACH32, CMP_INSTANCE)
DISPATCH(roundss, EACH16, ROUND_INSTANCE)
DISPATCH(roundsd, EACH16, ROUND_INSTANCE)
DISPATCH(cvtps2ph, EACH8_ONLY, PH_INSTANCE)

static enum fp_rounding imm_mode(const struct fp_env *env, unsigned imm)
{
	return imm & 4 ? env->rounding : imm & 3;
}

SOFT(cmpss, f32_bits, fp_f32_predicate(env, a, b, imm) ? MASK32 : 0)
SOFT(cmpsd, f64_bits, fp_f64_predicate(env, a, b, imm) ? MASK64 : 0)
SOFT(roundss, f32_bits, fp_f32_round(env, a, imm_mode(env, imm), imm & 8))
SOFT(roundsd, f64_bits, fp_f64_round(env, a, imm_mode(env, imm), imm & 8))
SOFT(cvtps2ph, f32_bits, fp_f32_to_f16(env, a, imm_mode(env, imm)))

/* ---- conversion ---- */

HOST(cvtss2sd, MASK64, "vcvtss2sd %[a], %[a], %[r]")
HOST(cvtsd2ss, MASK32, "vcvtsd2ss %[a], %[a], %[r]")
HOST(cvtph2ps, MASK32, "vcvtph2ps %[a], %[r]")
SOFT(cvtss2sd, f32_bits, fp_f32_to_f64(env, a))
SOFT(cvtsd2ss, f64_bits, fp_f64_to_f32(env, a))
SOFT(cvtph2ps, f16_bits, fp_f16_to_f32(env, a))

#define TO_INT(bits, suffix, sign, kind, type, reg)                                                \
	HOST_TO_INT(suffix##2##kind, type, "vcvt" #suffix "2" sign " %[a], %" reg "[r]")           \
	HOST_TO_INT(t##suffix##2##kind, type, "vcvtt" #suffix "2" sign " %[a], %" reg "[r]")       \
	SOFT(suffix##2##kind, f##bits##_bits, (type)fp_f##bits##_to_##kind(env, a, env->rounding)) \
	SOFT(t##suffix##2##kind, f##bits##_bits,                                                   \
	     (type)fp_f##bits##_to_##kind(env, a, FP_ROUND_ZERO))
TO_INT(32, ss, "si", i32, uint32_t, "k")
TO_INT(32, ss, "si", i64, uint64_t, "q")
TO_INT(32, ss, "usi", u32, uint32_t, "k")
TO_INT(32, ss, "usi", u64, uint64_t, "q")
TO_INT(64, sd, "si", i32, uint32_t, "k")
TO_INT(64, sd, "si", i64, uint64_t, "q")
TO_INT(64, sd, "usi", u32, uint32_t, "k")
TO_INT(64, sd, "usi", u64, uint64_t, "q")

HOST_FROM_INT(i32_ss, int32_t, MASK32, "vcvtsi2ssl %[a], %[r], %[r]")
HOST_FROM_INT(i64_ss, int64_t, MASK32, "vcvtsi2ssq %[a], %[r], %[r]")
HOST_FROM_INT(i32_sd, int32_t, MASK64, "vcvtsi2sdl %[a], %[r], %[r]")
HOST_FROM_INT(i64_sd, int64_t, MASK64, "vcvtsi2sdq %[a], %[r], %[r]")
HOST_FROM_INT(u32_ss, uint32_t, MASK32, "vcvtusi2ssl %[a], %[r], %[r]")
HOST_FROM_INT(u64_ss, uint64_t, MASK32, "vcvtusi2ssq %[a], %[r], %[r]")
HOST_FROM_INT(u32_sd, uint32_t, MASK64, "vcvtusi2sdl %[a], %[r], %[r]")
HOST_FROM_INT(u64_sd, uint64_t, MASK64, "vcvtusi2sdq %[a], %[r], %[r]")
SOFT(i32_ss, int32_t, fp_i32_to_f32(env, a))
SOFT(i64_ss, int64_t, fp_i64_to_f32(env, a))
SOFT(i32_sd, int32_t, fp_i32_to_f64(a))
SOFT(i64_sd, int64_t, fp_i64_to_f64(env, a))
SOFT(u32_ss, uint32_t, fp_u32_to_f32(env, a))
SOFT(u64_ss, uint64_t, fp_u64_to_f32(env, a))
SOFT(u32_sd, uint32_t, fp_u32_to_f64(a))
SOFT(u64_sd, uint64_t, fp_u64_to_f64(env, a))

/* ---- approximations ---- */

HOST(rcpss_bits, MASK32, "vrcpss %[a], %[a], %[r]")
HOST(rsqrtss_bits, MASK32, "vrsqrtss %[a], %[a], %[r]")

/* Both within 1.5 * 2^-12, or the same special value. */
static bool approximations_agree(uint32_t host, uint32_t soft)
{
	const uint32_t infinity = 0x7f800000;
	uint32_t distance = host > soft ? host - soft : soft - host;
	bool special = (soft & infinity) == infinity || soft << 1 == 0;

	/* Around the smallest normal number a CPU may flush or not (vol. 2 RCPPS). */
	if (host << 1 == 0 && soft << 1 < (0x00800000 + 6144) << 1)
		return host >> 31 == soft >> 31;
	return special ? host == soft : distance <= 2 * 6144;
}

/* The host's result, except that one which agrees with ours becomes ours. */
#define HOST_APPROXIMATION(id)                                                                     \
	static void host_##id##ss(const struct fp_case *c, struct fp_outcome *out)                 \
	{                                                                                          \
		f32_bits soft = fp_f32_##id((f32_bits)c->operand[0]);                              \
		host_##id##ss_bits(c, out);                                                        \
		if (approximations_agree((uint32_t)out->value[0], soft))                           \
			out->value[0] = soft;                                                      \
	}
HOST_APPROXIMATION(rcp)
HOST_APPROXIMATION(rsqrt)
SOFT(rcpss, f32_bits, fp_f32_rcp(a))
SOFT(rsqrtss, f32_bits, fp_f32_rsqrt(a))

/* ---- the table ---- */

#define ROW(id, n, ...)                                                                            \
	{                                                                                          \
		.name = #id, .operand = {__VA_ARGS__}, .imm_count = n, .host = host_##id,          \
		.soft = soft_##id                                                                  \
	}
#define ROWS2(op) ROW(op##ss, 0, F32, F32), ROW(op##sd, 0, F64, F64)
#define ROWS_FMA(op)                                                                               \
	ROW(op##132ss, 0, F32, F32, F32), ROW(op##213ss, 0, F32, F32, F32),                        \
	    ROW(op##231ss, 0, F32, F32, F32), ROW(op##132sd, 0, F64, F64, F64),                    \
	    ROW(op##213sd, 0, F64, F64, F64), ROW(op##231sd, 0, F64, F64, F64)
#define ROWS_TO_INT(p, f)                                                                          \
	ROW(p##2i32, 0, f), ROW(p##2i64, 0, f), ROW(t##p##2i32, 0, f), ROW(t##p##2i64, 0, f),      \
	    ROW(p##2u32, 0, f), ROW(p##2u64, 0, f), ROW(t##p##2u32, 0, f), ROW(t##p##2u64, 0, f)

const struct fp_op sse_ops[] = {
    ROWS2(add),
    ROWS2(sub),
    ROWS2(mul),
    ROWS2(div),
    ROWS2(min),
    ROWS2(max),
    ROW(sqrtss, 0, F32),
    ROW(sqrtsd, 0, F64),
    ROWS_FMA(fmadd),
    ROWS_FMA(fnmadd),
    ROWS_FMA(fmsub),
    ROWS_FMA(fnmsub),
    ROW(comiss, 0, F32, F32),
    ROW(ucomiss, 0, F32, F32),
    ROW(comisd, 0, F64, F64),
    ROW(ucomisd, 0, F64, F64),
    ROW(cmpss, 32, F32, F32),
    ROW(cmpsd, 32, F64, F64),
    ROW(roundss, 16, F32),
    ROW(roundsd, 16, F64),
    ROW(cvtss2sd, 0, F32),
    ROW(cvtsd2ss, 0, F64),
    ROW(cvtph2ps, 0, F16),
    ROW(cvtps2ph, 8, F32),
    ROW(rcpss, 0, F32),
    ROW(rsqrtss, 0, F32),
    ROWS_TO_INT(ss, F32),
    ROWS_TO_INT(sd, F64),
    ROW(i32_ss, 0, I32),
    ROW(i64_ss, 0, I64),
    ROW(i32_sd, 0, I32),
    ROW(i64_sd, 0, I64),
    ROW(u32_ss, 0, I32),
    ROW(u64_ss, 0, I64),
    ROW(u32_sd, 0, I32),
    ROW(u64_sd, 0, I64),
    {0},
};

bool fp_host_lacks(const struct fp_op *op)
{
	bool is_unsigned = strstr(op->name, "2u") || (op->name[0] == 'u' && op->name[1] != 'c');
	unsigned eax, ebx, ecx = 0, edx;

	if (op->x87)
		return false;
	if (is_unsigned)
		return !__builtin_cpu_supports("avx512f");
	__get_cpuid(1, &eax, &ebx, &ecx, &edx);
	return !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("avx2") ||
	       !(ecx & bit_F16C);
}
