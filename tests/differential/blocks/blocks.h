/* Random straight-line code and where it looks for memory. */
#ifndef LM_TESTS_BLOCKS_H
#define LM_TESTS_BLOCKS_H

#include <stdint.h>

/* Registers with a role; all others are data. */
#define COUNTER_REG 15 /* R15: rounds that are left */
#define INDEX_REG   14 /* R14: a small number */

/* Functions in a page of their own: 16 bytes each. */
#define FUNCTIONS      0x82000u
#define FUNCTION_COUNT 5u

/* Instructions of 8 bytes that fault, and whose handlers go on behind them. */
#define FAULTING_BYTES 8u
#define NOT_PRESENT    0x300000u /* address of FAULT_LOAD and FAULT_STORE */
#define ZEROS          0x8f08u   /* address of FAULT_DIVIDE (8 zero bytes); misaligned for FAULT_ALIGN */
enum fault { FAULT_LOAD, FAULT_STORE, FAULT_DIVIDE, FAULT_ALIGN, FAULTS };
/* Their first 4 bytes; the address follows. */
extern const uint8_t faulting[FAULTS][4];

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

/* Writes a loop of random instructions that ends in HLT; returns its length. */
unsigned generate(struct dice *d, uint8_t *code);

/* Writes the FUNCTIONS. */
void write_functions(uint8_t *code);

/* Whether a register starts as a pointer to data. */
int is_pointer(unsigned reg);

#endif
