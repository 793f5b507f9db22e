#include "backend/block_overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"

struct overlay {
	struct image img;
	uint64_t *in_overlay;	    /* one bit a block; set after the block's data are in the file */
	pthread_mutex_t write_lock; /* one writer at a time, as blocks are filled from the base */
};

static struct overlay *overlay_of(struct image *img)
{
	return LM_CONTAINER_OF(img, struct overlay, img);
}

static bool has_block(const struct overlay *o, uint64_t block)
{
	return __atomic_load_n(&o->in_overlay[block / 64], __ATOMIC_ACQUIRE) >> block % 64 & 1;
}

static void mark_blocks(struct overlay *o, uint64_t first, uint64_t end)
{
	for (uint64_t b = first; b < end; b++)
		__atomic_fetch_or(&o->in_overlay[b / 64], LM_BIT(b % 64), __ATOMIC_RELEASE);
}

static int open_temporary(const char *dir)
{
	char path[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	if ((size_t)snprintf(path, sizeof(path), "%s/lamina-XXXXXX", dir) >= sizeof(path))
		return -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

/* Runs of blocks from the same file: the length of that which begins at `offset`. */
static uint64_t run_length(const struct overlay *o, uint64_t offset, uint64_t len, bool *over)
{
	uint64_t block = offset / OVERLAY_BLOCK;

	*over = has_block(o, block);
	do
		block++;
	while (block * OVERLAY_BLOCK < offset + len && has_block(o, block) == *over);
	return LM_MIN(block * OVERLAY_BLOCK - offset, len);
}

static int overlay_read(struct image *img, uint64_t offset, const struct iovec *iov, unsigned count,
			uint64_t skip, uint64_t len)
{
	struct image *base = img->backing;
	int rc = 0;

	while (!rc && len) {
		bool over;
		uint64_t n = run_length(overlay_of(img), offset, len, &over);

		rc = over ? host_file_read(&img->file, offset, iov, count, skip, n, false)
			  : base->ops->read(base, offset, iov, count, skip, n);
		offset += n;
		skip += n;
		len -= n;
	}
	return rc;
}

/* Before a part of a block is written: the rest comes from the base. */
static int fill_block(struct overlay *o, uint64_t block)
{
	uint8_t buf[OVERLAY_BLOCK];
	uint64_t at = block * OVERLAY_BLOCK;
	struct iovec iov = {buf, (size_t)LM_MIN(OVERLAY_BLOCK, o->img.size - at)};
	struct image *base = o->img.backing;
	int rc;

	if (has_block(o, block))
		return 0;
	rc = base->ops->read(base, at, &iov, 1, 0, iov.iov_len);
	return rc < 0 ? rc : host_file_write(&o->img.file, at, &iov, 1, 0, iov.iov_len);
}

static int fill_edges(struct overlay *o, uint64_t start, uint64_t end)
{
	int rc = 0;

	if (start % OVERLAY_BLOCK)
		rc = fill_block(o, start / OVERLAY_BLOCK);
	if (rc == 0 && end % OVERLAY_BLOCK && end != o->img.size)
		rc = fill_block(o, end / OVERLAY_BLOCK);
	return rc;
}

/* Without pieces the range becomes zeros. */
static int change(struct overlay *o, uint64_t offset, const struct iovec *iov, unsigned count,
		  uint64_t skip, uint64_t len)
{
	uint64_t end = offset + len;
	int rc;

	if (!len)
		return 0;
	pthread_mutex_lock(&o->write_lock);
	rc = fill_edges(o, offset, end);
	if (rc == 0 && iov)
		rc = host_file_write(&o->img.file, offset, iov, count, skip, len);
	else if (rc == 0)
		rc = host_file_zero(&o->img.file, offset, len, true);
	if (rc == 0)
		mark_blocks(o, offset / OVERLAY_BLOCK, (end + OVERLAY_BLOCK - 1) / OVERLAY_BLOCK);
	pthread_mutex_unlock(&o->write_lock);
	return rc;
}

static int overlay_write(struct image *img, uint64_t offset, const struct iovec *iov,
			 unsigned count, uint64_t skip, uint64_t len)
{
	return change(overlay_of(img), offset, iov, count, skip, len);
}

static int overlay_zero(struct image *img, uint64_t offset, uint64_t len, bool may_unmap)
{
	return change(overlay_of(img), offset, NULL, 0, 0, len);
}

/* Discarded blocks read as zeros. */
static int overlay_discard(struct image *img, uint64_t offset, uint64_t len)
{
	return change(overlay_of(img), offset, NULL, 0, 0, len);
}

/* For nothing: the file does not outlive us. */
static int overlay_flush(struct image *img)
{
	return 0;
}

static bool overlay_place(struct image *img, enum image_access access, uint64_t offset,
			  uint64_t len, uint64_t *host_offset)
{
	return false;
}

static void overlay_unplace(struct image *img)
{
}

static int overlay_extent(struct image *img, uint64_t offset, uint64_t len, struct image_extent *out)
{
	bool over;

	out->len = run_length(overlay_of(img), offset, len, &over);
	out->kind = over ? IMAGE_DATA : IMAGE_BACKING;
	out->in_place = over;
	out->host_offset = offset;
	return 0;
}

static int overlay_resize(struct image *img, uint64_t size, struct lm_err *err)
{
	return lm_err_set(err, -ENOTSUP, "an ephemeral disk keeps its size");
}

static void overlay_close(struct image *img)
{
	struct overlay *o = overlay_of(img);

	pthread_mutex_destroy(&o->write_lock);
	free(o->in_overlay);
	free(o);
}

static const struct image_ops overlay_ops = {
    .name = "overlay",
    .read = overlay_read,
    .write = overlay_write,
    .zero = overlay_zero,
    .discard = overlay_discard,
    .flush = overlay_flush,
    .place = overlay_place,
    .unplace = overlay_unplace,
    .extent = overlay_extent,
    .resize = overlay_resize,
    .close = overlay_close,
};

static int open_file(struct overlay *o, struct lm_err *err)
{
	const char *dir = getenv("TMPDIR");

	if (!dir || !*dir)
		dir = "/var/tmp";
	o->img.file.fd = open_temporary(dir);
	if (o->img.file.fd < 0)
		o->img.file.fd = open_temporary("/tmp");
	if (o->img.file.fd < 0)
		return lm_err_errno(err, -errno, "cannot create a temporary file in %s or /tmp",
				    dir);
	if (ftruncate(o->img.file.fd, (off_t)o->img.size) < 0)
		return lm_err_errno(err, -errno, "cannot size the temporary file");
	return 0;
}

int overlay_open(struct image **out, struct image *base, struct lm_err *err)
{
	struct overlay *o = calloc(1, sizeof(*o));
	uint64_t blocks = (base->size + OVERLAY_BLOCK - 1) / OVERLAY_BLOCK;
	int rc;

	if (!o)
		return lm_err_errno(err, -ENOMEM, "cannot make an overlay");
	o->img = (struct image){.ops = &overlay_ops, .size = base->size, .writable = true};
	o->img.file.fd = o->img.file.direct = -1;
	pthread_mutex_init(&o->write_lock, NULL);
	o->in_overlay = calloc(blocks / 64 + 1, sizeof(*o->in_overlay));
	rc = o->in_overlay ? open_file(o, err)
			   : lm_err_errno(err, -ENOMEM, "cannot allocate the overlay's block map");
	if (rc < 0) {
		host_file_close(&o->img.file);
		overlay_close(&o->img);
		return rc;
	}
	o->img.backing = base;
	*out = &o->img;
	return 0;
}
