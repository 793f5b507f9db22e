/* Random straight-line code and where it looks for memory. */
#ifndef LM_TESTS_BLOCKS_H
#define LM_TESTS_BLOCKS_H

#include <stdint.h>

/* Registers with a role; all others are data. */
#define COUNTER_REG 15 /* R15: rounds that are left */
#define INDEX_REG   14 /* R14: a small number */

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

/* Whether a register starts as a pointer to data. */
int is_pointer(unsigned reg);

#endif
