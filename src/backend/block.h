/*
 * Disk images: raw files and block devices behind a struct blockdev (dev/blockdev.h).
 *
 * Requests are served by a few worker threads and complete on the event loop's thread under its
 * lock; in synchronous mode (deterministic machines) they complete inside submit.
 *
 * An image is locked while open: one writer, or any number of readers. Ephemeral mode opens it for
 * reading and keeps what the guest writes in an unlinked sparse file, gone at close.
 */
#ifndef LM_BACKEND_BLOCK_H
#define LM_BACKEND_BLOCK_H

#include "base/err.h"
#include "dev/blockdev.h"
#include "event/loop.h"

struct block_options {
	const char *path;
	const char *id; /* serial number, cut at BLOCK_ID_SIZE; NULL for the file's name */
	bool read_only;
	bool ephemeral;	  /* not with read_only */
	bool synchronous; /* no worker threads */
};

/* *out is owned by the caller, for block_close. On failure *out is NULL. */
int block_open(struct blockdev **out, const struct block_options *options, struct event_loop *loop,
	       struct lm_err *err);
/* Completes what is in flight, under the device lock. NULL is allowed. */
void block_close(struct blockdev *dev);

#endif
