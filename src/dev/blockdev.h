/*
 * Block storage as devices see it: requests go in, completions come back under the device lock.
 * The backends are in src/backend (block.h).
 */
#ifndef LM_DEV_BLOCKDEV_H
#define LM_DEV_BLOCKDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/queue.h"

#define BLOCK_SECTOR_SIZE 512
#define BLOCK_ID_SIZE	  20

enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES };

struct block_request {
	enum block_op op;
	bool sync;	 /* writes: on stable storage before completion */
	bool may_unmap;	 /* write zeroes: holes are welcome */
	uint64_t offset; /* bytes; the submitter has checked the range against blockdev.size */
	uint64_t len;
	/* Host addresses (guest RAM) of exactly len bytes for reads and writes; not changed. */
	const struct iovec *iov;
	unsigned iov_count;
	/*
	 * Called once, with 0 or a negative errno, under the device lock: on the event loop's
	 * thread, in drain, or from within submit.
	 */
	void (*done)(struct block_request *req, int result);
	struct queue_item queued; /* the backend's, until done */
	int result;		  /* the backend's, until done */
};

struct blockdev;

struct blockdev_ops {
	void (*submit)(struct blockdev *dev, struct block_request *req);
	/*
	 * Returns when all that was submitted is done, or waits for the machine to be resumed after
	 * an error.
	 */
	void (*drain)(struct blockdev *dev);
	/* The same, and what waits after an error is done, with its error. */
	void (*abandon)(struct blockdev *dev);
	/* After one or more submit: they may have waited for this. NULL where they never do. */
	void (*commit)(struct blockdev *dev);
};

struct blockdev {
	const struct blockdev_ops *ops;
	uint64_t size; /* bytes, a multiple of BLOCK_SECTOR_SIZE; fixed */
	bool read_only;
	char id[BLOCK_ID_SIZE + 1]; /* serial number for the guest */
};

static inline void blockdev_commit(struct blockdev *dev)
{
	if (dev->ops->commit)
		dev->ops->commit(dev);
}

/* Nothing is in flight afterwards, whatever the machine waits for. */
static inline void blockdev_finish(struct blockdev *dev)
{
	if (dev->ops->abandon)
		dev->ops->abandon(dev);
	else
		dev->ops->drain(dev);
}

#endif
