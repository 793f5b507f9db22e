/*
 * Worker threads that run block requests, and the way back to the event loop.
 *
 * submit and drain are called under the device lock; `run` is called on a worker thread without it,
 * or within submit where there are no workers.
 */
#ifndef LM_BACKEND_BLOCK_POOL_H
#define LM_BACKEND_BLOCK_POOL_H

#include <pthread.h>

#include "backend/block_list.h"
#include "base/err.h"
#include "dev/blockdev.h"
#include "event/loop.h"

#define BLOCK_POOL_THREADS 4

struct block_pool {
	int (*run)(void *opaque, const struct block_request *req); /* 0 or negative errno */
	/* Under the device lock, with req->result set: the owner gives the request back. */
	void (*finished)(void *opaque, struct block_request *req);
	void *opaque;
	bool synchronous;

	pthread_mutex_t lock; /* leaf: guards what follows */
	pthread_cond_t work, idle;
	struct block_list todo, done;
	unsigned running; /* requests taken by workers and not yet in done */
	unsigned sleeping;
	bool stopping;
	pthread_t thread[BLOCK_POOL_THREADS];
	unsigned threads; /* started as they are needed */

	int event_fd;
	struct event_fd watch;
};

int block_pool_init(struct block_pool *pool, struct event_loop *loop, bool synchronous,
		    struct lm_err *err);
void block_pool_fini(struct block_pool *pool);
void block_pool_submit(struct block_pool *pool, struct block_request *req);
/* Whether there is a worker, started now where there was none. */
bool block_pool_start(struct block_pool *pool);
/* Waits for what was submitted, and completes it; not for what completions submit. */
void block_pool_drain(struct block_pool *pool);
/* Whether anything is waiting, running, or done and not given back. */
bool block_pool_busy(struct block_pool *pool);

#endif
