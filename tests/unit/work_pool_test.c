/* The pool of worker threads: each item is done once, where and when its owner says. */
#include "backend/work_pool.h"

#include <sched.h>
#include <string.h>

#include "base/bits.h"
#include "check.h"

#define ITEMS	 200
#define SCRATCH	 256
#define PATTERNS 251

struct item {
	struct queue_item queued;
	unsigned id, runs, dones;
	bool clean; /* nobody else wrote to the scratch memory meanwhile */
	bool again; /* submitted once more by `done` */
};

struct fixture {
	struct event_loop loop;
	struct work_pool pool;
	struct item item[ITEMS];
	unsigned done; /* atomic */
	unsigned stop_at; /* so many done: the loop ends */
	bool held;     /* `run` waits; atomic */
	uint8_t scratch[WORK_POOL_THREADS + 1][SCRATCH];
};

static struct item *item_of(struct queue_item *item)
{
	return LM_CONTAINER_OF(item, struct item, queued);
}

static void run(void *opaque, struct queue_item *queued, void *scratch)
{
	struct fixture *f = opaque;
	struct item *item = item_of(queued);
	uint8_t want[SCRATCH];

	while (__atomic_load_n(&f->held, __ATOMIC_ACQUIRE))
		sched_yield();
	memset(want, (int)(item->id % PATTERNS), SCRATCH);
	memset(scratch, (int)(item->id % PATTERNS), SCRATCH);
	sched_yield();
	item->clean = !memcmp(scratch, want, SCRATCH);
	item->runs++;
}

static void done(void *opaque, struct queue_item *queued)
{
	struct fixture *f = opaque;
	struct item *item = item_of(queued);

	item->dones++;
	__atomic_fetch_add(&f->done, 1, __ATOMIC_RELEASE);
	if (item->again) {
		item->again = false;
		work_pool_submit(&f->pool, queued);
	}
	if (__atomic_load_n(&f->done, __ATOMIC_RELAXED) == f->stop_at)
		loop_stop(&f->loop);
}

static void set_up(struct fixture *f, bool synchronous, bool done_on_worker)
{
	memset(f, 0, sizeof(*f));
	f->pool = (struct work_pool){
	    .run = run,
	    .done = done,
	    .opaque = f,
	    .synchronous = synchronous,
	    .done_on_worker = done_on_worker,
	    .scratch = f->scratch,
	    .scratch_size = SCRATCH,
	};
	f->stop_at = ITEMS;
	for (unsigned k = 0; k < ITEMS; k++)
		f->item[k].id = k;
	CHECK_EQ(loop_init(&f->loop, false, NULL), 0);
	CHECK_EQ(work_pool_init(&f->pool, &f->loop, NULL), 0);
}

static void submit_all(struct fixture *f)
{
	loop_lock(&f->loop);
	for (unsigned k = 0; k < ITEMS; k++)
		work_pool_submit(&f->pool, &f->item[k].queued);
	loop_unlock(&f->loop);
}

static void check_and_tear_down(struct fixture *f, unsigned times)
{
	bool once = true;

	for (unsigned k = 0; k < ITEMS; k++)
		once &= f->item[k].clean && f->item[k].runs == times && f->item[k].dones == times;
	CHECK(once);
	CHECK(!work_pool_busy(&f->pool));
	work_pool_fini(&f->pool);
	loop_fini(&f->loop);
}

static void test_queue_is_in_order(void)
{
	struct queue_item a, b;
	struct queue q = {0};

	CHECK(!queue_pop(&q));
	queue_push(&q, &a);
	queue_push(&q, &b);
	CHECK(queue_pop(&q) == &a);
	queue_push(&q, &a);
	CHECK(queue_pop(&q) == &b);
	CHECK(queue_pop(&q) == &a);
	CHECK(!queue_pop(&q));
}

static void test_synchronous(void)
{
	static struct fixture f;

	set_up(&f, true, false);
	submit_all(&f);
	CHECK_EQ(f.done, ITEMS);
	CHECK_EQ(f.pool.threads, 0);
	check_and_tear_down(&f, 1);
}

static void test_done_by_the_loop(void)
{
	static struct fixture f;

	set_up(&f, false, false);
	CHECK(work_pool_start(&f.pool));
	submit_all(&f);
	loop_run(&f.loop);
	CHECK_EQ(f.done, ITEMS);
	check_and_tear_down(&f, 1);
}

/* One after the other: each finds the loop asleep. */
static void test_each_wakes_the_loop(void)
{
	static struct fixture f;

	set_up(&f, false, false);
	for (unsigned k = 0; k < ITEMS; k++) {
		f.stop_at = k + 1;
		loop_lock(&f.loop);
		work_pool_submit(&f.pool, &f.item[k].queued);
		loop_unlock(&f.loop);
		loop_run(&f.loop);
		CHECK_EQ(f.done, k + 1);
	}
	check_and_tear_down(&f, 1);
}

/* The loop does not run, and whoever drains has its lock: nobody else may be done with anything. */
static void test_drain(void)
{
	static struct fixture f;

	set_up(&f, false, true);
	for (unsigned k = 0; k < ITEMS; k++)
		f.item[k].again = true;
	loop_lock(&f.loop);
	submit_all(&f);
	CHECK_EQ(f.done, 0);
	do
		work_pool_drain(&f.pool);
	while (work_pool_busy(&f.pool)); /* what `done` submitted */
	CHECK_EQ(f.done, 2 * ITEMS);
	loop_unlock(&f.loop);
	check_and_tear_down(&f, 2);
}

/* Workers and the loop share the work of being done; no item is done twice. */
static void test_done_by_both(void)
{
	static struct fixture f;

	set_up(&f, false, true);
	submit_all(&f);
	loop_run(&f.loop);
	loop_lock(&f.loop);
	work_pool_drain(&f.pool);
	loop_unlock(&f.loop);
	CHECK_EQ(f.done, ITEMS);
	check_and_tear_down(&f, 1);
}

/* The loop does not run: only the worker can be done with it, once the lock is free. */
static void test_done_on_worker(void)
{
	static struct fixture f;

	set_up(&f, false, true);
	f.held = true;
	loop_lock(&f.loop);
	work_pool_submit(&f.pool, &f.item[0].queued);
	loop_unlock(&f.loop);
	__atomic_store_n(&f.held, false, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&f.done, __ATOMIC_ACQUIRE))
		sched_yield();
	loop_lock(&f.loop);
	work_pool_drain(&f.pool);
	loop_unlock(&f.loop);
	CHECK_EQ(f.done, 1);
	work_pool_fini(&f.pool);
	loop_fini(&f.loop);
}

int main(void)
{
	test_queue_is_in_order();
	test_synchronous();
	test_done_by_the_loop();
	test_each_wakes_the_loop();
	test_drain();
	test_done_by_both();
	test_done_on_worker();
	return check_done();
}
