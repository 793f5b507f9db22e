/* Writes of control registers with all their checks; for instructions and task switches. */
#ifndef LM_ISA_X86_CONTROL_H
#define LM_ISA_X86_CONTROL_H

#include "isa/x86/cpu.h"

/* False: nothing changed, raise #GP(0). */
bool control_write_cr0(struct x86_cpu *c, uint64_t value);
bool control_write_cr4(struct x86_cpu *c, uint64_t value);

/* The bits that can be set at all. */
uint64_t control_cr0_allowed(void);
uint64_t control_cr4_allowed(const struct x86_model *m);
uint64_t control_xcr0_allowed(const struct x86_model *m);

#endif
