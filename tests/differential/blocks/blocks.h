/* Random straight-line code and where it looks for memory. */
#ifndef LM_TESTS_BLOCKS_H
#define LM_TESTS_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

/* Registers with a role; all others are data. */
#define COUNTER_REG 15 /* R15: rounds that are left */
#define INDEX_REG   14 /* R14: a small number */
#define NARROW_INDEX_REG 7   /* the same in 32-bit code: EDI */
#define NARROW_COUNTER   0x2000b000u /* the counter there, in memory */

/* Functions in a page of their own: 16 bytes each. */
#define FUNCTIONS      0x82000u
#define FUNCTION_COUNT 5u

/* Instructions of 8 bytes that fault, and whose handlers go on behind them. */
#define FAULTING_BYTES 8u
#define NOT_PRESENT    0x300000u /* address of FAULT_LOAD and FAULT_STORE */
#define ZEROS          0x8f08u   /* address of FAULT_DIVIDE (8 zero bytes); misaligned for FAULT_ALIGN */
enum fault { FAULT_LOAD, FAULT_STORE, FAULT_DIVIDE, FAULT_ALIGN, FAULTS };
/* Their first 4 bytes, in 64-bit and in 32-bit code; the address follows. */
extern const uint8_t faulting[2][FAULTS][4];

/* Each case's own; xorshift64*. */
struct dice {
	uint64_t state;
};

static inline uint64_t roll(struct dice *d, uint64_t sides)
{
	d->state ^= d->state >> 12;
	d->state ^= d->state << 25;
	d->state ^= d->state >> 27;
	return (d->state * UINT64_C(0x2545f4914f6cdd1d) >> 20) % sides;
}

struct program {
	bool narrow; /* 32-bit code */
	uint8_t code[1024];
	unsigned length;
	uint32_t apart[16]; /* what is added to a pointer where it is used */
};

/* Writes a loop of random instructions that ends in HLT; `narrow` is given. */
void generate(struct dice *d, struct program *p);

/* Writes the FUNCTIONS. */
void write_functions(uint8_t *code, bool narrow);

/* Whether a register starts as a pointer to data. */
int is_pointer(unsigned reg, bool narrow);

#endif
