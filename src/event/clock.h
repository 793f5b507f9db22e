/*
 * The machine's clock: nanoseconds since the machine started.
 *
 * Two sources: the host's monotonic clock, or (deterministic mode, used by lockstep and by tests)
 * a count that only the vCPU advances, so that two runs see the same time at the same instruction.
 *
 * A clock can be stopped and started again, both while no vCPU runs: to the guest no time has passed
 * between, but its wall clock is the host's again.
 */
#ifndef LM_EVENT_CLOCK_H
#define LM_EVENT_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fields.h"

#define CLOCK_NS_PER_S INT64_C(1000000000)

struct lm_clock {
	bool is_virtual;
	bool stopped;
	int64_t base_ns;    /* host: CLOCK_MONOTONIC at the machine's start, moved on by pauses */
	int64_t virtual_ns; /* virtual: now; written by the one vCPU thread only */
	int64_t stopped_ns; /* now, while stopped */
	int64_t wall_ns;    /* CLOCK_REALTIME at time 0 (fixed when virtual) */
};

void clock_init(struct lm_clock *clock, bool is_virtual);
int64_t clock_now(const struct lm_clock *clock);

void clock_stop(struct lm_clock *clock);
/* Also starts a clock that is running, to no effect. */
void clock_start(struct lm_clock *clock);

/* A stopped clock that was loaded goes on later: as if it had been started and stopped again. */
void clock_advance(struct lm_clock *clock, int64_t ns);

/* Wall-clock time of the guest (RTC, kvmclock), nanoseconds since the Unix epoch. */
int64_t clock_wall(const struct lm_clock *clock);

/* What a snapshot holds of a clock that is stopped; loading stops it at the saved time. */
extern const struct fields_section clock_section;

#endif
