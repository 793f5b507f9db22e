/*
 * Reads and writes by io_uring, for files that are open with O_DIRECT. Everything under the device
 * lock; completions arrive on the event loop's thread, or in block_uring_wait.
 */
#ifndef LM_BACKEND_BLOCK_URING_H
#define LM_BACKEND_BLOCK_URING_H

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

#include "dev/blockdev.h"
#include "event/waker.h"

struct block_uring {
	struct io_uring ring;
	struct waker waker;
	unsigned in_flight;
	unsigned queued; /* of these: not yet given to the kernel */
	uint64_t requests;
	/* All of the request was moved, or not: then it is to be tried in another way. */
	void (*finished)(void *opaque, struct block_request *req, bool ok);
	void *opaque;
};

/* Negative errno where the host has no io_uring for us. */
int block_uring_init(struct block_uring *u, struct event_loop *loop);
void block_uring_fini(struct block_uring *u);
/* A read or write of req at an offset of fd; false where there is no room. */
bool block_uring_queue(struct block_uring *u, struct block_request *req, int fd, uint64_t offset);
/* Gives the kernel what is queued. */
void block_uring_commit(struct block_uring *u);
/* Until nothing is in flight. */
void block_uring_wait(struct block_uring *u);

#endif
