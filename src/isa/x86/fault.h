/*
 * Exceptions raised by semantics: thrown to the run loop, which restores what the instruction may
 * have changed only by this rule: an instruction changes no architectural state before its last
 * possible fault. (SDM vol. 3A §6.6: faults restart.)
 */
#ifndef LM_ISA_X86_FAULT_H
#define LM_ISA_X86_FAULT_H

#include "isa/x86/cpu.h"

/* Exceptions without and with an error code. */
_Noreturn void x86_raise(struct x86_cpu *c, enum x86_vector vector);
_Noreturn void x86_raise_error(struct x86_cpu *c, enum x86_vector vector, uint32_t error);

static inline _Noreturn void x86_raise_gp(struct x86_cpu *c, uint32_t error)
{
	x86_raise_error(c, VEC_GP, error);
}

/* #PF with CR2 = gva; error as in SDM vol. 3A §4.7. */
_Noreturn void x86_raise_pf(struct x86_cpu *c, gva_t gva, uint32_t error);

/* The guard classes of i that trap now (i->guard & c->guard_traps is not 0): raises #UD, #NM, #MF. */
void x86_guard_raise(struct x86_cpu *c, const struct insn *i);

#define PF_PRESENT 0x01u
#define PF_WRITE   0x02u
#define PF_USER    0x04u
#define PF_RSVD    0x08u
#define PF_FETCH   0x10u

#endif
