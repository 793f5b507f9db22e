/*
 * What is delivered and when: double and triple faults, and the priority of events between two
 * instructions (SDM vol. 3A §6.9, §6.15 and table 6-2).
 */
#include "isa/x86/event.h"

#include "isa/x86/debug.h"
#include "isa/x86/fault.h"
#include "isa/x86/flags.h"
#include "isa/x86/idt.h"
#include "isa/x86/mmu.h"
#include "isa/x86/trace.h"

/* ---- One vector ---- */

/* Traps and aborts push RF as it is; every other exception restarts its instruction (vol. 3B §17.3.1.1). */
static bool is_fault_class(uint8_t vector)
{
	return vector != VEC_DB && vector != VEC_BP && vector != VEC_OF && vector != VEC_DF &&
	       vector != VEC_MC;
}

static uint64_t flags_image(struct x86_cpu *c, uint8_t vector, enum event_kind kind, bool restart)
{
	uint64_t rflags = flags_get(c);

	if (event_is_software(kind) || kind == EVENT_INT1)
		return rflags & ~(uint64_t)FLAG_RF;
	if (kind == EVENT_EXCEPTION && (restart || is_fault_class(vector)))
		return rflags | FLAG_RF;
	return c->repeat ? rflags | FLAG_RF : rflags; /* within a repeated string instruction */
}

static void deliver(struct x86_cpu *c, const struct delivery *d)
{
	bool exception = d->kind == EVENT_EXCEPTION;

	if (exception && trace_wants(c, TRACE_EXC))
		trace_exception(c, d->vector, d->has_error, d->error);
	else if (!exception && trace_wants(c, TRACE_INT))
		trace_interrupt(c, d->vector);
	c->delivering = exception;
	c->delivering_vector = d->vector;
	idt_deliver(c, d);
	c->delivering = false;
	c->repeat = false;
	c->s.interrupt_shadow = c->s.debug_shadow = false;
	c->pending_db &= ~DR6_BS; /* the handler runs with TF clear */
	c->s.activity = CPU_ACTIVE;
	if (exception)
		c->count.exceptions++;
	else
		c->count.interrupts++;
}

void event_deliver(struct x86_cpu *c, uint8_t vector, enum event_kind kind, bool has_error,
		   uint32_t error)
{
	bool completed = event_is_software(kind) || kind == EVENT_INT1;
	struct delivery d = {
		.vector = vector,
		.kind = kind,
		.has_error = has_error && (c->s.cr0 & CR0_PE),
		.error = error,
		.return_rip = completed ? c->next_rip : c->s.rip,
		.rflags = flags_image(c, vector, kind, false),
	};

	deliver(c, &d);
}

/* ---- Exceptions, double and triple faults ---- */

enum exception_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum exception_class class_of(uint8_t vector)
{
	switch (vector) {
	case VEC_DE:
	case VEC_TS:
	case VEC_NP:
	case VEC_SS:
	case VEC_GP:
		return CONTRIBUTORY;
	case VEC_PF:
		return PAGE_FAULT;
	case VEC_DF:
		return DOUBLE_FAULT;
	default:
		return BENIGN;
	}
}

/* What a second exception makes of the delivery of a first (SDM vol. 3A table 6-5). */
static enum exception_class combine(enum exception_class first, enum exception_class second)
{
	if (first == BENIGN || second == BENIGN)
		return second;
	if (first == CONTRIBUTORY && second == PAGE_FAULT)
		return second;
	return DOUBLE_FAULT;
}

static void shutdown(struct x86_cpu *c)
{
	c->delivering = false;
	c->s.activity = CPU_SHUTDOWN;
	x86_event_set(c, EV_SHUTDOWN);
}

static void record_cause(struct x86_cpu *c, const struct x86_fault *f)
{
	if (f->vector == VEC_PF)
		c->s.cr2 = f->address;
	else if (f->vector == VEC_DB)
		debug_enter(c, f->address);
}

/* Delivers c->fault; false when that faulted in turn (c->fault is then the new one). */
static bool try_deliver(struct x86_cpu *c)
{
	const struct x86_fault f = c->fault;
	struct delivery d = {
		.vector = f.vector,
		.kind = EVENT_EXCEPTION,
		.has_error = f.has_error && (c->s.cr0 & CR0_PE),
		.error = f.error,
		.return_rip = c->s.rip,
		.rflags = flags_image(c, f.vector, EVENT_EXCEPTION, f.vector == VEC_DB),
	};

	record_cause(c, &f);
	if (setjmp(c->unwind))
		return false;
	deliver(c, &d);
	return true;
}

/* Applies table 6-5 to c->fault, which came while delivering_vector was delivered; false: shutdown. */
static bool fold_nested(struct x86_cpu *c)
{
	enum exception_class first = c->delivering ? class_of(c->delivering_vector) : BENIGN;

	if (combine(first, class_of(c->fault.vector)) != DOUBLE_FAULT)
		return true;
	if (first == DOUBLE_FAULT)
		return false;
	c->fault = (struct x86_fault){ .vector = VEC_DF, .has_error = true };
	return true;
}

void event_deliver_fault(struct x86_cpu *c)
{
	jmp_buf unwind;

	memcpy(unwind, c->unwind, sizeof(unwind));
	c->repeat = false;
	c->next_rip = c->s.rip;
	c->pending_db = 0; /* the instruction will run again */
	do {
		x86_mode_changed(c); /* a task switch that faults has loaded a part of the new task */
		if (!fold_nested(c)) {
			shutdown(c);
			break;
		}
	} while (!try_deliver(c));
	memcpy(c->unwind, unwind, sizeof(unwind));
}

#define MAX_FAULTS_IN_ROW 4096u

bool event_only_faults(struct x86_cpu *c)
{
	if (c->count.instructions != c->fault_at)
		c->faults_in_row = 0;
	c->fault_at = c->count.instructions;
	if (++c->faults_in_row < MAX_FAULTS_IN_ROW)
		return false;
	c->faults_in_row = 0;
	return true;
}

/* ---- Between two instructions ---- */

static void take_init(struct x86_cpu *c)
{
	x86_event_clear(c, EV_INIT);
	x86_cpu_reset(c, true);
}

/* SIPI: real mode at vector * 4 KiB (SDM vol. 3A §9.4.4). Ignored unless waited for. */
static void take_sipi(struct x86_cpu *c)
{
	uint8_t vector = __atomic_load_n(&c->s.sipi_vector, __ATOMIC_ACQUIRE);

	x86_event_clear(c, EV_SIPI);
	if (c->s.activity != CPU_WAIT_FOR_SIPI)
		return;
	c->s.seg[CS].selector = (uint16_t)(vector << 8);
	c->s.seg[CS].base = (uint64_t)vector << 12;
	c->s.rip = c->next_rip = 0;
	c->s.activity = CPU_ACTIVE;
	x86_mode_changed(c);
}

static void take_debug_trap(struct x86_cpu *c)
{
	uint64_t bits = c->pending_db;

	c->pending_db = 0;
	debug_enter(c, bits);
	event_deliver(c, VEC_DB, EVENT_EXCEPTION, false, 0);
}

/* One NMI is latched behind the one that runs; further ones are lost (SDM vol. 3A §6.7.1). */
static void latch_nmi(struct x86_cpu *c)
{
	uint32_t events = x86_events(c);

	if (events & EV_NMI_AGAIN && (c->s.nmi_blocked || !(events & EV_NMI))) {
		x86_event_set(c, EV_NMI);
		x86_event_clear(c, EV_NMI_AGAIN);
	}
}

static void take_nmi(struct x86_cpu *c)
{
	x86_event_clear(c, EV_NMI);
	c->s.nmi_pending = false;
	c->s.nmi_blocked = true;
	event_deliver(c, VEC_NMI, EVENT_NMI, false, 0);
}

/* The bit may be left over from a line that went low while event_flags_loaded set it. */
static bool extint_waits(struct x86_cpu *c)
{
	if (!(x86_events(c) & EV_EXTINT) || x86_extint(c))
		return x86_events(c) & EV_EXTINT;
	x86_event_clear(c, EV_EXTINT);
	if (x86_extint(c))
		x86_event_set(c, EV_EXTINT);
	return x86_extint(c);
}

/* The LAPIC's vector first, then the PIC's; -1 when neither has one. */
static int acknowledge_interrupt(struct x86_cpu *c)
{
	int vector = -1;

	if (x86_events(c) & EV_INTERRUPT) {
		/* Cleared first: a vector that arrives from now on sets it again. */
		x86_event_clear(c, EV_INTERRUPT);
		if (lapic_pending(c) >= 0)
			vector = lapic_acknowledge(c);
	}
	if (vector < 0 && extint_waits(c) && lapic_accepts_extint(c))
		vector = c->sys->pic_ack(c->sys->opaque);
	return vector;
}

/* Debug traps, NMI and interrupts, highest first; true when one was delivered. */
static bool take_pending(struct x86_cpu *c)
{
	int vector;

	if (c->pending_db && !c->s.debug_shadow) {
		take_debug_trap(c);
		return true;
	}
	latch_nmi(c);
	if (x86_events(c) & EV_NMI && !c->s.nmi_blocked && !c->s.interrupt_shadow) {
		take_nmi(c);
		return true;
	}
	if (!(c->s.rflags & FLAG_IF)) { /* event_flags_loaded sets them again */
		x86_event_clear(c, EV_INTERRUPT | EV_EXTINT);
		return false;
	}
	if (c->s.interrupt_shadow)
		return false;
	vector = acknowledge_interrupt(c);
	if (vector < 0)
		return false;
	event_deliver(c, (uint8_t)vector, EVENT_EXTERNAL, false, 0);
	return true;
}

static uint64_t linear_rip(const struct x86_cpu *c)
{
	if (c->code_size == CODE_64)
		return c->s.rip;
	return (uint32_t)(c->s.seg[CS].base + c->s.rip);
}

/*
 * The next instruction will run: its breakpoint, a virtual interrupt before it, its single step, and
 * the end of shadows.
 */
static void before_instruction(struct x86_cpu *c)
{
	bool armed = debug_code_armed(c);
	uint64_t bits = 0;

	if (armed && !(c->s.rflags & FLAG_RF) && !c->repeat && !c->s.debug_shadow)
		bits = debug_code_match(c, linear_rip(c));
	if (bits) {
		debug_enter(c, bits);
		event_deliver(c, VEC_DB, EVENT_EXCEPTION, false, 0);
		armed = debug_code_armed(c);
	}
	if (x86_virtual_interrupt_due(c))
		event_deliver(c, VEC_GP, EVENT_EXCEPTION, true, 0);
	c->s.rflags &= ~(uint64_t)FLAG_RF;
	c->s.interrupt_shadow = c->s.debug_shadow = false;
	if (c->s.rflags & FLAG_TF)
		c->pending_db |= DR6_BS;
	if (!armed && !c->pending_db)
		x86_event_clear(c, EV_TRAP);
}

static void serve_requests(struct x86_cpu *c, uint32_t events)
{
	if (events & EV_TLB) {
		x86_event_clear(c, EV_TLB);
		mmu_flush_all(c);
	}
	if (events & EV_INIT)
		take_init(c);
	if (events & EV_SIPI)
		take_sipi(c);
	if (events & EV_UNHALT) {
		x86_event_clear(c, EV_UNHALT);
		if (c->s.activity == CPU_HALTED)
			c->s.activity = CPU_ACTIVE;
		else
			c->s.pv_unhalt = true;
	}
}

bool event_poll(struct x86_cpu *c)
{
	serve_requests(c, x86_events(c));
	if (x86_events(c) & EV_SHUTDOWN || c->s.activity == CPU_SHUTDOWN)
		return true;
	if (c->s.activity == CPU_ACTIVE || c->s.activity == CPU_HALTED)
		while (take_pending(c))
			;
	if (x86_events(c) & EV_KICK || c->s.activity != CPU_ACTIVE)
		return true;
	before_instruction(c);
	return false;
}

void event_flags_loaded(struct x86_cpu *c)
{
	if (c->s.rflags & FLAG_IF && lapic_pending(c) >= 0)
		x86_event_set(c, EV_INTERRUPT);
	if (c->s.rflags & FLAG_IF && x86_extint(c))
		x86_event_set(c, EV_EXTINT);
	if (c->s.rflags & (FLAG_TF | FLAG_RF))
		x86_event_set(c, EV_TRAP);
	x86_mode_changed(c);
}

bool event_wakes(struct x86_cpu *c)
{
	uint32_t events = x86_events(c);

	if (events & (EV_INIT | EV_KICK | EV_SHUTDOWN))
		return true;
	switch (c->s.activity) {
	case CPU_ACTIVE:
		return true;
	case CPU_WAIT_FOR_SIPI:
		return events & EV_SIPI;
	case CPU_SHUTDOWN:
		return false;
	case CPU_HALTED:
		break;
	}
	if (events & EV_UNHALT || c->pending_db ||
	    (events & (EV_NMI | EV_NMI_AGAIN) && !c->s.nmi_blocked))
		return true;
	if (!(c->s.rflags & FLAG_IF))
		return false;
	return lapic_pending(c) >= 0 || (events & EV_EXTINT && lapic_accepts_extint(c));
}
