#include "dev/chipset/rtc.h"

#include <errno.h>

#include "base/bits.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/map.h"
#include "dev/chipset/ticks.h"

/* MC146818 data sheet, "Address Map" and "Registers". */
#define SECONDS	      0x00
#define SECONDS_ALARM 0x01
#define MINUTES	      0x02
#define MINUTES_ALARM 0x03
#define HOURS	      0x04
#define HOURS_ALARM   0x05
#define WEEKDAY	      0x06 /* 1 is Sunday */
#define DAY	      0x07
#define MONTH	      0x08
#define YEAR	      0x09
#define REG_A	      0x0a
#define REG_B	      0x0b
#define REG_C	      0x0c
#define REG_D	      0x0d

#define A_UIP	  0x80
#define A_RATE	  0x0f
#define A_DEFAULT 0x26 /* 32768 Hz time base, 1024 Hz periodic rate */
#define B_SET	  0x80
#define B_PIE	  0x40
#define B_AIE	  0x20
#define B_UIE	  0x10
#define B_SQWE	  0x08
#define B_BINARY  0x04
#define B_24H	  0x02
#define C_IRQF	  0x80
#define C_PF	  0x40
#define C_AF	  0x20
#define C_UF	  0x10
#define FLAGS	  (C_PF | C_AF | C_UF) /* the same bits as their enables in B */
#define D_VALID	  0x80
#define HOUR_PM	  0x80
#define ALARM_ANY 0xc0 /* both bits: matches every value */
#define NO_MATCH  0xff

#define RTC_HZ 32768
#define DAY_S  86400
/* Update in progress is announced 244 us before an update that takes 1984 us. */
#define UIP_NS 2228000

/* CMOS bytes of PC firmware. */
#define CMOS_BASE_MEMORY 0x15 /* KiB below 640 KiB */
#define CMOS_EXT_MEMORY	 0x17 /* KiB above 1 MiB, at most 64 MiB; again at 0x30 */
#define CMOS_EXT_MEMORY2 0x30
#define CMOS_ABOVE_16M	 0x34 /* in 64 KiB */
#define CMOS_ABOVE_4G	 0x5b /* in 64 KiB, three bytes */

/* Days since 1970-01-01 of a date in the Gregorian calendar; month is 1 to 12, any day. */
static int64_t days_from_date(int64_t year, int month, int day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 +
	       day_of_year - 719468;
}

static void date_from_days(int64_t days, int64_t *year, int *month, int *day)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097; /* day of the 400-year era */
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100); /* from 1 March */
	int64_t mp = (5 * doy + 2) / 153;

	*day = (int)(doy - (153 * mp + 2) / 5 + 1);
	*month = (int)(mp < 10 ? mp + 3 : mp - 9);
	*year = yoe + era * 400 + (*month <= 2);
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static int64_t wall_ns(const struct rtc *r)
{
	return clock_wall(&r->loop->clock);
}

/* The guest's time, seconds since 1970. */
static int64_t guest_seconds(const struct rtc *r)
{
	return floor_div(wall_ns(r), NS_PER_S) + r->offset;
}

static int64_t ns_to_next_second(const struct rtc *r)
{
	int64_t wall = wall_ns(r);

	return (floor_div(wall, NS_PER_S) + 1) * NS_PER_S - wall;
}

static uint8_t encode(const struct rtc *r, int64_t v)
{
	return (uint8_t)(r->cmos[REG_B] & B_BINARY ? v : v / 10 % 10 << 4 | v % 10);
}

static int decode(const struct rtc *r, uint8_t v)
{
	return r->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, int hour)
{
	if (r->cmos[REG_B] & B_24H)
		return encode(r, hour);
	return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *r, uint8_t v)
{
	if (r->cmos[REG_B] & B_24H)
		return decode(r, v);
	return decode(r, v & ~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

static void load_time(struct rtc *r)
{
	int64_t t = guest_seconds(r), days = floor_div(t, DAY_S), year;
	int tod = (int)(t - days * DAY_S), month, day;

	date_from_days(days, &year, &month, &day);
	r->cmos[SECONDS] = encode(r, tod % 60);
	r->cmos[MINUTES] = encode(r, tod / 60 % 60);
	r->cmos[HOURS] = encode_hour(r, tod / 3600);
	r->cmos[WEEKDAY] = encode(r, (days % 7 + 11) % 7 + 1); /* 1970-01-01 was a Thursday */
	r->cmos[DAY] = encode(r, day);
	r->cmos[MONTH] = encode(r, month);
	r->cmos[YEAR] = encode(r, year % 100);
	r->cmos[RTC_CENTURY] = encode(r, year / 100 % 100);
}

/* What the guest wrote becomes the time; nonsense gives some time, never an error. */
static void store_time(struct rtc *r)
{
	int64_t year = decode(r, r->cmos[RTC_CENTURY]) * 100 + decode(r, r->cmos[YEAR]);
	int month = decode(r, r->cmos[MONTH]);
	int64_t days = days_from_date(year, LM_MIN(LM_MAX(month, 1), 12), decode(r, r->cmos[DAY]));
	int64_t t = days * DAY_S + decode_hour(r, r->cmos[HOURS]) * 3600 +
		    decode(r, r->cmos[MINUTES]) * 60 + decode(r, r->cmos[SECONDS]);

	r->offset += t - guest_seconds(r);
	r->seen = t;
}

/* An alarm byte's value; -1 for any, NO_MATCH for one that never comes. */
static int alarm_value(const struct rtc *r, unsigned index, int limit)
{
	uint8_t raw = r->cmos[index];
	int v;

	if ((raw & ALARM_ANY) == ALARM_ANY)
		return -1;
	v = index == HOURS_ALARM ? decode_hour(r, raw) : decode(r, raw);
	return v < limit ? v : NO_MATCH;
}

static int first_at_or_after(int from, int value, int limit)
{
	int v = value < 0 ? from : value;

	return v >= from && v < limit ? v : NO_MATCH;
}

/* The first guest second after t at which the alarm matches; INT64_MAX for never. */
static int64_t next_alarm(const struct rtc *r, int64_t t)
{
	int hour = alarm_value(r, HOURS_ALARM, 24), minute = alarm_value(r, MINUTES_ALARM, 60);
	int second = alarm_value(r, SECONDS_ALARM, 60);
	int64_t day = floor_div(t + 1, DAY_S) * DAY_S;
	int tod = (int)(t + 1 - day);
	int h0 = tod / 3600, m0 = tod / 60 % 60, s0 = tod % 60;

	if (hour == NO_MATCH || minute == NO_MATCH || second == NO_MATCH)
		return INT64_MAX;
	for (int h = h0; h < h0 + 25; h++) {
		if (hour >= 0 && h % 24 != hour)
			continue;
		for (int m = h == h0 ? m0 : 0; m < 60; m++) {
			int s = first_at_or_after(h == h0 && m == m0 ? s0 : 0, second, 60);

			if ((minute < 0 || m == minute) && s != NO_MATCH)
				return day + (int64_t)h * 3600 + m * 60 + s;
		}
	}
	return INT64_MAX;
}

/* Period of the periodic interrupt in ticks of 32768 Hz, 0 for none ("Periodic Interrupt Rate"). */
static uint64_t period_ticks(const struct rtc *r)
{
	unsigned rate = r->cmos[REG_A] & A_RATE;

	if (!rate)
		return 0;
	return UINT64_C(1) << (rate <= 2 ? rate + 6 : rate - 1);
}

static void set_flags(struct rtc *r, uint8_t flags)
{
	uint8_t c = (r->cmos[REG_C] | flags) & FLAGS;

	if (c & r->cmos[REG_B])
		c |= C_IRQF;
	r->cmos[REG_C] = c;
	irq_set(&r->irq, c & C_IRQF);
}

static void catch_up(struct rtc *r)
{
	int64_t now = guest_seconds(r);
	uint64_t ticks = ticks_at(clock_now(&r->loop->clock), RTC_HZ);
	uint64_t period = period_ticks(r);
	uint8_t flags = 0;

	if (!(r->cmos[REG_B] & B_SET) && now > r->seen) {
		flags |= C_UF;
		if (next_alarm(r, r->seen) <= now)
			flags |= C_AF;
	}
	if (period && ticks / period != r->seen_ticks / period)
		flags |= C_PF;
	r->seen = now;
	r->seen_ticks = ticks;
	set_flags(r, flags);
}

static void arm_timer(struct rtc *r)
{
	uint8_t b = r->cmos[REG_B], wanted = b & ~r->cmos[REG_C] & FLAGS;
	int64_t now = clock_now(&r->loop->clock), deadline = INT64_MAX, alarm;
	uint64_t period = period_ticks(r);

	if (wanted & B_PIE && period)
		deadline = ticks_to_ns((r->seen_ticks / period + 1) * period, RTC_HZ);
	if (wanted & B_UIE && !(b & B_SET))
		deadline = LM_MIN(deadline, now + ns_to_next_second(r));
	if (wanted & B_AIE && !(b & B_SET)) {
		alarm = next_alarm(r, r->seen);
		if (alarm != INT64_MAX)
			deadline = LM_MIN(deadline, now + ns_to_next_second(r) +
							(alarm - r->seen - 1) * NS_PER_S);
	}
	if (deadline == INT64_MAX)
		timer_cancel(&r->timer);
	else
		timer_arm(&r->timer, deadline);
}

static void fire(void *opaque)
{
	struct rtc *r = opaque;

	catch_up(r);
	arm_timer(r);
}

static bool is_time(uint8_t index)
{
	return index == SECONDS || index == MINUTES || index == HOURS ||
	       (index >= WEEKDAY && index <= YEAR) || index == RTC_CENTURY;
}

static uint8_t read_cmos(struct rtc *r)
{
	bool set = r->cmos[REG_B] & B_SET;
	uint8_t v;

	if (is_time(r->index) && !set)
		load_time(r);
	v = r->cmos[r->index];
	if (r->index == REG_A && !set && ns_to_next_second(r) <= UIP_NS)
		v |= A_UIP;
	if (r->index == REG_C) {
		catch_up(r);
		v = r->cmos[REG_C];
		r->cmos[REG_C] = 0;
		set_flags(r, 0);
		arm_timer(r);
	}
	return v;
}

static void write_b(struct rtc *r, uint8_t v)
{
	uint8_t old = r->cmos[REG_B];

	if (v & B_SET)
		v &= ~B_UIE;
	if (v & B_SET && !(old & B_SET))
		load_time(r);
	r->cmos[REG_B] = v;
	if (old & B_SET && !(v & B_SET))
		store_time(r);
}

static void write_cmos(struct rtc *r, uint8_t v)
{
	catch_up(r);
	if (r->index == REG_A) {
		r->cmos[REG_A] = v & ~A_UIP;
	} else if (r->index == REG_B) {
		write_b(r, v);
	} else if (r->index == REG_C || r->index == REG_D) {
		return;
	} else if (is_time(r->index) && !(r->cmos[REG_B] & B_SET)) {
		load_time(r);
		r->cmos[r->index] = v;
		store_time(r);
	} else {
		r->cmos[r->index] = v;
	}
	set_flags(r, 0);
	arm_timer(r);
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset == 1 ? read_cmos(opaque) : 0xff;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct rtc *r = opaque;

	if (offset == 1) {
		write_cmos(r, (uint8_t)value);
		return;
	}
	r->index = value & (RTC_CMOS_SIZE - 1);
	r->nmi_masked = value & 0x80;
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 1};

void rtc_set_cmos(struct rtc *rtc, uint8_t index, uint8_t value)
{
	rtc->cmos[index % RTC_CMOS_SIZE] = value;
}

void rtc_set_memory(struct rtc *rtc, uint64_t low_top, uint64_t high_size)
{
	uint64_t ext = low_top > MIB ? (low_top - MIB) / KIB : 0;
	uint64_t above_16m = low_top > 16 * MIB ? (low_top - 16 * MIB) / (64 * KIB) : 0;

	le_store(rtc->cmos + CMOS_BASE_MEMORY, 640, 2);
	le_store(rtc->cmos + CMOS_EXT_MEMORY, LM_MIN(ext, UINT64_C(0xffff)), 2);
	le_store(rtc->cmos + CMOS_EXT_MEMORY2, LM_MIN(ext, UINT64_C(0xffff)), 2);
	le_store(rtc->cmos + CMOS_ABOVE_16M, LM_MIN(above_16m, UINT64_C(0xffff)), 2);
	le_store(rtc->cmos + CMOS_ABOVE_4G, high_size / (64 * KIB), 3);
}

void rtc_reset(struct rtc *rtc)
{
	rtc->cmos[REG_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	rtc->cmos[REG_C] = 0;
	rtc->index = 0;
	rtc->nmi_masked = false;
	timer_cancel(&rtc->timer);
	irq_set(&rtc->irq, false);
}

int rtc_init(struct rtc *rtc, struct event_loop *loop, struct bus *port, struct irq_line irq,
	     struct lm_err *err)
{
	*rtc = (struct rtc){.loop = loop, .irq = irq};
	rtc->cmos[REG_A] = A_DEFAULT;
	rtc->cmos[REG_B] = B_24H;
	rtc->cmos[REG_D] = D_VALID;
	timer_init(&rtc->timer, loop, fire, rtc);
	rtc_reset(rtc);
	rtc->seen = guest_seconds(rtc);
	rtc->seen_ticks = ticks_at(clock_now(&loop->clock), RTC_HZ);
	rtc->ports = (struct bus_region){"rtc", PC_PORT_RTC, 2, &ports_ops, rtc, false};
	return chipset_map(port, &rtc->ports, err);
}

/* ---- Saved state ---- */

static const struct field rtc_fields[] = {
	FIELD_BYTES(struct rtc, cmos),
	FIELD(struct rtc, index, "", .max = RTC_CMOS_SIZE - 1),
	FIELD(struct rtc, nmi_masked, NULL),
	FIELD(struct rtc, offset, "s"),
	FIELD(struct rtc, seen, "s"),
	FIELD(struct rtc, seen_ticks, "ticks"),
	FIELD_NOT_SAVED(struct rtc, loop, "wiring"),
	FIELD_NOT_SAVED(struct rtc, timer, "from the registers"),
	FIELD_NOT_SAVED(struct rtc, irq, "wiring"),
	FIELD_NOT_SAVED(struct rtc, ports, "wiring"),
	FIELD_END,
};

/* So far can times be apart without overflow: about 30000 years. */
#define SANE_SECONDS INT64_C(1000000000000)

/* The host's time may have moved on since the clock was saved: the next look catches up. */
static int rtc_loaded(void *object, struct lm_err *err)
{
	struct rtc *r = object;

	if (r->offset > SANE_SECONDS || r->offset < -SANE_SECONDS)
		return lm_err_set(err, -EINVAL, "offset: %lld s is out of range",
				  (long long)r->offset);
	if (r->seen > SANE_SECONDS || r->seen < -SANE_SECONDS)
		return lm_err_set(err, -EINVAL, "seen: %lld s is out of range",
				  (long long)r->seen);
	r->cmos[REG_C] &= C_IRQF | FLAGS;
	arm_timer(r);
	return 0;
}

const struct fields_section rtc_section = {
	.name = "rtc",
	.version = 1,
	.table = rtc_fields,
	.post_load = rtc_loaded,
};
