/* x87 transcendental instructions (SDM vol. 1 §8.3.7, §8.3.8, §8.3.10). */
#include "isa/x86/sem/x87.h"

/* ---- One operand, one result: F2XM1 ---- */

void x87_f2xm1(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = x87_env(c);
	struct f80 r = fp_f80_f2xm1(&env, x87_st(c, 0));

	x87_track(c, i);
	if (x87_empty(c, 0))
		x87_deliver_underflow(c, 0, 0);
	else
		x87_deliver(c, &env, 0, r, 0);
}

/* ---- Two operands: the result replaces ST(1), then ST(0) is popped ---- */

static void two_operands(struct x86_cpu *c, const struct insn *i,
			 struct f80 (*op)(struct fp_env *, struct f80, struct f80))
{
	struct fp_env env = x87_env(c);
	struct f80 r = op(&env, x87_st(c, 1), x87_st(c, 0));

	x87_track(c, i);
	if (x87_empty(c, 0) || x87_empty(c, 1))
		x87_deliver_underflow(c, 1, 1);
	else
		x87_deliver(c, &env, 1, r, 1);
}

void x87_fyl2x(struct x86_cpu *c, const struct insn *i)
{
	two_operands(c, i, fp_f80_fyl2x);
}

void x87_fyl2xp1(struct x86_cpu *c, const struct insn *i)
{
	two_operands(c, i, fp_f80_fyl2xp1);
}

void x87_fpatan(struct x86_cpu *c, const struct insn *i)
{
	two_operands(c, i, fp_f80_fpatan);
}

/* ---- FSIN, FCOS: C2 says that the operand was out of range and is still there ---- */

static void sine(struct x86_cpu *c, const struct insn *i,
		 bool (*op)(struct fp_env *, struct f80, struct f80 *))
{
	struct fp_env env = x87_env(c);
	struct f80 r = X87_INDEFINITE;
	bool in_range = op(&env, x87_st(c, 0), &r);

	x87_track(c, i);
	x87_set_cc(c, FSW_C2, 0);
	if (x87_empty(c, 0)) {
		x87_deliver_underflow(c, 0, 0);
	} else if (in_range) {
		x87_deliver(c, &env, 0, r, 0);
	} else {
		x87_set_cc(c, FSW_C1 | FSW_C2, FSW_C2);
	}
}

void x87_fsin(struct x86_cpu *c, const struct insn *i)
{
	sine(c, i, fp_f80_fsin);
}

void x87_fcos(struct x86_cpu *c, const struct insn *i)
{
	sine(c, i, fp_f80_fcos);
}

/* ---- FSINCOS, FPTAN: a second result is pushed ---- */

/* Ends both: `below` replaces ST(0), `top` is pushed. */
static void deliver_two(struct x86_cpu *c, const struct fp_env *env, bool in_range,
			struct f80 below, struct f80 top)
{
	x87_set_cc(c, FSW_C2, 0);
	if (x87_empty(c, 0) || !x87_empty(c, 7)) {
		if (!(x87_empty(c, 0) ? x87_stack_underflow(c) : x87_stack_overflow(c)))
			return;
		below = top = X87_INDEFINITE;
	} else if (!in_range) {
		x87_set_cc(c, FSW_C1 | FSW_C2, FSW_C2);
		return;
	} else if (x87_report(c, env)) {
		return;
	}
	x87_set_st(c, 0, below);
	x87_push(c, top);
}

void x87_fsincos(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = x87_env(c);
	struct f80 sin = X87_INDEFINITE, cos = X87_INDEFINITE;
	bool in_range = fp_f80_fsincos(&env, x87_st(c, 0), &sin, &cos);

	x87_track(c, i);
	deliver_two(c, &env, in_range, sin, cos);
}

void x87_fptan(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = x87_env(c);
	struct f80 tan = X87_INDEFINITE, top;
	bool in_range = fp_f80_fptan(&env, x87_st(c, 0), &tan);
	bool nan = in_range && fp_f80_classify(tan) == FP_CLASS_NAN;

	top = nan ? tan : fp_f80_constant(FP_ONE, FP_ROUND_NEAREST);
	x87_track(c, i);
	deliver_two(c, &env, in_range, tan, top);
}
