/*
 * Which pages of RAM were written: for migration and snapshots.
 *
 * While tracking is off it costs a test of `on` where a shortcut for writes is made. While it is on, a
 * vCPU makes one only to a page that is marked, and devices mark what they have written. A round is:
 * with vCPUs parked, dirty_take the marks and have every vCPU forget its shortcuts
 * (engine.h, forget_writes); then copy the pages. What is written behind the copy's back is marked
 * again, because it needs a new shortcut.
 */
#ifndef LM_MEM_DIRTY_H
#define LM_MEM_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mem/addr.h"

struct dirty_map {
	bool on;         /* changes only while vCPUs are parked, under the device lock */
	uint64_t pages;  /* of RAM, counted from its first byte (ram.base) */
	uint64_t *words; /* a bit for each page; atomic */
};

/* Nothing is marked at first. Words are kept until dirty_fini. */
int dirty_start(struct dirty_map *map, uint64_t ram_bytes, struct lm_err *err);
void dirty_stop(struct dirty_map *map);
void dirty_fini(struct dirty_map *map);

static inline uint64_t dirty_word_count(const struct dirty_map *map)
{
	return (map->pages + 63) / 64;
}

/* Moves the marks into `to` (dirty_word_count words), which has what was marked before too. */
void dirty_take(struct dirty_map *map, uint64_t *to);

static inline bool dirty_has(const struct dirty_map *map, uint64_t offset)
{
	uint64_t page = offset >> PAGE_SHIFT;

	return page >= map->pages ||
	       __atomic_load_n(&map->words[page / 64], __ATOMIC_RELAXED) >> page % 64 & 1;
}

/* [offset, offset + len) of RAM; what lies outside is no business of this map. */
static inline void dirty_mark(const struct dirty_map *map, uint64_t offset, uint64_t len)
{
	if (!len)
		return;
	for (uint64_t page = offset >> PAGE_SHIFT; page <= (offset + len - 1) >> PAGE_SHIFT; page++) {
		if (page >= map->pages)
			return;
		/* Release: whoever takes the mark sees the write. */
		__atomic_fetch_or(&map->words[page / 64], UINT64_C(1) << page % 64,
				  __ATOMIC_RELEASE);
	}
}

#endif
