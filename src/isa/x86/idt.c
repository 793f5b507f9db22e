/* Interrupt and exception delivery through the IVT and IDT; see idt.h. */
#include "isa/x86/idt.h"

#include "isa/x86/flags.h"
#include "isa/x86/frame.h"
#include "isa/x86/task.h"

#define LONG_GATE_BYTES   16u
#define LEGACY_GATE_BYTES 8u
#define IVT_ENTRY_BYTES   4u
#define REDIRECTION_BYTES 32u

static uint32_t gate_error(const struct delivery *d)
{
	return d->vector * 8u | ERR_IDT | delivery_ext(d);
}

/* ---- Through the IVT (SDM vol. 3B §20.1.4) ---- */

static void through_ivt(struct x86_cpu *c, const struct delivery *d, uint32_t entry, uint64_t image,
			uint64_t clear)
{
	struct stack_frame f = frame_current(c, delivery_ext(d));

	frame_check(c, &f, 6);
	frame_push(c, &f, image, 2);
	frame_push(c, &f, c->s.seg[CS].selector, 2);
	frame_push(c, &f, d->return_rip, 2);

	frame_commit(c, &f);
	flags_put(c, c->s.rflags & ~clear);
	seg_load_real(c, CS, (uint16_t)(entry >> 16));
	c->next_rip = (uint16_t)entry;
}

static void deliver_real(struct x86_cpu *c, const struct delivery *d)
{
	uint32_t entry;

	if (d->vector * IVT_ENTRY_BYTES + 3 > c->s.idtr.limit)
		x86_raise_gp(c, gate_error(d));
	entry = (uint32_t)sys_read(c, table_gva(c, c->s.idtr.base, d->vector * IVT_ENTRY_BYTES), 4);
	through_ivt(c, d, entry, d->rflags, FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF);
}

/* ---- INT n in virtual-8086 mode (SDM vol. 3B §20.3.3) ---- */

/* The bit of this vector in the redirection bitmap, which ends where the I/O map begins. */
static bool vector_bit(struct x86_cpu *c, uint8_t vector)
{
	uint32_t at = tss_io_map(c) - REDIRECTION_BYTES + vector / 8u;

	if (at > c->s.tr.limit)
		x86_raise_gp(c, 0);
	return sys_read(c, table_gva(c, c->s.tr.base, at), 1) >> (vector & 7) & 1;
}

/* Whether the 8086 program's own handler serves it; #GP(0) when the monitor shall. */
static bool is_redirected(struct x86_cpu *c, const struct delivery *d)
{
	if (d->kind != EVENT_SOFTWARE_INT || !x86_v86(c))
		return false;
	if (c->s.cr4 & CR4_VME && !vector_bit(c, d->vector))
		return true;
	if (x86_iopl(c) < 3)
		x86_raise_gp(c, 0);
	return false;
}

/* Methods 5 and 6: the IVT is at linear address 0 and read as the program itself would. */
static void deliver_redirected(struct x86_cpu *c, const struct delivery *d)
{
	uint32_t entry = (uint32_t)lin_read(c, GVA(d->vector * IVT_ENTRY_BYTES), 4);

	if (x86_virtual_interrupts(c))
		through_ivt(c, d, entry, flags_virtual_image(d->rflags), FLAG_VIF | FLAG_TF | FLAG_RF);
	else
		through_ivt(c, d, entry, d->rflags, FLAG_IF | FLAG_TF | FLAG_RF);
}

/* ---- Protected and long mode ---- */

static void read_gate(struct x86_cpu *c, const struct delivery *d, struct x86_desc *gate)
{
	bool wide = x86_long_mode(c);
	unsigned bytes = wide ? LONG_GATE_BYTES : LEGACY_GATE_BYTES;
	uint32_t offset = d->vector * bytes;

	if (offset + bytes - 1 > c->s.idtr.limit)
		x86_raise_gp(c, gate_error(d));
	gate->at = table_gva(c, c->s.idtr.base, offset);
	gate->raw = sys_read(c, gate->at, 8);
	gate->upper = wide ? sys_read(c, table_gva(c, gate->at.v, 8), 8) : 0;
}

static bool is_gate_type(const struct x86_cpu *c, const struct x86_desc *gate)
{
	if (!desc_is_system(gate))
		return false;
	switch (desc_type(gate)) {
	case SYS_INT_GATE:
	case SYS_TRAP_GATE:
		return true;
	case SYS_INT_GATE16:
	case SYS_TRAP_GATE16:
	case SYS_TASK_GATE:
		return !x86_long_mode(c);
	default:
		return false;
	}
}

static void check_gate(struct x86_cpu *c, const struct delivery *d, const struct x86_desc *gate)
{
	if (!is_gate_type(c, gate))
		x86_raise_gp(c, gate_error(d));
	if (event_is_software(d->kind) && desc_dpl(gate) < c->cpl)
		x86_raise_gp(c, gate_error(d));
	if (!desc_present(gate))
		x86_raise_error(c, VEC_NP, gate_error(d));
}

/* The handler's code segment; returns the privilege level it will run at. */
static unsigned check_handler(struct x86_cpu *c, const struct delivery *d, uint16_t selector,
			      struct x86_desc *cs)
{
	unsigned ext = delivery_ext(d);
	uint32_t error = ERR_SEL(selector) | ext;
	unsigned cpl;

	if (SEL_IS_NULL(selector))
		x86_raise_gp(c, ext);
	if (!desc_read(c, selector, cs) || !desc_is_code(cs) || desc_dpl(cs) > c->cpl)
		x86_raise_gp(c, error);
	if (x86_long_mode(c) && (desc_attr(cs) & (SEG_L | SEG_DB)) != SEG_L)
		x86_raise_gp(c, error);
	if (!desc_present(cs))
		x86_raise_error(c, VEC_NP, error);
	cpl = desc_is_conforming(cs) ? c->cpl : desc_dpl(cs);
	if (x86_v86(c) && cpl != 0)
		x86_raise_gp(c, error);
	return cpl;
}

static struct stack_frame choose_stack(struct x86_cpu *c, const struct delivery *d,
				       const struct x86_desc *gate, unsigned cpl)
{
	unsigned ext = delivery_ext(d);
	unsigned ist = x86_long_mode(c) ? gate->raw >> 32 & 7 : 0;
	struct stack_frame f;

	if (cpl != c->cpl || ist) {
		f = ist ? frame_from_ist(c, ist, cpl, ext) : frame_from_tss(c, cpl, ext);
		if (cpl == c->cpl)
			f.ss = c->s.seg[SS];
	} else {
		f = frame_current(c, ext);
	}
	if (x86_long_mode(c)) {
		f.mask = ~UINT64_C(0);
		f.sp = align_down(f.sp, 16);
	}
	return f;
}

static void push_v86_segments(struct x86_cpu *c, struct stack_frame *f, unsigned size)
{
	static const uint8_t order[] = { GS, FS, DS, ES };

	for (unsigned k = 0; k < LM_ARRAY_SIZE(order); k++)
		frame_push(c, f, c->s.seg[order[k]].selector, size);
}

/* Pushes the interrupt stack frame (SDM vol. 3A figures 6-4, 6-9, 20-2). */
static void push_frame(struct x86_cpu *c, const struct delivery *d, struct stack_frame *f,
		       unsigned size, bool outer)
{
	unsigned elements = 3 + (outer ? 2 : 0) + (x86_v86(c) ? 4 : 0) + (d->has_error ? 1 : 0);

	frame_check(c, f, elements * size);
	if (x86_v86(c))
		push_v86_segments(c, f, size);
	if (outer) {
		frame_push(c, f, c->s.seg[SS].selector, size);
		frame_push(c, f, c->s.gpr[RSP], size);
	}
	frame_push(c, f, d->rflags, size);
	frame_push(c, f, c->s.seg[CS].selector, size);
	frame_push(c, f, d->return_rip, size);
	if (d->has_error)
		frame_push(c, f, d->error, size);
}

static void check_target(struct x86_cpu *c, const struct x86_desc *cs, uint64_t rip, unsigned ext)
{
	if (x86_long_mode(c) ? !x86_canonical(rip) : rip > desc_limit(cs))
		x86_raise_gp(c, ext);
}

static void through_gate(struct x86_cpu *c, const struct delivery *d, const struct x86_desc *gate)
{
	uint16_t selector = gate_selector(gate);
	bool interrupt_gate = (desc_type(gate) & ~SYS_TYPE_32) == SYS_INT_GATE16;
	unsigned size = x86_long_mode(c) ? 8 : desc_type(gate) & SYS_TYPE_32 ? 4 : 2;
	uint64_t clear = FLAG_TF | FLAG_VM | FLAG_RF | FLAG_NT | (interrupt_gate ? FLAG_IF : 0);
	struct stack_frame f;
	struct x86_desc cs;
	unsigned cpl;

	cpl = check_handler(c, d, selector, &cs);
	f = choose_stack(c, d, gate, cpl);
	check_target(c, &cs, gate_offset(gate), delivery_ext(d));
	push_frame(c, d, &f, size, cpl != c->cpl || size == 8);
	desc_mark_accessed(c, &cs);

	if (x86_v86(c))
		for (unsigned k = 0; k < 6; k++)
			if (k != CS && k != SS)
				c->s.seg[k] = seg_null(0, 0);
	frame_commit(c, &f);
	c->s.seg[CS] = seg_from_desc(SEL_WITH_RPL(selector, cpl), &cs);
	flags_put(c, c->s.rflags & ~clear);
	c->next_rip = gate_offset(gate);
}

/* The error code goes onto the new task's stack (SDM vol. 3A §7.3). */
static void through_task_gate(struct x86_cpu *c, const struct delivery *d,
			      const struct x86_desc *gate)
{
	bool wide;
	struct stack_frame f;

	task_switch(c, gate_selector(gate), TASK_EVENT, d->return_rip, d->rflags, delivery_ext(d));
	if (!d->has_error)
		return;
	wide = c->s.tr.attr & SYS_TYPE_32;
	f = frame_current(c, delivery_ext(d));
	frame_check(c, &f, wide ? 4 : 2);
	frame_push(c, &f, d->error, wide ? 4 : 2);
	frame_commit(c, &f);
}

static void deliver_protected(struct x86_cpu *c, const struct delivery *d)
{
	struct x86_desc gate;

	read_gate(c, d, &gate);
	check_gate(c, d, &gate);
	if (desc_type(&gate) == SYS_TASK_GATE)
		through_task_gate(c, d, &gate);
	else
		through_gate(c, d, &gate);
}

void idt_deliver(struct x86_cpu *c, const struct delivery *d)
{
	if (!(c->s.cr0 & CR0_PE))
		deliver_real(c, d);
	else if (is_redirected(c, d))
		deliver_redirected(c, d);
	else
		deliver_protected(c, d);
	c->s.rip = c->next_rip;
	x86_mode_changed(c);
}
