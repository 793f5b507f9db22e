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

void stack_push_all(struct x86_cpu *c, const struct insn *i)
{
	static const uint8_t order[] = { RDI, RSI, RBP, RSP, RBX, RDX, RCX, RAX };
	unsigned size = i->osz;
	uint64_t sp = (c->s.gpr[RSP] - 8 * size) & mask_bytes(c->stack_size);
	uint8_t image[32];

	for (unsigned k = 0; k < 8; k++)
		le_store(image + k * size, c->s.gpr[order[k]], size);
	lin_write_block(c, x86_linear(c, SS, sp, 8 * size, ACCESS_WRITE), image, 8 * size);
	stack_adjust(c, -8 * (int64_t)size);
}

void stack_pop_all(struct x86_cpu *c, const struct insn *i)
{
	static const uint8_t order[] = { RDI, RSI, RBP, REG_NONE, RBX, RDX, RCX, RAX };
	unsigned size = i->osz;
	uint64_t sp = c->s.gpr[RSP] & mask_bytes(c->stack_size);
	uint8_t image[32];

	lin_read_block(c, x86_linear(c, SS, sp, 8 * size, ACCESS_READ), image, 8 * size);
	for (unsigned k = 0; k < 8; k++)
		if (order[k] != REG_NONE)
			gpr_write(c, order[k], le_load(image + k * size, size), size);
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
