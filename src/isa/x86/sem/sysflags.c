/* PUSHF, POPF, CLI, STI, CLAC, STAC (SDM vol. 2): flags with privilege rules. */
#include "isa/x86/event.h"
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"

void check_v86_flags(struct x86_cpu *c, unsigned size)
{
	if (!x86_v86(c) || x86_iopl(c) == 3)
		return;
	if (size != 2 || !(c->s.cr4 & CR4_VME))
		x86_raise_gp(c, 0);
}

void flags_pushf(struct x86_cpu *c, const struct insn *i)
{
	uint64_t image = flags_get(c) & ~(uint64_t)(FLAG_VM | FLAG_RF);

	check_v86_flags(c, i->osz);
	if (x86_v86(c) && x86_virtual_interrupts(c))
		image = flags_virtual_image(image);
	stack_push(c, image, i->osz);
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

void flags_load_virtual(struct x86_cpu *c, uint64_t image)
{
	const uint64_t mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;
	uint64_t virtual_if = image & FLAG_IF ? FLAG_VIF : 0;

	if (image & FLAG_TF || (image & FLAG_IF && c->s.rflags & FLAG_VIP))
		x86_raise_gp(c, 0);
	flags_put(c, (flags_get(c) & ~(mask | FLAG_VIF)) | (image & mask) | virtual_if);
}

void flags_popf(struct x86_cpu *c, const struct insn *i)
{
	uint64_t mask = popf_mask(c, i->osz), image;

	check_v86_flags(c, i->osz);
	image = stack_peek(c, 0, i->osz);
	if (x86_v86(c) && x86_virtual_interrupts(c))
		flags_load_virtual(c, image);
	else
		flags_put(c, (flags_get(c) & ~mask) | (image & mask));
	stack_adjust(c, i->osz);
	event_flags_loaded(c);
}

void flags_cli(struct x86_cpu *c, const struct insn *i)
{
	if (x86_virtual_interrupts(c)) {
		c->s.rflags &= ~(uint64_t)FLAG_VIF;
		return;
	}
	if (c->cpl > x86_iopl(c))
		x86_raise_gp(c, 0);
	c->s.rflags &= ~(uint64_t)FLAG_IF;
}

static void set_virtual_interrupt_flag(struct x86_cpu *c)
{
	if (c->s.rflags & FLAG_VIP)
		x86_raise_gp(c, 0);
	c->s.rflags |= FLAG_VIF;
}

/* The instruction after STI runs before any interrupt, unless IF was set already. */
void flags_sti(struct x86_cpu *c, const struct insn *i)
{
	if (x86_virtual_interrupts(c)) {
		set_virtual_interrupt_flag(c);
		return;
	}
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
