#include "backend/qcow2.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/block_io.h"
#include "backend/image_format.h"

#define PENDING_MAX 65536 /* runs; more are freed by a flush of our own */

/* ---- The gate ---- */

static void gate_enter(struct qcow2_gate *g)
{
	pthread_mutex_lock(&g->lock);
	while (g->closed)
		pthread_cond_wait(&g->changed, &g->lock);
	g->users++;
	pthread_mutex_unlock(&g->lock);
}

static bool gate_try(struct qcow2_gate *g)
{
	bool open;

	pthread_mutex_lock(&g->lock);
	open = !g->closed;
	g->users += open;
	pthread_mutex_unlock(&g->lock);
	return open;
}

static void gate_leave(struct qcow2_gate *g)
{
	pthread_mutex_lock(&g->lock);
	if (!--g->users)
		pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

/* ---- Reading ---- */

/* What the backing file has; zeros where it ends earlier, or is none. */
static int read_backing(struct qcow2 *q, uint64_t offset, const struct iovec *iov, unsigned count,
			uint64_t skip, uint64_t len)
{
	struct image *b = q->img.backing;
	uint64_t there = b && offset < b->size ? LM_MIN(len, b->size - offset) : 0;

	block_clear(iov, count, skip + there, len - there);
	return there ? b->ops->read(b, offset, iov, count, skip, there) : 0;
}

static int read_compressed(struct qcow2 *q, const struct qcow2_span *span, uint64_t offset,
			   const struct iovec *iov, unsigned count, uint64_t skip)
{
	uint8_t *cluster = malloc(q->cluster_size);
	int rc = cluster ? qcow2_inflate(q, span->entry, cluster) : -ENOMEM;

	if (!rc)
		block_scatter(iov, count, skip, cluster + offset % q->cluster_size, span->len);
	free(cluster);
	return rc;
}

static int read_span(struct qcow2 *q, const struct qcow2_span *span, uint64_t offset,
		     const struct iovec *iov, unsigned count, uint64_t skip)
{
	switch (span->type) {
	case QCOW2_IS_NOTHING:
		return read_backing(q, offset, iov, count, skip, span->len);
	case QCOW2_IS_ZERO:
		block_clear(iov, count, skip, span->len);
		return 0;
	case QCOW2_IS_COMPRESSED:
		return read_compressed(q, span, offset, iov, count, skip);
	case QCOW2_IS_DATA:
		break;
	}
	return host_file_read(&q->img.file, span->host, iov, count, skip, span->len, true);
}

static int qcow2_read(struct image *img, uint64_t offset, const struct iovec *iov, unsigned count,
		      uint64_t skip, uint64_t len)
{
	struct qcow2 *q = qcow2_of(img);
	int rc = 0;

	while (!rc && len) {
		struct qcow2_span span;

		pthread_mutex_lock(&q->lock);
		rc = qcow2_lookup(q, offset, len, false, &span);
		if (!rc)
			gate_enter(&q->gate);
		pthread_mutex_unlock(&q->lock);
		if (rc < 0)
			break;
		rc = read_span(q, &span, offset, iov, count, skip);
		gate_leave(&q->gate);
		offset += span.len;
		skip += span.len;
		len -= span.len;
	}
	return rc;
}

/* ---- Allocations under way ---- */

/* Waits until no allocation touches these clusters of the guest; the lock was given up if true. */
static bool wait_for_others(struct qcow2 *q, uint64_t first, uint64_t end)
{
	for (struct qcow2_allocation *a = q->allocating; a; a = a->next) {
		if (a->first >= end || first >= a->end)
			continue;
		pthread_cond_wait(&q->allocated, &q->lock);
		return true;
	}
	return false;
}

static void begin_allocation(struct qcow2 *q, struct qcow2_allocation *a)
{
	a->next = q->allocating;
	q->allocating = a;
}

static void end_allocation(struct qcow2 *q, struct qcow2_allocation *a)
{
	struct qcow2_allocation **at = &q->allocating;

	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
	pthread_cond_broadcast(&q->allocated);
}

/* ---- Writing ---- */

/* A request, or what is left of it. */
struct piece {
	uint64_t offset, skip, len;
	const struct iovec *iov;
	unsigned count;
};

static int write_in_place(struct qcow2 *q, const struct piece *p, uint64_t host)
{
	int rc = host_file_write(&q->img.file, host, p->iov, p->count, p->skip, p->len);

	gate_leave(&q->gate);
	return rc;
}

/* The part of a new cluster that the guest does not write now keeps what it reads as. */
static int fill(struct qcow2 *q, uint64_t offset, uint64_t len, uint64_t host)
{
	uint64_t there = offset < q->img.size ? LM_MIN(len, q->img.size - offset) : 0;
	struct iovec iov = {NULL, (size_t)len};
	int rc;

	if (!len)
		return 0;
	iov.iov_base = aligned_alloc(4096, align_up(len, 4096));
	if (!iov.iov_base)
		return -ENOMEM;
	memset((uint8_t *)iov.iov_base + there, 0, len - there);
	rc = qcow2_read(&q->img, offset, &iov, 1, 0, there);
	if (!rc)
		rc = host_file_write(&q->img.file, host, &iov, 1, 0, len);
	free(iov.iov_base);
	return rc;
}

static bool is_zero(const struct qcow2 *q, enum qcow2_type type)
{
	return type == QCOW2_IS_ZERO || (type == QCOW2_IS_NOTHING && !q->img.backing);
}

/* Data into new clusters, at `host` for the cluster in which the piece begins. */
static int write_new(struct qcow2 *q, const struct piece *p, uint64_t host, bool filled)
{
	uint64_t head = p->offset % q->cluster_size;
	uint64_t end = p->offset + p->len, tail = align_up(end, q->cluster_size) - end;
	int rc = filled ? 0 : fill(q, p->offset - head, head, host);

	if (!rc)
		rc = host_file_write(&q->img.file, host + head, p->iov, p->count, p->skip, p->len);
	if (!rc && !filled)
		rc = fill(q, end, tail, host + head + p->len);
	return rc;
}

/*
 * Called and returns with the lock held. Allocates for as much of the piece as there is in a row,
 * and shortens the piece to it.
 */
static int write_allocating(struct qcow2 *q, struct piece *p, const struct qcow2_span *span)
{
	uint64_t first = p->offset / q->cluster_size, inside = p->offset % q->cluster_size;
	uint64_t want = (inside + span->len - 1) / q->cluster_size + 1, host, got;
	struct qcow2_allocation a;
	bool fresh;
	int rc = qcow2_allocate(q, want, &host, &got, &fresh);

	if (rc < 0)
		return rc;
	p->len = LM_MIN(span->len, got * q->cluster_size - inside);
	a = (struct qcow2_allocation){first, first + got, NULL};
	begin_allocation(q, &a);
	pthread_mutex_unlock(&q->lock);
	rc = write_new(q, p, host, fresh && is_zero(q, span->type));
	pthread_mutex_lock(&q->lock);
	if (!rc)
		rc = qcow2_link(q, first, host, got);
	if (rc < 0)
		qcow2_unallocate(q, host, got);
	end_allocation(q, &a);
	return rc;
}

/* As much of the piece as has one kind of place; the piece is shortened to it. */
static int write_some(struct qcow2 *q, struct piece *p)
{
	struct qcow2_span span;
	int rc;

	pthread_mutex_lock(&q->lock);
	do {
		rc = qcow2_begin_change(q);
		if (!rc)
			rc = qcow2_lookup(q, p->offset, p->len, false, &span);
	} while (!rc && wait_for_others(q, p->offset / q->cluster_size,
					(p->offset + span.len - 1) / q->cluster_size + 1));
	if (!rc && span.type == QCOW2_IS_DATA && span.writable) {
		p->len = span.len;
		gate_enter(&q->gate);
		pthread_mutex_unlock(&q->lock);
		return write_in_place(q, p, span.host);
	}
	if (!rc)
		rc = write_allocating(q, p, &span);
	pthread_mutex_unlock(&q->lock);
	return rc;
}

static int qcow2_write(struct image *img, uint64_t offset, const struct iovec *iov, unsigned count,
		       uint64_t skip, uint64_t len)
{
	struct qcow2 *q = qcow2_of(img);
	int rc = 0;

	while (!rc && len) {
		struct piece p = {offset, skip, len, iov, count};

		rc = write_some(q, &p);
		offset += p.len;
		skip += p.len;
		len -= p.len;
	}
	return rc;
}

/* ---- Zeros ---- */

/* Less than a cluster: written, unless it reads as zeros anyway. */
static int zero_part(struct qcow2 *q, uint64_t offset, uint64_t len)
{
	struct qcow2_span span = {0};
	struct iovec iov = {NULL, (size_t)len};
	int rc;

	if (!len)
		return 0;
	pthread_mutex_lock(&q->lock);
	while (wait_for_others(q, offset / q->cluster_size, offset / q->cluster_size + 1))
		;
	rc = qcow2_lookup(q, offset, len, false, &span);
	pthread_mutex_unlock(&q->lock);
	if (rc < 0 || is_zero(q, span.type))
		return rc;
	iov.iov_base = aligned_alloc(4096, align_up(len, 4096));
	if (!iov.iov_base)
		return -ENOMEM;
	memset(iov.iov_base, 0, len);
	rc = qcow2_write(&q->img, offset, &iov, 1, 0, len);
	free(iov.iov_base);
	return rc;
}

static int erase_clusters(struct qcow2 *q, uint64_t first, uint64_t end, enum qcow2_erase how)
{
	uint64_t done;
	int rc = 0;

	pthread_mutex_lock(&q->lock);
	while (!rc && first < end) {
		while (wait_for_others(q, first, end))
			;
		rc = qcow2_begin_change(q);
		if (!rc)
			rc = qcow2_erase(q, first, end - first, how, &done);
		if (!rc && q->pending_count > PENDING_MAX)
			rc = qcow2_flush_metadata(q);
		first += rc ? 0 : done;
	}
	pthread_mutex_unlock(&q->lock);
	return rc;
}

/* Version 2 cannot hide a backing file by an entry: what is there is written over. */
static int zero_by_writing(struct qcow2 *q, uint64_t offset, uint64_t len)
{
	int rc = 0;

	while (!rc && len) {
		uint64_t n = LM_MIN(len, q->cluster_size - offset % q->cluster_size);

		rc = zero_part(q, offset, n);
		offset += n;
		len -= n;
	}
	return rc;
}

static int qcow2_zero(struct image *img, uint64_t offset, uint64_t len, bool may_unmap)
{
	struct qcow2 *q = qcow2_of(img);
	uint64_t end = offset + len, first = align_up(offset, q->cluster_size);
	uint64_t last = end == img->size ? align_up(end, q->cluster_size)
					 : align_down(end, q->cluster_size);
	int rc;

	if ((q->h.version < 3 && img->backing) || first >= last)
		return zero_by_writing(q, offset, len);
	rc = zero_part(q, offset, first - offset);
	if (!rc)
		rc = erase_clusters(q, first / q->cluster_size, last / q->cluster_size,
				    may_unmap ? QCOW2_ZERO_UNMAP : QCOW2_ZERO_KEEP);
	return rc || last >= end ? rc : zero_part(q, last, end - last);
}

/* Parts of clusters stay as they are: a discard is a hint. */
static int qcow2_discard(struct image *img, uint64_t offset, uint64_t len)
{
	struct qcow2 *q = qcow2_of(img);
	uint64_t end = offset + len, first = align_up(offset, q->cluster_size);
	uint64_t last = end == img->size ? align_up(end, q->cluster_size)
					 : align_down(end, q->cluster_size);

	if ((q->h.version < 3 && img->backing) || first >= last)
		return 0;
	return erase_clusters(q, first / q->cluster_size, last / q->cluster_size, QCOW2_DISCARD);
}

static int qcow2_flush(struct image *img)
{
	struct qcow2 *q = qcow2_of(img);
	bool dirty;
	int rc = 0;

	pthread_mutex_lock(&q->lock);
	dirty = qcow2_is_dirty(q);
	if (dirty)
		rc = qcow2_flush_metadata(q);
	pthread_mutex_unlock(&q->lock);
	return dirty ? rc : host_file_sync(&img->file);
}

/* ---- The rest ---- */

static bool qcow2_place(struct image *img, enum image_access access, uint64_t offset, uint64_t len,
			uint64_t *host_offset)
{
	struct qcow2 *q = qcow2_of(img);
	struct qcow2_span span;
	bool ok;

	if (pthread_mutex_trylock(&q->lock))
		return false;
	ok = qcow2_lookup(q, offset, len, true, &span) == 0 && span.type == QCOW2_IS_DATA &&
	     span.len == len;
	if (access != IMAGE_READ)
		ok = ok && span.writable && q->changed && !q->corrupt;
	if (access == IMAGE_WRITE_THROUGH)
		ok = ok && !qcow2_is_dirty(q);
	ok = ok && gate_try(&q->gate);
	pthread_mutex_unlock(&q->lock);
	if (ok)
		*host_offset = span.host;
	return ok;
}

static void qcow2_unplace(struct image *img)
{
	gate_leave(&qcow2_of(img)->gate);
}

static int qcow2_extent(struct image *img, uint64_t offset, uint64_t len, struct image_extent *out)
{
	static const enum image_kind kind[] = {
	    [QCOW2_IS_NOTHING] = IMAGE_BACKING,
	    [QCOW2_IS_ZERO] = IMAGE_ZERO,
	    [QCOW2_IS_DATA] = IMAGE_DATA,
	    [QCOW2_IS_COMPRESSED] = IMAGE_DATA,
	};
	struct qcow2 *q = qcow2_of(img);
	struct qcow2_span span;
	int rc;

	pthread_mutex_lock(&q->lock);
	rc = qcow2_lookup(q, offset, len, false, &span);
	pthread_mutex_unlock(&q->lock);
	if (!rc)
		*out = (struct image_extent){kind[span.type], span.len,
					     span.type == QCOW2_IS_DATA, span.host};
	return rc;
}

static void free_all(struct qcow2 *q)
{
	qcow2_cache_fini(&q->l2);
	qcow2_cache_fini(&q->rb);
	pthread_cond_destroy(&q->allocated);
	pthread_mutex_destroy(&q->lock);
	pthread_cond_destroy(&q->gate.changed);
	pthread_mutex_destroy(&q->gate.lock);
	free(q->pending);
	free(q->l1);
	free(q->rt);
	free(q);
}

/* What the file was extended by in advance is cut off again. */
static void qcow2_close(struct image *img)
{
	struct qcow2 *q = qcow2_of(img);

	if (img->writable && q->changed && !img->file.is_device && q->file_size > q->fresh_from &&
	    ftruncate(img->file.fd, (off_t)q->fresh_from) < 0)
		q->file_size = q->fresh_from; /* it stays longer than needed, which is no harm */
	free_all(q);
}

static const struct image_ops qcow2_ops = {
    .name = "qcow2",
    .read = qcow2_read,
    .write = qcow2_write,
    .zero = qcow2_zero,
    .discard = qcow2_discard,
    .flush = qcow2_flush,
    .place = qcow2_place,
    .unplace = qcow2_unplace,
    .extent = qcow2_extent,
    .resize = qcow2_resize,
    .close = qcow2_close,
};

const struct qcow2_header *qcow2_header_of(struct image *img)
{
	return img->ops == &qcow2_ops ? &qcow2_of(img)->h : NULL;
}

/* ---- Opening ---- */

static int load_table(struct qcow2 *q, uint64_t **out, uint64_t offset, uint64_t entries,
		      struct lm_err *err)
{
	uint64_t *t = calloc(entries ? entries : 1, sizeof(*t));
	int rc = t ? qcow2_pread(q, t, offset, 8 * entries) : -ENOMEM;

	for (uint64_t k = 0; !rc && k < entries; k++)
		t[k] = be_load(&t[k], 8);
	*out = t;
	return rc < 0 ? lm_err_errno(err, rc, "cannot read its tables") : 0;
}

static int check_marks(const struct qcow2 *q, const struct image_options *o, struct lm_err *err)
{
	if (!o->writable || o->no_check)
		return 0;
	if (q->h.incompatible & QCOW2_CORRUPT)
		return lm_err_set(err, -EUCLEAN,
				  "it is marked as damaged; lamina image check --repair may help, "
				  "or use it read-only");
	if (q->h.incompatible & QCOW2_DIRTY)
		return lm_err_set(err, -EUCLEAN,
				  "it was not closed and its refcounts are out of date; lamina "
				  "image check --repair brings them up to date");
	return 0;
}

static int load(struct qcow2 *q, const struct image_options *o, struct lm_err *err)
{
	int rc = host_file_size(&q->img.file, &q->file_size);

	if (rc < 0)
		return lm_err_errno(err, rc, "cannot find its size");
	rc = qcow2_read_header(q, err);
	if (!rc)
		rc = check_marks(q, o, err);
	if (rc < 0)
		return rc;
	q->img.size = q->h.size;
	q->rt_entries = (uint64_t)q->h.rt_clusters * q->cluster_size / 8;
	q->fresh_from = align_up(q->file_size, q->cluster_size);
	if (q->cluster_size < 4096 && q->img.file.direct >= 0) {
		/* Data and metadata share pages, which O_DIRECT and the page cache must not. */
		close(q->img.file.direct);
		q->img.file.direct = -1;
	}
	qcow2_cache_init(&q->l2, q->cluster_size);
	qcow2_cache_init(&q->rb, q->cluster_size);
	rc = load_table(q, &q->l1, q->h.l1_offset, q->h.l1_entries, err);
	return rc < 0 ? rc : load_table(q, &q->rt, q->h.rt_offset, q->rt_entries, err);
}

int image_qcow2_open(struct image **out, struct host_file *file, const struct image_options *o,
		     struct lm_err *err)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int rc;

	if (!q)
		return lm_err_errno(err, -ENOMEM, "cannot open it");
	q->img.ops = &qcow2_ops;
	q->img.file = *file;
	q->img.writable = o->writable;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->allocated, NULL);
	pthread_mutex_init(&q->gate.lock, NULL);
	pthread_cond_init(&q->gate.changed, NULL);
	rc = load(q, o, err);
	*file = q->img.file;
	if (rc < 0)
		free_all(q);
	else
		*out = &q->img;
	return rc;
}

int image_qcow2_backing(struct image *img, char **name, enum image_format *format,
			struct lm_err *err)
{
	const struct qcow2_header *h = qcow2_header_of(img);

	*name = NULL;
	if (!h || !*h->backing)
		return 0;
	if (!image_format_parse(h->backing_format, format))
		return lm_err_set(err, -EINVAL,
				  "it names a backing file without a format that is known; qemu-img "
				  "rebase -u -F FORMAT -b FILE sets it");
	*name = strdup(h->backing);
	return *name ? 0 : lm_err_errno(err, -ENOMEM, "cannot keep its backing file's name");
}
