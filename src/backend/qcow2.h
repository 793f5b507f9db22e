/*
 * qcow2 images, the inside (QEMU docs/interop/qcow2.txt): versions 2 and 3.
 *
 * What is in memory and what is on disk, and why a crash leaves leaked clusters at worst:
 * - An allocation raises the refcount, writes the data, and then changes the L2 entry in memory.
 * - A flush writes refcount blocks, waits for the disk, writes L2 tables, waits, writes changed
 *   parts of the L1 table, waits (qcow2_flush_metadata). So nothing on disk refers to a cluster
 *   whose refcount or whose own content is not on disk yet.
 * - A cluster that an entry no longer refers to keeps its refcount until the entry is on disk
 *   (pending), and until nobody reads or writes it any more (the gate).
 *
 * `lock` guards metadata. Data are read and written without it: in place by users of the gate, into
 * new clusters by whoever allocated them, with the guest's clusters registered in `allocating`.
 */
#ifndef LM_BACKEND_QCOW2_H
#define LM_BACKEND_QCOW2_H

#include <pthread.h>

#include "backend/image.h"
#include "base/bits.h"

#define QCOW2_L1_MAX	      (32 * MIB)
#define QCOW2_RT_MAX	      (8 * MIB)
#define QCOW2_MIN_BITS	      9
#define QCOW2_MAX_BITS	      21
#define QCOW2_DEFAULT_BITS    16
#define QCOW2_MAX_SNAPSHOTS   65536
#define QCOW2_BACKING_MAX     1023
#define QCOW2_HEADER_V2	      72
#define QCOW2_HEADER_V3	      104
#define QCOW2_HEADER_OURS     112
#define QCOW2_CACHE_BYTES     (16 * MIB) /* of L2 tables, and of refcount blocks */
#define QCOW2_CACHE_TABLES    256
#define QCOW2_GROW	      (16 * MIB) /* how far the file is extended ahead of its use */

#define QCOW2_DIRTY	      LM_BIT(0) /* incompatible features */
#define QCOW2_CORRUPT	      LM_BIT(1)
#define QCOW2_EXTERNAL	      LM_BIT(2)
#define QCOW2_COMPRESSION     LM_BIT(3)
#define QCOW2_EXTENDED_L2     LM_BIT(4)
#define QCOW2_BITMAPS	      LM_BIT(0) /* autoclear features */

#define QCOW2_COPIED	      LM_BIT(63) /* entries of L1 and L2: refcount is 1 */
#define QCOW2_COMPRESSED      LM_BIT(62)
#define QCOW2_ZERO	      LM_BIT(0)
#define QCOW2_OFFSET	      UINT64_C(0x00fffffffffffe00)

/* Fields of the header. */
#define QCOW2_AT_BACKING      8
#define QCOW2_AT_BACKING_LEN  16
#define QCOW2_AT_BITS	      20
#define QCOW2_AT_SIZE	      24
#define QCOW2_AT_CRYPT	      32
#define QCOW2_AT_L1_ENTRIES   36
#define QCOW2_AT_L1	      40
#define QCOW2_AT_RT	      48
#define QCOW2_AT_RT_CLUSTERS  56
#define QCOW2_AT_SNAPSHOTS    60
#define QCOW2_AT_SNAPSHOTS_AT 64
#define QCOW2_AT_INCOMPATIBLE 72
#define QCOW2_AT_COMPATIBLE   80
#define QCOW2_AT_AUTOCLEAR    88
#define QCOW2_AT_ORDER	      96
#define QCOW2_AT_LENGTH	      100
#define QCOW2_AT_COMPRESSION  104

enum qcow2_compression { QCOW2_ZLIB, QCOW2_ZSTD };

struct qcow2_header {
	unsigned version, cluster_bits, refcount_order;
	uint64_t size;
	uint64_t l1_offset, rt_offset, snapshots_offset;
	uint32_t l1_entries, rt_clusters, snapshots;
	uint64_t incompatible, autoclear;
	uint32_t length;
	enum qcow2_compression compression;
	char backing[QCOW2_BACKING_MAX + 1]; /* empty for none */
	char backing_format[16];	     /* empty where the image does not say */
};

/* One cluster of metadata in memory, big-endian as on disk. */
struct qcow2_table {
	uint64_t offset; /* in the file; 0 for a free entry */
	uint64_t used;	 /* time of the last use */
	uint8_t *data;
	bool dirty;
};

struct qcow2_cache {
	struct qcow2_table table[QCOW2_CACHE_TABLES];
	unsigned count, last;
	uint64_t clock;
};

/* Clusters of the guest that get new clusters of the file; waits are for its end. */
struct qcow2_allocation {
	uint64_t first, end; /* guest clusters */
	struct qcow2_allocation *next;
};

struct qcow2_run {
	uint64_t offset, clusters;
};

/* Users of data clusters, which must not be freed under them. */
struct qcow2_gate {
	pthread_mutex_t lock; /* leaf */
	pthread_cond_t changed;
	unsigned users;
	bool closed;
};

struct qcow2 {
	struct image img;
	struct qcow2_header h;
	uint64_t cluster_size, file_size;
	unsigned l2_entries;  /* of a table */
	uint64_t rb_entries;  /* refcounts in a block */
	struct qcow2_gate gate;

	pthread_mutex_t lock;	   /* guards what follows */
	pthread_cond_t allocated;  /* an allocation ended */
	uint64_t *l1, *rt;	   /* host byte order */
	uint64_t rt_entries;
	uint32_t l1_dirty, l1_dirty_end; /* changed entries; none where equal */
	struct qcow2_cache l2, rb;
	bool rb_unsynced;   /* refcount blocks were written since the disk was waited for */
	bool changed;	    /* the header says that a writer without the autoclear features was here */
	bool corrupt;
	uint64_t next_free; /* cluster below which none is free */
	uint64_t fresh_from; /* offset from which the file has never been written */
	struct qcow2_allocation *allocating;
	struct qcow2_run *pending;
	size_t pending_count, pending_room;
};

static inline struct qcow2 *qcow2_of(struct image *img)
{
	return LM_CONTAINER_OF(img, struct qcow2, img);
}

static inline uint64_t be_load(const void *p, unsigned size)
{
	const uint8_t *b = p;
	uint64_t v = 0;

	for (unsigned k = 0; k < size; k++)
		v = v << 8 | b[k];
	return v;
}

static inline void be_store(void *p, uint64_t v, unsigned size)
{
	uint8_t *b = p;

	for (unsigned k = size; k--; v >>= 8)
		b[k] = (uint8_t)v;
}

/* ---- qcow2_header.c ---- */

int qcow2_read_header(struct qcow2 *q, struct lm_err *err);
/* Writes `size` bytes of the header, a field or more, through to the disk. */
int qcow2_write_header(struct qcow2 *q, unsigned at, const void *bytes, unsigned size);
/* Before the first change. */
int qcow2_begin_change(struct qcow2 *q);
/* The image contradicts itself, in these words: says so once, marks it, gives -EIO. */
int qcow2_is_corrupt(struct qcow2 *q, const char *what);
/* Metadata through the page cache; whole ranges. */
int qcow2_pread(struct qcow2 *q, void *buf, uint64_t offset, uint64_t len);
int qcow2_pwrite(struct qcow2 *q, const void *buf, uint64_t offset, uint64_t len);

/* ---- qcow2_cache.c: all with the lock held ---- */

void qcow2_cache_init(struct qcow2_cache *cache, uint64_t cluster_size);
void qcow2_cache_fini(struct qcow2_cache *cache);
/*
 * The table at an offset of the file; `fresh` gives zeros instead of reading. Valid until the next
 * call with this cache. NULL with *rc: -EAGAIN where it is not in memory and only_cached.
 */
struct qcow2_table *qcow2_l2_load(struct qcow2 *q, uint64_t offset, bool fresh, bool only_cached,
				  int *rc);
struct qcow2_table *qcow2_rb_load(struct qcow2 *q, uint64_t offset, bool fresh, int *rc);
void qcow2_cache_forget(struct qcow2_cache *cache, uint64_t offset);
bool qcow2_cache_has(const struct qcow2_cache *cache, uint64_t offset, uint64_t len);
bool qcow2_is_dirty(const struct qcow2 *q);
/* Everything to the disk in the order of above, then frees what is pending. */
int qcow2_flush_metadata(struct qcow2 *q);

/* ---- qcow2_refcount.c: all with the lock held ---- */

/* Up to `want` clusters in a row with refcount 1; *fresh: they read as zeros. */
int qcow2_allocate(struct qcow2 *q, uint64_t want, uint64_t *offset, uint64_t *got, bool *fresh);
/* The same, all in a row, for tables. */
int qcow2_allocate_row(struct qcow2 *q, uint64_t clusters, uint64_t *offset);
/* What was allocated and never referred to. */
void qcow2_unallocate(struct qcow2 *q, uint64_t offset, uint64_t clusters);
/* An entry in memory no longer refers to these. */
void qcow2_release(struct qcow2 *q, uint64_t offset, uint64_t clusters);
int qcow2_apply_pending(struct qcow2 *q);
int qcow2_refcount(struct qcow2 *q, uint64_t cluster, uint64_t *count);
int qcow2_set_refcount(struct qcow2 *q, uint64_t cluster, uint64_t count);
uint64_t qcow2_refcount_max(const struct qcow2 *q);
/* Whether the range touches header, L1 or refcount table; or also tables that are in memory. */
bool qcow2_is_fixed(const struct qcow2 *q, uint64_t offset, uint64_t len);
bool qcow2_is_metadata(const struct qcow2 *q, uint64_t offset, uint64_t len);

/* ---- qcow2_map.c: all with the lock held ---- */

enum qcow2_type { QCOW2_IS_NOTHING, QCOW2_IS_ZERO, QCOW2_IS_DATA, QCOW2_IS_COMPRESSED };

/* Guest bytes whose entries are alike and, for data, in a row in the file. */
struct qcow2_span {
	enum qcow2_type type;
	uint64_t len;
	uint64_t host;	/* data: of the first byte */
	uint64_t entry; /* of the first cluster */
	bool writable;	/* data: nobody else refers to it */
};

int qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t len, bool only_cached,
		 struct qcow2_span *span);
/* Points guest clusters at data in a row; what they pointed at is released. */
int qcow2_link(struct qcow2 *q, uint64_t guest_cluster, uint64_t host, uint64_t clusters);

enum qcow2_erase { QCOW2_DISCARD, QCOW2_ZERO_UNMAP, QCOW2_ZERO_KEEP };

/* Makes whole clusters of one L2 table read as zeros; *done is how many. */
int qcow2_erase(struct qcow2 *q, uint64_t guest_cluster, uint64_t clusters, enum qcow2_erase how,
		uint64_t *done);
uint64_t qcow2_compressed_range(const struct qcow2 *q, uint64_t entry, uint64_t *len);
/* Releases whatever an L2 entry refers to. */
void qcow2_release_entry(struct qcow2 *q, uint64_t entry);

/* ---- qcow2_compressed.c ---- */

/* Inflates the cluster of `entry` into out, a cluster's size. */
int qcow2_inflate(struct qcow2 *q, uint64_t entry, uint8_t *out);

/* ---- qcow2_size.c ---- */

int qcow2_resize(struct image *img, uint64_t size, struct lm_err *err);

/* ---- qcow2_check.c ---- */

struct qcow2_check {
	uint64_t errors;     /* wrong entries, refcounts too low, references to nowhere */
	uint64_t leaks;	     /* clusters with a refcount that nothing refers to */
	uint64_t repaired;
	uint64_t allocated;  /* data clusters of the guest */
	uint64_t compressed;
	bool bitmaps;	     /* there are bitmaps, whose clusters look like leaks */
};

/*
 * Compares refcounts with references. With `repair` refcounts become what they should be, where
 * entries are sound. Messages for the first few findings go to `out` (NULL for none).
 */
int qcow2_check(struct image *img, bool repair, FILE *out, struct qcow2_check *result,
		struct lm_err *err);

/* NULL for other formats. */
const struct qcow2_header *qcow2_header_of(struct image *img);

#endif
