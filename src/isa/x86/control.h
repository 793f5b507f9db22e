/* Writes of control registers with all their checks; for instructions and task switches. */
#ifndef LM_ISA_X86_CONTROL_H
#define LM_ISA_X86_CONTROL_H

#include "isa/x86/cpu.h"

/* False: nothing changed, raise #GP(0). */
bool control_write_cr0(struct x86_cpu *c, uint64_t value);
bool control_write_cr4(struct x86_cpu *c, uint64_t value);

#endif
