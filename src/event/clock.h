/*
 * The machine's clock: nanoseconds since the machine started.
 *
 * Two sources: the host's monotonic clock, or (deterministic mode, used by lockstep and by tests)
 * a count that only the vCPU advances, so that two runs see the same time at the same instruction.
 */
#ifndef LM_EVENT_CLOCK_H
#define LM_EVENT_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCK_NS_PER_S INT64_C(1000000000)

struct lm_clock {
	bool is_virtual;
	int64_t base_ns;    /* host: CLOCK_MONOTONIC at the machine's start */
	int64_t virtual_ns; /* virtual: now; written by the one vCPU thread only */
	int64_t wall_ns;    /* CLOCK_REALTIME at the machine's start (fixed when virtual) */
};

void clock_init(struct lm_clock *clock, bool is_virtual);
int64_t clock_now(const struct lm_clock *clock);

/* Wall-clock time of the guest (RTC, kvmclock), nanoseconds since the Unix epoch. */
int64_t clock_wall(const struct lm_clock *clock);

#endif
