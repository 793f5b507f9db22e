/* Model-specific registers: the ones lamina's CPU models have (SDM vol. 4; msr.c holds the table). */
#ifndef LM_ISA_X86_MSR_H
#define LM_ISA_X86_MSR_H

#include "isa/x86/cpu.h"

/* False: the MSR does not exist or the value is not allowed: raise #GP(0). */
bool msr_read(struct x86_cpu *c, uint32_t index, uint64_t *value);
bool msr_write(struct x86_cpu *c, uint32_t index, uint64_t value);

/* "IA32_EFER", or NULL for an unknown one. */
const char *msr_name(uint32_t index);

/* Power-on values (SDM vol. 3A table 9-1). */
void msr_reset(struct x86_cpu *c);

/* The name of a register of plain storage that holds what WRMSR would refuse; NULL for none. */
const char *msr_broken(const struct x86_cpu *c);

#endif
