/* System forms of everyday mnemonics, chosen by sem_system_form, and helpers of the system side. */
#ifndef LM_ISA_X86_SEM_SYSTEM_H
#define LM_ISA_X86_SEM_SYSTEM_H

#include "isa/x86/access.h"
#include "isa/x86/fault.h"

void far_jmp(struct x86_cpu *c, const struct insn *i);
void far_call(struct x86_cpu *c, const struct insn *i);
void far_ret(struct x86_cpu *c, const struct insn *i);
void mov_to_segment(struct x86_cpu *c, const struct insn *i);
void pop_segment(struct x86_cpu *c, const struct insn *i);
void mov_control(struct x86_cpu *c, const struct insn *i);
void mov_debug(struct x86_cpu *c, const struct insn *i);

/* #GP(0) unless the program runs at CPL 0; virtual-8086 mode never does. */
static inline void require_cpl0(struct x86_cpu *c)
{
	if (c->cpl != 0)
		x86_raise_gp(c, 0);
}

/*
 * PUSHF, POPF and IRET in virtual-8086 mode with IOPL < 3: #GP(0), for the monitor to emulate them,
 * but with CR4.VME the 16-bit forms work on VIF.
 */
void check_v86_flags(struct x86_cpu *c, unsigned size);

/* What they then load: IF goes to VIF, IF and IOPL stay. #GP(0) for TF, and for IF while VIP is set. */
void flags_load_virtual(struct x86_cpu *c, uint64_t image);

/* IN, OUT, INS and OUTS: raises #GP(0) unless the program may access these ports (SDM vol. 1 §19.5). */
void io_check(struct x86_cpu *c, uint16_t port, unsigned size);

#endif
