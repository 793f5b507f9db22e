#include "backend/block_uring.h"

#include <errno.h>
#include <sys/uio.h>

#define ENTRIES 256

static void reap(struct block_uring *u)
{
	struct io_uring_cqe *cqe;

	while (io_uring_peek_cqe(&u->ring, &cqe) == 0) {
		struct block_request *req = io_uring_cqe_get_data(cqe);
		bool ok = cqe->res >= 0 && (uint64_t)cqe->res == req->len;

		io_uring_cqe_seen(&u->ring, cqe);
		u->in_flight--;
		u->finished(u->opaque, req, ok);
	}
}

static void woken(void *opaque)
{
	struct block_uring *u = opaque;

	reap(u);
	block_uring_commit(u); /* what completions submitted, and what the kernel did not take */
}

int block_uring_init(struct block_uring *u, struct event_loop *loop)
{
	int rc = io_uring_queue_init(ENTRIES, &u->ring, 0);

	if (rc < 0)
		return rc;
	rc = waker_init(&u->waker, loop, woken, u, NULL);
	if (!rc)
		rc = io_uring_register_eventfd(&u->ring, u->waker.fd);
	if (rc < 0) {
		waker_fini(&u->waker);
		io_uring_queue_exit(&u->ring);
	}
	return rc;
}

void block_uring_fini(struct block_uring *u)
{
	block_uring_wait(u);
	waker_fini(&u->waker);
	io_uring_queue_exit(&u->ring);
}

bool block_uring_queue(struct block_uring *u, struct block_request *req, int fd, uint64_t offset)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe) {
		block_uring_commit(u);
		sqe = io_uring_get_sqe(&u->ring);
	}
	if (!sqe)
		return false;
	if (req->op == BLOCK_READ)
		io_uring_prep_readv(sqe, fd, req->iov, req->iov_count, offset);
	else
		io_uring_prep_writev2(sqe, fd, req->iov, req->iov_count, offset,
				      req->sync ? RWF_DSYNC : 0);
	io_uring_sqe_set_data(sqe, req);
	u->queued++;
	u->in_flight++;
	u->requests++;
	return true;
}

/* What the kernel has no memory for now stays in the ring, and the loop tries again. */
void block_uring_commit(struct block_uring *u)
{
	while (u->queued) {
		int n = io_uring_submit(&u->ring);

		if (n == -EINTR)
			continue;
		if (n <= 0) {
			waker_wake(&u->waker);
			return;
		}
		u->queued -= (unsigned)n;
	}
}

void block_uring_wait(struct block_uring *u)
{
	while (u->in_flight) {
		struct io_uring_cqe *cqe;

		block_uring_commit(u);
		if (u->in_flight > u->queued)
			io_uring_wait_cqe(&u->ring, &cqe);
		reap(u);
	}
}
