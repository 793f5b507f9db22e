/* Near branches (SDM vol. 2: JMP, CALL, RET, Jcc, LOOP). */
#include "isa/x86/sem/sem.h"

/* Checks a near target before anything changes: #GP(0) beyond the limit or non-canonical. */
static uint64_t checked_target(struct x86_cpu *c, const struct insn *i, uint64_t target)
{
	target &= mask_bytes(i->osz);
	if (c->code_size == CODE_64 ? !x86_canonical(target) : target > c->s.seg[CS].limit)
		x86_raise_gp(c, 0);
	return target;
}

static uint64_t branch_target(struct x86_cpu *c, const struct insn *i)
{
	if (i->op[0].kind == OPK_REL)
		return checked_target(c, i, c->next_rip + i->imm);
	return checked_target(c, i, op_read(c, i, 0));
}

void branch_jump(struct x86_cpu *c, const struct insn *i)
{
	c->next_rip = branch_target(c, i);
}

void branch_call(struct x86_cpu *c, const struct insn *i)
{
	uint64_t target = branch_target(c, i);

	stack_push(c, c->next_rip, i->osz);
	c->next_rip = target;
}

void branch_return(struct x86_cpu *c, const struct insn *i)
{
	uint64_t target = checked_target(c, i, stack_peek(c, 0, i->osz));
	uint64_t released = i->op_count && i->op[0].kind == OPK_IMM ? i->imm & 0xffff : 0;

	stack_adjust(c, (int64_t)(i->osz + released));
	c->next_rip = target;
}

void branch_if(struct x86_cpu *c, const struct insn *i)
{
	if (flags_condition(c, i->cc))
		c->next_rip = branch_target(c, i);
}

void branch_if_cx_zero(struct x86_cpu *c, const struct insn *i)
{
	if (!gpr_read(c, RCX, i->asz))
		c->next_rip = branch_target(c, i);
}

static void loop_while(struct x86_cpu *c, const struct insn *i, bool condition)
{
	uint64_t count = (c->s.gpr[RCX] - 1) & mask_bytes(i->asz);

	if (count && condition)
		c->next_rip = branch_target(c, i);
	gpr_write(c, RCX, count, i->asz);
}

void branch_loop(struct x86_cpu *c, const struct insn *i)
{
	loop_while(c, i, true);
}

void branch_loop_equal(struct x86_cpu *c, const struct insn *i)
{
	loop_while(c, i, flag_zero(c));
}

void branch_loop_not_equal(struct x86_cpu *c, const struct insn *i)
{
	loop_while(c, i, !flag_zero(c));
}
