/* Operands and the stack. */
#include "isa/x86/access.h"

uint64_t op_read_other(struct x86_cpu *c, const struct insn *i, unsigned n)
{
	const struct operand *o = &i->op[n];

	switch (o->kind) {
	case OPK_MEM:
		return lin_read(c, mem_operand(c, i, o->size, ACCESS_READ), o->size);
	case OPK_GPR_HIGH:
		return c->s.gpr[o->reg] >> 8 & 0xff;
	case OPK_SEG:
		return c->s.seg[o->reg].selector;
	default:
		return 0;
	}
}

static void gpr_write_high(struct x86_cpu *c, unsigned reg, uint64_t value)
{
	c->s.gpr[reg] = (c->s.gpr[reg] & ~UINT64_C(0xff00)) | (value & 0xff) << 8;
}

void op_write_other(struct x86_cpu *c, const struct insn *i, unsigned n, uint64_t value)
{
	const struct operand *o = &i->op[n];

	if (o->kind == OPK_MEM)
		lin_write(c, mem_operand(c, i, o->size, ACCESS_WRITE), value, o->size);
	else if (o->kind == OPK_GPR_HIGH)
		gpr_write_high(c, o->reg, value);
}

uint64_t rmw_read_other(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;

	if (i->op[0].kind == OPK_MEM)
		return lin_read_rmw(c, mem_operand(c, i, size, ACCESS_WRITE), size);
	return op_read_other(c, i, 0);
}

bool rmw_write_other(struct x86_cpu *c, const struct insn *i, uint64_t old, uint64_t value)
{
	unsigned size = i->op[0].size;

	if (i->op[0].kind == OPK_MEM && i->lock)
		return lin_cas(c, mem_operand(c, i, size, ACCESS_WRITE), old, value, size);
	op_write_other(c, i, 0, value);
	return true;
}

void stack_adjust(struct x86_cpu *c, int64_t bytes)
{
	gpr_write(c, RSP, c->s.gpr[RSP] + (uint64_t)bytes, c->stack_size);
}

void stack_push(struct x86_cpu *c, uint64_t value, unsigned size)
{
	uint64_t sp = (c->s.gpr[RSP] - size) & mask_bytes(c->stack_size);

	seg_write(c, SS, sp, value, size);
	stack_adjust(c, -(int64_t)size);
}

uint64_t stack_peek(struct x86_cpu *c, unsigned index, unsigned size)
{
	uint64_t sp = (c->s.gpr[RSP] + index) & mask_bytes(c->stack_size);

	return seg_read(c, SS, sp, size);
}

uint64_t stack_pop(struct x86_cpu *c, unsigned size)
{
	uint64_t v = stack_peek(c, 0, size);

	stack_adjust(c, size);
	return v;
}
