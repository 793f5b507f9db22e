/* Counting the ticks of a fixed-frequency clock in the machine's nanoseconds, without drift. */
#ifndef LM_DEV_CHIPSET_TICKS_H
#define LM_DEV_CHIPSET_TICKS_H

#include <stdint.h>

#define NS_PER_S INT64_C(1000000000)

/* Whole ticks at clock time ns, which is not negative. */
static inline uint64_t ticks_at(int64_t ns, uint32_t hz)
{
	return (uint64_t)((unsigned __int128)ns * hz / NS_PER_S);
}

/* The first clock time at which ticks_at is at least `ticks`. */
static inline int64_t ticks_to_ns(uint64_t ticks, uint32_t hz)
{
	return (int64_t)(((unsigned __int128)ticks * NS_PER_S + hz - 1) / hz);
}

#endif
