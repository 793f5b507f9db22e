/* Raw disk images: opening, checking, locking; requests go through the pool to files. */
#include "backend/block.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block_io.h"
#include "backend/block_overlay.h"
#include "backend/block_pool.h"
#include "base/bits.h"
#include "base/log.h"

struct block_raw {
	struct blockdev dev;
	struct block_pool pool;
	struct overlay overlay;
	char *path;
	int fd;
	bool ephemeral;
	bool failure_logged;
};

static int sync_if(int fd, bool wanted)
{
	return wanted && fdatasync(fd) < 0 ? -errno : 0;
}

static int run_file(int fd, const struct block_request *req)
{
	int rc;

	switch (req->op) {
	case BLOCK_READ:
		return block_read(fd, req->offset, req->iov, req->iov_count, 0, req->len);
	case BLOCK_WRITE:
		rc = block_write(fd, req->offset, req->iov, req->iov_count, 0, req->len);
		return rc < 0 ? rc : sync_if(fd, req->sync);
	case BLOCK_DISCARD:
		return block_discard(fd, req->offset, req->len);
	case BLOCK_WRITE_ZEROES:
		rc = block_zero(fd, req->offset, req->len, req->may_unmap);
		return rc < 0 ? rc : sync_if(fd, req->sync);
	case BLOCK_FLUSH:
		return sync_if(fd, true);
	}
	return -EINVAL;
}

static int run(void *opaque, const struct block_request *req)
{
	struct block_raw *raw = opaque;

	if (raw->ephemeral)
		return overlay_run(&raw->overlay, req);
	if (raw->dev.read_only && req->op != BLOCK_READ)
		return req->op == BLOCK_FLUSH ? 0 : -EROFS;
	return run_file(raw->fd, req);
}

static void finished(void *opaque, const struct block_request *req)
{
	static const char *const verb[] = {
	    [BLOCK_READ] = "reading",	      [BLOCK_WRITE] = "writing",
	    [BLOCK_FLUSH] = "flushing",	      [BLOCK_DISCARD] = "discarding",
	    [BLOCK_WRITE_ZEROES] = "zeroing",
	};
	struct block_raw *raw = opaque;

	if (req->result == 0 || raw->failure_logged)
		return;
	raw->failure_logged = true;
	log_line(LOG_WARN, "disk %s: %s at byte %llu: %s; the guest sees an I/O error", raw->path,
		 verb[req->op], (unsigned long long)req->offset, strerror(-req->result));
}

static void raw_submit(struct blockdev *dev, struct block_request *req)
{
	struct block_raw *raw = LM_CONTAINER_OF(dev, struct block_raw, dev);

	block_pool_submit(&raw->pool, req);
}

static void raw_drain(struct blockdev *dev)
{
	struct block_raw *raw = LM_CONTAINER_OF(dev, struct block_raw, dev);

	block_pool_drain(&raw->pool);
}

static const struct blockdev_ops raw_ops = {raw_submit, raw_drain};

/* Opening. */

static int get_size(int fd, const struct stat *st, uint64_t *size)
{
	if (S_ISREG(st->st_mode)) {
		*size = (uint64_t)st->st_size;
		return 0;
	}
	return ioctl(fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
}

static int check(struct block_raw *raw, struct lm_err *err)
{
	struct stat st;
	int rc;

	if (fstat(raw->fd, &st) < 0)
		return lm_err_errno(err, -errno, "cannot look at it");
	if (S_ISDIR(st.st_mode))
		return lm_err_set(err, -EISDIR, "it is a directory, not a disk image");
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return lm_err_set(err, -EINVAL, "it is neither a regular file nor a block device");
	rc = get_size(raw->fd, &st, &raw->dev.size);
	if (rc < 0)
		return lm_err_errno(err, rc, "cannot find its size");
	if (!raw->dev.size || raw->dev.size % BLOCK_SECTOR_SIZE)
		return lm_err_set(err, -EINVAL,
				  "its size, %llu bytes, is not a positive multiple of 512",
				  (unsigned long long)raw->dev.size);
	return 0;
}

/* Open file description locks; file systems without them are used unlocked. */
static int lock_image(int fd, bool exclusive, struct lm_err *err)
{
	struct flock lock = {
	    .l_type = exclusive ? F_WRLCK : F_RDLCK,
	    .l_whence = SEEK_SET,
	};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES))
		return 0;
	return lm_err_set(err, -EBUSY, "%s",
			  exclusive ? "it is in use by another machine"
				    : "it is being written by another machine");
}

/* O_NONBLOCK keeps the open of a pipe from waiting; it means nothing for files. */
static int open_image(struct block_raw *raw, const struct block_options *o, struct lm_err *err)
{
	bool write = !o->read_only && !o->ephemeral;
	int rc;

	raw->fd = open(o->path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (raw->fd < 0 && errno == EISDIR)
		return lm_err_set(err, -EISDIR, "it is a directory, not a disk image");
	if (raw->fd < 0)
		return lm_err_errno(err, -errno, "cannot open it%s", write ? " for writing" : "");
	rc = check(raw, err);
	return rc < 0 ? rc : lock_image(raw->fd, write, err);
}

static void set_id(struct blockdev *dev, const struct block_options *o)
{
	const char *slash = strrchr(o->path, '/');
	const char *id = o->id ? o->id : slash ? slash + 1 : o->path;

	memcpy(dev->id, id, strnlen(id, BLOCK_ID_SIZE));
}

static void destroy(struct block_raw *raw)
{
	if (raw->ephemeral)
		overlay_fini(&raw->overlay);
	if (raw->fd >= 0)
		close(raw->fd);
	free(raw->path);
	free(raw);
}

static int set_up(struct block_raw *raw, const struct block_options *o, struct event_loop *loop,
		  struct lm_err *err)
{
	int rc;

	raw->path = strdup(o->path);
	if (!raw->path)
		return lm_err_errno(err, -ENOMEM, "cannot keep its name");
	rc = open_image(raw, o, err);
	if (rc < 0)
		return rc;
	if (o->ephemeral) {
		raw->ephemeral = true;
		rc = overlay_init(&raw->overlay, raw->fd, raw->dev.size, err);
		if (rc < 0)
			return rc;
	}
	rc = block_pool_init(&raw->pool, loop, o->synchronous, err);
	if (rc < 0)
		block_pool_fini(&raw->pool);
	return rc;
}

int block_open(struct blockdev **out, const struct block_options *options, struct event_loop *loop,
	       struct lm_err *err)
{
	struct block_raw *raw = calloc(1, sizeof(*raw));
	int rc;

	*out = NULL;
	if (!raw)
		return lm_err_errno(err, -ENOMEM, "disk %s", options->path);
	raw->fd = -1;
	raw->dev.ops = &raw_ops;
	raw->dev.read_only = options->read_only;
	raw->pool.run = run;
	raw->pool.finished = finished;
	raw->pool.opaque = raw;
	set_id(&raw->dev, options);
	rc = set_up(raw, options, loop, err);
	if (rc < 0) {
		destroy(raw);
		lm_err_wrap(err, "disk %s", options->path);
		return rc;
	}
	*out = &raw->dev;
	return 0;
}

void block_close(struct blockdev *dev)
{
	struct block_raw *raw;

	if (!dev)
		return;
	raw = LM_CONTAINER_OF(dev, struct block_raw, dev);
	block_pool_fini(&raw->pool);
	destroy(raw);
}
