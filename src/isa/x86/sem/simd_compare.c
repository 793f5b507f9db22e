/* SSE and AVX floating-point comparison: masks (CMPxx) and flags (COMISS and its kin). */
#include "isa/x86/sem/simd.h"

/* ---- CMPPS, CMPPD, CMPSS, CMPSD: the legacy forms know 8 predicates, VEX 32 ---- */

static unsigned predicate(const struct insn *i)
{
	return (unsigned)i->imm & (i->vex ? 0x1f : 7);
}

void simd_cmpps(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < i->vlen / 4u; k++)
		p.a.d[k] = fp_f32_predicate(&env, p.a.d[k], p.b.d[k], predicate(i)) ? UINT32_MAX : 0;
	simd_fp_finish(c, &env);
	vec_write(c, i, &p.a);
}

void simd_cmppd(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < i->vlen / 8u; k++)
		p.a.q[k] = fp_f64_predicate(&env, p.a.q[k], p.b.q[k], predicate(i)) ? UINT64_MAX : 0;
	simd_fp_finish(c, &env);
	vec_write(c, i, &p.a);
}

void simd_cmpss(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f32_bits b = (f32_bits)vec_read_low(c, i, simd_first(i) + 1, 4);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.d[0] = fp_f32_predicate(&env, v.d[0], b, predicate(i)) ? UINT32_MAX : 0;
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

void simd_cmpsd(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f64_bits b = vec_read_low(c, i, simd_first(i) + 1, 8);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	v.q[0] = fp_f64_predicate(&env, v.q[0], b, predicate(i)) ? UINT64_MAX : 0;
	simd_fp_finish(c, &env);
	vec_write(c, i, &v);
}

/* ---- COMISS, UCOMISS, COMISD, UCOMISD: ZF, PF and CF; the other status flags are cleared ---- */

static uint32_t relation_flags(enum fp_relation relation)
{
	switch (relation) {
	case FP_LESS:
		return FLAG_CF;
	case FP_EQUAL:
		return FLAG_ZF;
	case FP_GREATER:
		return 0;
	default:
		return FLAG_ZF | FLAG_PF | FLAG_CF;
	}
}

static void compare_f32(struct x86_cpu *c, const struct insn *i, bool signaling)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f32_bits a = (f32_bits)vec_read_low(c, i, 0, 4);
	f32_bits b = (f32_bits)vec_read_low(c, i, 1, 4);
	enum fp_relation relation = fp_f32_compare(&env, a, b, signaling);

	simd_fp_finish(c, &env);
	flags_set_arith(c, FLAGS_ARITH, relation_flags(relation));
}

static void compare_f64(struct x86_cpu *c, const struct insn *i, bool signaling)
{
	struct fp_env env = fp_env_from_mxcsr(c->s.mxcsr);
	f64_bits a = vec_read_low(c, i, 0, 8);
	f64_bits b = vec_read_low(c, i, 1, 8);
	enum fp_relation relation = fp_f64_compare(&env, a, b, signaling);

	simd_fp_finish(c, &env);
	flags_set_arith(c, FLAGS_ARITH, relation_flags(relation));
}

void simd_comiss(struct x86_cpu *c, const struct insn *i)
{
	compare_f32(c, i, true);
}

void simd_ucomiss(struct x86_cpu *c, const struct insn *i)
{
	compare_f32(c, i, false);
}

void simd_comisd(struct x86_cpu *c, const struct insn *i)
{
	compare_f64(c, i, true);
}

void simd_ucomisd(struct x86_cpu *c, const struct insn *i)
{
	compare_f64(c, i, false);
}
