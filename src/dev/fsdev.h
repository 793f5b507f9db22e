/*
 * A shared folder as the virtio-fs device sees it: FUSE requests go in, replies come back under the
 * device lock. The server is in src/backend/fs.
 */
#ifndef LM_DEV_FSDEV_H
#define LM_DEV_FSDEV_H

#include <stdint.h>
#include <sys/uio.h>

#include "base/queue.h"

#define FS_TAG_SIZE 36 /* virtio 1.2 §5.11.4: not terminated where it is full */

struct fs_request {
	/* Guest RAM: it changes under our hands, so what is checked is copied first. */
	const struct iovec *in, *out;
	unsigned in_count, out_count;
	uint64_t in_len, out_len;
	uint32_t written; /* the backend's: bytes of the reply */
	/*
	 * Called once under the device lock: on the event loop's thread, in drain, or from within
	 * submit.
	 */
	void (*done)(struct fs_request *req);
	struct queue_item queued; /* the backend's, until done */
};

struct fsdev;

struct fsdev_ops {
	void (*submit)(struct fsdev *dev, struct fs_request *req);
	/* Returns when all that was submitted is done; requests that wait for a lock are interrupted. */
	void (*drain)(struct fsdev *dev);
	/* The driver is gone, and with it all it had open. Nothing is in flight. */
	void (*reset)(struct fsdev *dev);
};

struct fsdev {
	const struct fsdev_ops *ops;
	char tag[FS_TAG_SIZE]; /* the name by which the guest mounts it */
	/* Counted by the backend, atomically; names that are not there are no errors. */
	uint64_t requests, errors;
};

#endif
