/*
 * Worker threads that serve items, and the way back to the event loop.
 *
 * All but `run` happens under the device lock: submit, drain, and `done`, once for each item. `run`
 * is called on a worker thread without it, or within submit where there are no workers.
 */
#ifndef LM_BACKEND_WORK_POOL_H
#define LM_BACKEND_WORK_POOL_H

#include <pthread.h>

#include "base/err.h"
#include "base/queue.h"
#include "event/waker.h"

#define WORK_POOL_THREADS 4

struct work_thread {
	struct work_pool *pool;
	void *scratch;
	pthread_t thread;
};

struct work_pool {
	/* The owner's, set before init. */
	void (*run)(void *opaque, struct queue_item *item, void *scratch);
	void (*done)(void *opaque, struct queue_item *item);
	void *opaque;
	bool synchronous; /* no workers */
	/*
	 * Where the device lock is free, a worker calls `done` itself: whoever waits has its answer
	 * two thread switches earlier.
	 */
	bool done_on_worker;
	/* Memory for `run`, one piece for each worker and then one for submit; NULL: none. */
	void *scratch;
	size_t scratch_size; /* bytes of a piece */

	struct event_loop *loop;
	struct waker waker;
	pthread_mutex_t lock; /* leaf: guards what follows */
	pthread_cond_t work, idle;
	struct queue todo, finished;
	unsigned running; /* items taken by workers and not yet finished */
	unsigned sleeping; /* threads */
	bool stopping;
	struct work_thread thread[WORK_POOL_THREADS];
	unsigned threads; /* started as they are needed */
};

/* work_pool_fini is needed where it fails, too. */
int work_pool_init(struct work_pool *pool, struct event_loop *loop, struct lm_err *err);
/* Nothing may be submitted by what is still to be done. */
void work_pool_fini(struct work_pool *pool);
void work_pool_submit(struct work_pool *pool, struct queue_item *item);
/* Whether there is a worker, started now where there was none. */
bool work_pool_start(struct work_pool *pool);
/* Waits for what was submitted, and is done with it; not for what `done` submits. */
void work_pool_drain(struct work_pool *pool);
/* Whether anything is waiting, running, or finished and not given back. */
bool work_pool_busy(struct work_pool *pool);

#endif
