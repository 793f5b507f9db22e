#include "backend/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/block_overlay.h"
#include "backend/block_uring.h"
#include "backend/image_copy.h"
#include "backend/work_pool.h"
#include "base/bits.h"
#include "base/log.h"

struct block_disk {
	struct blockdev dev;
	struct image *image; /* NULL: detached */
	struct block_options options; /* its path is ours */
	struct event_loop *loop;
	struct work_pool pool;
	struct block_uring uring; /* where has_uring */
	bool has_uring;
	struct queue held; /* failed, and waiting for block_resume */
	enum block_on_error on_error;
	void (*stop)(void *opaque, struct blockdev *dev, int error);
	void *opaque;
	char *path;
	enum image_format base_format; /* of an ephemeral disk */
	unsigned layers; /* of an ephemeral disk over its base */
	bool ephemeral;
	bool failure_logged;
};

static struct block_disk *disk_of(const struct blockdev *dev)
{
	return LM_CONTAINER_OF(dev, struct block_disk, dev);
}

/* ---- Serving ---- */

static int flush_if(struct image *img, int rc, bool wanted)
{
	return rc < 0 || !wanted ? rc : img->ops->flush(img);
}

static int run_image(struct image *img, const struct block_request *req)
{
	int rc;

	switch (req->op) {
	case BLOCK_READ:
		return img->ops->read(img, req->offset, req->iov, req->iov_count, 0, req->len);
	case BLOCK_WRITE:
		rc = img->ops->write(img, req->offset, req->iov, req->iov_count, 0, req->len);
		return flush_if(img, rc, req->sync);
	case BLOCK_DISCARD:
		return img->ops->discard(img, req->offset, req->len);
	case BLOCK_WRITE_ZEROES:
		rc = img->ops->zero(img, req->offset, req->len, req->may_unmap);
		return flush_if(img, rc, req->sync);
	case BLOCK_FLUSH:
		return img->ops->flush(img);
	}
	return -EINVAL;
}

static struct block_request *request_of(struct queue_item *item)
{
	return LM_CONTAINER_OF(item, struct block_request, queued);
}

static int serve(struct block_disk *d, const struct block_request *req)
{
	if (!d->image)
		return -EIO;
	if (d->dev.read_only && req->op != BLOCK_READ)
		return req->op == BLOCK_FLUSH ? 0 : -EROFS;
	return run_image(d->image, req);
}

/* On a worker thread, or where there is none. */
static void run(void *opaque, struct queue_item *item, void *scratch)
{
	struct block_request *req = request_of(item);

	req->result = serve(opaque, req);
}

/* ---- Errors ---- */

static bool stops(const struct block_disk *d, const struct block_request *req)
{
	if (!d->stop || d->on_error == BLOCK_REPORT)
		return false;
	return d->on_error == BLOCK_STOP || req->result == -ENOSPC || req->result == -EDQUOT;
}

static void log_failure(struct block_disk *d, const struct block_request *req, const char *effect)
{
	static const char *const verb[] = {
	    [BLOCK_READ] = "reading",	      [BLOCK_WRITE] = "writing",
	    [BLOCK_FLUSH] = "flushing",	      [BLOCK_DISCARD] = "discarding",
	    [BLOCK_WRITE_ZEROES] = "zeroing",
	};

	if (d->failure_logged)
		return;
	d->failure_logged = true;
	log_line(LOG_WARN, "disk %s: %s at byte %llu: %s; %s", d->path, verb[req->op],
		 (unsigned long long)req->offset, strerror(-req->result), effect);
}

/* Under the device lock, once for each request: gives it back, or keeps it for block_resume. */
static void complete(struct block_disk *d, struct block_request *req)
{
	if (!req->result) {
		req->done(req, 0);
		return;
	}
	if (!stops(d, req)) {
		log_failure(d, req, "the guest sees an I/O error");
		req->done(req, req->result);
		return;
	}
	log_failure(d, req, "the machine is paused and tries again when it is resumed");
	queue_push(&d->held, &req->queued);
	if (d->held.first == &req->queued)
		d->stop(d->opaque, &d->dev, req->result);
}

static void served(void *opaque, struct queue_item *item)
{
	complete(opaque, request_of(item));
}

bool block_is_stopped(const struct blockdev *dev)
{
	return disk_of(dev)->held.first != NULL;
}

void block_resume(struct blockdev *dev)
{
	struct block_disk *d = disk_of(dev);
	struct queue again = d->held;
	struct queue_item *item;

	if (!again.first)
		return;
	d->held = (struct queue){NULL, NULL};
	d->failure_logged = false;
	while ((item = queue_pop(&again)))
		dev->ops->submit(dev, request_of(item));
	dev->ops->commit(dev);
}

/* Who waits for everything to be done gets the errors that were kept from the guest. */
static void give_up_held(struct block_disk *d)
{
	struct queue_item *item;

	while ((item = queue_pop(&d->held))) {
		struct block_request *req = request_of(item);

		req->done(req, req->result);
	}
}

/* ---- The blockdev ---- */

/* Straight to the file, where it is known where: true when the request is on its way. */
static bool submit_in_place(struct block_disk *d, struct block_request *req)
{
	struct image *img = d->image;
	enum image_access access = req->op == BLOCK_READ ? IMAGE_READ
				   : req->sync		 ? IMAGE_WRITE_THROUGH
							 : IMAGE_WRITE;
	uint64_t offset;

	if (!img || !d->has_uring || (req->op != BLOCK_READ && req->op != BLOCK_WRITE) || !req->len ||
	    (req->op == BLOCK_WRITE && d->dev.read_only) ||
	    !host_file_aligned(&img->file, req->iov, req->iov_count))
		return false;
	if (!img->ops->place(img, access, req->offset, req->len, &offset))
		return false;
	if (block_uring_queue(&d->uring, req, img->file.direct, offset))
		return true;
	img->ops->unplace(img);
	return false;
}

/* Whatever went wrong, and what was short at the end of the file, is a worker's to find out. */
static void uring_finished(void *opaque, struct block_request *req, bool ok)
{
	struct block_disk *d = opaque;

	d->image->ops->unplace(d->image);
	req->result = 0;
	if (ok)
		complete(d, req);
	else
		work_pool_submit(&d->pool, &req->queued);
}

static void disk_submit(struct blockdev *dev, struct block_request *req)
{
	struct block_disk *d = disk_of(dev);

	if (!submit_in_place(d, req))
		work_pool_submit(&d->pool, &req->queued);
}

static void disk_commit(struct blockdev *dev)
{
	struct block_disk *d = disk_of(dev);

	if (d->has_uring)
		block_uring_commit(&d->uring);
}

/*
 * First what io_uring has: workers may wait for that, but it never waits for workers. Completions
 * may submit again.
 */
static void disk_drain(struct blockdev *dev)
{
	struct block_disk *d = disk_of(dev);

	do {
		if (d->has_uring)
			block_uring_wait(&d->uring);
		work_pool_drain(&d->pool);
	} while ((d->has_uring && d->uring.in_flight) || work_pool_busy(&d->pool));
}

uint64_t block_uring_requests(const struct blockdev *dev)
{
	const struct block_disk *d = disk_of(dev);

	return d->has_uring ? d->uring.requests : 0;
}

/* Completions may submit again. */
static void disk_abandon(struct blockdev *dev)
{
	struct block_disk *d = disk_of(dev);

	do {
		disk_drain(dev);
		give_up_held(d);
	} while ((d->has_uring && d->uring.in_flight) || work_pool_busy(&d->pool));
}

static const struct blockdev_ops disk_ops = {
    .submit = disk_submit,
    .commit = disk_commit,
    .drain = disk_drain,
    .abandon = disk_abandon,
};

int block_quiesce(struct blockdev *dev, struct lm_err *err)
{
	struct block_disk *d = disk_of(dev);
	int rc;

	disk_drain(dev);
	if (d->held.first)
		return lm_err_set(err, -EBUSY, "disk %s: requests wait since an error", d->path);
	rc = d->dev.read_only || !d->image ? 0 : d->image->ops->flush(d->image);
	return rc < 0 ? lm_err_errno(err, rc, "disk %s: flushing", d->path) : 0;
}

int block_save_overlay(struct blockdev *dev, const char *path, struct lm_err *err)
{
	struct block_disk *d = disk_of(dev);
	struct image_create_options o = {
	    .path = path,
	    .format = IMAGE_QCOW2,
	    .size = dev->size,
	    .backing_format = d->base_format,
	};
	char *base;
	int rc;

	if (!d->ephemeral)
		return lm_err_set(err, -EINVAL, "disk %s is not ephemeral", d->path);
	base = realpath(d->path, NULL);
	if (!base)
		return lm_err_errno(err, -errno, "disk %s: cannot find it again", d->path);
	o.backing = base;
	rc = image_copy_top(d->image, d->layers, &o, err);
	free(base);
	return rc < 0 ? lm_err_wrap(err, "disk %s: saving it as %s", d->path, path) : 0;
}

bool block_next_change(struct blockdev *dev, uint64_t from, uint64_t *start, uint64_t *len)
{
	struct block_disk *d = disk_of(dev);
	struct image_extent e;

	for (*start = from; d->ephemeral && *start < dev->size; *start += e.len) {
		if (image_top_extent(d->image, d->layers, *start, dev->size - *start, &e) < 0)
			return false;
		*len = e.len;
		if (e.kind != IMAGE_BACKING)
			return true;
	}
	return false;
}

/* ---- Opening ---- */

static void set_id(struct blockdev *dev, const struct block_options *o)
{
	const char *slash = strrchr(o->path, '/');
	const char *id = o->id ? o->id : slash ? slash + 1 : o->path;

	memcpy(dev->id, id, strnlen(id, BLOCK_ID_SIZE));
}

static void destroy(struct block_disk *d)
{
	int rc = image_close(d->image);

	if (rc < 0)
		log_line(LOG_WARN, "disk %s: flushing at the end: %s", d->path, strerror(-rc));
	free(d->path);
	free(d);
}

/* On failure base stays the caller's. */
static int put_changes_over(struct image **out, struct image *base, const char *path,
			    struct lm_err *err)
{
	struct image_options how = {
		.path = path,
		.format = IMAGE_QCOW2,
		.ignore_backing = true,
	};
	struct image *changes;
	int rc = image_open(&changes, &how, err);

	if (rc < 0) {
		lm_err_wrap(err, "its changes in %s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
		return rc;
	}
	if (changes->size != base->size) {
		image_close(changes);
		return lm_err_set(err, -EINVAL, "the changes to it are those of a disk of another size");
	}
	changes->backing = base;
	*out = changes;
	return 0;
}

static int open_image(struct block_disk *d, const struct block_options *o, struct lm_err *err)
{
	bool write = !o->read_only && !o->ephemeral;
	struct image_options how = {
	    .path = o->path,
	    .format = o->format,
	    .writable = write,
	    .direct = o->cache == BLOCK_CACHE_DIRECT || (o->cache == BLOCK_CACHE_AUTO && write),
	    .allow_backing = o->allow_backing,
	};
	struct image *base;
	int rc = image_open(&base, &how, err);

	if (rc < 0)
		return rc;
	d->image = base;
	if (!o->ephemeral)
		return 0;
	d->base_format = IMAGE_RAW;
	image_format_parse(base->ops->name, &d->base_format);
	d->ephemeral = true;
	d->layers = o->changes ? 2 : 1;
	rc = o->changes ? put_changes_over(&d->image, base, o->changes, err) : 0;
	return rc < 0 ? rc : overlay_open(&d->image, d->image, err);
}

/* Not without a worker: the loop's thread may not wait for what it completes itself. */
static void start_uring(struct block_disk *d)
{
	if (d->has_uring || d->options.synchronous || d->options.no_uring)
		return;
	d->uring.finished = uring_finished;
	d->uring.opaque = d;
	d->has_uring = d->image->file.direct >= 0 && work_pool_start(&d->pool) &&
		       block_uring_init(&d->uring, d->loop) == 0;
}

static int set_up(struct block_disk *d, const struct block_options *o, struct event_loop *loop,
		  struct lm_err *err)
{
	int rc;

	d->path = strdup(o->path);
	if (!d->path)
		return lm_err_errno(err, -ENOMEM, "cannot keep its name");
	d->loop = loop;
	d->options = *o;
	d->options.path = d->path;
	rc = o->detached ? 0 : open_image(d, o, err);
	if (rc < 0)
		return rc;
	d->dev.size = o->detached ? o->size : d->image->size;
	d->pool.synchronous = o->synchronous;
	rc = work_pool_init(&d->pool, loop, err);
	if (rc < 0)
		work_pool_fini(&d->pool);
	else if (d->image)
		start_uring(d);
	return rc;
}

int block_open(struct blockdev **out, const struct block_options *options, struct event_loop *loop,
	       struct lm_err *err)
{
	struct block_disk *d = calloc(1, sizeof(*d));
	int rc;

	*out = NULL;
	if (!d)
		return lm_err_errno(err, -ENOMEM, "disk %s", options->path);
	d->dev.ops = &disk_ops;
	d->dev.read_only = options->read_only;
	d->on_error = options->on_error;
	d->stop = options->stop;
	d->opaque = options->opaque;
	d->pool.run = run;
	d->pool.done = served;
	d->pool.opaque = d;
	set_id(&d->dev, options);
	rc = set_up(d, options, loop, err);
	if (rc < 0) {
		destroy(d);
		lm_err_wrap(err, "disk %s", options->path);
		return rc;
	}
	*out = &d->dev;
	return 0;
}

int block_detach(struct blockdev *dev, struct lm_err *err)
{
	struct block_disk *d = disk_of(dev);
	int rc = d->ephemeral ? lm_err_set(err, -EINVAL, "disk %s is ephemeral", d->path)
			      : block_quiesce(dev, err);

	if (rc < 0)
		return rc;
	rc = image_close(d->image);
	d->image = NULL;
	return rc < 0 ? lm_err_errno(err, rc, "disk %s: flushing", d->path) : 0;
}

int block_attach(struct blockdev *dev, struct lm_err *err)
{
	struct block_disk *d = disk_of(dev);
	int rc = d->image ? 0 : open_image(d, &d->options, err);

	if (rc < 0)
		return lm_err_wrap(err, "disk %s", d->path), rc;
	if (d->image->size == dev->size) {
		start_uring(d);
		return 0;
	}
	rc = lm_err_set(err, -EINVAL, "disk %s has another size now: %llu bytes, not %llu", d->path,
			(unsigned long long)d->image->size, (unsigned long long)dev->size);
	image_close(d->image);
	d->image = NULL;
	return rc;
}

void block_close(struct blockdev *dev)
{
	struct block_disk *d;

	if (!dev)
		return;
	d = disk_of(dev);
	disk_abandon(dev);
	if (d->has_uring)
		block_uring_fini(&d->uring);
	work_pool_fini(&d->pool);
	destroy(d);
}
