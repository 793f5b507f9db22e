#include "dev/chipset/watchdog.h"

#include <errno.h>

#include "base/bits.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/map.h"

#define PERIOD_NS (WATCHDOG_PERIOD_MS * INT64_C(1000000))

static void start(struct watchdog *w)
{
	w->started = clock_now(&w->loop->clock);
	timer_arm(&w->timer, w->started + w->count * PERIOD_NS);
}

static void stop(struct watchdog *w)
{
	w->running = false;
	timer_cancel(&w->timer);
}

static void run_out(void *opaque)
{
	struct watchdog *w = opaque;

	stop(w);
	w->ran_out = true;
	w->expired(w->opaque);
}

static uint32_t left(const struct watchdog *w)
{
	int64_t gone = (clock_now(&w->loop->clock) - w->started) / PERIOD_NS;

	if (!w->running)
		return w->count;
	return gone < (int64_t)w->count ? w->count - (uint32_t)gone : 0;
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct watchdog *w = opaque;

	switch (offset) {
	case WATCHDOG_COUNT:
		return w->count;
	case WATCHDOG_CURRENT:
		return left(w);
	case WATCHDOG_CONTROL:
		return w->running;
	case WATCHDOG_STATUS:
		return w->ran_out;
	}
	return 0;
}

static void control(struct watchdog *w, bool run)
{
	if (!run) {
		stop(w);
	} else if (!w->running) {
		w->running = true;
		start(w);
	}
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct watchdog *w = opaque;

	switch (offset) {
	case WATCHDOG_COUNT:
		w->count = (uint32_t)LM_MAX(value & WATCHDOG_MAX_COUNT, WATCHDOG_MIN_COUNT);
		if (w->running)
			start(w);
		break;
	case WATCHDOG_CONTROL:
		control(w, value & 1);
		break;
	case WATCHDOG_RESTART:
		if (w->running)
			start(w);
		break;
	case WATCHDOG_STATUS:
		if (value & 1)
			w->ran_out = false;
		break;
	}
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 4};

int watchdog_init(struct watchdog *w, struct event_loop *loop, struct bus *port,
		  void (*expired)(void *opaque), void *opaque, struct lm_err *err)
{
	*w = (struct watchdog){.loop = loop, .expired = expired, .opaque = opaque};
	timer_init(&w->timer, loop, run_out, w);
	watchdog_reset(w);
	w->ports = (struct bus_region){"watchdog", PC_PORT_WATCHDOG, WATCHDOG_PORTS, &ports_ops, w,
				       false};
	return chipset_map(port, &w->ports, err);
}

void watchdog_reset(struct watchdog *w)
{
	stop(w);
	w->count = WATCHDOG_MAX_COUNT;
}

void watchdog_fini(struct watchdog *w)
{
	timer_cancel(&w->timer);
}

/* ---- Saved state ---- */

static const struct field watchdog_fields[] = {
	FIELD_NOT_SAVED(struct watchdog, loop, "wiring"),
	FIELD_NOT_SAVED(struct watchdog, expired, "wiring"),
	FIELD_NOT_SAVED(struct watchdog, opaque, "wiring"),
	FIELD_NOT_SAVED(struct watchdog, timer, "from started and count"),
	FIELD_NOT_SAVED(struct watchdog, ports, "wiring"),
	FIELD(struct watchdog, count, NULL, .max = WATCHDOG_MAX_COUNT),
	FIELD(struct watchdog, started, "ns"),
	FIELD(struct watchdog, running, NULL),
	FIELD(struct watchdog, ran_out, NULL),
	FIELD_END,
};

static int watchdog_loaded(void *object, struct lm_err *err)
{
	struct watchdog *w = object;

	timer_cancel(&w->timer);
	if (w->running && w->started < 0)
		return lm_err_set(err, -EINVAL, "the watchdog started before time did");
	if (w->running)
		timer_arm(&w->timer, w->started + w->count * PERIOD_NS);
	return 0;
}

const struct fields_section watchdog_section = {
	.name = "watchdog",
	.version = 1,
	.table = watchdog_fields,
	.post_load = watchdog_loaded,
};
