/* From the guest's clusters to those of the file: L1 and L2 tables. */
#include <errno.h>
#include <string.h>

#include "backend/qcow2.h"

#define L1_RESERVED UINT64_C(0x7f000000000001ff)
#define L2_RESERVED UINT64_C(0x3f000000000001fe)

static bool is_place(const struct qcow2 *q, uint64_t offset)
{
	return offset && offset % q->cluster_size == 0 && offset < q->file_size;
}

static uint64_t l2_covers(const struct qcow2 *q)
{
	return q->l2_entries;
}

/* NULL with *rc 0 where the L1 entry is empty. */
static struct qcow2_table *table_to_read(struct qcow2 *q, uint64_t guest_cluster, bool only_cached,
					 int *rc)
{
	uint64_t i = guest_cluster / l2_covers(q);
	uint64_t entry = i < q->h.l1_entries ? q->l1[i] : 0;

	*rc = 0;
	if (!entry)
		return NULL;
	if (entry & L1_RESERVED || !is_place(q, entry & QCOW2_OFFSET) ||
	    qcow2_is_fixed(q, entry & QCOW2_OFFSET, q->cluster_size)) {
		*rc = qcow2_is_corrupt(q, "an L2 table is at an impossible place");
		return NULL;
	}
	return qcow2_l2_load(q, entry & QCOW2_OFFSET, false, only_cached, rc);
}

static void set_l1(struct qcow2 *q, uint64_t i, uint64_t entry)
{
	uint32_t k = (uint32_t)i;

	q->l1[k] = entry;
	if (q->l1_dirty == q->l1_dirty_end) {
		q->l1_dirty = k;
		q->l1_dirty_end = k + 1;
	}
	q->l1_dirty = LM_MIN(q->l1_dirty, k);
	q->l1_dirty_end = LM_MAX(q->l1_dirty_end, k + 1);
}

/* A new table with what the old one (offset, 0 for none) has. */
static struct qcow2_table *new_table(struct qcow2 *q, uint64_t i, uint64_t old, int *rc)
{
	uint64_t offset, got;
	struct qcow2_table *t;
	bool fresh;

	*rc = qcow2_allocate(q, 1, &offset, &got, &fresh);
	if (*rc < 0)
		return NULL;
	t = qcow2_l2_load(q, offset, true, false, rc);
	if (t && old)
		*rc = qcow2_pread(q, t->data, old, q->cluster_size);
	if (*rc < 0) {
		qcow2_cache_forget(&q->l2, offset);
		qcow2_unallocate(q, offset, 1);
		return NULL;
	}
	t->dirty = true;
	set_l1(q, i, offset | QCOW2_COPIED);
	if (old)
		qcow2_release(q, old, 1);
	return t;
}

/* A table that is this disk's alone: made where there is none, copied where snapshots share it. */
static struct qcow2_table *table_to_write(struct qcow2 *q, uint64_t guest_cluster, int *rc)
{
	uint64_t i = guest_cluster / l2_covers(q);
	struct qcow2_table *t = table_to_read(q, guest_cluster, false, rc);

	if (*rc < 0 || i >= q->h.l1_entries)
		return NULL;
	if (t && q->l1[i] & QCOW2_COPIED)
		return t;
	return new_table(q, i, q->l1[i] & QCOW2_OFFSET, rc);
}

static uint64_t entry_of(const struct qcow2 *q, const struct qcow2_table *t, uint64_t guest_cluster)
{
	return be_load(t->data + 8 * (guest_cluster % l2_covers(q)), 8);
}

static void set_entry(struct qcow2 *q, struct qcow2_table *t, uint64_t guest_cluster, uint64_t entry)
{
	be_store(t->data + 8 * (guest_cluster % l2_covers(q)), entry, 8);
	t->dirty = true;
}

static enum qcow2_type type_of(const struct qcow2 *q, uint64_t entry)
{
	if (entry & QCOW2_COMPRESSED)
		return QCOW2_IS_COMPRESSED;
	if (entry & QCOW2_ZERO && q->h.version >= 3)
		return QCOW2_IS_ZERO;
	return entry & QCOW2_OFFSET ? QCOW2_IS_DATA : QCOW2_IS_NOTHING;
}

/* Offset and length of the compressed bytes (qcow2.txt, "Compressed Clusters Descriptor"). */
uint64_t qcow2_compressed_range(const struct qcow2 *q, uint64_t entry, uint64_t *len)
{
	unsigned bits = 62 - (q->h.cluster_bits - 8);
	uint64_t offset = entry & (LM_BIT(bits) - 1);
	uint64_t sectors = (entry & (LM_BIT(62) - 1)) >> bits;

	*len = (sectors + 1) * 512 - offset % 512;
	return offset;
}

/* Whether an entry's place can be; what it says about compressed data is checked when it is read. */
static bool is_sound(const struct qcow2 *q, uint64_t entry)
{
	uint64_t reserved = q->h.version >= 3 ? L2_RESERVED : L2_RESERVED | QCOW2_ZERO;

	if (entry & QCOW2_COMPRESSED)
		return true;
	return !(entry & reserved) && (!(entry & QCOW2_OFFSET) || is_place(q, entry & QCOW2_OFFSET));
}

static bool continues(const struct qcow2 *q, const struct qcow2_span *span, uint64_t entry,
		      uint64_t n)
{
	if (type_of(q, entry) != span->type || span->type == QCOW2_IS_COMPRESSED)
		return false;
	return span->type != QCOW2_IS_DATA ||
	       entry == span->entry + n * q->cluster_size; /* also COPIED alike */
}

int qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t len, bool only_cached,
		 struct qcow2_span *span)
{
	uint64_t cluster = offset / q->cluster_size, inside = offset % q->cluster_size, n = 1;
	uint64_t end = (cluster / l2_covers(q) + 1) * l2_covers(q);
	int rc;
	struct qcow2_table *t = table_to_read(q, cluster, only_cached, &rc);

	*span = (struct qcow2_span){.len = LM_MIN(len, (end - cluster) * q->cluster_size - inside)};
	if (!t)
		return rc;
	span->entry = entry_of(q, t, cluster);
	if (!is_sound(q, span->entry))
		return qcow2_is_corrupt(q, "an L2 entry is impossible");
	span->type = type_of(q, span->entry);
	while (cluster + n < end && n * q->cluster_size < inside + len &&
	       continues(q, span, entry_of(q, t, cluster + n), n) &&
	       is_sound(q, entry_of(q, t, cluster + n)))
		n++;
	span->len = LM_MIN(len, n * q->cluster_size - inside);
	if (span->type != QCOW2_IS_DATA)
		return 0;
	span->host = (span->entry & QCOW2_OFFSET) + inside;
	span->writable = span->entry & QCOW2_COPIED;
	if (q->img.writable ? qcow2_is_metadata(q, span->host, span->len)
			    : qcow2_is_fixed(q, span->host, span->len))
		return qcow2_is_corrupt(q, "an L2 entry points at metadata");
	return 0;
}

void qcow2_release_entry(struct qcow2 *q, uint64_t entry)
{
	uint64_t len, at = qcow2_compressed_range(q, entry, &len);
	uint64_t first = at / q->cluster_size, end = (at + len - 1) / q->cluster_size + 1;

	if (entry & QCOW2_COMPRESSED)
		qcow2_release(q, first * q->cluster_size, end - first);
	else if (entry & QCOW2_OFFSET)
		qcow2_release(q, entry & QCOW2_OFFSET, 1);
}

int qcow2_link(struct qcow2 *q, uint64_t guest_cluster, uint64_t host, uint64_t clusters)
{
	for (uint64_t k = 0; k < clusters; k++) {
		int rc;
		struct qcow2_table *t = table_to_write(q, guest_cluster + k, &rc);
		uint64_t old;

		if (!t)
			return rc ? rc : -EIO;
		old = entry_of(q, t, guest_cluster + k);
		set_entry(q, t, guest_cluster + k, (host + k * q->cluster_size) | QCOW2_COPIED);
		qcow2_release_entry(q, old);
	}
	return 0;
}

/* ---- Zeros ---- */

/* Version 2 has no entry for zeros: there the caller makes sure that there is no backing file. */
static uint64_t erased(const struct qcow2 *q, uint64_t old, enum qcow2_erase how)
{
	if (how == QCOW2_ZERO_KEEP && q->h.version >= 3 && type_of(q, old) == QCOW2_IS_DATA &&
	    old & QCOW2_COPIED)
		return old | QCOW2_ZERO;
	if (q->h.version < 3 || (how == QCOW2_DISCARD && !q->img.backing))
		return 0;
	return QCOW2_ZERO;
}

static bool reads_as_zeros(const struct qcow2 *q, uint64_t entry)
{
	enum qcow2_type type = type_of(q, entry);

	return type == QCOW2_IS_ZERO || (type == QCOW2_IS_NOTHING && !q->img.backing);
}

/* Whether a cluster needs no change: zeros already, and nothing allocated where that is unwanted. */
static bool is_erased(const struct qcow2 *q, uint64_t entry, enum qcow2_erase how)
{
	return reads_as_zeros(q, entry) && (how == QCOW2_ZERO_KEEP || !(entry & QCOW2_OFFSET));
}

int qcow2_erase(struct qcow2 *q, uint64_t guest_cluster, uint64_t clusters, enum qcow2_erase how,
		uint64_t *done)
{
	uint64_t end = (guest_cluster / l2_covers(q) + 1) * l2_covers(q);
	int rc;
	struct qcow2_table *t = table_to_read(q, guest_cluster, false, &rc);

	*done = LM_MIN(clusters, end - guest_cluster);
	if (rc < 0 || (!t && !q->img.backing))
		return rc;
	for (uint64_t k = 0; k < *done; k++) {
		uint64_t old;

		if (t && is_erased(q, entry_of(q, t, guest_cluster + k), how))
			continue;
		t = table_to_write(q, guest_cluster + k, &rc);
		if (!t)
			return rc ? rc : -EIO;
		old = entry_of(q, t, guest_cluster + k);
		if (!is_sound(q, old))
			return qcow2_is_corrupt(q, "an L2 entry is impossible");
		set_entry(q, t, guest_cluster + k, erased(q, old, how));
		if (!(erased(q, old, how) & QCOW2_OFFSET))
			qcow2_release_entry(q, old);
	}
	return 0;
}
