/* PUSHF, POPF, CLI, STI, CLAC, STAC (SDM vol. 2): flags with privilege rules. */
#include "isa/x86/event.h"
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"

/* Virtual-8086 mode with IOPL < 3: the monitor emulates these. */
static void check_v86_iopl(struct x86_cpu *c)
{
	if (x86_v86(c) && x86_iopl(c) < 3)
		x86_raise_gp(c, 0);
}

void flags_pushf(struct x86_cpu *c, const struct insn *i)
{
	check_v86_iopl(c);
	stack_push(c, flags_get(c) & ~(uint64_t)(FLAG_VM | FLAG_RF), i->osz);
}

static uint64_t popf_mask(const struct x86_cpu *c, unsigned size)
{
	uint64_t mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;

	if (size >= 4)
		mask |= FLAG_AC | FLAG_ID;
	if (c->cpl <= x86_iopl(c))
		mask |= FLAG_IF;
	if (c->cpl == 0)
		mask |= FLAG_IOPL;
	return mask;
}

void flags_popf(struct x86_cpu *c, const struct insn *i)
{
	uint64_t mask, image;

	check_v86_iopl(c);
	mask = popf_mask(c, i->osz);
	image = stack_pop(c, i->osz);
	flags_put(c, (flags_get(c) & ~mask) | (image & mask));
	event_flags_loaded(c);
}

void flags_cli(struct x86_cpu *c, const struct insn *i)
{
	if (c->cpl > x86_iopl(c))
		x86_raise_gp(c, 0);
	c->s.rflags &= ~(uint64_t)FLAG_IF;
}

/* The instruction after STI runs before any interrupt, unless IF was set already. */
void flags_sti(struct x86_cpu *c, const struct insn *i)
{
	if (c->cpl > x86_iopl(c))
		x86_raise_gp(c, 0);
	if (c->s.rflags & FLAG_IF)
		return;
	c->s.rflags |= FLAG_IF;
	c->s.interrupt_shadow = true;
	x86_event_set(c, EV_TRAP | EV_INTERRUPT);
}

static void set_ac(struct x86_cpu *c, bool ac)
{
	if (c->cpl != 0)
		x86_raise(c, VEC_UD);
	c->s.rflags = (c->s.rflags & ~(uint64_t)FLAG_AC) | (ac ? FLAG_AC : 0);
	x86_mode_changed(c);
}

void flags_clac(struct x86_cpu *c, const struct insn *i)
{
	set_ac(c, false);
}

void flags_stac(struct x86_cpu *c, const struct insn *i)
{
	set_ac(c, true);
}
