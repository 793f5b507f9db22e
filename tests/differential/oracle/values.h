/* Random numbers and operand values that are more likely than chance to meet a special case. */
#ifndef ORACLE_VALUES_H
#define ORACLE_VALUES_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

/* SplitMix64: cheap to seed, so that every case starts its own sequence. */
static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline struct rng rng_seed(uint64_t seed, uint64_t stream)
{
	struct rng r = { seed * UINT64_C(0xd1342543de82ef95) + stream };

	r.state = rng_next(&r) ^ stream << 32;
	return r;
}

/* 0 to n - 1. */
static inline unsigned rng_below(struct rng *r, unsigned n)
{
	return (unsigned)((rng_next(r) >> 32) * n >> 32);
}

static inline bool rng_chance(struct rng *r, unsigned percent)
{
	return rng_below(r, 100) < percent;
}

/* What kind of numbers a piece of memory or a register holds. */
enum element { EL_INT, EL_F16, EL_F32, EL_F64, EL_F80, EL_BCD };

/* A 64-bit integer whose low parts are special for their widths as well. */
uint64_t value_integer(struct rng *r);
uint16_t value_f16(struct rng *r);
uint32_t value_f32(struct rng *r);
uint64_t value_f64(struct rng *r);
void value_f80(struct rng *r, uint64_t *sig, uint16_t *se);
void value_bcd(struct rng *r, uint8_t bcd[10]);

/* Fills len bytes with elements; now and then with elements of another kind. */
void values_fill(struct rng *r, enum element el, void *to, unsigned len);

#endif
