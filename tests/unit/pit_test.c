/* 8254 on the virtual clock: modes, latching, BCD, gate and port 0x61, edges of channel 0. */
#include "dev/chipset/pit.h"
#include "check.h"

static struct event_loop loop;
static struct bus port;
static struct pit pit;
static unsigned edges;
static bool level;

static void note_irq(void *opaque, unsigned number, bool up)
{
	edges += up && !level;
	level = up;
}

static void out(uint16_t p, uint8_t v)
{
	bus_write(&port, p, v, 1);
}

static uint8_t in(uint16_t p)
{
	return (uint8_t)bus_read(&port, p, 1);
}

static uint16_t in16(uint16_t p)
{
	uint8_t low = in(p);

	return (uint16_t)(low | in(p) << 8);
}

/* Advances to the instant of the PIT's tick t, timers included. */
static void at_tick(uint64_t t)
{
	int64_t target = (int64_t)((t * 1000000000 + PIT_HZ - 1) / PIT_HZ), wait;

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
	CHECK_EQ(pit_init(&pit, &loop, &port, (struct irq_line){note_irq, NULL, 0}, NULL), 0);
}

static void test_rate_generator(void)
{
	start();
	out(0x43, 0x34);
	out(0x40, 1000 & 0xff);
	CHECK_EQ(edges, 1); /* OUT went high with the control word */
	out(0x40, 1000 >> 8);
	edges = 0;
	CHECK_EQ(in16(0x40), 1000);
	at_tick(400);
	CHECK_EQ(in16(0x40), 600);
	at_tick(999);
	CHECK_EQ(in16(0x40), 1);
	CHECK_EQ(edges, 0);
	at_tick(1000);
	CHECK_EQ(in16(0x40), 1000);
	CHECK_EQ(edges, 1);
	at_tick(10000);
	CHECK_EQ(edges, 10);
	/* A new count waits for the end of the period. */
	at_tick(10400);
	out(0x40, 500 & 0xff);
	out(0x40, 500 >> 8);
	CHECK_EQ(in16(0x40), 600);
	at_tick(11000);
	CHECK_EQ(in16(0x40), 500);
	at_tick(12000);
	CHECK_EQ(edges, 13);
	loop_fini(&loop);
}

static void test_square_wave(void)
{
	start();
	out(0x61, 1);
	out(0x43, 0xb6);
	out(0x42, 5);
	out(0x42, 0);
	static const uint8_t want_count[10] = {4, 2, 0, 4, 2, 4, 2, 0, 4, 2};

	for (unsigned k = 0; k < 10; k++) {
		at_tick(k);
		CHECK_EQ(in16(0x42), want_count[k]);
		CHECK_EQ(in(0x61) >> 5 & 1, k % 5 < 3);
	}
	out(0x61, 0); /* gate low: OUT high, no counting */
	CHECK_EQ(in(0x61) & 0x21, 0x20);
	at_tick(100);
	out(0x61, 1);
	CHECK_EQ(in16(0x42), 4);
	loop_fini(&loop);
}

/* How Linux calibrates the TSC: channel 2, mode 0, gate on, poll OUT in port 0x61. */
static void test_calibration(void)
{
	uint64_t tick = 100;

	start();
	at_tick(100);
	out(0x61, (in(0x61) & ~2) | 1);
	out(0x43, 0xb0);
	out(0x42, 59659 & 0xff);
	out(0x42, 59659 >> 8);
	CHECK_EQ(in(0x61) & 0x20, 0);
	while (!(in(0x61) & 0x20))
		at_tick(++tick);
	CHECK_EQ(tick, 100 + 59659);
	CHECK_EQ(in16(0x42), 0);
	at_tick(tick + 1);
	CHECK_EQ(in16(0x42), 0xffff);
	loop_fini(&loop);
}

static void test_gate_pauses_mode0(void)
{
	start();
	out(0x61, 1);
	out(0x43, 0xb0);
	out(0x42, 100);
	out(0x42, 0);
	at_tick(30);
	out(0x61, 0);
	at_tick(500);
	CHECK_EQ(in16(0x42), 70);
	out(0x61, 1);
	at_tick(569);
	CHECK_EQ(in(0x61) & 0x20, 0);
	at_tick(570);
	CHECK_EQ(in(0x61) & 0x20, 0x20);
	out(0x42, 5); /* the first byte of a new count stops it */
	CHECK_EQ(in(0x61) & 0x20, 0);
	at_tick(1000);
	CHECK_EQ(in(0x61) & 0x20, 0);
	loop_fini(&loop);
}

static void test_triggered_modes(void)
{
	start();
	out(0x43, 0x92); /* channel 2, low byte, mode 1 */
	out(0x42, 10);
	CHECK_EQ(in(0x61) & 0x20, 0x20);
	out(0x61, 1);
	CHECK_EQ(in(0x61) & 0x20, 0);
	at_tick(9);
	CHECK_EQ(in(0x61) & 0x20, 0);
	out(0x61, 0);
	out(0x61, 1); /* retriggered */
	at_tick(18);
	CHECK_EQ(in(0x61) & 0x20, 0);
	at_tick(19);
	CHECK_EQ(in(0x61) & 0x20, 0x20);
	out(0x43, 0x9a); /* mode 5 */
	out(0x42, 7);
	out(0x61, 0);
	out(0x61, 1);
	at_tick(26);
	CHECK_EQ(in(0x61) & 0x20, 0);
	at_tick(27);
	CHECK_EQ(in(0x61) & 0x20, 0x20);
	loop_fini(&loop);
}

static void test_one_shot_interrupts(void)
{
	start();
	out(0x43, 0x30); /* mode 0, as Linux' one-shot clock event */
	out(0x40, 200);
	out(0x40, 0);
	CHECK_EQ(level, false);
	at_tick(199);
	CHECK_EQ(edges, 0);
	at_tick(200);
	CHECK_EQ(edges, 1);
	at_tick(100000);
	CHECK_EQ(edges, 1);
	out(0x43, 0x38); /* mode 4: low for the one tick of the strobe */
	out(0x40, 50);
	out(0x40, 0);
	edges = 0;
	at_tick(100050);
	CHECK_EQ(edges, 0);
	at_tick(100051);
	CHECK_EQ(edges, 1);
	loop_fini(&loop);
}

static void test_latch_and_read_back(void)
{
	start();
	out(0x43, 0x34);
	out(0x40, 0);
	out(0x40, 0x10);
	at_tick(16);
	out(0x43, 0x00);
	at_tick(200);
	out(0x43, 0x00); /* ignored: the first latch was not read */
	CHECK_EQ(in16(0x40), 0xff0);
	CHECK_EQ(in16(0x40), 0x1000 - 200);
	out(0x43, 0xc2); /* count and status of channel 0 */
	CHECK_EQ(in(0x40), 0xb4);
	CHECK_EQ(in16(0x40), 0x1000 - 200);
	out(0x43, 0x74);
	out(0x43, 0xe4); /* status of channel 1: null count until it is written */
	CHECK_EQ(in(0x41), 0xf4);
	CHECK_EQ(in(0x43), 0xff);
	loop_fini(&loop);
}

static void test_bcd(void)
{
	start();
	out(0x43, 0x35);
	out(0x40, 0x34);
	out(0x40, 0x12);
	at_tick(34);
	CHECK_EQ(in16(0x40), 0x1200);
	out(0x43, 0x31);
	out(0x40, 0);
	out(0x40, 0);
	at_tick(35);
	CHECK_EQ(in16(0x40), 0x9999);
	loop_fini(&loop);
}

/* 1.7 us: the guest gets no more than one edge in PIT_MIN_PERIOD_NS. */
static void test_rate_is_capped(void)
{
	start();
	out(0x43, 0x34);
	out(0x40, 2);
	out(0x40, 0);
	edges = 0;
	at_tick(PIT_HZ / 100);
	CHECK(edges <= 10000000 / PIT_MIN_PERIOD_NS);
	CHECK(edges >= 9000000 / PIT_MIN_PERIOD_NS);
	/* Late by 5 ms: one edge, not thousands. */
	edges = 0;
	loop.clock.virtual_ns += 5000000;
	loop_run_timers(&loop);
	CHECK_EQ(edges, 1);
	pit_reset(&pit);
	edges = 0;
	at_tick(PIT_HZ);
	CHECK_EQ(edges, 0);
	loop_fini(&loop);
}

static void test_refresh_toggles(void)
{
	unsigned toggles = 0;
	uint8_t last;

	start();
	last = in(0x61) & 0x10;
	for (unsigned k = 1; k <= 180; k++) {
		uint8_t now;

		at_tick(k);
		now = in(0x61) & 0x10;
		toggles += now != last;
		last = now;
	}
	CHECK_EQ(toggles, 10);
	loop_fini(&loop);
}

int main(void)
{
	test_rate_generator();
	test_square_wave();
	test_calibration();
	test_gate_pauses_mode0();
	test_triggered_modes();
	test_one_shot_interrupts();
	test_latch_and_read_back();
	test_bcd();
	test_rate_is_capped();
	test_refresh_toggles();
	return check_done();
}
