/* The watchdog on the virtual clock. */
#include "dev/chipset/watchdog.h"

#include "check.h"
#include "dev/chipset/layout.h"

#define SECOND INT64_C(1000000000)

static struct event_loop loop;
static struct bus port;
static struct watchdog dog;
static unsigned bites;

static void bite(void *opaque)
{
	bites++;
}

static void out(unsigned reg, uint32_t value, unsigned size)
{
	bus_write(&port, PC_PORT_WATCHDOG + reg, value, size);
}

static uint32_t in(unsigned reg, unsigned size)
{
	return (uint32_t)bus_read(&port, PC_PORT_WATCHDOG + reg, size);
}

static void pass(int64_t ns)
{
	loop.clock.virtual_ns += ns;
	loop_run_timers(&loop);
}

static void test_feeding(void)
{
	out(WATCHDOG_COUNT, 20, 4); /* 2 s */
	CHECK_EQ(in(WATCHDOG_CURRENT, 4), 20);
	pass(10 * SECOND);
	CHECK_EQ(bites, 0); /* it stands */
	out(WATCHDOG_CONTROL, 1, 1);
	CHECK_EQ(in(WATCHDOG_CONTROL, 1), 1);
	for (unsigned k = 0; k < 10; k++) {
		pass(SECOND);
		CHECK_EQ(in(WATCHDOG_CURRENT, 4), 10);
		out(WATCHDOG_RESTART, 1, 1);
	}
	CHECK_EQ(bites, 0);
	pass(SECOND * 19 / 10);
	CHECK_EQ(bites, 0);
	CHECK_EQ(in(WATCHDOG_STATUS, 1), 0);
	pass(SECOND);
	CHECK_EQ(bites, 1);
	CHECK_EQ(in(WATCHDOG_STATUS, 1), 1);
	CHECK_EQ(in(WATCHDOG_CONTROL, 1), 0);
	pass(100 * SECOND);
	CHECK_EQ(bites, 1); /* once */
	watchdog_reset(&dog);
	CHECK_EQ(in(WATCHDOG_STATUS, 1), 1); /* the next boot may ask */
	out(WATCHDOG_STATUS, 1, 1);
	CHECK_EQ(in(WATCHDOG_STATUS, 1), 0);
}

static void test_limits(void)
{
	bites = 0;
	out(WATCHDOG_COUNT, 0, 4);
	CHECK_EQ(in(WATCHDOG_COUNT, 4), WATCHDOG_MIN_COUNT);
	out(WATCHDOG_COUNT, UINT32_MAX, 4);
	CHECK_EQ(in(WATCHDOG_COUNT, 4), WATCHDOG_MAX_COUNT);
	out(WATCHDOG_CONTROL, 1, 1);
	out(WATCHDOG_CONTROL, 0, 1);
	pass(7000 * SECOND);
	CHECK_EQ(bites, 0); /* stopped in time */
	out(WATCHDOG_CONTROL, 1, 1);
	watchdog_reset(&dog);
	pass(7000 * SECOND);
	CHECK_EQ(bites, 0);
	CHECK_EQ(in(11, 1), 0);
}

/* Saved in the middle of its count, loaded at the same time: it ends when it would have. */
static void test_saved(void)
{
	json_t *saved;

	bites = 0;
	out(WATCHDOG_COUNT, 30, 4);
	out(WATCHDOG_CONTROL, 1, 1);
	pass(SECOND);
	CHECK_EQ(fields_save(&watchdog_section, &dog, &saved, NULL), 0);
	watchdog_reset(&dog);
	CHECK_EQ(fields_load(&watchdog_section, &dog, saved, NULL), 0);
	json_decref(saved);
	pass(SECOND * 19 / 10);
	CHECK_EQ(bites, 0);
	pass(SECOND / 5);
	CHECK_EQ(bites, 1);
}

int main(void)
{
	CHECK_EQ(loop_init(&loop, true, NULL), 0);
	CHECK_EQ(watchdog_init(&dog, &loop, &port, bite, NULL, NULL), 0);
	test_feeding();
	test_limits();
	test_saved();
	watchdog_fini(&dog);
	loop_fini(&loop);
	return check_done();
}
