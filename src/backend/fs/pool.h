/*
 * Worker threads that serve requests, and the way back to the event loop.
 *
 * submit and drain are called under the device lock; `run` on a worker thread without it, or within
 * submit where there are no workers. Each thread has its own scratch memory. Where the device lock is
 * free, a worker completes its request itself: the guest has its answer two thread switches earlier.
 */
#ifndef LM_BACKEND_FS_POOL_H
#define LM_BACKEND_FS_POOL_H

#include <pthread.h>

#include "base/err.h"
#include "dev/fsdev.h"
#include "event/loop.h"

#define FS_POOL_THREADS 4
#define FS_ARG_MAX	(66 * 1024) /* the largest: an attribute of XATTR_SIZE_MAX with its name */
#define FS_REPLY_MAX	(64 * 1024) /* of replies that are built; files' data go straight to the guest */

struct fs_scratch {
	_Alignas(8) uint8_t arg[FS_ARG_MAX + 1];
	_Alignas(8) uint8_t reply[FS_REPLY_MAX];
};

struct fs_list {
	struct fs_request *first, **end;
};

struct fs_pool {
	void (*run)(void *opaque, struct fs_request *req, struct fs_scratch *scratch);
	void *opaque;
	bool synchronous;
	struct event_loop *loop;

	pthread_mutex_t lock; /* leaf: guards what follows */
	pthread_cond_t work, idle;
	struct fs_list todo, done;
	unsigned running, sleeping; /* threads */
	bool stopping;
	pthread_t thread[FS_POOL_THREADS];
	unsigned threads; /* started as they are needed */

	struct fs_scratch scratch; /* of requests that are served within submit */
	int event_fd;
	struct event_fd watch;
};

int fs_pool_init(struct fs_pool *pool, struct event_loop *loop, bool synchronous,
		 struct lm_err *err);
void fs_pool_fini(struct fs_pool *pool);
void fs_pool_submit(struct fs_pool *pool, struct fs_request *req);
/* Returns when all that was submitted is done. */
void fs_pool_drain(struct fs_pool *pool);

#endif
