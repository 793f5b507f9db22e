/* INT n, INT3, INTO, INT1 and IRET (SDM vol. 2, the same names). */
#include "isa/x86/debug.h"
#include "isa/x86/event.h"
#include "isa/x86/sem/far.h"
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"
#include "isa/x86/task.h"

void int_n(struct x86_cpu *c, const struct insn *i)
{
	event_deliver(c, (uint8_t)i->imm, EVENT_SOFTWARE_INT, false, 0);
}

void int_3(struct x86_cpu *c, const struct insn *i)
{
	event_deliver(c, VEC_BP, EVENT_SOFTWARE_EXC, false, 0);
}

void int_o(struct x86_cpu *c, const struct insn *i)
{
	if (flag_overflow(c))
		event_deliver(c, VEC_OF, EVENT_SOFTWARE_EXC, false, 0);
}

/* Data breakpoints that MOV SS held back until now are reported by this same #DB. */
void int_1(struct x86_cpu *c, const struct insn *i)
{
	uint64_t held = c->pending_db & DR6_B_ALL;

	event_deliver(c, VEC_DB, EVENT_INT1, false, 0);
	c->pending_db &= ~held;
	if (held)
		debug_enter(c, held);
}

/* ---- IRET ---- */

/* Flags that IRET loads at the present privilege; real mode counts as CPL 0. */
static uint64_t loadable_flags(const struct x86_cpu *c, unsigned size)
{
	uint64_t mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;

	if (size >= 4)
		mask |= FLAG_RF | FLAG_AC | FLAG_ID;
	if (c->cpl <= x86_iopl(c))
		mask |= FLAG_IF;
	if (c->cpl == 0)
		mask |= FLAG_IOPL | (size >= 4 && !c->real_or_v86 ? FLAG_VIF | FLAG_VIP : 0);
	return mask;
}

static void load_flags(struct x86_cpu *c, uint64_t image, unsigned size)
{
	uint64_t mask = loadable_flags(c, size);

	flags_put(c, (flags_get(c) & ~mask) | (image & mask));
}

static void iret_real(struct x86_cpu *c, unsigned size)
{
	uint64_t rip = stack_peek(c, 0, size);
	uint16_t cs = (uint16_t)stack_peek(c, size, size);
	uint64_t image = stack_peek(c, 2 * size, size);

	if (rip > c->s.seg[CS].limit)
		x86_raise_gp(c, 0);
	if (x86_virtual_interrupts(c))
		flags_load_virtual(c, image);
	else
		load_flags(c, image, size);
	stack_adjust(c, 3 * size);
	seg_load_real(c, CS, cs);
	c->next_rip = rip;
}

/* EIP, CS, EFLAGS, ESP, SS, ES, DS, FS, GS (SDM vol. 3B figure 20-3). */
static void iret_to_v86(struct x86_cpu *c, uint64_t rip, uint64_t image)
{
	static const uint8_t order[] = { SS, ES, DS, FS, GS };
	uint16_t selector[LM_ARRAY_SIZE(order)];
	uint16_t cs = (uint16_t)stack_peek(c, 4, 4);
	uint64_t esp = stack_peek(c, 12, 4);

	for (unsigned k = 0; k < LM_ARRAY_SIZE(order); k++)
		selector[k] = (uint16_t)stack_peek(c, 16 + 4 * k, 4);
	if (rip > 0xffff)
		x86_raise_gp(c, 0);

	flags_put(c, image);
	seg_load_real(c, CS, cs);
	for (unsigned k = 0; k < LM_ARRAY_SIZE(order); k++)
		seg_load_real(c, order[k], selector[k]);
	c->s.gpr[RSP] = esp;
	c->next_rip = rip;
}

static void iret_protected(struct x86_cpu *c, unsigned size)
{
	bool long_frame = c->code_size == CODE_64;
	struct far_return r = {
		.rip = stack_peek(c, 0, size),
		.cs = (uint16_t)stack_peek(c, size, size),
	};
	uint64_t image = stack_peek(c, 2 * size, size);
	bool with_stack;

	if (image & FLAG_VM && c->cpl == 0 && size == 4 && !x86_long_mode(c)) {
		iret_to_v86(c, r.rip, image);
		return;
	}
	far_return_check_code(c, &r);
	with_stack = long_frame || SEL_RPL(r.cs) > c->cpl;
	if (with_stack) {
		r.rsp = stack_peek(c, 3 * size, size);
		r.ss = (uint16_t)stack_peek(c, 4 * size, size);
		far_return_check_stack(c, &r);
	}
	if (far_return_to_64bit(c, &r) ? !x86_canonical(r.rip) : r.rip > desc_limit(&r.code))
		x86_raise_gp(c, 0);
	desc_mark_accessed(c, &r.code);

	load_flags(c, image, size);
	if (with_stack)
		far_return_commit_stack(c, &r);
	else
		stack_adjust(c, 3 * size);
	far_return_commit_code(c, &r);
}

static void iret_task(struct x86_cpu *c)
{
	uint16_t link = (uint16_t)sys_read(c, table_gva(c, c->s.tr.base, 0), 2);

	task_switch(c, link, TASK_IRET, c->next_rip, flags_get(c), 0);
}

void int_return(struct x86_cpu *c, const struct insn *i)
{
	check_v86_flags(c, i->osz);
	if (c->real_or_v86)
		iret_real(c, i->osz);
	else if (c->s.rflags & FLAG_NT && x86_long_mode(c))
		x86_raise_gp(c, 0);
	else if (c->s.rflags & FLAG_NT)
		iret_task(c);
	else
		iret_protected(c, i->osz);
	c->s.nmi_blocked = false;
	event_flags_loaded(c);
}
