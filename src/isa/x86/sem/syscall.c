/*
 * SYSCALL, SYSRET, SYSENTER and SYSEXIT (SDM vol. 2). As on Intel, SYSCALL and SYSRET exist in
 * 64-bit mode only.
 */
#include "isa/x86/debug.h"
#include "isa/x86/event.h"
#include "isa/x86/sem/sem.h"
#include "isa/x86/segment.h"

/* RFLAGS bits that SYSRET takes from R11. */
#define SYSRET_FLAGS UINT64_C(0x3c7fd7)

/* The single-step trap follows the TF that these instructions leave behind. */
static void retarget_single_step(struct x86_cpu *c)
{
	c->pending_db &= ~DR6_BS;
	if (c->s.rflags & FLAG_TF) {
		c->pending_db |= DR6_BS;
		x86_event_set(c, EV_TRAP);
	}
}

static void check_syscall(struct x86_cpu *c)
{
	if (c->code_size != CODE_64 || !(c->s.efer & EFER_SCE))
		x86_raise(c, VEC_UD);
}

void sc_syscall(struct x86_cpu *c, const struct insn *i)
{
	unsigned cs = c->s.star >> 32 & 0xfffc;

	check_syscall(c);
	c->s.gpr[RCX] = c->next_rip;
	c->s.gpr[R11] = flags_get(c) & ~(uint64_t)FLAG_RF;
	flags_put(c, c->s.rflags & ~(c->s.fmask | FLAG_RF));
	seg_load_flat(c, cs, cs + 8, 0, true);
	c->next_rip = c->s.lstar;
	x86_mode_changed(c);
	retarget_single_step(c);
}

void sc_sysret(struct x86_cpu *c, const struct insn *i)
{
	unsigned base = c->s.star >> 48;
	bool to_64bit = i->osz == 8;

	check_syscall(c);
	if (c->cpl != 0)
		x86_raise_gp(c, 0);
	if (to_64bit && !x86_canonical(c->s.gpr[RCX]))
		x86_raise_gp(c, 0);
	c->next_rip = to_64bit ? c->s.gpr[RCX] : (uint32_t)c->s.gpr[RCX];
	flags_put(c, c->s.gpr[R11] & SYSRET_FLAGS);
	seg_load_flat(c, to_64bit ? base + 16 : base, base + 8, 3, to_64bit);
	event_flags_loaded(c);
	retarget_single_step(c);
}

void sc_sysenter(struct x86_cpu *c, const struct insn *i)
{
	bool wide = x86_long_mode(c);
	unsigned cs = c->s.sysenter_cs & 0xfffc;

	if (!(c->s.cr0 & CR0_PE) || !cs)
		x86_raise_gp(c, 0);
	flags_put(c, flags_get(c) & ~(uint64_t)(FLAG_VM | FLAG_IF | FLAG_RF));
	c->s.gpr[RSP] = wide ? c->s.sysenter_esp : (uint32_t)c->s.sysenter_esp;
	c->next_rip = wide ? c->s.sysenter_eip : (uint32_t)c->s.sysenter_eip;
	seg_load_flat(c, cs, cs + 8, 0, wide);
	x86_mode_changed(c);
}

void sc_sysexit(struct x86_cpu *c, const struct insn *i)
{
	unsigned cs = c->s.sysenter_cs & 0xfffc;
	bool to_64bit = i->osz == 8;
	uint64_t rip = c->s.gpr[RDX], rsp = c->s.gpr[RCX];

	if (c->real_or_v86 || !cs || c->cpl != 0)
		x86_raise_gp(c, 0);
	if (to_64bit && (!x86_canonical(rip) || !x86_canonical(rsp)))
		x86_raise_gp(c, 0);
	c->next_rip = to_64bit ? rip : (uint32_t)rip;
	c->s.gpr[RSP] = to_64bit ? rsp : (uint32_t)rsp;
	cs += to_64bit ? 32 : 16;
	seg_load_flat(c, cs, cs + 8, 3, to_64bit);
	x86_mode_changed(c);
}
