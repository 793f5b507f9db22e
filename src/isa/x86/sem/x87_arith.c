/* x87 basic arithmetic (SDM vol. 1 §8.3.5). */
#include "isa/x86/sem/x87.h"

/* ---- Add, subtract, multiply, divide ---- */

/* ST(0) op memory, as float or, in the FIxxx forms, as integer. */
static struct f80 arith_memory(struct x86_cpu *c, const struct insn *i, struct fp_env *env,
			       enum fp_arith op, bool integer)
{
	unsigned size = i->op[0].size;
	uint64_t m = lin_read(c, mem_operand(c, i, size, ACCESS_READ), size);
	struct f80 a = x87_st(c, 0);

	if (integer)
		return fp_f80_arith(env, op, a, fp_i64_to_f80(sign_extend_bytes(m, size)));
	if (size == 4)
		return fp_f80_arith_f32(env, op, a, (f32_bits)m);
	return fp_f80_arith_f64(env, op, a, m);
}

static void arith(struct x86_cpu *c, const struct insn *i, enum fp_arith op, bool integer,
		  unsigned pops)
{
	bool memory = i->op[0].kind == OPK_MEM;
	unsigned dst = memory ? 0 : i->op[0].reg, src = memory ? 0 : i->op[1].reg;
	struct fp_env env = x87_env(c);
	struct f80 r;

	if (memory)
		r = arith_memory(c, i, &env, op, integer);
	else
		r = fp_f80_arith(&env, op, x87_st(c, dst), x87_st(c, src));
	x87_track(c, i);
	if (x87_empty(c, dst) || x87_empty(c, src))
		x87_deliver_underflow(c, dst, pops);
	else
		x87_deliver(c, &env, dst, r, pops);
}

/* x87_f<name>, x87_fi<name> and x87_f<name>p */
#define ARITH(name, op)                                                                            \
	void x87_f##name(struct x86_cpu *c, const struct insn *i)                                  \
	{                                                                                          \
		arith(c, i, op, false, 0);                                                         \
	}                                                                                          \
	void x87_fi##name(struct x86_cpu *c, const struct insn *i)                                 \
	{                                                                                          \
		arith(c, i, op, true, 0);                                                          \
	}                                                                                          \
	void x87_f##name##p(struct x86_cpu *c, const struct insn *i)                               \
	{                                                                                          \
		arith(c, i, op, false, 1);                                                         \
	}

ARITH(add, FP_ARITH_ADD)
ARITH(mul, FP_ARITH_MUL)
ARITH(sub, FP_ARITH_SUB)
ARITH(subr, FP_ARITH_SUBR)
ARITH(div, FP_ARITH_DIV)
ARITH(divr, FP_ARITH_DIVR)

/* ---- One operand ---- */

/* FCHS and FABS touch the sign only and raise nothing but stack underflow. */
static void set_sign(struct x86_cpu *c, const struct insn *i, struct f80 value)
{
	const struct fp_env env = x87_env(c);

	x87_track(c, i);
	if (x87_empty(c, 0))
		x87_deliver_underflow(c, 0, 0);
	else
		x87_deliver(c, &env, 0, value, 0);
}

void x87_fchs(struct x86_cpu *c, const struct insn *i)
{
	set_sign(c, i, fp_f80_neg(x87_st(c, 0)));
}

void x87_fabs(struct x86_cpu *c, const struct insn *i)
{
	set_sign(c, i, fp_f80_abs(x87_st(c, 0)));
}

static void unary(struct x86_cpu *c, const struct insn *i,
		  struct f80 (*op)(struct fp_env *, struct f80))
{
	struct fp_env env = x87_env(c);
	struct f80 r = op(&env, x87_st(c, 0));

	x87_track(c, i);
	if (x87_empty(c, 0))
		x87_deliver_underflow(c, 0, 0);
	else
		x87_deliver(c, &env, 0, r, 0);
}

void x87_fsqrt(struct x86_cpu *c, const struct insn *i)
{
	unary(c, i, fp_f80_sqrt);
}

void x87_frndint(struct x86_cpu *c, const struct insn *i)
{
	unary(c, i, fp_f80_round);
}

/* ---- FSCALE, FXTRACT ---- */

void x87_fscale(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = x87_env(c);
	struct f80 r = fp_f80_scale(&env, x87_st(c, 0), x87_st(c, 1));

	x87_track(c, i);
	if (x87_empty(c, 0) || x87_empty(c, 1))
		x87_deliver_underflow(c, 0, 0);
	else
		x87_deliver(c, &env, 0, r, 0);
}

/* ST(0) becomes the exponent, then the significand is pushed. */
void x87_fxtract(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = x87_env(c);
	struct f80 exponent, significand = fp_f80_extract(&env, x87_st(c, 0), &exponent);

	x87_track(c, i);
	if (x87_empty(c, 0) || !x87_empty(c, 7)) {
		if (!(x87_empty(c, 0) ? x87_stack_underflow(c) : x87_stack_overflow(c)))
			return;
		exponent = significand = X87_INDEFINITE;
	} else if (x87_report(c, &env)) {
		return;
	}
	x87_set_st(c, 0, exponent);
	x87_push(c, significand);
}

/* ---- FPREM, FPREM1: a NaN result leaves C0 and C3, which hold quotient bits, alone ---- */

static void remainder_of(struct x86_cpu *c, const struct insn *i, enum fp_rem_kind kind)
{
	struct fp_env env = x87_env(c);
	struct fp_rem r = fp_f80_rem(&env, x87_st(c, 0), x87_st(c, 1), kind);
	unsigned cc = 0;

	x87_track(c, i);
	x87_set_cc(c, FSW_C2, 0);
	if (x87_empty(c, 0) || x87_empty(c, 1)) {
		x87_deliver_underflow(c, 0, 0);
		return;
	}
	if (x87_report(c, &env))
		return;
	x87_set_st(c, 0, r.value);
	if (fp_f80_classify(r.value) == FP_CLASS_NAN)
		return;
	if (r.partial)
		cc |= FSW_C2;
	if (r.quotient & 1)
		cc |= FSW_C1;
	if (r.quotient & 2)
		cc |= FSW_C3;
	if (r.quotient & 4)
		cc |= FSW_C0;
	x87_set_cc(c, FSW_CC, cc);
}

void x87_fprem(struct x86_cpu *c, const struct insn *i)
{
	remainder_of(c, i, FP_REM_TRUNCATE);
}

void x87_fprem1(struct x86_cpu *c, const struct insn *i)
{
	remainder_of(c, i, FP_REM_NEAREST);
}
