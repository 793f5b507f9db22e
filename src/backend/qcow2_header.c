#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backend/block_io.h"
#include "backend/image_format.h"
#include "backend/qcow2.h"
#include "base/log.h"

#define EXT_END		   0
#define EXT_BACKING_FORMAT UINT32_C(0xe2792aca)

int qcow2_pread(struct qcow2 *q, void *buf, uint64_t offset, uint64_t len)
{
	struct iovec iov = {buf, (size_t)len};

	return block_read(q->img.file.fd, offset, &iov, 1, 0, len);
}

int qcow2_pwrite(struct qcow2 *q, const void *buf, uint64_t offset, uint64_t len)
{
	struct iovec iov = {(void *)(uintptr_t)buf, (size_t)len};

	return block_write(q->img.file.fd, offset, &iov, 1, 0, len);
}

/* ---- Reading ---- */

static int unpack(struct qcow2_header *h, const uint8_t *b, struct lm_err *err)
{
	h->version = (unsigned)be_load(b + 4, 4);
	h->cluster_bits = (unsigned)be_load(b + QCOW2_AT_BITS, 4);
	h->size = be_load(b + QCOW2_AT_SIZE, 8);
	h->l1_entries = (uint32_t)be_load(b + QCOW2_AT_L1_ENTRIES, 4);
	h->l1_offset = be_load(b + QCOW2_AT_L1, 8);
	h->rt_offset = be_load(b + QCOW2_AT_RT, 8);
	h->rt_clusters = (uint32_t)be_load(b + QCOW2_AT_RT_CLUSTERS, 4);
	h->snapshots = (uint32_t)be_load(b + QCOW2_AT_SNAPSHOTS, 4);
	h->snapshots_offset = be_load(b + QCOW2_AT_SNAPSHOTS_AT, 8);
	h->refcount_order = 4;
	h->length = QCOW2_HEADER_V2;
	if (be_load(b + QCOW2_AT_CRYPT, 4))
		return lm_err_set(err, -ENOTSUP, "it is encrypted, which lamina does not know");
	if (h->version == 2)
		return 0;
	if (h->version != 3)
		return lm_err_set(err, -ENOTSUP, "it is qcow2 version %u; 2 and 3 are known",
				  h->version);
	h->incompatible = be_load(b + QCOW2_AT_INCOMPATIBLE, 8);
	h->autoclear = be_load(b + QCOW2_AT_AUTOCLEAR, 8);
	h->refcount_order = (unsigned)be_load(b + QCOW2_AT_ORDER, 4);
	h->length = (uint32_t)be_load(b + QCOW2_AT_LENGTH, 4);
	if (h->incompatible & QCOW2_COMPRESSION && h->length > QCOW2_AT_COMPRESSION)
		h->compression = b[QCOW2_AT_COMPRESSION];
	return 0;
}

static int check_features(const struct qcow2_header *h, struct lm_err *err)
{
	static const struct {
		uint64_t bit;
		const char *name;
	} refused[] = {
	    {QCOW2_EXTERNAL, "an external data file"},
	    {QCOW2_EXTENDED_L2, "extended L2 entries (subclusters)"},
	};
	uint64_t known = QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_COMPRESSION;

	for (unsigned k = 0; k < LM_ARRAY_SIZE(refused); k++)
		if (h->incompatible & refused[k].bit)
			return lm_err_set(err, -ENOTSUP,
					  "it has %s, which lamina does not know; qemu-img convert "
					  "makes an image without",
					  refused[k].name);
	if (h->incompatible & ~known)
		return lm_err_set(err, -ENOTSUP, "it needs features that lamina does not know: %#llx",
				  (unsigned long long)(h->incompatible & ~known));
	if (h->compression > QCOW2_ZSTD)
		return lm_err_set(err, -ENOTSUP, "it is compressed in a way that is not known: %u",
				  h->compression);
	return 0;
}

/* A table of `bytes` at `offset`: at a cluster's start, behind the header, inside the file. */
static bool fits(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	return offset && offset % q->cluster_size == 0 && offset <= q->file_size &&
	       bytes <= q->file_size - offset;
}

static int check_geometry(struct qcow2 *q, struct lm_err *err)
{
	const struct qcow2_header *h = &q->h;

	if (h->cluster_bits < QCOW2_MIN_BITS || h->cluster_bits > QCOW2_MAX_BITS)
		return lm_err_set(err, -EINVAL, "its cluster size is 2^%u; 2^%d to 2^%d are valid",
				  h->cluster_bits, QCOW2_MIN_BITS, QCOW2_MAX_BITS);
	if (h->refcount_order > 6)
		return lm_err_set(err, -EINVAL, "its refcounts have 2^%u bits; 2^6 is the limit",
				  h->refcount_order);
	q->cluster_size = LM_BIT(h->cluster_bits);
	q->l2_entries = (unsigned)(q->cluster_size / 8);
	q->rb_entries = q->cluster_size * 8 >> h->refcount_order;
	if (h->version == 3 && (h->length < QCOW2_HEADER_V3 || h->length > q->cluster_size))
		return lm_err_set(err, -EINVAL, "its header's length, %u, is impossible", h->length);
	if (!h->size || h->size % 512 || h->size > INT64_MAX)
		return lm_err_set(err, -EINVAL,
				  "its disk's size, %llu bytes, is no positive multiple of 512 "
				  "below 2^63",
				  (unsigned long long)h->size);
	return 0;
}

static int check_tables(struct qcow2 *q, struct lm_err *err)
{
	const struct qcow2_header *h = &q->h;
	uint64_t l2_bytes = q->cluster_size * q->l2_entries;

	if (h->l1_entries > QCOW2_L1_MAX / 8 || h->l1_entries < (h->size - 1) / l2_bytes + 1)
		return lm_err_set(err, -EINVAL,
				  "its L1 table has %u entries, which does not fit its size, %llu "
				  "bytes",
				  h->l1_entries, (unsigned long long)h->size);
	if (!fits(q, h->l1_offset, 8 * (uint64_t)h->l1_entries))
		return lm_err_set(err, -EINVAL, "its L1 table is not inside the file (truncated?)");
	if (!h->rt_clusters || (uint64_t)h->rt_clusters << h->cluster_bits > QCOW2_RT_MAX ||
	    !fits(q, h->rt_offset, (uint64_t)h->rt_clusters << h->cluster_bits))
		return lm_err_set(err, -EINVAL,
				  "its refcount table is not inside the file (truncated?)");
	if (h->snapshots > QCOW2_MAX_SNAPSHOTS ||
	    (h->snapshots && !fits(q, h->snapshots_offset, 0)))
		return lm_err_set(err, -EINVAL, "its table of snapshots is not inside the file");
	return 0;
}

static int read_backing_name(struct qcow2 *q, const uint8_t *b, struct lm_err *err)
{
	uint64_t offset = be_load(b + QCOW2_AT_BACKING, 8);
	uint32_t len = (uint32_t)be_load(b + QCOW2_AT_BACKING_LEN, 4);
	int rc;

	if (!offset)
		return 0;
	if (len > QCOW2_BACKING_MAX || offset > q->cluster_size || len > q->cluster_size - offset)
		return lm_err_set(err, -EINVAL, "its backing file's name is not in its first cluster");
	rc = qcow2_pread(q, q->h.backing, offset, len);
	if (rc < 0)
		return lm_err_errno(err, rc, "cannot read its backing file's name");
	if (!len || strlen(q->h.backing) != len)
		return lm_err_set(err, -EINVAL, "its backing file's name is no text");
	return 0;
}

/* Extensions lie between the header and the backing file's name, or the cluster's end. */
static int read_extensions(struct qcow2 *q, const uint8_t *b, struct lm_err *err)
{
	uint64_t end = be_load(b + QCOW2_AT_BACKING, 8), at = q->h.length;
	uint8_t ext[8];

	if (!end || end > q->cluster_size)
		end = q->cluster_size;
	for (; at + sizeof(ext) <= end && qcow2_pread(q, ext, at, sizeof(ext)) == 0;) {
		uint32_t type = (uint32_t)be_load(ext, 4);
		uint64_t len = be_load(ext + 4, 4);

		at += sizeof(ext);
		if (type == EXT_END)
			return 0;
		if (len > end - at)
			return lm_err_set(err, -EINVAL, "an extension of its header is too long");
		if (type == EXT_BACKING_FORMAT && len < sizeof(q->h.backing_format) &&
		    qcow2_pread(q, q->h.backing_format, at, len) < 0)
			return lm_err_set(err, -EIO, "cannot read an extension of its header");
		at += align_up(len, 8);
	}
	return 0;
}

int qcow2_read_header(struct qcow2 *q, struct lm_err *err)
{
	uint8_t b[QCOW2_HEADER_OURS] = {0};
	uint64_t there = LM_MIN(q->file_size, sizeof(b));
	int rc;

	if (there < QCOW2_HEADER_V2)
		return lm_err_set(err, -EINVAL, "it is too short for a qcow2 header");
	rc = qcow2_pread(q, b, 0, there);
	if (rc < 0)
		return lm_err_errno(err, rc, "cannot read its header");
	rc = unpack(&q->h, b, err);
	if (!rc)
		rc = check_geometry(q, err);
	if (!rc)
		rc = check_features(&q->h, err);
	if (!rc)
		rc = check_tables(q, err);
	if (!rc)
		rc = read_backing_name(q, b, err);
	return rc ? rc : read_extensions(q, b, err);
}

/* ---- Writing ---- */

int qcow2_write_header(struct qcow2 *q, unsigned at, const void *bytes, unsigned size)
{
	int rc = qcow2_pwrite(q, bytes, at, size);

	return rc < 0 ? rc : host_file_sync(&q->img.file);
}

static int write_field(struct qcow2 *q, unsigned at, uint64_t value)
{
	uint8_t b[8];

	be_store(b, value, 8);
	return qcow2_write_header(q, at, b, 8);
}

/* Features that describe content which we do not keep up to date are to be cleared by writers. */
int qcow2_begin_change(struct qcow2 *q)
{
	int rc = 0;

	if (q->corrupt)
		return -EIO;
	if (q->changed)
		return 0;
	if (q->h.autoclear)
		rc = write_field(q, QCOW2_AT_AUTOCLEAR, 0);
	if (rc < 0)
		return rc;
	q->h.autoclear = 0;
	q->changed = true;
	return 0;
}

int qcow2_is_corrupt(struct qcow2 *q, const char *what)
{
	if (q->corrupt)
		return -EIO;
	q->corrupt = true;
	log_line(LOG_WARN, "a qcow2 image is damaged: %s; it is not written to any more", what);
	if (q->img.writable && q->h.version == 3) {
		q->h.incompatible |= QCOW2_CORRUPT;
		write_field(q, QCOW2_AT_INCOMPATIBLE, q->h.incompatible);
	}
	return -EIO;
}
