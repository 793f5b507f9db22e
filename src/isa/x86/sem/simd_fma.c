/*
 * Fused multiply-add (SDM vol. 1 §14.5): 132, 213 and 231 say which operand is which of a * b + c.
 */
#include "isa/x86/sem/simd.h"

enum fma_form { FORM_132, FORM_213, FORM_231 };

/* Of operands 1, 2 and 3 (numbered from 0 here), those that are a, b and c. */
static const uint8_t fma_order[3][3] = {
	[FORM_132] = { 0, 2, 1 },
	[FORM_213] = { 1, 0, 2 },
	[FORM_231] = { 1, 2, 0 },
};

struct fma_args {
	union x86_vec v[3];
	const union x86_vec *a, *b, *c;
};

static void order_args(struct fma_args *args, enum fma_form form)
{
	args->a = &args->v[fma_order[form][0]];
	args->b = &args->v[fma_order[form][1]];
	args->c = &args->v[fma_order[form][2]];
}

/* `even` and `odd` lanes may differ: FMADDSUB, FMSUBADD. */
static void packed_f32(struct x86_cpu *c, const struct insn *i, enum fma_form form,
		       enum fp_fma_negate even, enum fp_fma_negate odd)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct fma_args s;
	union x86_vec r = { 0 };

	for (unsigned n = 0; n < 3; n++)
		vec_read(c, i, n, &s.v[n]);
	order_args(&s, form);
	for (unsigned k = 0; k < i->vlen / 4u; k++)
		r.d[k] = fp_f32_fma(&env, s.a->d[k], s.b->d[k], s.c->d[k], k & 1 ? odd : even);
	simd_fp_finish(c, &env);
	vec_write(c, i, &r);
}

static void packed_f64(struct x86_cpu *c, const struct insn *i, enum fma_form form,
		       enum fp_fma_negate even, enum fp_fma_negate odd)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct fma_args s;
	union x86_vec r = { 0 };

	for (unsigned n = 0; n < 3; n++)
		vec_read(c, i, n, &s.v[n]);
	order_args(&s, form);
	for (unsigned k = 0; k < i->vlen / 8u; k++)
		r.q[k] = fp_f64_fma(&env, s.a->q[k], s.b->q[k], s.c->q[k], k & 1 ? odd : even);
	simd_fp_finish(c, &env);
	vec_write(c, i, &r);
}

static void scalar_f32(struct x86_cpu *c, const struct insn *i, enum fma_form form,
		       enum fp_fma_negate neg)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct fma_args s;
	union x86_vec r;

	for (unsigned n = 0; n < 3; n++)
		vec_read(c, i, n, &s.v[n]);
	order_args(&s, form);
	r = s.v[0];
	r.d[0] = fp_f32_fma(&env, s.a->d[0], s.b->d[0], s.c->d[0], neg);
	simd_fp_finish(c, &env);
	vec_write(c, i, &r);
}

static void scalar_f64(struct x86_cpu *c, const struct insn *i, enum fma_form form,
		       enum fp_fma_negate neg)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct fma_args s;
	union x86_vec r;

	for (unsigned n = 0; n < 3; n++)
		vec_read(c, i, n, &s.v[n]);
	order_args(&s, form);
	r = s.v[0];
	r.q[0] = fp_f64_fma(&env, s.a->q[0], s.b->q[0], s.c->q[0], neg);
	simd_fp_finish(c, &env);
	vec_write(c, i, &r);
}

#define FMA_PACKED(name, form, even, odd)                                                          \
	void simd_##name##form##ps(struct x86_cpu *c, const struct insn *i)                        \
	{                                                                                          \
		packed_f32(c, i, FORM_##form, even, odd);                                          \
	}                                                                                          \
	void simd_##name##form##pd(struct x86_cpu *c, const struct insn *i)                        \
	{                                                                                          \
		packed_f64(c, i, FORM_##form, even, odd);                                          \
	}

#define FMA_SCALAR(name, form, neg)                                                                \
	void simd_##name##form##ss(struct x86_cpu *c, const struct insn *i)                        \
	{                                                                                          \
		scalar_f32(c, i, FORM_##form, neg);                                                \
	}                                                                                          \
	void simd_##name##form##sd(struct x86_cpu *c, const struct insn *i)                        \
	{                                                                                          \
		scalar_f64(c, i, FORM_##form, neg);                                                \
	}

#define FMA_ALTERNATING(name, even, odd)                                                           \
	FMA_PACKED(name, 132, even, odd)                                                           \
	FMA_PACKED(name, 213, even, odd)                                                           \
	FMA_PACKED(name, 231, even, odd)

#define FMA(name, neg)                                                                             \
	FMA_ALTERNATING(name, neg, neg)                                                            \
	FMA_SCALAR(name, 132, neg)                                                                 \
	FMA_SCALAR(name, 213, neg)                                                                 \
	FMA_SCALAR(name, 231, neg)

FMA(vfmadd, FP_FMADD)
FMA(vfnmadd, FP_FNMADD)
FMA(vfmsub, FP_FMSUB)
FMA(vfnmsub, FP_FNMSUB)
FMA_ALTERNATING(vfmaddsub, FP_FMSUB, FP_FMADD)
FMA_ALTERNATING(vfmsubadd, FP_FMADD, FP_FMSUB)
