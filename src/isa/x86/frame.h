/*
 * A stack on which a frame is being built while registers still stand as before: the pushes of
 * events and of calls to another privilege level, which may fault until the last one.
 */
#ifndef LM_ISA_X86_FRAME_H
#define LM_ISA_X86_FRAME_H

#include "isa/x86/segment.h"

struct stack_frame {
	struct x86_segment ss;
	uint64_t sp;
	uint64_t mask;   /* of the stack pointer bits in use */
	unsigned cpl;    /* with whose rights it is accessed */
	uint32_t error;  /* of the #SS raised when it does not fit */
};

/* The present stack; pushes are made with the present privilege. */
struct stack_frame frame_current(const struct x86_cpu *c, unsigned ext);
/* Raises #SS unless `bytes` more fit; to be called once before the pushes. */
void frame_check(struct x86_cpu *c, const struct stack_frame *f, unsigned bytes);
void frame_push(struct x86_cpu *c, struct stack_frame *f, uint64_t value, unsigned size);

/* Moves to the stack: RSP by its width, and SS. */
void frame_commit(struct x86_cpu *c, const struct stack_frame *f);

/*
 * The stack that the current TSS holds for a privilege level (SDM vol. 3A §7.2.1, §7.7), checked.
 * In long mode SS is null and the pointer is RSPn.
 */
struct stack_frame frame_from_tss(struct x86_cpu *c, unsigned cpl, unsigned ext);
/* Long mode: the stack of IST entry 1 to 7. */
struct stack_frame frame_from_ist(struct x86_cpu *c, unsigned ist, unsigned cpl, unsigned ext);

#endif
