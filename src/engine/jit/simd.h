/* Moving the guest's x87, SSE and AVX state between struct x86_state and an XSAVE area. */
#ifndef LM_ENGINE_JIT_SIMD_H
#define LM_ENGINE_JIT_SIMD_H

#include <stdint.h>

#include "isa/x86/state.h"

/* Standard format, components x87, SSE and AVX (SDM vol. 1 §13.4); area is 64-byte aligned. */
void simd_to_area(const struct x86_state *s, uint8_t *area);
void simd_from_area(struct x86_state *s, const uint8_t *area);

#endif
