/* Loads of segment registers: MOV, POP, LDS and its kin (SDM vol. 2). */
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"
#include "isa/x86/segment.h"

/* After a load of SS: no interrupt and no debug trap before the next instruction (vol. 3A §6.8.3). */
static void start_shadow(struct x86_cpu *c)
{
	c->s.interrupt_shadow = c->s.debug_shadow = true;
	x86_event_set(c, EV_TRAP);
}

void mov_to_segment(struct x86_cpu *c, const struct insn *i)
{
	unsigned sreg = i->op[0].reg;

	if (sreg == CS)
		x86_raise(c, VEC_UD);
	seg_load(c, sreg, (uint16_t)op_read(c, i, 1));
	if (sreg == SS)
		start_shadow(c);
}

void pop_segment(struct x86_cpu *c, const struct insn *i)
{
	unsigned sreg = i->op[0].reg;
	unsigned stack_size = c->stack_size;
	uint64_t sp = c->s.gpr[RSP] + i->osz;

	seg_load(c, sreg, (uint16_t)stack_peek(c, 0, i->osz));
	gpr_write(c, RSP, sp, stack_size); /* by the width of the stack that was popped from */
	if (sreg == SS)
		start_shadow(c);
}

static void load_far_pointer(struct x86_cpu *c, const struct insn *i, unsigned sreg)
{
	gva_t at = mem_operand(c, i, i->osz + 2u, ACCESS_READ);
	uint64_t offset = lin_read(c, at, i->osz);
	uint16_t selector = (uint16_t)lin_read(c, table_gva(c, at.v, i->osz), 2);

	seg_load(c, sreg, selector);
	gpr_write(c, i->op[0].reg, offset, i->osz);
}

void load_far_es(struct x86_cpu *c, const struct insn *i)
{
	load_far_pointer(c, i, ES);
}

void load_far_ss(struct x86_cpu *c, const struct insn *i)
{
	load_far_pointer(c, i, SS);
}

void load_far_ds(struct x86_cpu *c, const struct insn *i)
{
	load_far_pointer(c, i, DS);
}

void load_far_fs(struct x86_cpu *c, const struct insn *i)
{
	load_far_pointer(c, i, FS);
}

void load_far_gs(struct x86_cpu *c, const struct insn *i)
{
	load_far_pointer(c, i, GS);
}
