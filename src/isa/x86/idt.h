/*
 * Delivery of one vector through the IVT or IDT (SDM vol. 2 INT n, vol. 3A ch. 6), whatever caused
 * it. event.c decides what is delivered and when.
 */
#ifndef LM_ISA_X86_IDT_H
#define LM_ISA_X86_IDT_H

#include "isa/x86/event.h"
#include "isa/x86/segment.h"

struct delivery {
	uint8_t vector;
	enum event_kind kind;
	bool has_error;
	uint32_t error;
	uint64_t return_rip;
	uint64_t rflags;     /* the image to push */
};

/* ERR_EXT unless the program asked for the event (SDM vol. 3A §6.13). */
static inline unsigned delivery_ext(const struct delivery *d)
{
	return event_is_software(d->kind) ? 0 : ERR_EXT;
}

/* Moves CS:RIP to the handler. Throws what delivery faults with; nothing has changed then. */
void idt_deliver(struct x86_cpu *c, const struct delivery *d);

#endif
