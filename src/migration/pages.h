/*
 * Pages of memory or of a disk as a frame's body:
 *
 *	u32 number of pages, at most PAGES_MAX
 *	u32 the disk, or 0
 *	u64 for each page: its number << 1 | whether it is all zeros
 *	zstd data of the pages that are not, one behind the other
 */
#ifndef LM_MIGRATION_PAGES_H
#define LM_MIGRATION_PAGES_H

#include <stdbool.h>
#include <stdint.h>
#include <zstd.h>

#include "base/err.h"
#include "mem/addr.h"

#define PAGES_MAX      256u
#define PAGES_BODY_MAX (8 + PAGES_MAX * 8 + ZSTD_COMPRESSBOUND(PAGES_MAX * PAGE_SIZE))

struct pages {
	uint32_t count, full; /* full: those with contents */
	uint32_t disk;
	uint64_t entry[PAGES_MAX];
	uint8_t *data; /* PAGES_MAX pages; the full ones, in order */
	ZSTD_CCtx *pack;
	ZSTD_DCtx *unpack;
};

int pages_init(struct pages *p, struct lm_err *err);
void pages_fini(struct pages *p);

void pages_clear(struct pages *p, uint32_t disk);
/* Copies a page; true: PAGES_MAX are there, encode and clear. */
bool pages_add(struct pages *p, uint64_t number, const uint8_t *page);
/* To `body` of PAGES_BODY_MAX bytes; the length. */
int pages_encode(struct pages *p, uint8_t *body, uint32_t *len, struct lm_err *err);

/* The body is the other side's: checked but for the numbers, which pages_next gives. */
int pages_decode(struct pages *p, const uint8_t *body, uint32_t len, struct lm_err *err);

static inline uint64_t pages_number(const struct pages *p, uint32_t k)
{
	return p->entry[k] >> 1;
}

static inline bool pages_is_zero(const struct pages *p, uint32_t k)
{
	return p->entry[k] & 1;
}

#endif
