/* What far RET and IRET share (SDM vol. 3A §5.8.6). */
#ifndef LM_ISA_X86_SEM_FAR_H
#define LM_ISA_X86_SEM_FAR_H

#include "isa/x86/segment.h"

/* The stack and code segment to return to. */
struct far_return {
	uint64_t rip, rsp;
	uint16_t cs, ss;
	struct x86_desc code;
	struct x86_segment stack;
};

/* Checks r->cs and r->rip and fills r->code. The new CPL is the selector's RPL. */
void far_return_check_code(struct x86_cpu *c, struct far_return *r);
/* Checks r->ss for the new CPL and fills r->stack. */
void far_return_check_stack(struct x86_cpu *c, struct far_return *r);
/* Loads SS:RSP, with the new stack's width, and CS:RIP; drops inner data segments. */
void far_return_commit_stack(struct x86_cpu *c, const struct far_return *r);
void far_return_commit_code(struct x86_cpu *c, struct far_return *r);

static inline bool far_return_to_64bit(const struct x86_cpu *c, const struct far_return *r)
{
	return x86_long_mode(c) && desc_attr(&r->code) & SEG_L;
}

#endif
