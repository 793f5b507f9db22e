/* x87 comparison and classification (SDM vol. 1 §8.3.6). */
#include "isa/x86/sem/x87.h"

static const uint16_t relation_cc[] = {
	[FP_LESS] = FSW_C0,
	[FP_EQUAL] = FSW_C3,
	[FP_GREATER] = 0,
	[FP_UNORDERED] = FSW_C3 | FSW_C2 | FSW_C0,
};

static const uint32_t relation_flags[] = {
	[FP_LESS] = FLAG_CF,
	[FP_EQUAL] = FLAG_ZF,
	[FP_GREATER] = 0,
	[FP_UNORDERED] = FLAG_ZF | FLAG_PF | FLAG_CF,
};

struct comparison {
	struct fp_env env;
	enum fp_relation relation;
	bool underflow; /* an operand was empty */
};

/*
 * Reports the exceptions and pops unless one is unmasked; returns the relation. The relation is
 * delivered in any case, as processors do (vol. 2 says so for masked exceptions only).
 */
static enum fp_relation finish(struct x86_cpu *c, const struct insn *i, const struct comparison *r,
			       unsigned pops)
{
	bool pop;

	x87_track(c, i);
	pop = r->underflow ? x87_stack_underflow(c) : !x87_report(c, &r->env);
	while (pop && pops--)
		x87_pop(c);
	return r->underflow ? FP_UNORDERED : r->relation;
}

/* ---- Into the condition codes: FCOM, FUCOM, FICOM, FTST ---- */

static void finish_cc(struct x86_cpu *c, const struct insn *i, struct comparison r, unsigned pops)
{
	x87_set_cc(c, FSW_C3 | FSW_C2 | FSW_C0, relation_cc[finish(c, i, &r, pops)]);
}

static struct comparison compare_registers(const struct x86_cpu *c, unsigned n, bool signaling)
{
	struct comparison r = { .env = x87_env(c) };

	r.relation = fp_f80_compare(&r.env, x87_st(c, 0), x87_st(c, n), signaling);
	r.underflow = x87_empty(c, 0) || x87_empty(c, n);
	return r;
}

static struct comparison compare_memory(struct x86_cpu *c, const struct insn *i, bool integer)
{
	unsigned size = i->op[0].size;
	uint64_t m = lin_read(c, mem_operand(c, i, size, ACCESS_READ), size);
	struct comparison r = { .env = x87_env(c), .underflow = x87_empty(c, 0) };
	struct f80 a = x87_st(c, 0);

	if (integer)
		r.relation = fp_f80_compare(&r.env, a, fp_i64_to_f80(sign_extend_bytes(m, size)),
					    true);
	else if (size == 4)
		r.relation = fp_f80_compare_f32(&r.env, a, (f32_bits)m);
	else
		r.relation = fp_f80_compare_f64(&r.env, a, m);
	return r;
}

static void compare(struct x86_cpu *c, const struct insn *i, unsigned pops)
{
	if (i->op[0].kind == OPK_MEM)
		finish_cc(c, i, compare_memory(c, i, false), pops);
	else
		finish_cc(c, i, compare_registers(c, i->op[i->op_count - 1].reg, true), pops);
}

void x87_fcom(struct x86_cpu *c, const struct insn *i)
{
	compare(c, i, 0);
}

void x87_fcomp(struct x86_cpu *c, const struct insn *i)
{
	compare(c, i, 1);
}

void x87_fcompp(struct x86_cpu *c, const struct insn *i)
{
	finish_cc(c, i, compare_registers(c, 1, true), 2);
}

void x87_fucom(struct x86_cpu *c, const struct insn *i)
{
	finish_cc(c, i, compare_registers(c, i->op[i->op_count - 1].reg, false), 0);
}

void x87_fucomp(struct x86_cpu *c, const struct insn *i)
{
	finish_cc(c, i, compare_registers(c, i->op[i->op_count - 1].reg, false), 1);
}

void x87_fucompp(struct x86_cpu *c, const struct insn *i)
{
	finish_cc(c, i, compare_registers(c, 1, false), 2);
}

void x87_ficom(struct x86_cpu *c, const struct insn *i)
{
	finish_cc(c, i, compare_memory(c, i, true), 0);
}

void x87_ficomp(struct x86_cpu *c, const struct insn *i)
{
	finish_cc(c, i, compare_memory(c, i, true), 1);
}

void x87_ftst(struct x86_cpu *c, const struct insn *i)
{
	struct comparison r = { .env = x87_env(c), .underflow = x87_empty(c, 0) };

	r.relation = fp_f80_compare(&r.env, x87_st(c, 0), (struct f80){ 0 }, true);
	finish_cc(c, i, r, 0);
}

/* ---- Into EFLAGS: FCOMI, FUCOMI ---- */

static void compare_flags(struct x86_cpu *c, const struct insn *i, bool signaling, unsigned pops)
{
	struct comparison r = compare_registers(c, i->op[1].reg, signaling);

	flags_set_arith(c, FLAGS_ARITH, relation_flags[finish(c, i, &r, pops)]);
}

void x87_fcomi(struct x86_cpu *c, const struct insn *i)
{
	compare_flags(c, i, true, 0);
}

void x87_fcomip(struct x86_cpu *c, const struct insn *i)
{
	compare_flags(c, i, true, 1);
}

void x87_fucomi(struct x86_cpu *c, const struct insn *i)
{
	compare_flags(c, i, false, 0);
}

void x87_fucomip(struct x86_cpu *c, const struct insn *i)
{
	compare_flags(c, i, false, 1);
}

/* ---- FXAM: the class in C3, C2 and C0, the sign (of an empty register too) in C1 ---- */

#define CLASS_EMPTY 5u

void x87_fxam(struct x86_cpu *c, const struct insn *i)
{
	struct f80 a = x87_st(c, 0);
	unsigned class = x87_empty(c, 0) ? CLASS_EMPTY : fp_f80_classify(a), cc = 0;

	x87_track(c, i);
	if (class & 1)
		cc |= FSW_C0;
	if (class & 2)
		cc |= FSW_C2;
	if (class & 4)
		cc |= FSW_C3;
	if (a.se & 0x8000)
		cc |= FSW_C1;
	x87_set_cc(c, FSW_CC, cc);
}
