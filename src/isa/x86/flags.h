/*
 * EFLAGS. Arithmetic instructions record (result, carries); the six status flags are computed from
 * these when something reads them (SDM vol. 1 §3.4.3.1, vol. 1 appendix A).
 */
#ifndef LM_ISA_X86_FLAGS_H
#define LM_ISA_X86_FLAGS_H

#include "isa/x86/cpu.h"

/* The six status flags as of now, as FLAG_ bits. */
uint32_t flags_arith(const struct x86_cpu *c);

/* RFLAGS with the status flags materialised; stored back into s.rflags. */
uint64_t flags_get(struct x86_cpu *c);

/* Replaces RFLAGS as a whole; no privilege rules; callers call x86_mode_changed for VM and AC. */
static inline void flags_put(struct x86_cpu *c, uint64_t rflags)
{
	c->lf.valid = false;
	c->s.rflags = (rflags & 0x3f7fd5) | FLAG_FIXED;
}

/* FLAGS as a program with virtual interrupts is shown them: VIF in IF's place, IOPL 3 (vol. 2 PUSHF). */
static inline uint64_t flags_virtual_image(uint64_t rflags)
{
	uint64_t image = (rflags & ~(uint64_t)FLAG_IF) | FLAG_IOPL;

	return rflags & FLAG_VIF ? image | FLAG_IF : image;
}

/* Replaces the status flags in `mask` by those of `bits`. */
static inline void flags_set_arith(struct x86_cpu *c, uint32_t mask, uint32_t bits)
{
	uint32_t now = (flags_arith(c) & ~mask) | (bits & mask);

	c->lf.valid = false;
	c->s.rflags = (c->s.rflags & ~(uint64_t)FLAGS_ARITH) | now;
}

static inline void flags_lazy(struct x86_cpu *c, uint64_t result, uint64_t carries, unsigned size)
{
	c->lf.valid = true;
	c->lf.bits = (uint8_t)(8 * size);
	c->lf.result = (uint64_t)sign_extend_bytes(result, size);
	c->lf.carries = carries;
}

/* result = a + b (+ carry); all operands zero-extended to 64 bits, size in bytes. */
static inline void flags_add(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t result,
			     unsigned size)
{
	flags_lazy(c, result, (a & b) | ((a | b) & ~result), size);
}

/* result = a - b (- borrow). */
static inline void flags_sub(struct x86_cpu *c, uint64_t a, uint64_t b, uint64_t result,
			     unsigned size)
{
	flags_lazy(c, result, (~a & b) | ((~a | b) & result), size);
}

/* AND, OR, XOR, TEST: CF = OF = 0; AF is undefined and cleared. */
static inline void flags_logic(struct x86_cpu *c, uint64_t result, unsigned size)
{
	flags_lazy(c, result, 0, size);
}

static inline bool flag_carry(const struct x86_cpu *c)
{
	if (c->lf.valid)
		return c->lf.carries >> (c->lf.bits - 1) & 1;
	return c->s.rflags & FLAG_CF;
}

static inline bool flag_zero(const struct x86_cpu *c)
{
	if (c->lf.valid)
		return c->lf.result == 0;
	return c->s.rflags & FLAG_ZF;
}

static inline bool flag_sign(const struct x86_cpu *c)
{
	if (c->lf.valid)
		return (int64_t)c->lf.result < 0;
	return c->s.rflags & FLAG_SF;
}

static inline bool flag_overflow(const struct x86_cpu *c)
{
	if (c->lf.valid)
		return (c->lf.carries >> (c->lf.bits - 1) ^ c->lf.carries >> (c->lf.bits - 2)) & 1;
	return c->s.rflags & FLAG_OF;
}

static inline bool flag_parity(const struct x86_cpu *c)
{
	if (c->lf.valid)
		return !__builtin_parity((unsigned)(c->lf.result & 0xff));
	return c->s.rflags & FLAG_PF;
}

/* Condition code 0-15 (O NO B NB Z NZ BE NBE S NS P NP L NL LE NLE). */
static inline bool flags_condition(const struct x86_cpu *c, unsigned cc)
{
	bool holds;

	switch (cc >> 1) {
	case 0:
		holds = flag_overflow(c);
		break;
	case 1:
		holds = flag_carry(c);
		break;
	case 2:
		holds = flag_zero(c);
		break;
	case 3:
		holds = flag_carry(c) || flag_zero(c);
		break;
	case 4:
		holds = flag_sign(c);
		break;
	case 5:
		holds = flag_parity(c);
		break;
	case 6:
		holds = flag_sign(c) != flag_overflow(c);
		break;
	default:
		holds = flag_zero(c) || flag_sign(c) != flag_overflow(c);
		break;
	}
	return holds != (cc & 1);
}

#endif
