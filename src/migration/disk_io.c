#include "migration/disk_io.h"

#include <pthread.h>

#include "base/bits.h"

struct io {
	struct block_request req;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool finished;
	int result;
};

static void finished(struct block_request *req, int result)
{
	struct io *io = LM_CONTAINER_OF(req, struct io, req);

	pthread_mutex_lock(&io->lock);
	io->result = result;
	io->finished = true;
	pthread_cond_signal(&io->changed);
	pthread_mutex_unlock(&io->lock);
}

static void wait_for(struct io *io)
{
	pthread_mutex_lock(&io->lock);
	while (!io->finished)
		pthread_cond_wait(&io->changed, &io->lock);
	pthread_mutex_unlock(&io->lock);
}

int disk_io(struct event_loop *loop, struct blockdev *dev, enum block_op op, uint64_t offset,
	    void *data, uint64_t len, bool still)
{
	struct iovec iov = { data, len };
	struct io io = {
		.req = { .op = op, .offset = offset, .len = len, .iov = &iov, .iov_count = 1,
			 .done = finished },
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};

	loop_lock(loop);
	dev->ops->submit(dev, &io.req);
	blockdev_commit(dev);
	if (still)
		dev->ops->drain(dev);
	loop_unlock(loop);
	wait_for(&io);
	pthread_cond_destroy(&io.changed);
	pthread_mutex_destroy(&io.lock);
	return io.result;
}
