/* Conversions between formats: SSE, SSE2, AVX and F16C (SDM vol. 2 CVTxx, vol. 1 §14.4.1). */
#include "isa/x86/sem/simd.h"

/* ---- Between single, double and half precision ---- */

void simd_cvtps2pd(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	union x86_vec v, r = { 0 };

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 8u; k++)
		r.q[k] = fp_f32_to_f64(&env, v.d[k]);
	simd_fp_finish(c, &env);
	vec_write(c, i, &r);
}

void simd_cvtpd2ps(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	union x86_vec v, r = { 0 };

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 8u; k++)
		r.d[k] = fp_f64_to_f32(&env, v.q[k]);
	simd_fp_finish(c, &env);
	vec_write(c, i, &r);
}

void simd_cvtss2sd(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f32_bits a = (f32_bits)vec_read_low(c, i, simd_first(i) + 1, 4);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.q[0] = fp_f32_to_f64(&env, a);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

void simd_cvtsd2ss(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f64_bits a = vec_read_low(c, i, simd_first(i) + 1, 8);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.d[0] = fp_f64_to_f32(&env, a);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

static bool is_m64(const struct operand *op)
{
	return op->kind == OPK_MEM && op->size == 8;
}

/* VCVTPH2PS and VCVTPS2PH do not report #AC (SDM vol. 2 tables of exceptions, type 11). */
void simd_vcvtph2ps(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	union x86_vec v = { 0 }, r = { 0 };

	if (is_m64(&i->op[1]))
		v.q[0] = lin_read_element(c, mem_operand(c, i, 8, ACCESS_READ), 8);
	else
		vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 4u; k++)
		r.d[k] = fp_f16_to_f32(&env, v.w[k]);
	simd_fp_finish(c, &env);
	vec_write(c, i, &r);
}

static void store_halves(struct x86_cpu *c, const struct insn *i, const union x86_vec *v)
{
	gva_t gva = mem_operand(c, i, i->op[0].size, ACCESS_WRITE);

	if (is_m64(&i->op[0])) {
		lin_probe(c, gva, 8, ACCESS_WRITE);
		lin_write_element(c, gva, v->q[0], 8);
	} else {
		vec_store(c, gva, v, i->op[0].size);
	}
}

/* VCVTPS2PH: the destination, of half the source's width, may be memory. Intel CPUs look at it only
 * after the conversion: #XM goes before its faults, and MXCSR has the flags when it faults. */
void simd_vcvtps2ph(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	enum fp_rounding mode = i->imm & 4 ? env.rounding : i->imm & 3;
	union x86_vec v, r = { 0 };

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 4u; k++)
		r.w[k] = fp_f32_to_f16(&env, v.d[k], mode);
	simd_fp_finish(c, &env);
	if (i->op[0].kind == OPK_MEM)
		store_halves(c, i, &r);
	else
		vec_write(c, i, &r);
}

/* ---- From packed integers ---- */

void simd_cvtdq2ps(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	union x86_vec v;

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 4u; k++)
		v.d[k] = fp_i32_to_f32(&env, v.sd[k]);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

/* CVTDQ2PD, CVTPI2PD */
void simd_cvtdq2pd(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v, r = { 0 };

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 8u; k++)
		r.q[k] = fp_i32_to_f64(v.sd[k]);
	vec_write(c, i, &r);
	mmx_enter_for(c, i);
}

/* CVTPI2PS: the destination's upper half stays. */
void simd_cvtpi2ps(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	union x86_vec v, r;

	vec_read(c, i, 1, &v);
	vec_read(c, i, 0, &r);
	for (unsigned k = 0; k < 2; k++)
		r.d[k] = fp_i32_to_f32(&env, v.sd[k]);
	mmx_enter_for(c, i);
	simd_fp_finish(c, &env);
	vec_write(c, i, &r);
}

/*
 * ---- To packed integers; the results above the last lane are zero ----
 * The forms with an MMX operand enter MMX state even when they raise #XM.
 */

static void f32_to_i32(struct x86_cpu *c, const struct insn *i, bool truncate)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	enum fp_rounding mode = truncate ? FP_ROUND_ZERO : env.rounding;
	unsigned lanes = simd_width(i) / 4;
	union x86_vec v, r = { 0 };

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < lanes; k++)
		r.sd[k] = fp_f32_to_i32(&env, v.d[k], mode);
	mmx_enter_for(c, i);
	simd_fp_finish(c, &env);
	vec_write(c, i, &r);
}

static void f64_to_i32(struct x86_cpu *c, const struct insn *i, bool truncate)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	enum fp_rounding mode = truncate ? FP_ROUND_ZERO : env.rounding;
	union x86_vec v, r = { 0 };

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 8u; k++)
		r.sd[k] = fp_f64_to_i32(&env, v.q[k], mode);
	mmx_enter_for(c, i);
	simd_fp_finish(c, &env);
	vec_write(c, i, &r);
}

/* CVTPS2DQ, CVTPS2PI */
void simd_cvtps2dq(struct x86_cpu *c, const struct insn *i)
{
	f32_to_i32(c, i, false);
}

/* CVTTPS2DQ, CVTTPS2PI */
void simd_cvttps2dq(struct x86_cpu *c, const struct insn *i)
{
	f32_to_i32(c, i, true);
}

/* CVTPD2DQ, CVTPD2PI */
void simd_cvtpd2dq(struct x86_cpu *c, const struct insn *i)
{
	f64_to_i32(c, i, false);
}

/* CVTTPD2DQ, CVTTPD2PI */
void simd_cvttpd2dq(struct x86_cpu *c, const struct insn *i)
{
	f64_to_i32(c, i, true);
}

/* ---- From and to general registers ---- */

static int64_t integer_source(struct x86_cpu *c, const struct insn *i)
{
	unsigned n = simd_first(i) + 1, size = i->op[n].size;

	return sign_extend_bytes(vec_read_low(c, i, n, size), size);
}

void simd_cvtsi2ss(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	int64_t a = integer_source(c, i);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.d[0] = fp_i64_to_f32(&env, a);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

void simd_cvtsi2sd(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	int64_t a = integer_source(c, i);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.q[0] = fp_i64_to_f64(&env, a);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

static void f32_to_gpr(struct x86_cpu *c, const struct insn *i, bool truncate)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	enum fp_rounding mode = truncate ? FP_ROUND_ZERO : env.rounding;
	f32_bits a = (f32_bits)vec_read_low(c, i, 1, 4);
	uint64_t r;

	if (i->op[0].size == 8)
		r = (uint64_t)fp_f32_to_i64(&env, a, mode);
	else
		r = (uint32_t)fp_f32_to_i32(&env, a, mode);
	simd_fp_finish(c, &env);
	gpr_write(c, i->op[0].reg, r, 8);
}

static void f64_to_gpr(struct x86_cpu *c, const struct insn *i, bool truncate)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	enum fp_rounding mode = truncate ? FP_ROUND_ZERO : env.rounding;
	f64_bits a = vec_read_low(c, i, 1, 8);
	uint64_t r;

	if (i->op[0].size == 8)
		r = (uint64_t)fp_f64_to_i64(&env, a, mode);
	else
		r = (uint32_t)fp_f64_to_i32(&env, a, mode);
	simd_fp_finish(c, &env);
	gpr_write(c, i->op[0].reg, r, 8);
}

void simd_cvtss2si(struct x86_cpu *c, const struct insn *i)
{
	f32_to_gpr(c, i, false);
}

void simd_cvttss2si(struct x86_cpu *c, const struct insn *i)
{
	f32_to_gpr(c, i, true);
}

void simd_cvtsd2si(struct x86_cpu *c, const struct insn *i)
{
	f64_to_gpr(c, i, false);
}

void simd_cvttsd2si(struct x86_cpu *c, const struct insn *i)
{
	f64_to_gpr(c, i, true);
}
