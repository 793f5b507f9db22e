/* Canonical state of one local APIC (SDM vol. 3A §11.4); plain data, part of struct x86_state. */
#ifndef LM_ISA_X86_LAPIC_STATE_H
#define LM_ISA_X86_LAPIC_STATE_H

#include <stdint.h>

enum lapic_lvt { LVT_CMCI, LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

struct lapic_state {
	uint32_t id;             /* x2APIC ID; xAPIC ID is its low 8 bits */
	uint32_t tpr, ldr, dfr, svr, esr, esr_pending;
	uint32_t isr[8], tmr[8];
	uint32_t irr[8];         /* other threads set bits atomically */
	uint64_t icr;
	uint32_t lvt[LVT_COUNT];
	uint32_t timer_initial, timer_divide;
	int64_t timer_start_ns;  /* clock time at which timer_initial was last loaded */
	uint32_t timer_stopped;  /* 0 was reached in one-shot mode: only a new initial count restarts */
};

#endif
