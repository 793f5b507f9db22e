/* Changing a qcow2 image's size, and making new ones. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/block_io.h"
#include "backend/image_format.h"
#include "backend/qcow2.h"

/* The new table is on disk before the header says so; the old one is freed after. */
static int move_l1(struct qcow2 *q, uint32_t entries)
{
	uint64_t bytes = 8 * (uint64_t)entries, offset, old = q->h.l1_offset;
	uint64_t clusters = align_up(bytes, q->cluster_size) / q->cluster_size;
	uint64_t old_clusters = align_up(8 * (uint64_t)q->h.l1_entries, q->cluster_size) /
				q->cluster_size;
	uint64_t *l1 = calloc(entries, sizeof(*l1));
	uint8_t *image = calloc(clusters, q->cluster_size), b[12];
	int rc = l1 && image ? qcow2_allocate_row(q, clusters, &offset) : -ENOMEM;

	for (uint32_t k = 0; !rc && k < q->h.l1_entries; k++)
		be_store(image + 8 * (uint64_t)k, l1[k] = q->l1[k], 8);
	if (!rc)
		rc = qcow2_pwrite(q, image, offset, clusters * q->cluster_size);
	if (!rc)
		rc = qcow2_flush_metadata(q);
	free(image);
	be_store(b, entries, 4);
	be_store(b + 4, offset, 8);
	if (!rc)
		rc = qcow2_write_header(q, QCOW2_AT_L1_ENTRIES, b, sizeof(b));
	if (rc < 0) {
		free(l1);
		return rc;
	}
	free(q->l1);
	q->l1 = l1;
	q->h.l1_offset = offset;
	q->h.l1_entries = entries;
	qcow2_release(q, old, old_clusters);
	return 0;
}

static int set_size(struct qcow2 *q, uint64_t size)
{
	uint8_t b[8];
	int rc = qcow2_flush_metadata(q);

	be_store(b, size, 8);
	if (!rc)
		rc = qcow2_write_header(q, QCOW2_AT_SIZE, b, sizeof(b));
	if (!rc)
		q->img.size = q->h.size = size;
	return rc;
}

int qcow2_resize(struct image *img, uint64_t size, struct lm_err *err)
{
	struct qcow2 *q = qcow2_of(img);
	uint64_t entries = (size - 1) / (q->cluster_size * q->l2_entries) + 1;
	int rc;

	if (q->h.snapshots)
		return lm_err_set(err, -ENOTSUP, "it has snapshots of its own, which have its size");
	if (entries > QCOW2_L1_MAX / 8)
		return lm_err_set(err, -EFBIG, "too large for its cluster size");
	pthread_mutex_lock(&q->lock);
	rc = qcow2_begin_change(q);
	if (!rc && entries > q->h.l1_entries)
		rc = move_l1(q, (uint32_t)entries);
	pthread_mutex_unlock(&q->lock);
	if (!rc && size < img->size)
		rc = img->ops->zero(img, size, img->size - size, true);
	if (!rc)
		rc = set_size(q, size);
	if (rc == -EFBIG)
		return lm_err_set(err, rc, "too large for its cluster size");
	return rc < 0 ? lm_err_errno(err, rc, "cannot change its size") : 0;
}

/* ---- A new image ---- */

static void put_extension(uint8_t *header, const struct image_create_options *o)
{
	const char *format = image_format_name(o->backing_format);
	uint8_t *ext = header + QCOW2_HEADER_OURS;
	size_t len = strlen(format), at = QCOW2_HEADER_OURS + 8 + align_up(len, 8) + 8;

	be_store(ext, UINT32_C(0xe2792aca), 4);
	be_store(ext + 4, len, 4);
	memcpy(ext + 8, format, len);
	be_store(header + QCOW2_AT_BACKING, at, 8);
	be_store(header + QCOW2_AT_BACKING_LEN, strlen(o->backing), 4);
	memcpy(header + at, o->backing, strlen(o->backing));
}

/* Header, refcount table, a refcount block, and an L1 table of one entry, in a cluster each. */
static void lay_out(uint8_t *image, uint64_t cluster_size, const struct image_create_options *o)
{
	const struct {
		unsigned at, size;
		uint64_t value;
	} field[] = {
	    {0, 4, QCOW_MAGIC},
	    {4, 4, 3},
	    {QCOW2_AT_BITS, 4, (uint64_t)__builtin_ctzll(cluster_size)},
	    {QCOW2_AT_SIZE, 8, LM_MIN(o->size, cluster_size * cluster_size / 8)},
	    {QCOW2_AT_L1_ENTRIES, 4, 1},
	    {QCOW2_AT_L1, 8, 3 * cluster_size},
	    {QCOW2_AT_RT, 8, cluster_size},
	    {QCOW2_AT_RT_CLUSTERS, 4, 1},
	    {QCOW2_AT_ORDER, 4, 4},
	    {QCOW2_AT_LENGTH, 4, QCOW2_HEADER_OURS},
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(field); k++)
		be_store(image + field[k].at, field[k].value, field[k].size);
	if (o->backing)
		put_extension(image, o);
	be_store(image + cluster_size, 2 * cluster_size, 8);
	for (unsigned k = 0; k < 4; k++)
		be_store(image + 2 * cluster_size + 2 * k, 1, 2);
}

static int grow(int fd, const struct image_create_options *o, struct lm_err *err)
{
	struct image_options how = {.writable = true};
	struct host_file file = {.fd = fd, .direct = -1};
	struct image *img;
	int rc = image_qcow2_open(&img, &file, &how, err);

	if (rc < 0)
		return rc;
	if (img->size < o->size)
		rc = qcow2_resize(img, o->size, err);
	if (!rc && img->ops->flush(img) < 0)
		rc = lm_err_errno(err, -EIO, "cannot write it");
	img->ops->close(img);
	return rc;
}

int image_qcow2_create(int fd, const struct image_create_options *o, struct lm_err *err)
{
	uint64_t cs = o->cluster_size ? o->cluster_size : LM_BIT(QCOW2_DEFAULT_BITS);
	struct iovec iov = {NULL, (size_t)(4 * cs)};
	int rc;

	if (!is_pow2(cs) || cs < LM_BIT(QCOW2_MIN_BITS) || cs > LM_BIT(QCOW2_MAX_BITS))
		return lm_err_set(err, -EINVAL, "a cluster size is a power of two from 512 to 2M");
	if (o->backing && (strlen(o->backing) > QCOW2_BACKING_MAX || cs < 4096))
		return lm_err_set(err, -EINVAL,
				  "a backing file's name has at most %d bytes, and needs clusters "
				  "of 4K or more",
				  QCOW2_BACKING_MAX);
	iov.iov_base = calloc(4, cs);
	if (!iov.iov_base)
		return lm_err_errno(err, -ENOMEM, "cannot lay it out");
	lay_out(iov.iov_base, cs, o);
	rc = block_write(fd, 0, &iov, 1, 0, iov.iov_len);
	free(iov.iov_base);
	return rc < 0 ? lm_err_errno(err, rc, "cannot write it") : grow(fd, o, err);
}
