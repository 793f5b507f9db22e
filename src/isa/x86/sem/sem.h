/*
 * The semantics of instructions: one function for each mnemonic (or few that differ in a detail),
 * one file for each instruction group. The .def tables name them; this header declares them all.
 *
 * A table row is I(MNEMONIC, function): Zydis' mnemonic and the function that carries it out.
 */
#ifndef LM_ISA_X86_SEM_H
#define LM_ISA_X86_SEM_H

#include "isa/x86/access.h"
#include "isa/x86/cpu.h"
#include "isa/x86/fault.h"
#include "isa/x86/flags.h"

#define I(mnemonic, fn) void fn(struct x86_cpu *c, const struct insn *i);
#include "isa/x86/sem/integer.def"
#include "isa/x86/sem/system.def"
#include "isa/x86/sem/x87.def"
#include "isa/x86/sem/simd.def"
#undef I

/*
 * Mnemonics that name both an everyday and a system instruction (MOV to a segment, control or debug
 * register, POP of a segment register, far CALL, JMP and RET): the function of the system form, or
 * NULL when this is the everyday form. The decoder asks here before it looks into the tables.
 */
insn_exec_fn sem_system_form(const struct insn *i);

#endif
