/*
 * x87 instructions: the host's and ours, row by row.
 */
#include <string.h>

#include "x87_host.h"

static void report(struct fp_outcome *out, const struct fp_env *env)
{
	out->flags = fp_reported_flags(env);
	out->condition |= env->rounded_up && !fp_blocks_result(env) ? C1 : 0;
}

/* `expression` sees env, a, b and mem (operand b's bits) and yields the new ST(0). */
#define SOFT_X87(id, expression)                                                                   \
	static void soft_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		struct fp_env e = fp_env_from_fcw(c->control), *env = &e;                          \
		struct f80 a = f80_of(c->operand[0]), b = f80_of(c->operand[1]);                   \
		uint64_t mem = (uint64_t)c->operand[1];                                            \
		(void)b, (void)mem;                                                                \
		struct f80 value = expression;                                                     \
		out->value[0] = raw_of(fp_blocks_result(env) ? a : value);                         \
		report(out, env);                                                                  \
	}

#define SOFT_STORE(id, bytes, expression)                                                          \
	static void soft_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		struct fp_env e = fp_env_from_fcw(c->control), *env = &e;                          \
		struct f80 a = f80_of(c->operand[0]);                                              \
		u128 mask = ((u128)1 << (bytes)*8) - 1;                                            \
		u128 untouched = (u128)UNTOUCHED << 64 | UNTOUCHED;                                \
		u128 value = expression;                                                           \
		out->value[0] = (fp_blocks_store(env) ? untouched : value) & mask;                 \
		report(out, env);                                                                  \
	}

/* ---- arithmetic ---- */

#define ARITH(id, op)                                                                              \
	HOST_X87(id, C1, false, #id " %%st(1), %%st")                                              \
	HOST_X87(id##_m32, C1, false, #id "s %[mem]")                                              \
	HOST_X87(id##_m64, C1, false, #id "l %[mem]")                                              \
	SOFT_X87(id, fp_f80_arith(env, FP_ARITH_##op, a, b))                                       \
	SOFT_X87(id##_m32, fp_f80_arith_f32(env, FP_ARITH_##op, a, (f32_bits)mem))                 \
	SOFT_X87(id##_m64, fp_f80_arith_f64(env, FP_ARITH_##op, a, mem))
ARITH(fadd, ADD)
ARITH(fsub, SUB)
ARITH(fsubr, SUBR)
ARITH(fmul, MUL)
ARITH(fdiv, DIV)
ARITH(fdivr, DIVR)

HOST_X87(fsqrt, C1, false, "fsqrt")
HOST_X87(frndint, C1, false, "frndint")
HOST_X87(fscale, C1, false, "fscale")
SOFT_X87(fsqrt, fp_f80_sqrt(env, a))
SOFT_X87(frndint, fp_f80_round(env, a))
SOFT_X87(fscale, fp_f80_scale(env, a, b))

HOST_X87(fxtract, C1, true, "fxtract")
static void soft_fxtract(const struct fp_case *c, struct fp_outcome *out)
{
	struct fp_env env = fp_env_from_fcw(c->control);
	struct f80 exponent;
	struct f80 significand = fp_f80_extract(&env, f80_of(c->operand[0]), &exponent);
	bool blocked = fp_blocks_result(&env);

	out->value[0] = blocked ? c->operand[0] : raw_of(significand);
	out->value[1] = blocked ? c->operand[1] : raw_of(exponent);
	report(out, &env);
}

HOST_X87(fprem, CODES, false, "fprem")
HOST_X87(fprem1, CODES, false, "fprem1")
static struct f80 soft_rem(struct fp_env *env, struct fp_outcome *out, struct f80 a, struct f80 b,
			   enum fp_rem_kind kind)
{
	struct fp_rem r = fp_f80_rem(env, a, b, kind);
	unsigned q = r.quotient;

	if (!fp_blocks_result(env))
		out->condition = (uint8_t)((q & 1) * C1 | (q >> 1 & 1) * C3 | (q >> 2 & 1) * C0 |
					   r.partial * C2);
	return r.value;
}
SOFT_X87(fprem, soft_rem(env, out, a, b, FP_REM_TRUNCATE))
SOFT_X87(fprem1, soft_rem(env, out, a, b, FP_REM_NEAREST))

/* ---- comparison ---- */

HOST_X87(fcom, CODES, false, "fcom")
HOST_X87(fucom, CODES, false, "fucom")
HOST_X87(fcom_m32, CODES, false, "fcoms %[mem]")
HOST_X87(fcom_m64, CODES, false, "fcoml %[mem]")
HOST_X87(fxam, CODES, false, "fxam")

static struct f80 soft_compare(struct fp_outcome *out, struct f80 a, enum fp_relation relation)
{
	static const uint8_t codes[] = {
	    [FP_LESS] = C0, [FP_EQUAL] = C3, [FP_GREATER] = 0, [FP_UNORDERED] = C3 | C2 | C0};

	out->condition = codes[relation];
	return a;
}
SOFT_X87(fcom, soft_compare(out, a, fp_f80_compare(env, a, b, true)))
SOFT_X87(fucom, soft_compare(out, a, fp_f80_compare(env, a, b, false)))
SOFT_X87(fcom_m32, soft_compare(out, a, fp_f80_compare_f32(env, a, (f32_bits)mem)))
SOFT_X87(fcom_m64, soft_compare(out, a, fp_f80_compare_f64(env, a, mem)))

static struct f80 soft_class(struct fp_outcome *out, struct f80 a)
{
	unsigned class = fp_f80_classify(a);

	out->condition = (uint8_t)((class & 1) * C0 | (class >> 1 & 1) * C2 | (class >> 2) * C3 |
				   (a.se >> 15) * C1);
	return a;
}
SOFT_X87(fxam, soft_class(out, a))

/* ---- loads ---- */

static struct f80 bcd_operand(u128 raw)
{
	uint8_t bytes[10];

	memcpy(bytes, &raw, sizeof(bytes));
	return fp_f80_from_bcd(bytes);
}

static u128 to_bcd(struct fp_env *env, struct f80 a)
{
	uint8_t bytes[10];
	u128 raw = 0;

	fp_f80_to_bcd(env, a, bytes);
	memcpy(&raw, bytes, sizeof(bytes));
	return raw;
}

/* Whatever is loaded is delivered, unless it is an unmasked #IA: an unmasked #D does not keep FLD
 * from pushing. */
#define LOAD(id, instruction, expression)                                                          \
	HOST_X87(id, C1, false, instruction)                                                       \
	static void soft_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		struct fp_env e = fp_env_from_fcw(c->control), *env = &e;                          \
		uint64_t mem = (uint64_t)c->operand[1];                                            \
		(void)mem;                                                                         \
		u128 value = raw_of(expression);                                                   \
		out->value[0] = fp_unmasked_flags(env) & FP_INVALID ? c->operand[0] : value;       \
		report(out, env);                                                                  \
	}
LOAD(fld_m32, "flds %[mem]", fp_f32_to_f80(env, (f32_bits)mem))
LOAD(fld_m64, "fldl %[mem]", fp_f64_to_f80(env, mem))
LOAD(fild_m16, "filds %[mem]", fp_i64_to_f80((int16_t)mem))
LOAD(fild_m32, "fildl %[mem]", fp_i64_to_f80((int32_t)mem))
LOAD(fild_m64, "fildll %[mem]", fp_i64_to_f80((int64_t)mem))
LOAD(fbld, "fbld %[b]", bcd_operand(c->operand[1]))
LOAD(fld1, "fld1", fp_f80_constant(FP_ONE, env->rounding))
LOAD(fldl2t, "fldl2t", fp_f80_constant(FP_L2T, env->rounding))
LOAD(fldl2e, "fldl2e", fp_f80_constant(FP_L2E, env->rounding))
LOAD(fldpi, "fldpi", fp_f80_constant(FP_PI, env->rounding))
LOAD(fldlg2, "fldlg2", fp_f80_constant(FP_LG2, env->rounding))
LOAD(fldln2, "fldln2", fp_f80_constant(FP_LN2, env->rounding))
LOAD(fldz, "fldz", fp_f80_constant(FP_ZERO, env->rounding))

/* ---- stores ---- */

HOST_STORE(fst_m32, 4, "fsts %[mem]")
HOST_STORE(fst_m64, 8, "fstl %[mem]")
HOST_STORE(fist_m16, 2, "fists %[mem]")
HOST_STORE(fist_m32, 4, "fistl %[mem]")
HOST_STORE(fistp_m64, 8, "fistpll %[mem]")
HOST_STORE(fisttp_m16, 2, "fisttps %[mem]")
HOST_STORE(fisttp_m32, 4, "fisttpl %[mem]")
HOST_STORE(fisttp_m64, 8, "fisttpll %[mem]")
HOST_STORE(fbstp, 10, "fbstp %[mem]")
SOFT_STORE(fst_m32, 4, fp_f80_to_f32(env, a))
SOFT_STORE(fst_m64, 8, fp_f80_to_f64(env, a))
SOFT_STORE(fist_m16, 2, (uint16_t)fp_f80_to_i16(env, a, env->rounding))
SOFT_STORE(fist_m32, 4, (uint32_t)fp_f80_to_i32(env, a, env->rounding))
SOFT_STORE(fistp_m64, 8, (uint64_t)fp_f80_to_i64(env, a, env->rounding))
SOFT_STORE(fisttp_m16, 2, (uint16_t)fp_f80_to_i16(env, a, FP_ROUND_ZERO))
SOFT_STORE(fisttp_m32, 4, (uint32_t)fp_f80_to_i32(env, a, FP_ROUND_ZERO))
SOFT_STORE(fisttp_m64, 8, (uint64_t)fp_f80_to_i64(env, a, FP_ROUND_ZERO))
SOFT_STORE(fbstp, 10, to_bcd(env, a))

/* ---- the table ---- */

#define ROW(id, ...)                                                                               \
	{                                                                                          \
		.name = #id, .operand = {__VA_ARGS__}, .x87 = true, .host = host_##id,             \
		.soft = soft_##id                                                                  \
	}
#define ROWS_ARITH(id) ROW(id, F80, F80), ROW(id##_m32, F80, F32), ROW(id##_m64, F80, F64)

const struct fp_op x87_ops[] = {
    ROWS_ARITH(fadd),	     ROWS_ARITH(fsub),
    ROWS_ARITH(fsubr),	     ROWS_ARITH(fmul),
    ROWS_ARITH(fdiv),	     ROWS_ARITH(fdivr),
    ROW(fsqrt, F80),	     ROW(frndint, F80),
    ROW(fscale, F80, F80),   ROW(fxtract, F80, F80),
    ROW(fprem, F80, F80),    ROW(fprem1, F80, F80),
    ROW(fcom, F80, F80),     ROW(fucom, F80, F80),
    ROW(fcom_m32, F80, F32), ROW(fcom_m64, F80, F64),
    ROW(fxam, F80),	     ROW(fld_m32, F80, F32),
    ROW(fld_m64, F80, F64),  ROW(fild_m16, F80, I16),
    ROW(fild_m32, F80, I32), ROW(fild_m64, F80, I64),
    ROW(fbld, F80, BCD),     ROW(fld1, F80),
    ROW(fldl2t, F80),	     ROW(fldl2e, F80),
    ROW(fldpi, F80),	     ROW(fldlg2, F80),
    ROW(fldln2, F80),	     ROW(fldz, F80),
    ROW(fst_m32, F80),	     ROW(fst_m64, F80),
    ROW(fist_m16, F80),	     ROW(fist_m32, F80),
    ROW(fistp_m64, F80),     ROW(fisttp_m16, F80),
    ROW(fisttp_m32, F80),    ROW(fisttp_m64, F80),
    ROW(fbstp, F80),	     {0},
};
