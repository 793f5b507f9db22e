/* The stack (SDM vol. 2: PUSH, POP, PUSHA, POPA, ENTER, LEAVE). */
#include "isa/x86/sem/sem.h"

void stack_push_operand(struct x86_cpu *c, const struct insn *i)
{
	stack_push(c, op_read(c, i, 0), i->osz);
}

/*
 * A memory destination based on RSP is addressed with the incremented value; after a fault RSP is
 * as before.
 */
void stack_pop_operand(struct x86_cpu *c, const struct insn *i)
{
	uint64_t value = stack_peek(c, 0, i->osz);
	struct insn popped = *i;

	if (i->op[0].kind != OPK_MEM) {
		stack_adjust(c, i->osz);
		op_write(c, i, 0, value);
		return;
	}
	if (i->base == RSP)
		popped.disp += i->osz;
	lin_write(c, mem_operand(c, &popped, i->osz, ACCESS_WRITE), value, i->osz);
	stack_adjust(c, i->osz);
}

/* Address of the k-th element of `size` bytes above (or, negative, below) the top. */
static gva_t stack_element(struct x86_cpu *c, int k, unsigned size, enum mem_access access)
{
	uint64_t sp = c->s.gpr[RSP] + (uint64_t)((int64_t)k * (int)size);

	return x86_linear(c, SS, sp & mask_bytes(c->stack_size), size, access);
}

/* Eight accesses for faults and alignment; no store before all are known to succeed. */
void stack_push_all(struct x86_cpu *c, const struct insn *i)
{
	static const uint8_t order[] = { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
	unsigned size = i->osz;

	for (int k = 0; k < 8; k++)
		lin_read_rmw(c, stack_element(c, -1 - k, size, ACCESS_WRITE), size);
	for (int k = 0; k < 8; k++)
		lin_write(c, stack_element(c, -1 - k, size, ACCESS_WRITE), c->s.gpr[order[k]],
			  size);
	stack_adjust(c, -8 * (int64_t)size);
}

void stack_pop_all(struct x86_cpu *c, const struct insn *i)
{
	static const uint8_t order[] = { RDI, RSI, RBP, REG_NONE, RBX, RDX, RCX, RAX };
	unsigned size = i->osz;
	uint64_t value[8];

	for (int k = 0; k < 8; k++)
		value[k] = lin_read(c, stack_element(c, k, size, ACCESS_READ), size);
	for (int k = 0; k < 8; k++)
		if (order[k] != REG_NONE)
			gpr_write(c, order[k], value[k], size);
	stack_adjust(c, 8 * (int64_t)size);
}

/* Copies the enclosing frames' pointers below the new frame (nesting level 1 to 31). */
static uint64_t copy_display(struct x86_cpu *c, uint64_t sp, unsigned level, uint64_t frame,
			     unsigned size)
{
	uint64_t mask = mask_bytes(c->stack_size);
	uint64_t bp = c->s.gpr[RBP];

	for (unsigned k = 1; k < level; k++) {
		bp -= size;
		sp = (sp - size) & mask;
		seg_write(c, SS, sp, seg_read(c, SS, bp & mask, size), size);
	}
	sp = (sp - size) & mask;
	seg_write(c, SS, sp, frame, size);
	return sp;
}

void stack_enter(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->osz, level = i->imm2 & 31;
	uint64_t mask = mask_bytes(c->stack_size);
	uint64_t frame = (c->s.gpr[RSP] - size) & mask, sp = frame;

	seg_write(c, SS, sp, c->s.gpr[RBP], size);
	if (level)
		sp = copy_display(c, sp, level, frame, size);
	sp = (sp - i->imm) & mask;
	/* The new top must be writable: the next push must not be the first to fault. */
	lin_read_rmw(c, x86_linear(c, SS, sp, size, ACCESS_WRITE), size);
	gpr_write(c, RBP, frame, size);
	gpr_write(c, RSP, sp, c->stack_size);
}

void stack_leave(struct x86_cpu *c, const struct insn *i)
{
	uint64_t bp = c->s.gpr[RBP] & mask_bytes(c->stack_size);
	uint64_t saved = seg_read(c, SS, bp, i->osz);

	gpr_write(c, RSP, bp, c->stack_size);
	stack_adjust(c, i->osz);
	gpr_write(c, RBP, saved, i->osz);
}
