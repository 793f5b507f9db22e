/* MC146818 on the virtual clock, which starts at Monday 2024-01-01 00:00:00 UTC. */
#include "dev/chipset/rtc.h"
#include "base/bits.h"
#include "check.h"

#define SECOND INT64_C(1000000000)

static struct event_loop loop;
static struct bus port;
static struct rtc rtc;
static unsigned edges;
static bool level;

static void note_irq(void *opaque, unsigned number, bool up)
{
	edges += up && !level;
	level = up;
}

static uint8_t get(uint8_t index)
{
	bus_write(&port, 0x70, index, 1);
	return (uint8_t)bus_read(&port, 0x71, 1);
}

static void set(uint8_t index, uint8_t v)
{
	bus_write(&port, 0x70, index, 1);
	bus_write(&port, 0x71, v, 1);
}

static void advance(int64_t ns)
{
	int64_t target = loop.clock.virtual_ns + ns, wait;

	while ((wait = loop_run_timers(&loop)) >= 0 && loop.clock.virtual_ns + wait <= target)
		loop.clock.virtual_ns += wait ? wait : 1;
	loop.clock.virtual_ns = target;
	loop_run_timers(&loop);
}

static void start(void)
{
	CHECK_EQ(loop_init(&loop, true, NULL), 0);
	port = (struct bus){.name = "port"};
	edges = 0;
	level = false;
	CHECK_EQ(rtc_init(&rtc, &loop, &port, (struct irq_line){note_irq, NULL, 0}, NULL), 0);
}

static void check_date(uint8_t century, uint8_t year, uint8_t month, uint8_t day, uint8_t weekday,
		       uint8_t hour, uint8_t minute, uint8_t second)
{
	CHECK_EQ(get(0x32), century);
	CHECK_EQ(get(9), year);
	CHECK_EQ(get(8), month);
	CHECK_EQ(get(7), day);
	CHECK_EQ(get(6), weekday);
	CHECK_EQ(get(4), hour);
	CHECK_EQ(get(2), minute);
	CHECK_EQ(get(0), second);
}

static void test_reads_time(void)
{
	start();
	check_date(0x20, 0x24, 1, 1, 2, 0, 0, 0);
	CHECK_EQ(get(0x0d), 0x80);
	advance((59 * 86400 + 13 * 3600 + 59 * 60 + 58) * SECOND); /* 31 + 28 days: a leap year */
	check_date(0x20, 0x24, 2, 0x29, 5, 0x13, 0x59, 0x58);
	set(0x0b, 0x06);
	check_date(20, 24, 2, 29, 5, 13, 59, 58);
	set(0x0b, 0x04);
	CHECK_EQ(get(4), 0x81); /* 1 PM */
	advance(2 * SECOND);
	CHECK_EQ(get(4), 0x82);
	set(0x0b, 0x00);
	advance(10 * 3600 * SECOND);
	CHECK_EQ(get(4), 0x12); /* midnight */
	CHECK_EQ(get(8), 3);
	loop_fini(&loop);
}

/* As Linux' mc146818_set_time does it. */
static void test_sets_time(void)
{
	start();
	advance(SECOND / 3);
	set(0x0b, 0x82);
	set(0x32, 0x19);
	set(9, 0x99);
	set(8, 0x12);
	set(7, 0x31);
	set(4, 0x23);
	set(2, 0x59);
	set(0, 0x59);
	advance(5 * SECOND);
	CHECK_EQ(get(0), 0x59); /* frozen while SET */
	set(0x0b, 0x02);
	check_date(0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59);
	advance(SECOND);
	check_date(0x20, 0, 1, 1, 7, 0, 0, 0);
	rtc_reset(&rtc);
	check_date(0x20, 0, 1, 1, 7, 0, 0, 0);
	set(0x32, 0x21); /* without SET: at once */
	CHECK_EQ(get(0x32), 0x21);
	CHECK_EQ(get(9), 0);
	advance(58 * 86400 * SECOND);
	check_date(0x21, 0, 2, 0x28, 1, 0, 0, 0);
	advance(86400 * SECOND); /* 2100 is no leap year */
	check_date(0x21, 0, 3, 1, 2, 0, 0, 0);
	loop_fini(&loop);
}

static void test_nonsense_is_harmless(void)
{
	start();
	set(0x0b, 0x86);
	for (uint8_t k = 0; k < 10; k++)
		set(k, 0xbf);
	set(0x32, 0xff);
	set(0x0b, 0x36);
	advance(3 * SECOND);
	get(0x0c);
	get(9);
	CHECK_EQ(get(0x0d), 0x80);
	loop_fini(&loop);
}

static void test_update_in_progress(void)
{
	start();
	advance(SECOND / 2);
	CHECK_EQ(get(0x0a), 0x26);
	advance(SECOND / 2 - 100000);
	CHECK_EQ(get(0x0a), 0xa6);
	advance(100000);
	CHECK_EQ(get(0x0a), 0x26);
	loop_fini(&loop);
}

static void test_periodic(void)
{
	start();
	set(0x0b, 0x42); /* 1024 Hz */
	advance(SECOND / 1024 + 1);
	CHECK_EQ(edges, 1);
	advance(SECOND);
	CHECK_EQ(edges, 1); /* not acknowledged: no more, and no timer */
	CHECK(!rtc.timer.armed);
	CHECK_EQ(get(0x0c), 0xd0); /* IRQF, PF, UF */
	CHECK(!level);
	CHECK_EQ(get(0x0c), 0);
	for (unsigned k = 0; k < 1024; k++) {
		advance(SECOND / 1024 + 1);
		CHECK_EQ(get(0x0c) & 0xc0, 0xc0);
	}
	CHECK_EQ(edges, 1025);
	set(0x0b, 0x02);
	advance(SECOND);
	CHECK_EQ(edges, 1025);
	CHECK_EQ(get(0x0c) & 0xc0, 0x40); /* flagged, not interrupting */
	loop_fini(&loop);
}

static void test_update_interrupt(void)
{
	start();
	advance(SECOND / 4);
	set(0x0b, 0x12);
	advance(SECOND / 4);
	CHECK_EQ(edges, 0);
	advance(SECOND / 2);
	CHECK_EQ(edges, 1);
	CHECK_EQ(get(0x0c) & 0x90, 0x90);
	advance(SECOND);
	CHECK_EQ(edges, 2);
	loop_fini(&loop);
}

static void test_alarm(void)
{
	start();
	set(1, 0x30);
	set(3, 0x02);
	set(5, 0x01);
	set(0x0b, 0x22);
	advance((3600 + 149) * SECOND);
	CHECK_EQ(edges, 0);
	advance(SECOND);
	CHECK_EQ(edges, 1);
	CHECK_EQ(get(0x0c) & 0xa0, 0xa0);
	advance(86399 * SECOND);
	CHECK_EQ(edges, 1);
	advance(SECOND); /* a day later */
	CHECK_EQ(edges, 2);
	get(0x0c);
	set(3, 0xff); /* every hour and minute at second 30 */
	set(5, 0xc0);
	edges = 0;
	advance(60 * SECOND);
	CHECK_EQ(edges, 1);
	get(0x0c);
	set(1, 0x75); /* never */
	advance(86400 * SECOND);
	CHECK_EQ(edges, 1);
	loop_fini(&loop);
}

static void test_cmos(void)
{
	start();
	rtc_set_memory(&rtc, 3 * GIB, 5 * GIB);
	CHECK_EQ(get(0x15) | get(0x16) << 8, 640);
	CHECK_EQ(get(0x30) | get(0x31) << 8, 0xffff);
	CHECK_EQ(get(0x34) | get(0x35) << 8, (3 * GIB - 16 * MIB) / (64 * KIB));
	CHECK_EQ(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 5 * GIB / (64 * KIB));
	set(0x0f, 0x5a);
	CHECK_EQ(get(0x8f), 0x5a);
	CHECK(rtc.nmi_masked);
	CHECK_EQ(get(0x0f), 0x5a);
	CHECK(!rtc.nmi_masked);
	CHECK_EQ(bus_read(&port, 0x70, 1), 0xff);
	rtc_set_memory(&rtc, 2 * MIB, 0);
	CHECK_EQ(get(0x30) | get(0x31) << 8, 1024);
	CHECK_EQ(get(0x34), 0);
	loop_fini(&loop);
}

int main(void)
{
	test_reads_time();
	test_sets_time();
	test_nonsense_is_harmless();
	test_update_in_progress();
	test_periodic();
	test_update_interrupt();
	test_alarm();
	test_cmos();
	return check_done();
}
