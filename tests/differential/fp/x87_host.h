/*
 * Running one x87 instruction on the host.
 *
 * Exceptions may be unmasked: nothing but no-wait forms may run between the instruction and
 * FNCLEX, so that what it left in the registers, memory and status word can be read.
 */
#ifndef LM_TESTS_X87_HOST_H
#define LM_TESTS_X87_HOST_H

#include "fp_diff.h"

/* What an untouched destination in memory still holds. */
#define UNTOUCHED UINT64_C(0x5a5a5a5a5a5a5a5a)

struct tword {
	uint64_t low;
	uint16_t high;
} __attribute__((packed));

static inline struct tword to_tword(u128 raw)
{
	return (struct tword){(uint64_t)raw, (uint16_t)(raw >> 64)};
}

static inline u128 from_tword(struct tword t)
{
	return (u128)t.high << 64 | t.low;
}

static inline struct f80 f80_of(u128 raw)
{
	return (struct f80){.sig = (uint64_t)raw, .se = (uint16_t)(raw >> 64)};
}

static inline u128 raw_of(struct f80 a)
{
	return (u128)a.se << 64 | a.sig;
}

enum { C0 = 1, C1 = 2, C2 = 4, C3 = 8, CODES = C0 | C1 | C2 | C3 };

static inline void note_status(struct fp_outcome *out, uint16_t status, unsigned codes)
{
	out->flags = status & FP_ALL_FLAGS;
	out->condition = (uint8_t)(((status >> 8 & 7) | (status >> 14 & 1) << 3) & codes);
}

/* ST(0) = a, ST(1) = b before; the two top registers after. `mem` is the memory operand, b's low
 * bits for instructions that read it. */
#define HOST_X87(id, codes, second, instruction)                                                   \
	static void host_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		struct tword a = to_tword(c->operand[0]), b = to_tword(c->operand[1]), r, s;       \
		uint16_t control = c->control, status;                                             \
		uint64_t mem = (uint64_t)c->operand[1];                                            \
		__asm__ volatile(                                                                  \
		    "fninit\n\tfldt %[b]\n\tfldt %[a]\n\tfldcw %[control]\n\t" instruction         \
		    "\n\tfnstsw %[status]\n\tfnclex\n\tfstpt %[r]\n\tfstpt %[s]\n\tfninit"         \
		    : [r] "=m"(r), [s] "=m"(s), [status] "=m"(status), [mem] "+m"(mem)             \
		    : [a] "m"(a), [b] "m"(b), [control] "m"(control)                               \
		    : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");        \
		out->value[0] = from_tword(r);                                                     \
		out->value[1] = (second) ? from_tword(s) : 0;                                      \
		note_status(out, status, codes);                                                   \
	}

/* Stores ST(0) = a to memory. */
#define HOST_STORE(id, bytes, instruction)                                                         \
	static void host_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		struct tword a = to_tword(c->operand[0]);                                          \
		struct tword mem = {UNTOUCHED, (uint16_t)UNTOUCHED};                               \
		uint16_t control = c->control, status;                                             \
		__asm__ volatile("fninit\n\tfldt %[a]\n\tfldcw %[control]\n\t" instruction         \
				 "\n\tfnstsw %[status]\n\tfnclex\n\tfninit"                        \
				 : [status] "=m"(status), [mem] "+m"(mem)                          \
				 : [a] "m"(a), [control] "m"(control)                              \
				 : "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)",     \
				   "st(7)");                                                       \
		out->value[0] = from_tword(mem) & (((u128)1 << (bytes)*8) - 1);                    \
		note_status(out, status, C1);                                                      \
	}

#endif
