/*
 * Conversion to and from integers.
 * Intel SDM vol. 1 table 4-3 and §8.2.1 (integer indefinite), §11.4.4.1, §11.5.2.1; vol. 2
 * CVTSS2SI, VCVTSS2USI, FIST, FISTTP, FILD.
 */
#include "core.h"

/* ---- to integers ---- */

static const struct fp_int_type type_i16 = {INT16_MAX, 1u << 15, 1u << 15};
static const struct fp_int_type type_i32 = {INT32_MAX, 1u << 31, 1u << 31};
static const struct fp_int_type type_i64 = {INT64_MAX, 1ull << 63, 1ull << 63};
static const struct fp_int_type type_u32 = {UINT32_MAX, 0, UINT32_MAX};
static const struct fp_int_type type_u64 = {UINT64_MAX, 0, UINT64_MAX};

uint64_t fp_to_integer(struct fp_env *env, const struct fp_int_type *type, struct fp_parts p,
		       enum fp_rounding mode)
{
	env->rounded_up = false;
	if (p.kind == FP_KIND_ZERO)
		return 0;
	if (p.kind == FP_KIND_FINITE && p.exp < 65) {
		struct fp_rounded r = fp_round_to_integer(&p, mode);
		if (r.sig <= (p.sign ? type->max_negative : type->max_positive)) {
			fp_note_rounding(env, r);
			return p.sign ? -(uint64_t)r.sig : (uint64_t)r.sig;
		}
	}
	fp_raise(env, FP_INVALID);
	return type->indefinite;
}

static uint64_t f32_to(struct fp_env *env, const struct fp_int_type *type, f32_bits a,
		       enum fp_rounding mode)
{
	return fp_to_integer(env, type, fp_unpack_operand(env, &fp_f32, a), mode);
}

static uint64_t f64_to(struct fp_env *env, const struct fp_int_type *type, f64_bits a,
		       enum fp_rounding mode)
{
	return fp_to_integer(env, type, fp_unpack_operand(env, &fp_f64, a), mode);
}

static uint64_t f80_to(struct fp_env *env, const struct fp_int_type *type, struct f80 a,
		       enum fp_rounding mode)
{
	return fp_to_integer(env, type, fp_unpack(&fp_f80, fp_f80_raw(a)), mode);
}

int32_t fp_f32_to_i32(struct fp_env *env, f32_bits a, enum fp_rounding mode)
{
	return (int32_t)f32_to(env, &type_i32, a, mode);
}

int64_t fp_f32_to_i64(struct fp_env *env, f32_bits a, enum fp_rounding mode)
{
	return (int64_t)f32_to(env, &type_i64, a, mode);
}

uint32_t fp_f32_to_u32(struct fp_env *env, f32_bits a, enum fp_rounding mode)
{
	return (uint32_t)f32_to(env, &type_u32, a, mode);
}

uint64_t fp_f32_to_u64(struct fp_env *env, f32_bits a, enum fp_rounding mode)
{
	return f32_to(env, &type_u64, a, mode);
}

int32_t fp_f64_to_i32(struct fp_env *env, f64_bits a, enum fp_rounding mode)
{
	return (int32_t)f64_to(env, &type_i32, a, mode);
}

int64_t fp_f64_to_i64(struct fp_env *env, f64_bits a, enum fp_rounding mode)
{
	return (int64_t)f64_to(env, &type_i64, a, mode);
}

uint32_t fp_f64_to_u32(struct fp_env *env, f64_bits a, enum fp_rounding mode)
{
	return (uint32_t)f64_to(env, &type_u32, a, mode);
}

uint64_t fp_f64_to_u64(struct fp_env *env, f64_bits a, enum fp_rounding mode)
{
	return f64_to(env, &type_u64, a, mode);
}

int16_t fp_f80_to_i16(struct fp_env *env, struct f80 a, enum fp_rounding mode)
{
	return (int16_t)f80_to(env, &type_i16, a, mode);
}

int32_t fp_f80_to_i32(struct fp_env *env, struct f80 a, enum fp_rounding mode)
{
	return (int32_t)f80_to(env, &type_i32, a, mode);
}

int64_t fp_f80_to_i64(struct fp_env *env, struct f80 a, enum fp_rounding mode)
{
	return (int64_t)f80_to(env, &type_i64, a, mode);
}

/* ---- from integers ---- */

static fp_u128 from_integer(struct fp_env *env, const struct fp_format *f, bool sign,
			    uint64_t magnitude)
{
	struct fp_parts p = fp_normalize(sign, 127, magnitude);

	return fp_round_pack(env, f, &p);
}

static fp_u128 from_signed(struct fp_env *env, const struct fp_format *f, int64_t a)
{
	return from_integer(env, f, a < 0, a < 0 ? -(uint64_t)a : (uint64_t)a);
}

f32_bits fp_i32_to_f32(struct fp_env *env, int32_t a)
{
	return (f32_bits)from_signed(env, &fp_f32, a);
}

f32_bits fp_i64_to_f32(struct fp_env *env, int64_t a)
{
	return (f32_bits)from_signed(env, &fp_f32, a);
}

f32_bits fp_u32_to_f32(struct fp_env *env, uint32_t a)
{
	return (f32_bits)from_integer(env, &fp_f32, false, a);
}

f32_bits fp_u64_to_f32(struct fp_env *env, uint64_t a)
{
	return (f32_bits)from_integer(env, &fp_f32, false, a);
}

f64_bits fp_i32_to_f64(int32_t a)
{
	struct fp_env exact = {0};

	return (f64_bits)from_signed(&exact, &fp_f64, a);
}

f64_bits fp_i64_to_f64(struct fp_env *env, int64_t a)
{
	return (f64_bits)from_signed(env, &fp_f64, a);
}

f64_bits fp_u32_to_f64(uint32_t a)
{
	struct fp_env exact = {0};

	return (f64_bits)from_integer(&exact, &fp_f64, false, a);
}

f64_bits fp_u64_to_f64(struct fp_env *env, uint64_t a)
{
	return (f64_bits)from_integer(env, &fp_f64, false, a);
}

struct f80 fp_i64_to_f80(int64_t a)
{
	struct fp_env exact = {0};

	return fp_f80_from_raw(from_signed(&exact, &fp_f80, a));
}
