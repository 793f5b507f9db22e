/* Hardware task switches (SDM vol. 3A ch. 7). */
#ifndef LM_ISA_X86_TASK_H
#define LM_ISA_X86_TASK_H

#include "isa/x86/segment.h"

enum task_source { TASK_JMP, TASK_CALL, TASK_IRET, TASK_EVENT };

/*
 * Switches to the task of a TSS selector (far JMP and CALL after their privilege checks, IRET with
 * NT, task gates). `rip` is what the outgoing task resumes at. Afterwards next_rip and s.rip are the
 * new task's. `ext` goes into error codes.
 */
void task_switch(struct x86_cpu *c, uint16_t selector, enum task_source source, uint64_t rip,
		 uint64_t rflags, unsigned ext);

#endif
