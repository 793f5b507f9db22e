/* Checking a qcow2 image: what refers to each cluster, against the refcounts. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "backend/qcow2.h"

#define TOLD_MAX	20
#define SNAPSHOT_HEADER 40
#define CLUSTERS_MAX	LM_BIT(36)

struct check {
	struct qcow2 *q;
	struct qcow2_check *result;
	FILE *out;
	unsigned told;
	uint64_t clusters; /* of the file */
	uint32_t *refs;	   /* of each */
	uint64_t *seen;	   /* bit a cluster: an L2 table that this L1 table has already */
	uint64_t *table;   /* an L2 table */
	bool unsound;	   /* entries are wrong, which a repair of refcounts does not help */
};

static void tell(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void tell(struct check *c, const char *fmt, ...)
{
	va_list ap;

	if (!c->out || c->told++ >= TOLD_MAX)
		return;
	va_start(ap, fmt);
	vfprintf(c->out, fmt, ap);
	va_end(ap);
	fputs(c->told == TOLD_MAX ? "\n(more are counted, not listed)\n" : "\n", c->out);
}

static void unsound(struct check *c, const char *what, uint64_t where)
{
	tell(c, "%s at %#llx", what, (unsigned long long)where);
	c->result->errors++;
	c->unsound = true;
}

/* False where the range does not lie in the file. */
static bool refer(struct check *c, uint64_t offset, uint64_t len, const char *what)
{
	uint64_t first = offset / c->q->cluster_size;
	uint64_t end = (offset + len - 1) / c->q->cluster_size + 1;

	if (offset + len < offset || end > c->clusters) {
		unsound(c, what, offset);
		return false;
	}
	for (uint64_t k = first; k < end; k++)
		c->refs[k] += c->refs[k] < UINT32_MAX;
	return true;
}

/* The flag says that the count is 1, which writers rely on. */
static void check_copied(struct check *c, uint64_t entry, const char *what)
{
	uint64_t count = 0, offset = entry & QCOW2_OFFSET;

	if (qcow2_refcount(c->q, offset / c->q->cluster_size, &count) < 0)
		return;
	if (!(entry & QCOW2_COPIED) != (count != 1))
		unsound(c, what, offset);
}

static void check_l2_entry(struct check *c, uint64_t entry, bool active)
{
	uint64_t len, at;

	if (entry & QCOW2_COMPRESSED) {
		at = qcow2_compressed_range(c->q, entry, &len);
		/* the last sector may be cut off by the end of the file */
		len = at < c->q->file_size ? LM_MIN(len, c->q->file_size - at) : len;
		c->result->compressed += active;
		refer(c, at, len, "compressed data are outside of the file");
		return;
	}
	if (!(entry & QCOW2_OFFSET))
		return;
	if ((entry & QCOW2_OFFSET) % c->q->cluster_size) {
		unsound(c, "a data cluster is not aligned", entry & QCOW2_OFFSET);
		return;
	}
	c->result->allocated += active;
	if (refer(c, entry & QCOW2_OFFSET, c->q->cluster_size, "data are outside of the file") &&
	    active)
		check_copied(c, entry, "an L2 entry disagrees with the refcount of the cluster");
}

static int check_l2(struct check *c, uint64_t offset, bool active)
{
	int rc = qcow2_pread(c->q, c->table, offset, c->q->cluster_size);

	for (unsigned k = 0; !rc && k < c->q->l2_entries; k++)
		check_l2_entry(c, be_load(&c->table[k], 8), active);
	return rc;
}

/* A table that appears twice counts twice, and is walked once. */
static int check_l1(struct check *c, const uint64_t *l1, uint32_t entries, bool active)
{
	int rc = 0;

	memset(c->seen, 0, (c->clusters / 64 + 1) * 8);
	for (uint32_t k = 0; !rc && k < entries; k++) {
		uint64_t offset = l1[k] & QCOW2_OFFSET, cluster = offset / c->q->cluster_size;

		if (!offset)
			continue;
		if (offset % c->q->cluster_size) {
			unsound(c, "an L2 table is not aligned", offset);
			continue;
		}
		if (!refer(c, offset, c->q->cluster_size, "an L2 table is outside of the file"))
			continue;
		if (active)
			check_copied(c, l1[k], "an L1 entry disagrees with the refcount");
		if (c->seen[cluster / 64] >> cluster % 64 & 1) {
			unsound(c, "an L2 table is used twice", offset);
			continue;
		}
		c->seen[cluster / 64] |= LM_BIT(cluster % 64);
		rc = check_l2(c, offset, active);
	}
	return rc;
}

/* ---- Snapshots (qcow2.txt, "Snapshots") ---- */

static int check_snapshot(struct check *c, uint64_t offset, uint32_t entries)
{
	uint64_t *l1;
	int rc;

	if (entries > QCOW2_L1_MAX / 8 || offset % c->q->cluster_size || !entries) {
		unsound(c, "a snapshot's L1 table is impossible", offset);
		return 0;
	}
	if (!refer(c, offset, 8 * (uint64_t)entries, "a snapshot's L1 table is outside of the file"))
		return 0;
	l1 = calloc(entries, sizeof(*l1));
	rc = l1 ? qcow2_pread(c->q, l1, offset, 8 * (uint64_t)entries) : -ENOMEM;
	for (uint32_t k = 0; !rc && k < entries; k++)
		l1[k] = be_load(&l1[k], 8);
	if (!rc)
		rc = check_l1(c, l1, entries, false);
	free(l1);
	return rc;
}

static int check_snapshots(struct check *c)
{
	uint64_t at = c->q->h.snapshots_offset, start = at;

	for (uint32_t k = 0; k < c->q->h.snapshots; k++) {
		uint8_t b[SNAPSHOT_HEADER];
		int rc = qcow2_pread(c->q, b, at, sizeof(b));

		if (!rc)
			rc = check_snapshot(c, be_load(b, 8), (uint32_t)be_load(b + 8, 4));
		if (rc < 0)
			return rc;
		at += align_up(SNAPSHOT_HEADER + be_load(b + 12, 2) + be_load(b + 14, 2) +
				   be_load(b + 36, 4), 8);
	}
	if (at > start)
		refer(c, start, at - start, "the table of snapshots is outside of the file");
	return 0;
}

/* ---- Refcounts ---- */

static void refer_refcounts(struct check *c)
{
	const struct qcow2 *q = c->q;

	refer(c, q->h.rt_offset, q->rt_entries * 8, "the refcount table is outside of the file");
	for (uint64_t k = 0; k < q->rt_entries; k++) {
		if (!q->rt[k])
			continue;
		if (q->rt[k] % q->cluster_size)
			unsound(c, "a refcount block is not aligned", q->rt[k]);
		else
			refer(c, q->rt[k], q->cluster_size, "a refcount block is outside of the file");
	}
}

static int repair(struct check *c, uint64_t cluster, uint64_t wanted)
{
	uint64_t i = cluster / c->q->rb_entries;
	int rc;

	if (i >= c->q->rt_entries || !c->q->rt[i] || wanted > qcow2_refcount_max(c->q))
		return 0;
	rc = qcow2_set_refcount(c->q, cluster, wanted);
	c->result->repaired += !rc;
	return rc;
}

static int compare(struct check *c, uint64_t cluster, bool fix)
{
	uint64_t count, wanted = cluster < c->clusters ? c->refs[cluster] : 0;
	int rc = qcow2_refcount(c->q, cluster, &count);

	if (rc < 0 || count == wanted)
		return rc;
	tell(c, "cluster %llu: refcount %llu, references %llu", (unsigned long long)cluster,
	     (unsigned long long)count, (unsigned long long)wanted);
	if (count > wanted)
		c->result->leaks++;
	else
		c->result->errors++;
	return fix ? repair(c, cluster, wanted) : 0;
}

/* Blocks may count clusters behind the file's end; regions without a block count nothing. */
static int compare_all(struct check *c, bool fix)
{
	const struct qcow2 *q = c->q;
	int rc = 0;

	for (uint64_t i = 0; !rc && (i < q->rt_entries || i * q->rb_entries < c->clusters); i++) {
		uint64_t first = i * q->rb_entries, end = first + q->rb_entries;

		if (i >= q->rt_entries || !q->rt[i])
			end = LM_MIN(end, c->clusters);
		for (uint64_t k = first; !rc && k < end; k++)
			rc = compare(c, k, fix);
	}
	return rc;
}

/* ---- The whole ---- */

static int allocate(struct check *c)
{
	uint64_t cs = c->q->cluster_size;

	c->clusters = (c->q->file_size + cs - 1) / cs;
	if (c->clusters > CLUSTERS_MAX)
		return -EFBIG;
	c->refs = calloc(c->clusters, sizeof(*c->refs));
	c->seen = calloc(c->clusters / 64 + 1, sizeof(*c->seen));
	c->table = malloc(cs);
	return c->refs && c->seen && c->table ? 0 : -ENOMEM;
}

static int clear_marks(struct qcow2 *q)
{
	uint8_t b[8];

	q->h.incompatible &= ~(QCOW2_DIRTY | QCOW2_CORRUPT);
	be_store(b, q->h.incompatible, 8);
	return q->h.version < 3 ? 0 : qcow2_write_header(q, QCOW2_AT_INCOMPATIBLE, b, sizeof(b));
}

static int walk(struct check *c, bool fix)
{
	struct qcow2 *q = c->q;
	int rc = allocate(c);

	if (rc < 0)
		return rc;
	refer(c, 0, q->cluster_size, "the header is outside of the file");
	refer(c, q->h.l1_offset, 8 * (uint64_t)q->h.l1_entries, "the L1 table is outside of the file");
	refer_refcounts(c);
	rc = check_l1(c, q->l1, q->h.l1_entries, true);
	if (!rc)
		rc = check_snapshots(c);
	if (!rc)
		rc = compare_all(c, fix && !c->unsound);
	if (!rc && fix && !c->unsound)
		rc = qcow2_flush_metadata(q);
	if (!rc && fix && !c->unsound && c->result->repaired == c->result->errors + c->result->leaks)
		rc = clear_marks(q);
	return rc;
}

int qcow2_check(struct image *img, bool fix, FILE *out, struct qcow2_check *result,
		struct lm_err *err)
{
	struct check c = {.q = qcow2_of(img), .result = result, .out = out};
	int rc;

	*result = (struct qcow2_check){0};
	if (!qcow2_header_of(img))
		return lm_err_set(err, -EINVAL, "only qcow2 images have something to check");
	result->bitmaps = c.q->h.autoclear & QCOW2_BITMAPS;
	if (fix && result->bitmaps)
		return lm_err_set(err, -ENOTSUP, "it has bitmaps, which lamina does not know");
	rc = walk(&c, fix);
	free(c.refs);
	free(c.seen);
	free(c.table);
	return rc < 0 ? lm_err_errno(err, rc, "cannot check it to the end") : 0;
}
