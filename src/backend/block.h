/*
 * Disks: an image (image.h) behind a struct blockdev (dev/blockdev.h).
 *
 * Requests whose place in the file is known go to io_uring where the file is open with O_DIRECT and
 * the host allows it; all others are served by a few worker threads. Both complete on the event
 * loop's thread under its lock; in synchronous mode (deterministic machines) they complete inside
 * submit.
 *
 * An image is locked while open: one writer, or any number of readers. Ephemeral mode opens it for
 * reading and keeps what the guest writes in an unlinked sparse file, gone at close.
 */
#ifndef LM_BACKEND_BLOCK_H
#define LM_BACKEND_BLOCK_H

#include "backend/image.h"
#include "base/err.h"
#include "dev/blockdev.h"
#include "event/loop.h"

/* What becomes of a request that the host cannot serve. */
enum block_on_error {
	BLOCK_REPORT,	   /* the guest sees an I/O error */
	BLOCK_STOP,	   /* any error stops the machine */
	BLOCK_STOP_ENOSPC, /* writes without space stop the machine, all else is the guest's error */
};

/* Where data go. */
enum block_cache {
	BLOCK_CACHE_AUTO,   /* direct for what is written to, the page cache for all else */
	BLOCK_CACHE_DIRECT, /* O_DIRECT, where the file system has it */
	BLOCK_CACHE_HOST,   /* through the host's page cache */
};

struct block_options {
	const char *path;
	const char *id; /* serial number, cut at BLOCK_ID_SIZE; NULL for the file's name */
	enum image_format format;
	enum block_cache cache;
	enum block_on_error on_error;
	bool read_only;
	bool ephemeral;	    /* not with read_only */
	/*
	 * With ephemeral: an image of block_save_overlay that lies over this one. The backing file that
	 * it names is not opened: this one is. NULL: none.
	 */
	const char *changes;
	bool allow_backing; /* images may name a backing file */
	bool synchronous;   /* no worker threads */
	bool no_uring;	    /* worker threads only */
	bool detached;	    /* not opened before block_attach, which then finds this size: */
	uint64_t size;
	/*
	 * Under the device lock: a request failed in a way that stops the machine, and waits for
	 * block_resume. NULL where that is not offered: then errors are always the guest's.
	 */
	void (*stop)(void *opaque, struct blockdev *dev, int error);
	void *opaque;
};

/* *out is owned by the caller, for block_close. On failure *out is NULL. */
int block_open(struct blockdev **out, const struct block_options *options, struct event_loop *loop,
	       struct lm_err *err);
/*
 * Hands the image over to another process, and takes it back or over: between them nobody here has it
 * open, and requests fail. Under the device lock, quiescent; not for ephemeral disks.
 */
int block_detach(struct blockdev *dev, struct lm_err *err);
int block_attach(struct blockdev *dev, struct lm_err *err);

/* Completes what is in flight, under the device lock. NULL is allowed. */
void block_close(struct blockdev *dev);

/* Under the device lock: whether requests wait since an error, and another try for them. */
bool block_is_stopped(const struct blockdev *dev);
void block_resume(struct blockdev *dev);

/*
 * Under the device lock, vCPUs parked: everything submitted is done, and everything done is on
 * stable storage. -EBUSY where requests wait since an error.
 */
int block_quiesce(struct blockdev *dev, struct lm_err *err);

/*
 * Quiescent disk: writes what an ephemeral disk has over its base into a new qcow2 image with that
 * base as backing file. What was put over the base by `changes` goes along.
 */
int block_save_overlay(struct blockdev *dev, const char *path, struct lm_err *err);

/* For counters and tests: requests that went by io_uring. */
uint64_t block_uring_requests(const struct blockdev *dev);

/*
 * Quiescent ephemeral disk: the next stretch from `from` on that is not its base's. False: there is
 * none, or it cannot be told.
 */
bool block_next_change(struct blockdev *dev, uint64_t from, uint64_t *start, uint64_t *len);

#endif
