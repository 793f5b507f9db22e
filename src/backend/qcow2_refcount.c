/* Refcounts of clusters, and allocation. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/qcow2.h"

#define RT_RESERVED UINT64_C(0x1ff)
#define HOST_MAX    LM_BIT(56) /* offsets in entries have 56 bits */
#define BEHIND_END  (1 << 20)
#define RT_SPARE    8	       /* a grown refcount table has an eighth more than it needs */

bool qcow2_is_fixed(const struct qcow2 *q, uint64_t offset, uint64_t len)
{
	const struct {
		uint64_t at, len;
	} area[] = {
	    {0, q->cluster_size},
	    {q->h.l1_offset, 8 * (uint64_t)q->h.l1_entries},
	    {q->h.rt_offset, 8 * q->rt_entries},
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(area); k++)
		if (offset < area[k].at + area[k].len && area[k].at < offset + len)
			return true;
	return false;
}

bool qcow2_is_metadata(const struct qcow2 *q, uint64_t offset, uint64_t len)
{
	return qcow2_is_fixed(q, offset, len) || qcow2_cache_has(&q->l2, offset, len) ||
	       qcow2_cache_has(&q->rb, offset, len);
}

/* ---- Counts ---- */

uint64_t qcow2_refcount_max(const struct qcow2 *q)
{
	return ~UINT64_C(0) >> (64 - (1u << q->h.refcount_order));
}

static uint64_t get_count(const struct qcow2 *q, const uint8_t *block, uint64_t index)
{
	unsigned order = q->h.refcount_order, bits = 1u << order;

	if (order >= 3)
		return be_load(block + (index << (order - 3)), bits / 8);
	return block[index >> (3 - order)] >> bits * (index & ((8 >> order) - 1)) & (LM_BIT(bits) - 1);
}

static void put_count(const struct qcow2 *q, uint8_t *block, uint64_t index, uint64_t count)
{
	unsigned order = q->h.refcount_order, bits = 1u << order, shift;
	uint8_t *b;

	if (order >= 3) {
		be_store(block + (index << (order - 3)), count, bits / 8);
		return;
	}
	b = block + (index >> (3 - order));
	shift = bits * (unsigned)(index & ((8 >> order) - 1));
	*b = (uint8_t)((*b & ~((LM_BIT(bits) - 1) << shift)) | count << shift);
}

/* The block that has the cluster's count; NULL with *rc 0 where there is none. */
static struct qcow2_table *block_of(struct qcow2 *q, uint64_t cluster, int *rc)
{
	uint64_t i = cluster / q->rb_entries;
	uint64_t entry = i < q->rt_entries ? q->rt[i] : 0;

	*rc = 0;
	if (!entry)
		return NULL;
	if (entry & RT_RESERVED || entry % q->cluster_size || entry >= q->file_size ||
	    qcow2_is_fixed(q, entry, q->cluster_size)) {
		*rc = qcow2_is_corrupt(q, "a refcount block is at an impossible place");
		return NULL;
	}
	return qcow2_rb_load(q, entry, false, rc);
}

int qcow2_refcount(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
	int rc;
	struct qcow2_table *t = block_of(q, cluster, &rc);

	*count = t ? get_count(q, t->data, cluster % q->rb_entries) : 0;
	return rc;
}

/* ---- Growth of the structure itself ---- */

static int write_rt_entry(struct qcow2 *q, uint64_t i, uint64_t offset)
{
	uint8_t b[8];
	int rc;

	be_store(b, offset, 8);
	rc = qcow2_pwrite(q, b, q->h.rt_offset + 8 * i, 8);
	if (!rc)
		q->rt[i] = offset;
	return rc;
}

/* The file reaches up to `end` at least; extended in steps, since that is slow under O_DIRECT. */
static int extend_file(struct qcow2 *q, uint64_t end)
{
	uint64_t size = align_up(end, q->cluster_size) + QCOW2_GROW;

	if (end <= q->file_size)
		return 0;
	if (q->img.file.is_device || end > HOST_MAX)
		return q->img.file.is_device ? -ENOSPC : -EFBIG;
	if (ftruncate(q->img.file.fd, (off_t)size) < 0) {
		size = align_up(end, q->cluster_size);
		if (ftruncate(q->img.file.fd, (off_t)size) < 0)
			return -errno;
	}
	q->file_size = size;
	return 0;
}

static void take_fresh(struct qcow2 *q, uint64_t end)
{
	q->fresh_from = LM_MAX(q->fresh_from, end);
}

/*
 * Region i of the file gets its first refcount block, in its own first `used` clusters: the block,
 * and what else the caller puts there. On disk before this returns.
 */
static int make_block(struct qcow2 *q, uint64_t i, uint64_t used)
{
	uint64_t offset = i * q->rb_entries * q->cluster_size;
	struct qcow2_table *t;
	int rc;

	if (i >= HOST_MAX / q->cluster_size / q->rb_entries)
		return -EFBIG;
	if (qcow2_is_metadata(q, offset, used * q->cluster_size))
		return qcow2_is_corrupt(q, "metadata lie in a region without refcounts");
	rc = extend_file(q, offset + used * q->cluster_size);
	if (rc < 0)
		return rc;
	t = qcow2_rb_load(q, offset, true, &rc);
	if (!t)
		return rc;
	take_fresh(q, offset + used * q->cluster_size);
	for (uint64_t k = 0; k < used; k++)
		put_count(q, t->data, k, 1);
	rc = qcow2_pwrite(q, t->data, offset, q->cluster_size);
	if (!rc)
		rc = host_file_sync(&q->img.file);
	if (rc < 0)
		qcow2_cache_forget(&q->rb, offset);
	return rc;
}

static int add_block(struct qcow2 *q, uint64_t i)
{
	int rc = make_block(q, i, 1);

	if (!rc)
		rc = write_rt_entry(q, i, i * q->rb_entries * q->cluster_size);
	return rc < 0 ? rc : host_file_sync(&q->img.file);
}

/* Old entries, and the block that counts the new table itself. */
static int write_new_table(struct qcow2 *q, const uint64_t *rt, uint64_t entries, uint64_t offset)
{
	uint8_t *image = calloc(entries, 8);
	int rc;

	if (!image)
		return -ENOMEM;
	for (uint64_t k = 0; k < entries; k++)
		be_store(image + 8 * k, rt[k], 8);
	rc = qcow2_pwrite(q, image, offset, 8 * entries);
	free(image);
	return rc < 0 ? rc : host_file_sync(&q->img.file);
}

static int switch_table(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
	uint8_t b[12];

	be_store(b, offset, 8);
	be_store(b + 8, clusters, 4);
	return qcow2_write_header(q, QCOW2_AT_RT, b, sizeof(b));
}

/* A larger refcount table, in the first region that the old one could not reach. */
static int grow_table(struct qcow2 *q)
{
	uint64_t i = q->rt_entries, old = q->h.rt_offset, old_clusters = q->h.rt_clusters;
	uint64_t clusters = (i + i / RT_SPARE) * 8 / q->cluster_size + 1, entries;
	uint64_t offset = (i * q->rb_entries + 1) * q->cluster_size;
	uint64_t *rt;
	int rc;

	clusters = LM_MAX(clusters, old_clusters + 1);
	entries = clusters * q->cluster_size / 8;
	if (clusters + 1 > q->rb_entries || entries * 8 > QCOW2_RT_MAX)
		return -EFBIG;
	rt = calloc(entries, sizeof(*rt));
	if (!rt)
		return -ENOMEM;
	memcpy(rt, q->rt, i * sizeof(*rt));
	rt[i] = i * q->rb_entries * q->cluster_size;
	rc = make_block(q, i, 1 + clusters);
	if (!rc)
		rc = write_new_table(q, rt, entries, offset);
	if (!rc)
		rc = switch_table(q, offset, clusters);
	if (rc < 0) {
		free(rt);
		return rc;
	}
	free(q->rt);
	q->rt = rt;
	q->rt_entries = entries;
	q->h.rt_offset = offset;
	q->h.rt_clusters = (uint32_t)clusters;
	qcow2_release(q, old, old_clusters);
	return 0;
}

static int need_block(struct qcow2 *q, uint64_t cluster)
{
	uint64_t i = cluster / q->rb_entries;

	if (i < q->rt_entries)
		return q->rt[i] ? 0 : add_block(q, i);
	if (i == q->rt_entries)
		return grow_table(q);
	return -EFBIG;
}

int qcow2_set_refcount(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	int rc = need_block(q, cluster);
	struct qcow2_table *t = rc ? NULL : block_of(q, cluster, &rc);

	if (!t)
		return rc;
	put_count(q, t->data, cluster % q->rb_entries, count);
	t->dirty = true;
	if (!count && cluster < q->next_free)
		q->next_free = cluster;
	return 0;
}

/* ---- Allocation ---- */

/* The first free cluster at or above next_free. A crash may leave some in use behind the end. */
static int find_free(struct qcow2 *q, uint64_t *cluster)
{
	uint64_t end = q->file_size / q->cluster_size + BEHIND_END;

	for (uint64_t c = q->next_free; c < end; c++) {
		uint64_t count;
		int rc = need_block(q, c);

		if (!rc)
			rc = qcow2_refcount(q, c, &count);
		if (rc < 0)
			return rc;
		if (count)
			continue;
		*cluster = c;
		return 0;
	}
	return qcow2_is_corrupt(q, "far too many clusters behind the file's end are in use");
}

/* How many clusters are free from c on, up to `want`, within c's refcount block. */
static int count_free(struct qcow2 *q, uint64_t c, uint64_t want, uint64_t *got)
{
	uint64_t end = LM_MIN(c + want, (c / q->rb_entries + 1) * q->rb_entries), count = 0;

	for (*got = 0; c + *got < end; ++*got) {
		int rc = qcow2_refcount(q, c + *got, &count);

		if (rc < 0 || count)
			return rc;
	}
	return 0;
}

static int take(struct qcow2 *q, uint64_t cluster, uint64_t n, uint64_t *offset, bool *fresh)
{
	uint64_t at = cluster * q->cluster_size, end = at + n * q->cluster_size;
	int rc = 0;

	if (qcow2_is_metadata(q, at, end - at))
		return qcow2_is_corrupt(q, "metadata have a refcount of 0");
	rc = extend_file(q, end);
	for (uint64_t k = 0; !rc && k < n; k++)
		rc = qcow2_set_refcount(q, cluster + k, 1);
	if (rc < 0)
		return rc;
	*offset = at;
	*fresh = at >= q->fresh_from && !q->img.file.is_device;
	take_fresh(q, end);
	if (cluster == q->next_free)
		q->next_free = cluster + n;
	return 0;
}

int qcow2_allocate(struct qcow2 *q, uint64_t want, uint64_t *offset, uint64_t *got, bool *fresh)
{
	uint64_t cluster = 0;
	int rc = find_free(q, &cluster);

	if (!rc)
		rc = count_free(q, cluster, want, got);
	if (rc < 0)
		return rc;
	q->next_free = cluster; /* none below it is free */
	return take(q, cluster, *got, offset, fresh);
}

int qcow2_allocate_row(struct qcow2 *q, uint64_t clusters, uint64_t *offset)
{
	uint64_t c = q->next_free, got = 0;
	bool fresh;
	int rc = 0;

	if (clusters > q->rb_entries - 1)
		return -EFBIG;
	while (!rc && got < clusters) {
		c += got ? got : 1;
		rc = need_block(q, c);
		if (!rc)
			rc = count_free(q, c, clusters, &got);
	}
	return rc < 0 ? rc : take(q, c, clusters, offset, &fresh);
}

void qcow2_unallocate(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
	for (uint64_t k = 0; k < clusters; k++)
		qcow2_set_refcount(q, offset / q->cluster_size + k, 0);
}

/* ---- Freeing ---- */

/* Without memory to remember it the cluster leaks, which harms nobody. */
void qcow2_release(struct qcow2 *q, uint64_t offset, uint64_t clusters)
{
	struct qcow2_run *last = q->pending_count ? &q->pending[q->pending_count - 1] : NULL;

	if (last && last->offset + last->clusters * q->cluster_size == offset) {
		last->clusters += clusters;
		return;
	}
	if (q->pending_count == q->pending_room) {
		size_t room = q->pending_room ? 2 * q->pending_room : 64;
		struct qcow2_run *more = reallocarray(q->pending, room, sizeof(*more));

		if (!more)
			return;
		q->pending = more;
		q->pending_room = room;
	}
	q->pending[q->pending_count++] = (struct qcow2_run){offset, clusters};
}

/* Nobody uses data clusters when this returns, and nobody starts to until open_gate. */
static void close_gate(struct qcow2_gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->closed = true;
	while (g->users)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static void open_gate(struct qcow2_gate *g)
{
	pthread_mutex_lock(&g->lock);
	g->closed = false;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

/* One reference less; a cluster without any gives its space back to the file system. */
static int drop(struct qcow2 *q, uint64_t cluster)
{
	uint64_t count;
	int rc = qcow2_refcount(q, cluster, &count);

	if (rc < 0)
		return rc;
	if (!count)
		return qcow2_is_corrupt(q, "a cluster in use has a refcount of 0");
	rc = qcow2_set_refcount(q, cluster, count - 1);
	if (!rc && count == 1) {
		qcow2_cache_forget(&q->l2, cluster * q->cluster_size);
		host_file_discard(&q->img.file, cluster * q->cluster_size, q->cluster_size);
	}
	return rc;
}

int qcow2_apply_pending(struct qcow2 *q)
{
	size_t count = q->pending_count;
	int rc = 0;

	close_gate(&q->gate);
	for (size_t k = 0; !rc && k < count; k++)
		for (uint64_t c = 0; !rc && c < q->pending[k].clusters; c++)
			rc = drop(q, q->pending[k].offset / q->cluster_size + c);
	q->pending_count = 0;
	open_gate(&q->gate);
	return rc;
}
