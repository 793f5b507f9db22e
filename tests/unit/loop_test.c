/* The event loop: timer order, cancel, re-arm, virtual time. */
#include "event/loop.h"
#include "check.h"

static int order[8], fired;

static void note(void *opaque)
{
	order[fired++] = *(int *)opaque;
}

static void test_virtual_timers(void)
{
	struct event_loop loop;
	struct timer a, b, c;
	int ids[3] = { 1, 2, 3 };

	CHECK_EQ(loop_init(&loop, true, NULL), 0);
	timer_init(&a, &loop, note, &ids[0]);
	timer_init(&b, &loop, note, &ids[1]);
	timer_init(&c, &loop, note, &ids[2]);
	timer_arm(&a, 300);
	timer_arm(&b, 100);
	timer_arm(&c, 200);
	timer_arm(&a, 50);
	timer_cancel(&c);
	CHECK_EQ(loop_run_timers(&loop), 50);
	loop.clock.virtual_ns = 100;
	CHECK_EQ(loop_run_timers(&loop), -1);
	CHECK_EQ(fired, 2);
	CHECK_EQ(order[0], 1);
	CHECK_EQ(order[1], 2);
	loop_fini(&loop);
}

static void stop(void *opaque)
{
	loop_stop(opaque);
}

static void test_real_loop_stops(void)
{
	struct event_loop loop;
	struct timer t;

	CHECK_EQ(loop_init(&loop, false, NULL), 0);
	timer_init(&t, &loop, stop, &loop);
	timer_arm(&t, clock_now(&loop.clock) + 1000000);
	loop_run(&loop);
	CHECK(!t.armed);
	loop_fini(&loop);
}

int main(void)
{
	test_virtual_timers();
	test_real_loop_stops();
	return check_done();
}
