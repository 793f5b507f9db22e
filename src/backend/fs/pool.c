#include "backend/fs/pool.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/thread.h"

static void list_init(struct fs_list *list)
{
	list->first = NULL;
	list->end = &list->first;
}

static void list_push(struct fs_list *list, struct fs_request *req)
{
	req->next = NULL;
	*list->end = req;
	list->end = &req->next;
}

static struct fs_request *list_pop(struct fs_list *list)
{
	struct fs_request *req = list->first;

	if (!req)
		return NULL;
	list->first = req->next;
	if (!list->first)
		list->end = &list->first;
	return req;
}

static void wake_loop(struct fs_pool *pool)
{
	uint64_t one = 1;
	ssize_t n = write(pool->event_fd, &one, sizeof(one));

	(void)n; /* EAGAIN: the loop has been woken and has not looked yet */
}

/*
 * Never waits for the device lock, whose holder may wait for us in drain. Without the lock what is
 * done is left to the loop.
 */
static bool complete_here(struct fs_pool *pool, struct fs_request *req)
{
	if (!loop_trylock(pool->loop))
		return false;
	req->done(req);
	loop_unlock(pool->loop);
	return true;
}

static void serve(struct fs_pool *pool, struct fs_request *req, struct fs_scratch *scratch)
{
	bool completed;

	pool->running++;
	pthread_mutex_unlock(&pool->lock);
	pool->run(pool->opaque, req, scratch);
	completed = complete_here(pool, req);
	pthread_mutex_lock(&pool->lock);
	pool->running--;
	if (!completed) {
		if (!pool->done.first)
			wake_loop(pool);
		list_push(&pool->done, req);
	}
	if (!pool->running && !pool->todo.first)
		pthread_cond_broadcast(&pool->idle);
}

static void *worker(void *opaque)
{
	struct fs_pool *pool = opaque;
	struct fs_scratch scratch; /* fits into the stack that base/thread.h gives */

	pthread_mutex_lock(&pool->lock);
	while (!pool->stopping) {
		struct fs_request *req = list_pop(&pool->todo);

		if (req) {
			serve(pool, req, &scratch);
			continue;
		}
		pool->sleeping++;
		pthread_cond_wait(&pool->work, &pool->lock);
		pool->sleeping--;
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Under the device lock. Completions may submit again. */
static void complete_all(struct fs_pool *pool)
{
	for (;;) {
		struct fs_request *req;

		pthread_mutex_lock(&pool->lock);
		req = list_pop(&pool->done);
		pthread_mutex_unlock(&pool->lock);
		if (!req)
			return;
		req->done(req);
	}
}

static void ready(void *opaque, uint32_t events)
{
	struct fs_pool *pool = opaque;
	uint64_t count;
	ssize_t n = read(pool->event_fd, &count, sizeof(count));

	(void)n;
	complete_all(pool);
}

int fs_pool_init(struct fs_pool *pool, struct event_loop *loop, bool synchronous,
		 struct lm_err *err)
{
	pool->synchronous = synchronous;
	pool->loop = loop;
	list_init(&pool->todo);
	list_init(&pool->done);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->idle, NULL);
	pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pool->event_fd < 0)
		return lm_err_errno(err, -errno, "cannot create an eventfd");
	return event_fd_init(&pool->watch, loop, pool->event_fd, EPOLLIN, ready, pool, err);
}

void fs_pool_fini(struct fs_pool *pool)
{
	fs_pool_drain(pool);
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

static void start_thread(struct fs_pool *pool)
{
	pthread_t *next = &pool->thread[pool->threads];

	if (!thread_start_quiet(next, worker, pool))
		pool->threads++;
}

/* Where the host gives us no thread at all, the request is served here and now. */
void fs_pool_submit(struct fs_pool *pool, struct fs_request *req)
{
	bool here = pool->synchronous;

	if (!here) {
		pthread_mutex_lock(&pool->lock);
		if (!pool->sleeping && pool->threads < FS_POOL_THREADS)
			start_thread(pool);
		here = !pool->threads;
		if (!here) {
			list_push(&pool->todo, req);
			pthread_cond_signal(&pool->work);
		}
		pthread_mutex_unlock(&pool->lock);
	}
	if (here) {
		pool->run(pool->opaque, req, &pool->scratch);
		req->done(req);
	}
}

void fs_pool_drain(struct fs_pool *pool)
{
	bool more = true;

	while (more) {
		pthread_mutex_lock(&pool->lock);
		while (pool->running || pool->todo.first)
			pthread_cond_wait(&pool->idle, &pool->lock);
		more = pool->done.first != NULL;
		pthread_mutex_unlock(&pool->lock);
		complete_all(pool);
	}
}
