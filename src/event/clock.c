#include "event/clock.h"

#include <errno.h>
#include <time.h>

/* A deterministic machine always starts at 2024-01-01 00:00:00 UTC. */
#define VIRTUAL_EPOCH_NS (INT64_C(1704067200) * CLOCK_NS_PER_S)

static int64_t host_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * CLOCK_NS_PER_S + ts.tv_nsec;
}

void clock_init(struct lm_clock *clock, bool is_virtual)
{
	clock->is_virtual = is_virtual;
	clock->stopped = false;
	clock->stopped_ns = 0;
	clock->base_ns = host_ns(CLOCK_MONOTONIC);
	clock->virtual_ns = 0;
	clock->wall_ns = is_virtual ? VIRTUAL_EPOCH_NS : host_ns(CLOCK_REALTIME);
}

int64_t clock_now(const struct lm_clock *clock)
{
	if (clock->is_virtual)
		return clock->virtual_ns;
	if (clock->stopped)
		return clock->stopped_ns;
	return host_ns(CLOCK_MONOTONIC) - clock->base_ns;
}

void clock_stop(struct lm_clock *clock)
{
	clock->stopped_ns = clock_now(clock);
	clock->stopped = true;
}

void clock_start(struct lm_clock *clock)
{
	if (!clock->stopped)
		return;
	clock->stopped = false;
	if (clock->is_virtual)
		return;
	clock->base_ns = host_ns(CLOCK_MONOTONIC) - clock->stopped_ns;
	clock->wall_ns = host_ns(CLOCK_REALTIME) - clock->stopped_ns;
}

void clock_advance(struct lm_clock *clock, int64_t ns)
{
	clock->stopped_ns += ns;
}

int64_t clock_wall(const struct lm_clock *clock)
{
	return clock->wall_ns + clock_now(clock);
}

#define MAX_TIME_NS (INT64_C(1) << 61) /* 73 years; sums stay far from overflow */

static const struct field clock_fields[] = {
	FIELD(struct lm_clock, stopped_ns, "ns"),
	FIELD_NOT_SAVED(struct lm_clock, is_virtual, "configuration"),
	FIELD_NOT_SAVED(struct lm_clock, stopped, "always, while saved"),
	FIELD_NOT_SAVED(struct lm_clock, base_ns, "set when the clock starts"),
	FIELD_NOT_SAVED(struct lm_clock, virtual_ns, "is stopped_ns"),
	FIELD_NOT_SAVED(struct lm_clock, wall_ns, "the host's, or fixed"),
	FIELD_END,
};

static int clock_loaded(void *object, struct lm_err *err)
{
	struct lm_clock *clock = object;

	if (clock->stopped_ns < 0 || clock->stopped_ns > MAX_TIME_NS)
		return lm_err_set(err, -ERANGE, "stopped_ns is out of range");
	clock->stopped = true;
	clock->virtual_ns = clock->stopped_ns;
	if (!clock->is_virtual)
		clock->wall_ns = host_ns(CLOCK_REALTIME) - clock->stopped_ns;
	return 0;
}

const struct fields_section clock_section = {
	.name = "clock",
	.version = 1,
	.table = clock_fields,
	.post_load = clock_loaded,
};
