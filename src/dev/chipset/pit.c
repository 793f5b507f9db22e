#include "dev/chipset/pit.h"

#include <errno.h>

#include "base/bits.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/map.h"
#include "dev/chipset/ticks.h"

/* 8254 data sheet, "Control Word Format" and "Read-Back Command". */
#define PORT_CONTROL	    3
#define CONTROL_READ_BACK   3 /* in the channel's place, bits 6-7 */
#define READ_BACK_NO_COUNT  0x20
#define READ_BACK_NO_STATUS 0x10
#define ACCESS_LATCH	    0
#define ACCESS_LOW	    1
#define ACCESS_HIGH	    2
#define ACCESS_BOTH	    3
#define STATUS_OUT	    0x80
#define STATUS_NULL_COUNT   0x40

/* System control port B. */
#define PORT61_GATE2	0x01
#define PORT61_WRITABLE 0x0f
#define PORT61_REFRESH	0x10
#define PORT61_OUT2	0x20
#define REFRESH_TICKS	18 /* channel 1's classic count: 15 us */

enum mode {
	TERMINAL_COUNT,
	ONE_SHOT,
	RATE_GENERATOR,
	SQUARE_WAVE,
	SOFTWARE_STROBE,
	HARDWARE_STROBE,
};

static uint64_t now_ticks(const struct pit *pit)
{
	return ticks_at(clock_now(&pit->loop->clock), PIT_HZ);
}

static bool is_periodic(const struct pit_channel *c)
{
	return c->mode == RATE_GENERATOR || c->mode == SQUARE_WAVE;
}

/* Modes whose count starts at a rising gate instead of at the write. */
static bool is_triggered(const struct pit_channel *c)
{
	return c->mode == ONE_SHOT || c->mode == HARDWARE_STROBE;
}

static uint64_t elapsed(const struct pit_channel *c, uint64_t now)
{
	return c->running ? now - c->start : c->held;
}

/* A count written in mid-period becomes the count when that period has ended. */
static void catch_up(struct pit_channel *c, uint64_t now)
{
	if (!is_periodic(c) || !c->running || !c->next || now - c->start < c->count)
		return;
	c->start += c->count;
	c->count = c->next;
	c->next = 0;
}

static bool output(const struct pit_channel *c, uint64_t now)
{
	uint64_t e = elapsed(c, now);

	switch ((enum mode)c->mode) {
	case TERMINAL_COUNT:
		return c->armed && e >= c->count;
	case ONE_SHOT:
		return !c->armed || e >= c->count;
	case RATE_GENERATOR:
		return !c->running || e % c->count != c->count - 1;
	case SQUARE_WAVE:
		return !c->running || e % c->count < (c->count + 1) / 2;
	case SOFTWARE_STROBE:
	case HARDWARE_STROBE:
		return !c->armed || e != c->count;
	}
	return true;
}

/* What the counting element shows, as a number. */
static uint32_t current(const struct pit_channel *c, uint64_t now)
{
	uint32_t modulus = c->bcd ? 10000 : 0x10000;
	uint64_t e = elapsed(c, now), half = (c->count + 1) / 2;

	switch ((enum mode)c->mode) {
	case RATE_GENERATOR:
		return c->count - (uint32_t)(e % c->count);
	case SQUARE_WAVE:
		e %= c->count;
		return (c->count & ~1u) - 2 * (uint32_t)(e < half ? e : e - half);
	default:
		return (c->count + modulus - (uint32_t)(e % modulus)) % modulus;
	}
}

static uint16_t encode(const struct pit_channel *c, uint32_t n)
{
	if (!c->bcd)
		return (uint16_t)n;
	return (uint16_t)(n % 10 | n / 10 % 10 << 4 | n / 100 % 10 << 8 | n / 1000 % 10 << 12);
}

/* 0 stands for the largest count; the periodic modes cannot count from 1. */
static uint32_t decode(const struct pit_channel *c, uint16_t v)
{
	uint32_t n = v;

	if (c->bcd)
		n = (v & 15) + 10 * (v >> 4 & 15) + 100 * (v >> 8 & 15) + 1000 * (v >> 12);
	if (!n)
		n = c->bcd ? 10000 : 0x10000;
	return is_periodic(c) ? LM_MAX(n, 2u) : n;
}

static void begin(struct pit_channel *c, uint64_t now)
{
	c->armed = true;
	c->running = c->gate || is_triggered(c);
	c->start = now;
	c->held = 0;
}

static void load(struct pit_channel *c, uint16_t value, uint64_t now)
{
	uint32_t n = decode(c, value);

	c->loaded = true;
	if (is_triggered(c)) {
		c->next = n;
	} else if (is_periodic(c) && c->running) {
		c->start += (now - c->start) / c->count * c->count;
		c->next = n;
	} else {
		c->count = n;
		begin(c, now);
	}
}

static void set_gate(struct pit_channel *c, bool gate, uint64_t now)
{
	if (gate == c->gate)
		return;
	catch_up(c, now);
	c->gate = gate;
	if (is_triggered(c)) {
		if (!gate || !c->loaded)
			return;
		c->count = c->next ? c->next : c->count;
		c->next = 0;
		begin(c, now);
	} else if (!gate) {
		c->held = elapsed(c, now);
		c->running = false;
	} else if (c->armed) {
		if (is_periodic(c)) {
			c->count = c->next ? c->next : c->count;
			c->next = 0;
			c->held = 0;
		}
		c->start = now - c->held;
		c->running = true;
	}
}

/* The tick of the next rising edge of OUT after now; false for never. */
static bool next_edge(const struct pit_channel *c, uint64_t now, uint64_t *tick)
{
	uint64_t e = elapsed(c, now);

	if (!c->running)
		return false;
	switch ((enum mode)c->mode) {
	case TERMINAL_COUNT:
	case ONE_SHOT:
		*tick = c->start + c->count;
		return e < c->count;
	case RATE_GENERATOR:
	case SQUARE_WAVE:
		*tick = c->start + (e / c->count + 1) * c->count;
		return true;
	case SOFTWARE_STROBE:
	case HARDWARE_STROBE:
		*tick = c->start + c->count + 1;
		return e <= c->count;
	}
	return false;
}

static void arm_timer(struct pit *pit, uint64_t now)
{
	const struct pit_channel *c = &pit->channel[0];
	uint64_t tick;
	int64_t deadline;

	if (!next_edge(c, now, &tick)) {
		timer_cancel(&pit->timer);
		return;
	}
	deadline = ticks_to_ns(tick, PIT_HZ);
	if (is_periodic(c))
		deadline = LM_MAX(deadline, pit->last_edge_ns + PIT_MIN_PERIOD_NS);
	timer_arm(&pit->timer, deadline);
}

static void edge(void *opaque)
{
	struct pit *pit = opaque;
	uint64_t now = now_ticks(pit);

	catch_up(&pit->channel[0], now);
	pit->last_edge_ns = clock_now(&pit->loop->clock);
	arm_timer(pit, now);
	irq_set(&pit->irq, false);
	irq_set(&pit->irq, true);
}

/* After channel 0 was programmed. */
static void restart(struct pit *pit, uint64_t now)
{
	irq_set(&pit->irq, output(&pit->channel[0], now));
	arm_timer(pit, now);
}

static void latch_count(struct pit_channel *c, uint64_t now)
{
	if (c->latched)
		return;
	c->latch = encode(c, current(c, now));
	c->latched = c->access == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(struct pit_channel *c, uint64_t now)
{
	if (c->status_latched)
		return;
	c->status = (uint8_t)(c->access << 4 | c->mode << 1 | c->bcd);
	if (output(c, now))
		c->status |= STATUS_OUT;
	if (!c->loaded || c->next)
		c->status |= STATUS_NULL_COUNT;
	c->status_latched = true;
}

static void read_back(struct pit *pit, uint8_t v, uint64_t now)
{
	for (unsigned k = 0; k < PIT_CHANNELS; k++) {
		struct pit_channel *c = &pit->channel[k];

		if (!(v & 2u << k))
			continue;
		catch_up(c, now);
		if (!(v & READ_BACK_NO_COUNT))
			latch_count(c, now);
		if (!(v & READ_BACK_NO_STATUS))
			latch_status(c, now);
	}
}

static void set_mode(struct pit_channel *c, uint8_t v)
{
	unsigned mode = v >> 1 & 7;

	*c = (struct pit_channel){
	    .mode = mode > HARDWARE_STROBE ? mode - 4 : mode,
	    .access = v >> 4 & 3,
	    .bcd = v & 1,
	    .gate = c->gate,
	    .count = v & 1 ? 10000 : 0x10000,
	};
}

static void write_control(struct pit *pit, uint8_t v, uint64_t now)
{
	unsigned n = v >> 6;

	if (n == CONTROL_READ_BACK) {
		read_back(pit, v, now);
	} else if ((v >> 4 & 3) == ACCESS_LATCH) {
		catch_up(&pit->channel[n], now);
		latch_count(&pit->channel[n], now);
	} else {
		set_mode(&pit->channel[n], v);
		if (n == 0)
			restart(pit, now);
	}
}

static void write_count(struct pit_channel *c, uint8_t v, uint64_t now)
{
	catch_up(c, now);
	if (c->access == ACCESS_BOTH && !c->expect_high) {
		c->low = v;
		c->expect_high = true;
		if (c->mode == TERMINAL_COUNT) /* the first byte stops the count, OUT goes low */
			c->armed = c->running = false;
		return;
	}
	c->expect_high = false;
	if (c->access == ACCESS_BOTH)
		load(c, (uint16_t)(c->low | v << 8), now);
	else
		load(c, (uint16_t)(c->access == ACCESS_LOW ? v : v << 8), now);
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pit *pit = opaque;
	uint64_t now = now_ticks(pit);

	if (offset == PORT_CONTROL) {
		write_control(pit, (uint8_t)value, now);
		return;
	}
	write_count(&pit->channel[offset], (uint8_t)value, now);
	if (offset == 0)
		restart(pit, now);
}

static uint8_t read_count(struct pit_channel *c, uint64_t now)
{
	uint16_t v;
	bool high;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (c->latched) {
		v = c->latch;
		high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->latched == 1);
		c->latched--;
	} else {
		v = encode(c, current(c, now));
		high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->read_high);
		c->read_high = !c->read_high;
	}
	return (uint8_t)(high ? v >> 8 : v);
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pit *pit = opaque;
	uint64_t now = now_ticks(pit);

	if (offset == PORT_CONTROL)
		return 0xff; /* write only */
	catch_up(&pit->channel[offset], now);
	return read_count(&pit->channel[offset], now);
}

static uint64_t port61_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pit *pit = opaque;
	uint64_t now = now_ticks(pit);
	uint8_t v = pit->speaker;

	catch_up(&pit->channel[2], now);
	if (now / REFRESH_TICKS & 1)
		v |= PORT61_REFRESH;
	if (output(&pit->channel[2], now))
		v |= PORT61_OUT2;
	return v;
}

static void port61_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pit *pit = opaque;

	pit->speaker = value & PORT61_WRITABLE;
	set_gate(&pit->channel[2], value & PORT61_GATE2, now_ticks(pit));
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 1};
static const struct bus_ops port61_ops = {port61_read, port61_write, 1};

void pit_reset(struct pit *pit)
{
	for (unsigned k = 0; k < PIT_CHANNELS; k++)
		pit->channel[k] = (struct pit_channel){
		    .access = ACCESS_BOTH,
		    .gate = k != 2,
		    .count = 0x10000,
		};
	pit->speaker = 0;
	pit->last_edge_ns = -PIT_MIN_PERIOD_NS;
	timer_cancel(&pit->timer);
	irq_set(&pit->irq, false);
}

int pit_init(struct pit *pit, struct event_loop *loop, struct bus *port, struct irq_line irq,
	     struct lm_err *err)
{
	int rc;

	*pit = (struct pit){.loop = loop, .irq = irq};
	timer_init(&pit->timer, loop, edge, pit);
	pit_reset(pit);
	pit->ports = (struct bus_region){"pit", PC_PORT_PIT, 4, &ports_ops, pit, false};
	pit->port61 = (struct bus_region){"port61", PC_PORT_SPEAKER, 1, &port61_ops, pit, false};
	rc = chipset_map(port, &pit->ports, err);
	return rc ? rc : chipset_map(port, &pit->port61, err);
}

/* ---- Saved state ---- */

static const struct field channel_fields[] = {
	FIELD(struct pit_channel, mode, "", .max = HARDWARE_STROBE),
	FIELD(struct pit_channel, access, "", .max = ACCESS_BOTH),
	FIELD(struct pit_channel, bcd, NULL),
	FIELD(struct pit_channel, loaded, NULL),
	FIELD(struct pit_channel, expect_high, NULL),
	FIELD(struct pit_channel, low, NULL),
	FIELD(struct pit_channel, read_high, NULL),
	FIELD(struct pit_channel, latched, "bytes", .max = 2),
	FIELD(struct pit_channel, latch, NULL),
	FIELD(struct pit_channel, status_latched, NULL),
	FIELD(struct pit_channel, status, NULL),
	FIELD(struct pit_channel, gate, NULL),
	FIELD(struct pit_channel, armed, NULL),
	FIELD(struct pit_channel, running, NULL),
	FIELD(struct pit_channel, count, "ticks", .max = 0x10000),
	FIELD(struct pit_channel, next, "ticks", .max = 0x10000),
	FIELD(struct pit_channel, start, "ticks"),
	FIELD(struct pit_channel, held, "ticks"),
	FIELD_END,
};

static const struct field pit_fields[] = {
	FIELD_STRUCTS(struct pit, channel, channel_fields),
	FIELD(struct pit, speaker, NULL, .max = PORT61_WRITABLE),
	FIELD(struct pit, last_edge_ns, "ns"),
	FIELD_NOT_SAVED(struct pit, loop, "wiring"),
	FIELD_NOT_SAVED(struct pit, timer, "from channel 0"),
	FIELD_NOT_SAVED(struct pit, irq, "wiring"),
	FIELD_NOT_SAVED(struct pit, ports, "wiring"),
	FIELD_NOT_SAVED(struct pit, port61, "wiring"),
	FIELD_END,
};

/* Counts are divisors, of periodic modes from 2; a count begins in the past. */
static int check_channel(const struct pit_channel *c, uint64_t now, struct lm_err *err)
{
	if (!c->count || (is_periodic(c) && (c->count < 2 || c->next == 1)))
		return lm_err_set(err, -EINVAL, "a channel has a count of %u in mode %u", c->count,
				  c->mode);
	if (c->access == ACCESS_LATCH)
		return lm_err_set(err, -EINVAL, "a channel has no access mode");
	if (c->start > now || c->held > now)
		return lm_err_set(err, -EINVAL, "a channel began to count in the future");
	return 0;
}

static int pit_loaded(void *object, struct lm_err *err)
{
	struct pit *pit = object;
	int64_t now = clock_now(&pit->loop->clock);

	if (pit->last_edge_ns > now || pit->last_edge_ns < -PIT_MIN_PERIOD_NS)
		return lm_err_set(err, -EINVAL, "last_edge_ns is not in the past");
	for (unsigned k = 0; k < PIT_CHANNELS; k++) {
		int rc = check_channel(&pit->channel[k], now_ticks(pit), err);

		if (rc < 0)
			return rc;
	}
	arm_timer(pit, now_ticks(pit));
	return 0;
}

const struct fields_section pit_section = {
	.name = "pit",
	.version = 1,
	.table = pit_fields,
	.post_load = pit_loaded,
};
