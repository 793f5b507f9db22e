/* L2 tables and refcount blocks in memory, and the order in which they go to the disk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2.h"

#define TABLES_MIN 4

void qcow2_cache_init(struct qcow2_cache *cache, uint64_t cluster_size)
{
	uint64_t count = LM_MIN(QCOW2_CACHE_BYTES / cluster_size, QCOW2_CACHE_TABLES);

	cache->count = (unsigned)LM_MAX(count, TABLES_MIN);
}

void qcow2_cache_fini(struct qcow2_cache *cache)
{
	for (unsigned k = 0; k < cache->count; k++)
		free(cache->table[k].data);
}

static struct qcow2_table *find(struct qcow2_cache *cache, uint64_t offset)
{
	if (cache->table[cache->last].offset == offset)
		return &cache->table[cache->last];
	for (unsigned k = 0; k < cache->count; k++) {
		if (cache->table[k].offset != offset)
			continue;
		cache->last = k;
		return &cache->table[k];
	}
	return NULL;
}

bool qcow2_cache_has(const struct qcow2_cache *cache, uint64_t offset, uint64_t len)
{
	for (unsigned k = 0; k < cache->count; k++)
		if (cache->table[k].offset && cache->table[k].offset >= offset &&
		    cache->table[k].offset - offset < len)
			return true;
	return false;
}

void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t offset)
{
	struct qcow2_table *t = find(cache, offset);

	if (t)
		t->offset = t->used = t->dirty = 0;
}

/* ---- Writing ---- */

/* *wrote becomes true where anything was. */
static int write_dirty(struct qcow2 *q, struct qcow2_cache *cache, bool *wrote)
{
	for (unsigned k = 0; k < cache->count; k++) {
		struct qcow2_table *t = &cache->table[k];
		int rc;

		if (!t->dirty)
			continue;
		rc = qcow2_pwrite(q, t->data, t->offset, q->cluster_size);
		if (rc < 0)
			return rc;
		t->dirty = false;
		*wrote = true;
	}
	return 0;
}

static bool any_dirty(const struct qcow2_cache *cache)
{
	for (unsigned k = 0; k < cache->count; k++)
		if (cache->table[k].dirty)
			return true;
	return false;
}

static int sync_refcounts(struct qcow2 *q)
{
	int rc = write_dirty(q, &q->rb, &q->rb_unsynced);

	if (rc < 0 || !q->rb_unsynced)
		return rc;
	rc = host_file_sync(&q->img.file);
	if (!rc)
		q->rb_unsynced = false;
	return rc;
}

/* L2 tables only refer to what has its refcount on disk. */
static int write_l2(struct qcow2 *q)
{
	bool wrote = false;
	int rc;

	if (!any_dirty(&q->l2))
		return 0;
	rc = sync_refcounts(q);
	return rc < 0 ? rc : write_dirty(q, &q->l2, &wrote);
}

/* Whole sectors around the changed entries, so that a torn write tears no entry. */
static int write_l1(struct qcow2 *q)
{
	uint32_t first = q->l1_dirty & ~63u, end = LM_MIN((q->l1_dirty_end + 63) & ~63u,
							  q->h.l1_entries);
	uint8_t sector[512];
	int rc = 0;

	if (q->l1_dirty == q->l1_dirty_end)
		return 0;
	rc = host_file_sync(&q->img.file);
	for (; !rc && first < end; first += 64) {
		uint32_t n = LM_MIN(64, end - first);

		for (uint32_t k = 0; k < n; k++)
			be_store(sector + 8 * k, q->l1[first + k], 8);
		rc = qcow2_pwrite(q, sector, q->h.l1_offset + 8 * (uint64_t)first, 8 * n);
	}
	if (!rc)
		q->l1_dirty = q->l1_dirty_end = 0;
	return rc;
}

bool qcow2_is_dirty(const struct qcow2 *q)
{
	return any_dirty(&q->l2) || any_dirty(&q->rb) || q->l1_dirty != q->l1_dirty_end ||
	       q->pending_count || q->corrupt;
}

int qcow2_flush_metadata(struct qcow2 *q)
{
	bool wrote = false;
	int rc = q->corrupt ? -EIO : write_l2(q);

	if (!rc)
		rc = write_l1(q);
	if (!rc)
		rc = write_dirty(q, &q->rb, &wrote);
	if (!rc)
		rc = host_file_sync(&q->img.file);
	if (!rc)
		q->rb_unsynced = false;
	if (rc < 0 || !q->pending_count)
		return rc;
	rc = qcow2_apply_pending(q);
	return rc < 0 ? rc : write_dirty(q, &q->rb, &wrote);
}

/* ---- Loading ---- */

/* The least used entry, clean. */
static struct qcow2_table *make_room(struct qcow2 *q, struct qcow2_cache *cache, int *rc)
{
	struct qcow2_table *t = &cache->table[0];

	for (unsigned k = 1; k < cache->count; k++)
		if (cache->table[k].used < t->used)
			t = &cache->table[k];
	*rc = 0;
	if (t->dirty)
		*rc = cache == &q->l2 ? write_l2(q) : write_dirty(q, &q->rb, &q->rb_unsynced);
	if (!t->data)
		t->data = malloc(q->cluster_size);
	if (!t->data)
		*rc = -ENOMEM;
	if (*rc < 0)
		return NULL;
	t->offset = 0;
	return t;
}

/* A table that is cut off by the file's end is damage, and -EIO. */
static struct qcow2_table *load(struct qcow2 *q, struct qcow2_cache *cache, uint64_t offset,
				bool fresh, bool only_cached, int *rc)
{
	struct qcow2_table *t = find(cache, offset);

	*rc = 0;
	if (!t && only_cached) {
		*rc = -EAGAIN;
		return NULL;
	}
	if (!t) {
		t = make_room(q, cache, rc);
		if (!t)
			return NULL;
		t->used = 0;
		if (!fresh)
			*rc = qcow2_pread(q, t->data, offset, q->cluster_size);
		if (*rc < 0)
			return NULL;
		t->offset = offset;
	}
	if (fresh)
		memset(t->data, 0, q->cluster_size);
	t->used = ++cache->clock;
	return t;
}

struct qcow2_table *qcow2_l2_load(struct qcow2 *q, uint64_t offset, bool fresh, bool only_cached,
				  int *rc)
{
	return load(q, &q->l2, offset, fresh, only_cached, rc);
}

struct qcow2_table *qcow2_rb_load(struct qcow2 *q, uint64_t offset, bool fresh, int *rc)
{
	return load(q, &q->rb, offset, fresh, false, rc);
}
