#include "backend/work_pool.h"

#include "base/thread.h"

/*
 * Never waits for the device lock, whose holder may wait for us in drain. Without the lock what is
 * finished is left to the loop.
 */
static bool done_here(struct work_pool *pool, struct queue_item *item)
{
	if (!pool->done_on_worker || !loop_trylock(pool->loop))
		return false;
	pool->done(pool->opaque, item);
	loop_unlock(pool->loop);
	return true;
}

static void serve(struct work_pool *pool, struct queue_item *item, void *scratch)
{
	bool given_back;

	pool->running++;
	pthread_mutex_unlock(&pool->lock);
	pool->run(pool->opaque, item, scratch);
	given_back = done_here(pool, item);
	pthread_mutex_lock(&pool->lock);
	pool->running--;
	if (!given_back) {
		if (!pool->finished.first) /* else the loop is awake, and takes all there is */
			waker_wake(&pool->waker);
		queue_push(&pool->finished, item);
	}
	if (!pool->running && !pool->todo.first)
		pthread_cond_broadcast(&pool->idle);
}

static void *worker(void *opaque)
{
	struct work_thread *t = opaque;
	struct work_pool *pool = t->pool;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct queue_item *item = queue_pop(&pool->todo);

		if (item) {
			serve(pool, item, t->scratch);
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

static void give_back_all(void *opaque)
{
	struct work_pool *pool = opaque;

	for (;;) {
		struct queue_item *item;

		pthread_mutex_lock(&pool->lock);
		item = queue_pop(&pool->finished);
		pthread_mutex_unlock(&pool->lock);
		if (!item)
			return;
		pool->done(pool->opaque, item);
	}
}

int work_pool_init(struct work_pool *pool, struct event_loop *loop, struct lm_err *err)
{
	pool->loop = loop;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->idle, NULL);
	return pool->synchronous ? 0 : waker_init(&pool->waker, loop, give_back_all, pool, err);
}

void work_pool_fini(struct work_pool *pool)
{
	work_pool_drain(pool);
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned k = 0; k < pool->threads; k++)
		pthread_join(pool->thread[k].thread, NULL);
	waker_fini(&pool->waker);
	pthread_cond_destroy(&pool->idle);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
}

static void *scratch_piece(const struct work_pool *pool, unsigned k)
{
	return pool->scratch ? (char *)pool->scratch + k * pool->scratch_size : NULL;
}

static void start_thread(struct work_pool *pool)
{
	struct work_thread *t = &pool->thread[pool->threads];

	t->pool = pool;
	t->scratch = scratch_piece(pool, pool->threads);
	if (!thread_start_quiet(&t->thread, worker, t))
		pool->threads++;
}

/* Where the host gives us no thread at all, the item is served here and now. */
void work_pool_submit(struct work_pool *pool, struct queue_item *item)
{
	bool here = pool->synchronous;

	if (!here) {
		pthread_mutex_lock(&pool->lock);
		if (!pool->sleeping && pool->threads < WORK_POOL_THREADS)
			start_thread(pool);
		here = !pool->threads;
		if (!here) {
			queue_push(&pool->todo, item);
			pthread_cond_signal(&pool->work);
		}
		pthread_mutex_unlock(&pool->lock);
	}
	if (here) {
		pool->run(pool->opaque, item, scratch_piece(pool, WORK_POOL_THREADS));
		pool->done(pool->opaque, item);
	}
}

bool work_pool_start(struct work_pool *pool)
{
	bool ok;

	pthread_mutex_lock(&pool->lock);
	if (!pool->threads)
		start_thread(pool);
	ok = pool->threads;
	pthread_mutex_unlock(&pool->lock);
	return ok;
}

void work_pool_drain(struct work_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	while (pool->running || pool->todo.first)
		pthread_cond_wait(&pool->idle, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
	give_back_all(pool);
}

bool work_pool_busy(struct work_pool *pool)
{
	bool busy;

	pthread_mutex_lock(&pool->lock);
	busy = pool->running || pool->todo.first || pool->finished.first;
	pthread_mutex_unlock(&pool->lock);
	return busy;
}
