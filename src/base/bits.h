/* Bit and integer helpers used everywhere. */
#ifndef LM_BASE_BITS_H
#define LM_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LM_ARRAY_SIZE(a)      (sizeof(a) / sizeof((a)[0]))
#define LM_CONTAINER_OF(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
#define LM_BIT(n)             (UINT64_C(1) << (n))
#define LM_LIKELY(x)          __builtin_expect(!!(x), 1)
#define LM_UNLIKELY(x)        __builtin_expect(!!(x), 0)
#define LM_MIN(a, b)          ((a) < (b) ? (a) : (b))
#define LM_MAX(a, b)          ((a) > (b) ? (a) : (b))

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
#define GIB (UINT64_C(1024) * MIB)

/* The low `size` bytes of all ones; size is 1 to 8. */
static inline uint64_t mask_bytes(unsigned size)
{
	return ~UINT64_C(0) >> (64 - 8 * size);
}

/* Sign-extends the low `size` bytes of v; size is 1 to 8. */
static inline int64_t sign_extend_bytes(uint64_t v, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (int64_t)(v << shift) >> shift;
}

/* Bits [lo, lo + len) of v; len is 1 to 64. */
static inline uint64_t bits_get(uint64_t v, unsigned lo, unsigned len)
{
	return (v >> lo) & (~UINT64_C(0) >> (64 - len));
}

static inline uint64_t align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

static inline bool is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* Little-endian access to byte images (guest tables, file headers), any alignment. */
static inline uint64_t le_load(const void *p, unsigned size)
{
	const uint8_t *b = p;
	uint64_t v = 0;

	for (unsigned k = 0; k < size; k++)
		v |= (uint64_t)b[k] << (8 * k);
	return v;
}

static inline void le_store(void *p, uint64_t v, unsigned size)
{
	uint8_t *b = p;

	for (unsigned k = 0; k < size; k++)
		b[k] = (uint8_t)(v >> (8 * k));
}

#endif
