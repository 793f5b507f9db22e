/*
 * SSE and AVX floating-point arithmetic (SDM vol. 1 §10.4.1.2, §11.4.1.2, §12.8, §14): packed forms
 * work on every lane with one fp_env, scalar forms on the lowest lane over the first source.
 */
#include "isa/x86/sem/simd.h"

typedef f32_bits (*f32_binary)(struct fp_env *, f32_bits, f32_bits);
typedef f64_bits (*f64_binary)(struct fp_env *, f64_bits, f64_bits);
typedef f32_bits (*f32_unary)(struct fp_env *, f32_bits);
typedef f64_bits (*f64_unary)(struct fp_env *, f64_bits);

/* ---- Two sources ---- */

static void packed_f32(struct x86_cpu *c, const struct insn *i, f32_binary op)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < i->vlen / 4u; k++)
		p.a.d[k] = op(&env, p.a.d[k], p.b.d[k]);
	simd_fp_finish(c, &env);
	vec_write(c, i, &p.a);
}

static void packed_f64(struct x86_cpu *c, const struct insn *i, f64_binary op)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < i->vlen / 8u; k++)
		p.a.q[k] = op(&env, p.a.q[k], p.b.q[k]);
	simd_fp_finish(c, &env);
	vec_write(c, i, &p.a);
}

static void scalar_f32(struct x86_cpu *c, const struct insn *i, f32_binary op)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f32_bits b = (f32_bits)vec_read_low(c, i, simd_first(i) + 1, 4);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.d[0] = op(&env, v.d[0], b);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

static void scalar_f64(struct x86_cpu *c, const struct insn *i, f64_binary op)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f64_bits b = vec_read_low(c, i, simd_first(i) + 1, 8);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.q[0] = op(&env, v.q[0], b);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

/* name##ps, name##pd, name##ss and name##sd */
#define FP_BINARY(name, op32, op64)                                                                \
	void name##ps(struct x86_cpu *c, const struct insn *i)                                     \
	{                                                                                          \
		packed_f32(c, i, op32);                                                            \
	}                                                                                          \
	void name##pd(struct x86_cpu *c, const struct insn *i)                                     \
	{                                                                                          \
		packed_f64(c, i, op64);                                                            \
	}                                                                                          \
	void name##ss(struct x86_cpu *c, const struct insn *i)                                     \
	{                                                                                          \
		scalar_f32(c, i, op32);                                                            \
	}                                                                                          \
	void name##sd(struct x86_cpu *c, const struct insn *i)                                     \
	{                                                                                          \
		scalar_f64(c, i, op64);                                                            \
	}

FP_BINARY(simd_add, fp_f32_add, fp_f64_add)
FP_BINARY(simd_sub, fp_f32_sub, fp_f64_sub)
FP_BINARY(simd_mul, fp_f32_mul, fp_f64_mul)
FP_BINARY(simd_div, fp_f32_div, fp_f64_div)
FP_BINARY(simd_min, fp_f32_min, fp_f64_min)
FP_BINARY(simd_max, fp_f32_max, fp_f64_max)

/* ---- One source ---- */

static void packed_unary_f32(struct x86_cpu *c, const struct insn *i, f32_unary op)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	union x86_vec v;

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 4u; k++)
		v.d[k] = op(&env, v.d[k]);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

static void packed_unary_f64(struct x86_cpu *c, const struct insn *i, f64_unary op)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	union x86_vec v;

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 8u; k++)
		v.q[k] = op(&env, v.q[k]);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

static void scalar_unary_f32(struct x86_cpu *c, const struct insn *i, f32_unary op)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f32_bits b = (f32_bits)vec_read_low(c, i, simd_first(i) + 1, 4);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.d[0] = op(&env, b);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

static void scalar_unary_f64(struct x86_cpu *c, const struct insn *i, f64_unary op)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f64_bits b = vec_read_low(c, i, simd_first(i) + 1, 8);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.q[0] = op(&env, b);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

void simd_sqrtps(struct x86_cpu *c, const struct insn *i)
{
	packed_unary_f32(c, i, fp_f32_sqrt);
}

void simd_sqrtpd(struct x86_cpu *c, const struct insn *i)
{
	packed_unary_f64(c, i, fp_f64_sqrt);
}

void simd_sqrtss(struct x86_cpu *c, const struct insn *i)
{
	scalar_unary_f32(c, i, fp_f32_sqrt);
}

void simd_sqrtsd(struct x86_cpu *c, const struct insn *i)
{
	scalar_unary_f64(c, i, fp_f64_sqrt);
}

/* RCP and RSQRT raise nothing; softfp.h tells what their low bits are. */
static f32_bits reciprocal(struct fp_env *env, f32_bits a)
{
	return fp_f32_rcp(a);
}

static f32_bits reciprocal_sqrt(struct fp_env *env, f32_bits a)
{
	return fp_f32_rsqrt(a);
}

void simd_rcpps(struct x86_cpu *c, const struct insn *i)
{
	packed_unary_f32(c, i, reciprocal);
}

void simd_rcpss(struct x86_cpu *c, const struct insn *i)
{
	scalar_unary_f32(c, i, reciprocal);
}

void simd_rsqrtps(struct x86_cpu *c, const struct insn *i)
{
	packed_unary_f32(c, i, reciprocal_sqrt);
}

void simd_rsqrtss(struct x86_cpu *c, const struct insn *i)
{
	scalar_unary_f32(c, i, reciprocal_sqrt);
}

/* ---- ROUND: imm8[1:0] is the mode unless imm8[2] asks for MXCSR.RC; imm8[3] hides inexactness ---- */

struct round_control {
	enum fp_rounding mode;
	bool exact;
};

static struct round_control round_control(const struct fp_env *env, const struct insn *i)
{
	return (struct round_control){
		.mode = i->imm & 4 ? env->rounding : i->imm & 3,
		.exact = i->imm & 8,
	};
}

void simd_roundps(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct round_control rc = round_control(&env, i);
	union x86_vec v;

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 4u; k++)
		v.d[k] = fp_f32_round(&env, v.d[k], rc.mode, rc.exact);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

void simd_roundpd(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct round_control rc = round_control(&env, i);
	union x86_vec v;

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < i->vlen / 8u; k++)
		v.q[k] = fp_f64_round(&env, v.q[k], rc.mode, rc.exact);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

void simd_roundss(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct round_control rc = round_control(&env, i);
	f32_bits b = (f32_bits)vec_read_low(c, i, simd_first(i) + 1, 4);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.d[0] = fp_f32_round(&env, b, rc.mode, rc.exact);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

void simd_roundsd(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct round_control rc = round_control(&env, i);
	f64_bits b = vec_read_low(c, i, simd_first(i) + 1, 8);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.q[0] = fp_f64_round(&env, b, rc.mode, rc.exact);
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

/* ---- ADDSUB: even lanes subtract, odd lanes add ---- */

void simd_addsubps(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < i->vlen / 4u; k++)
		p.a.d[k] = (k & 1 ? fp_f32_add : fp_f32_sub)(&env, p.a.d[k], p.b.d[k]);
	simd_fp_finish(c, &env);
	vec_write(c, i, &p.a);
}

void simd_addsubpd(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < i->vlen / 8u; k++)
		p.a.q[k] = (k & 1 ? fp_f64_add : fp_f64_sub)(&env, p.a.q[k], p.b.q[k]);
	simd_fp_finish(c, &env);
	vec_write(c, i, &p.a);
}

/* ---- HADD, HSUB: neighbours of a in the lower, of b in the upper half of each block ---- */

static void horizontal_f32(struct x86_cpu *c, const struct insn *i, f32_binary op)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	p.r = p.a;
	for (unsigned k = 0; k < i->vlen / 4u; k++) {
		const f32_bits *pair = (k & 2 ? p.b.d : p.a.d) + (k & 4) + 2 * (k & 1);

		p.r.d[k] = op(&env, pair[0], pair[1]);
	}
	simd_fp_finish(c, &env);
	vec_write(c, i, &p.r);
}

static void horizontal_f64(struct x86_cpu *c, const struct insn *i, f64_binary op)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	p.r = p.a;
	for (unsigned k = 0; k < i->vlen / 8u; k++) {
		const f64_bits *pair = (k & 1 ? p.b.q : p.a.q) + (k & 2);

		p.r.q[k] = op(&env, pair[0], pair[1]);
	}
	simd_fp_finish(c, &env);
	vec_write(c, i, &p.r);
}

void simd_haddps(struct x86_cpu *c, const struct insn *i)
{
	horizontal_f32(c, i, fp_f32_add);
}

void simd_haddpd(struct x86_cpu *c, const struct insn *i)
{
	horizontal_f64(c, i, fp_f64_add);
}

void simd_hsubps(struct x86_cpu *c, const struct insn *i)
{
	horizontal_f32(c, i, fp_f32_sub);
}

void simd_hsubpd(struct x86_cpu *c, const struct insn *i)
{
	horizontal_f64(c, i, fp_f64_sub);
}

/*
 * ---- Dot products: imm8[7:4] chooses the products, imm8[3:0] the lanes that get the sum ----
 * Each stage (products, sums of pairs, sum) raises its exceptions before the next one begins.
 */

/* The sum of the four products of each block is left in its first lane. */
static void add_products(struct x86_cpu *c, struct fp_env *env, f32_bits *t, unsigned count)
{
	for (unsigned k = 0; k < count; k += 2)
		t[k] = fp_f32_add(env, t[k], t[k + 1]);
	simd_fp_finish(c, env);
	for (unsigned k = 0; k < count; k += 4)
		t[k] = fp_f32_add(env, t[k], t[k + 2]);
	simd_fp_finish(c, env);
}

void simd_dpps(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	unsigned lanes = i->vlen / 4u;
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < lanes; k++)
		p.r.d[k] = i->imm >> (4 + (k & 3)) & 1 ? fp_f32_mul(&env, p.a.d[k], p.b.d[k]) : 0;
	simd_fp_finish(c, &env);
	add_products(c, &env, p.r.d, lanes);
	for (unsigned k = 0; k < lanes; k++)
		p.a.d[k] = i->imm >> (k & 3) & 1 ? p.r.d[k & 4] : 0;
	vec_write(c, i, &p.a);
}

void simd_dppd(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f64_bits t[2], sum;
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 2; k++)
		t[k] = i->imm >> (4 + k) & 1 ? fp_f64_mul(&env, p.a.q[k], p.b.q[k]) : 0;
	simd_fp_finish(c, &env);
	sum = fp_f64_add(&env, t[0], t[1]);
	for (unsigned k = 0; k < 2; k++)
		p.a.q[k] = i->imm >> k & 1 ? sum : 0;
	simd_fp_finish(c, &env);
	vec_write(c, i, &p.a);
}
