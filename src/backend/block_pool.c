#include "backend/block_pool.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"

static void wake_loop(struct block_pool *pool)
{
	uint64_t one = 1;
	ssize_t n = write(pool->event_fd, &one, sizeof(one));

	(void)n; /* EAGAIN: the loop has been woken and has not looked yet */
}

static void serve(struct block_pool *pool, struct block_request *req)
{
	pool->running++;
	pthread_mutex_unlock(&pool->lock);
	req->result = pool->run(pool->opaque, req);
	pthread_mutex_lock(&pool->lock);
	pool->running--;
	block_list_push(&pool->done, req);
	if (!pool->running && !pool->todo.first)
		pthread_cond_broadcast(&pool->idle);
	wake_loop(pool);
}

static void *worker(void *opaque)
{
	struct block_pool *pool = opaque;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct block_request *req = block_list_pop(&pool->todo);

		if (req) {
			serve(pool, req);
			continue;
		}
		if (pool->stopping)
			break;
		pool->sleeping++;
		pthread_cond_wait(&pool->work, &pool->lock);
		pool->sleeping--;
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Under the device lock. Completions may submit again. */
static void complete_all(struct block_pool *pool)
{
	for (;;) {
		struct block_request *req;

		pthread_mutex_lock(&pool->lock);
		req = block_list_pop(&pool->done);
		pthread_mutex_unlock(&pool->lock);
		if (!req)
			return;
		pool->finished(pool->opaque, req);
	}
}

static void ready(void *opaque, uint32_t events)
{
	struct block_pool *pool = opaque;
	uint64_t count;
	ssize_t n = read(pool->event_fd, &count, sizeof(count));

	(void)n;
	complete_all(pool);
}

int block_pool_init(struct block_pool *pool, struct event_loop *loop, bool synchronous,
		    struct lm_err *err)
{
	pool->synchronous = synchronous;
	pool->event_fd = -1;
	block_list_init(&pool->todo);
	block_list_init(&pool->done);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->idle, NULL);
	if (synchronous)
		return 0;
	pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->event_fd < 0)
		return lm_err_errno(err, -errno, "cannot create an eventfd");
	return event_fd_init(&pool->watch, loop, pool->event_fd, EPOLLIN, ready, pool, err);
}

void block_pool_fini(struct block_pool *pool)
{
	block_pool_drain(pool);
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned k = 0; k < pool->threads; k++)
		pthread_join(pool->thread[k], NULL);
	event_fd_fini(&pool->watch);
	if (pool->event_fd >= 0)
		close(pool->event_fd);
	pthread_cond_destroy(&pool->idle);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
}

static void run_now(struct block_pool *pool, struct block_request *req)
{
	req->result = pool->run(pool->opaque, req);
	pool->finished(pool->opaque, req);
}

static bool start_thread(struct block_pool *pool)
{
	bool ok = thread_start_quiet(&pool->thread[pool->threads], worker, pool) == 0;

	pool->threads += ok;
	return ok;
}

/* Where the host gives us no thread at all, the request is served here and now. */
void block_pool_submit(struct block_pool *pool, struct block_request *req)
{
	bool inline_only = pool->synchronous;

	if (!inline_only) {
		pthread_mutex_lock(&pool->lock);
		if (!pool->sleeping && pool->threads < BLOCK_POOL_THREADS)
			start_thread(pool);
		inline_only = !pool->threads;
		if (!inline_only) {
			block_list_push(&pool->todo, req);
			pthread_cond_signal(&pool->work);
		}
		pthread_mutex_unlock(&pool->lock);
	}
	if (inline_only)
		run_now(pool, req);
}

bool block_pool_start(struct block_pool *pool)
{
	bool ok;

	pthread_mutex_lock(&pool->lock);
	ok = pool->threads || start_thread(pool);
	pthread_mutex_unlock(&pool->lock);
	return ok;
}

void block_pool_drain(struct block_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	while (pool->running || pool->todo.first)
		pthread_cond_wait(&pool->idle, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
	complete_all(pool);
}

bool block_pool_busy(struct block_pool *pool)
{
	bool busy;

	pthread_mutex_lock(&pool->lock);
	busy = pool->running || pool->todo.first || pool->done.first;
	pthread_mutex_unlock(&pool->lock);
	return busy;
}
