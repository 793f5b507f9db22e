/*
 * The host's CLOCK_MONOTONIC by its time stamp counter, for RDTSC: half the price of clock_gettime.
 * The counter is read for a millisecond at the most, then the clock itself gives a new start; how
 * long a tick is comes from the clock over a second. Two readings differ from the clock's by the
 * kernel's own corrections in that millisecond; a vCPU's never go back.
 *
 * Compiled to use general registers only, as helpers are.
 */
#include "engine/jit/jit.h"

#include <cpuid.h>
#include <time.h>

#define MILLISECOND  INT64_C(1000000)
#define LONG_ENOUGH  (10 * MILLISECOND)   /* to know a tick well enough for now ... */
#define LONGEST_BASE (1000 * MILLISECOND) /* ... and for good */
#define TOLERANCE_NS 5000                 /* beyond it, ticks are not what they were */

static int64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now); /* reads the vDSO */
	return now.tv_sec * CLOCK_NS_PER_S + now.tv_nsec;
}

/* CPUID leaf 0x80000007: invariant TSC (SDM vol. 3B §18.17.1). */
static bool has_invariant_tsc(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && d & 1u << 8;
}

void jit_clock_init(struct jit_clock *k)
{
	*k = (struct jit_clock){ .usable = has_invariant_tsc() };
}

static void start_base(struct jit_clock *k, uint64_t tsc, int64_t ns)
{
	k->base_tsc = tsc;
	k->base_ns = ns;
}

static int64_t extrapolate(const struct jit_clock *k, uint64_t tsc)
{
	return k->ns + (int64_t)((tsc - k->tsc) * k->ns_per_tick >> 32);
}

/* From the clock; a tick's length in units of 2^-32 ns is known when there is a window. */
static void calibrate(struct jit_clock *k, uint64_t tsc, int64_t ns)
{
	int64_t passed = ns - k->base_ns;
	bool stale = passed < 0 || passed > 2 * LONGEST_BASE || tsc <= k->base_tsc;

	if (stale || (k->window && tsc - k->tsc < 16 * k->window &&
		      llabs(extrapolate(k, tsc) - ns) > TOLERANCE_NS)) {
		start_base(k, tsc, ns);
		k->window = 0;
	} else if (passed >= LONG_ENOUGH) {
		k->ns_per_tick = ((uint64_t)passed << 32) / (tsc - k->base_tsc);
		k->window = ((uint64_t)MILLISECOND << 32) / LM_MAX(k->ns_per_tick, UINT64_C(1) << 24);
		if (passed >= LONGEST_BASE)
			start_base(k, tsc, ns);
	}
	k->tsc = tsc;
	k->ns = ns;
}

int64_t jit_clock_ns(struct jit_clock *k)
{
	uint64_t tsc = k->usable ? __builtin_ia32_rdtsc() : 0;
	int64_t ns;

	if (tsc - k->tsc < k->window) {
		ns = extrapolate(k, tsc);
	} else {
		ns = monotonic_ns();
		if (k->usable)
			calibrate(k, __builtin_ia32_rdtsc(), ns);
	}
	k->last = LM_MAX(ns, k->last);
	return k->last;
}
