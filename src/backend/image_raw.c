/* Raw images: the file's bytes are the disk's. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "backend/block_io.h"
#include "backend/image_format.h"
#include "base/bits.h"

static int raw_read(struct image *img, uint64_t offset, const struct iovec *iov, unsigned count,
		    uint64_t skip, uint64_t len)
{
	return host_file_read(&img->file, offset, iov, count, skip, len, false);
}

static int raw_write(struct image *img, uint64_t offset, const struct iovec *iov, unsigned count,
		     uint64_t skip, uint64_t len)
{
	return host_file_write(&img->file, offset, iov, count, skip, len);
}

static int raw_zero(struct image *img, uint64_t offset, uint64_t len, bool may_unmap)
{
	return host_file_zero(&img->file, offset, len, may_unmap);
}

static int raw_discard(struct image *img, uint64_t offset, uint64_t len)
{
	return host_file_discard(&img->file, offset, len);
}

static int raw_flush(struct image *img)
{
	return host_file_sync(&img->file);
}

static bool raw_place(struct image *img, enum image_access access, uint64_t offset, uint64_t len,
		      uint64_t *host_offset)
{
	*host_offset = offset;
	return true;
}

static void raw_unplace(struct image *img)
{
}

/* File systems that know no holes have data everywhere. */
static int raw_extent(struct image *img, uint64_t offset, uint64_t len, struct image_extent *out)
{
	off_t data = lseek(img->file.fd, (off_t)offset, SEEK_DATA), hole;

	if (data < 0 && errno != ENXIO)
		data = (off_t)offset;
	*out = (struct image_extent){
	    .kind = IMAGE_DATA, .len = len, .in_place = true, .host_offset = offset};
	if (data < 0 || (uint64_t)data > offset) {
		out->kind = IMAGE_ZERO;
		out->len = data < 0 ? len : LM_MIN(len, (uint64_t)data - offset);
		return 0;
	}
	hole = lseek(img->file.fd, (off_t)offset, SEEK_HOLE);
	if (hole > (off_t)offset)
		out->len = LM_MIN(len, (uint64_t)hole - offset);
	return 0;
}

static int raw_resize(struct image *img, uint64_t size, struct lm_err *err)
{
	if (img->file.is_device)
		return lm_err_set(err, -EINVAL, "a block device has the size that it has");
	if (ftruncate(img->file.fd, (off_t)size) < 0)
		return lm_err_errno(err, -errno, "cannot change its size");
	img->size = size;
	return 0;
}

static void raw_close(struct image *img)
{
	free(img);
}

static const struct image_ops raw_ops = {
    .name = "raw",
    .read = raw_read,
    .write = raw_write,
    .zero = raw_zero,
    .discard = raw_discard,
    .flush = raw_flush,
    .place = raw_place,
    .unplace = raw_unplace,
    .extent = raw_extent,
    .resize = raw_resize,
    .close = raw_close,
};

int image_raw_open(struct image **out, struct host_file *file, const struct image_options *o,
		   struct lm_err *err)
{
	struct image *img = calloc(1, sizeof(*img));
	int rc;

	if (!img)
		return lm_err_errno(err, -ENOMEM, "cannot open it");
	img->ops = &raw_ops;
	img->file = *file;
	rc = host_file_size(file, &img->size);
	if (rc < 0)
		lm_err_errno(err, rc, "cannot find its size");
	else if (!img->size || img->size % 512)
		rc = lm_err_set(err, -EINVAL,
				"its size, %llu bytes, is not a positive multiple of 512",
				(unsigned long long)img->size);
	if (rc < 0)
		free(img);
	else
		*out = img;
	return rc;
}

int image_raw_create(int fd, const struct image_create_options *o, struct lm_err *err)
{
	if (ftruncate(fd, (off_t)o->size) < 0)
		return lm_err_errno(err, -errno, "cannot give it its size");
	return 0;
}
