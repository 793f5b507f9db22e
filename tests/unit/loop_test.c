/* The event loop: timer order, cancel, re-arm, virtual time, wakers. */
#include "event/loop.h"
#include "event/waker.h"
#include <unistd.h>

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

/* While the clock is stopped no time passes and no timer fires, however late it would be. */
static void test_stopped_clock(void)
{
	struct event_loop loop;
	struct lm_clock since;
	struct timer t;
	int64_t stopped, wall;
	int id = 7;

	CHECK_EQ(loop_init(&loop, false, NULL), 0);
	wall = clock_wall(&loop.clock);
	fired = 0;
	timer_init(&t, &loop, note, &id);
	clock_stop(&loop.clock);
	stopped = clock_now(&loop.clock);
	timer_arm(&t, stopped);
	usleep(30000);
	clock_stop(&loop.clock); /* again: nothing changes */
	CHECK_EQ(clock_now(&loop.clock), stopped);
	loop_stop(&loop);
	loop_run(&loop);
	CHECK_EQ(fired, 0);
	clock_init(&since, false); /* runs as long as the other one again */
	clock_start(&loop.clock);
	CHECK(clock_now(&loop.clock) - stopped <= clock_now(&since));
	CHECK(clock_wall(&loop.clock) - wall >= 30000000);
	loop_run_timers(&loop);
	CHECK_EQ(fired, 1);
	loop_fini(&loop);
}

static void count_and_stop(void *opaque)
{
	fired++;
	loop_stop(opaque);
}

/* Two wakes before the loop looks are one callback, and the next wake is another. */
static void test_waker(void)
{
	struct waker w = {0};
	struct event_loop loop;
	struct timer t;

	waker_fini(&w);
	CHECK_EQ(loop_init(&loop, false, NULL), 0);
	CHECK_EQ(waker_init(&w, &loop, count_and_stop, &loop, NULL), 0);
	fired = 0;
	waker_wake(&w);
	waker_wake(&w);
	loop_run(&loop);
	CHECK_EQ(fired, 1);
	timer_init(&t, &loop, stop, &loop);
	timer_arm(&t, clock_now(&loop.clock) + 1000000);
	loop_run(&loop);
	CHECK_EQ(fired, 1);
	waker_wake(&w);
	loop_run(&loop);
	CHECK_EQ(fired, 2);
	waker_fini(&w);
	waker_fini(&w);
	loop_fini(&loop);
}

int main(void)
{
	test_virtual_timers();
	test_real_loop_stops();
	test_stopped_clock();
	test_waker();
	return check_done();
}
