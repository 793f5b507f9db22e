/*
 * The guest's x87, SSE and AVX state between its canonical home and where translated code has it:
 * vector registers and MXCSR in the state page, x87 in the host's own registers.
 */
#ifndef LM_ENGINE_JIT_SIMD_H
#define LM_ENGINE_JIT_SIMD_H

#include "engine/jit/jit.h"

/* On the vCPU's thread. */
void simd_leave_home(struct x86_state *s, struct jit_state *js);
void simd_come_home(struct x86_state *s, const struct jit_state *js);

#endif
