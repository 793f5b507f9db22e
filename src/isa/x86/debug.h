/*
 * Debug registers (SDM vol. 3B ch. 17.2): instruction, data and I/O breakpoints and the bits of DR6
 * and DR7.
 */
#ifndef LM_ISA_X86_DEBUG_H
#define LM_ISA_X86_DEBUG_H

#include "isa/x86/access.h"

#define DR6_B(n)   (UINT64_C(1) << (n)) /* breakpoint n matched */
#define DR6_B_ALL  UINT64_C(0x000f)
#define DR6_BD     UINT64_C(0x2000) /* debug register access under DR7.GD */
#define DR6_BS     UINT64_C(0x4000) /* single step */
#define DR6_BT     UINT64_C(0x8000) /* task switch to a TSS with the T bit */
#define DR6_FIXED  UINT64_C(0xffff0ff0)
#define DR6_WRITABLE (DR6_B_ALL | DR6_BD | DR6_BS | DR6_BT)

#define DR7_GD     UINT64_C(0x2000)
#define DR7_FIXED  UINT64_C(0x0400)
#define DR7_WRITABLE UINT64_C(0xffff23ff)
#define DR7_LOCAL_ENABLES UINT64_C(0x0055)
#define DR7_ENABLES       UINT64_C(0x00ff)

/* True when DR7 enables a data (or, with CR4.DE, I/O) breakpoint: accesses must be looked at. */
bool debug_data_armed(const struct x86_cpu *c);
/* True when DR7 enables an instruction breakpoint: every instruction must be looked at. */
bool debug_code_armed(const struct x86_cpu *c);

/*
 * To be called for a data access that has been carried out while c->access_checks is set: notes
 * matching breakpoints as a trap after this instruction.
 */
void debug_data_access(struct x86_cpu *c, gva_t gva, unsigned size, enum mem_access access);
/* The same for a port access. */
void debug_io_access(struct x86_cpu *c, uint16_t port, unsigned size);

/* The DR6 bits of instruction breakpoints at this linear address. */
uint64_t debug_code_match(const struct x86_cpu *c, uint64_t linear);

/* Raises #DB as a fault with these DR6 bits. */
_Noreturn void debug_raise(struct x86_cpu *c, uint64_t dr6_bits);

/* A #DB is being delivered: sets DR6 and clears DR7.GD. */
void debug_enter(struct x86_cpu *c, uint64_t dr6_bits);

#endif
