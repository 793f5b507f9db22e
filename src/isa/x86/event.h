/*
 * Event delivery: exceptions, interrupts, NMI, INIT and SIPI, through the IVT or IDT of the current
 * mode, and task switches (SDM vol. 3A ch. 6 and 7).
 */
#ifndef LM_ISA_X86_EVENT_H
#define LM_ISA_X86_EVENT_H

#include "isa/x86/cpu.h"

/*
 * Delivers c->fault (thrown by an instruction at s.rip): sets CR2 or DR6, RF, pushes, double-fault
 * and triple-fault rules. May itself meet faults, which it serves; after a triple fault
 * s.activity is CPU_SHUTDOWN and EV_SHUTDOWN is set.
 */
void event_deliver_fault(struct x86_cpu *c);

/*
 * After event_deliver_fault: true when many faults followed each other without an instruction
 * between them (a fault handler that cannot be fetched). Nothing uses up a budget then: the run loop
 * leaves with EXIT_KICKED, for timers and whoever else waits.
 */
bool event_only_faults(struct x86_cpu *c);

/*
 * What is delivered. The return address is s.rip, except for the software kinds (INT n; INT3 and
 * INTO) and INT1, where it is next_rip. After delivery s.rip and next_rip both point to the handler.
 */
enum event_kind { EVENT_EXTERNAL, EVENT_NMI, EVENT_SOFTWARE_INT, EVENT_SOFTWARE_EXC,
		  EVENT_INT1, EVENT_EXCEPTION };

/* The program asked for it: the gate's DPL counts, and EXT is 0 in error codes. */
static inline bool event_is_software(enum event_kind kind)
{
	return kind == EVENT_SOFTWARE_INT || kind == EVENT_SOFTWARE_EXC;
}

/*
 * Delivers one vector. Throws what delivery itself faults with (the run loop then calls
 * event_deliver_fault, which applies the double-fault rules when c->delivering says so).
 */
void event_deliver(struct x86_cpu *c, uint8_t vector, enum event_kind kind, bool has_error,
		   uint32_t error);

/*
 * Between two instructions, when x86_events(c) is not 0: debug traps, INIT, SIPI, NMI, interrupts
 * in architectural priority (SDM vol. 3A table 6-2). Returns true when the run loop must leave
 * (EV_KICK, EV_SHUTDOWN, halted); it looks at s.activity and events for the reason. Returns false
 * when an instruction must follow: shadows have ended and its single step is armed.
 */
bool event_poll(struct x86_cpu *c);

/*
 * After RFLAGS was loaded as a whole or IF was set: recomputes the mode and asks for event_poll when
 * IF, TF or RF want it.
 */
void event_flags_loaded(struct x86_cpu *c);

/* Whether a halted vCPU has a reason to wake (HLT; SDM vol. 2 HLT). Any thread. */
bool event_wakes(struct x86_cpu *c);

#endif
