/*
 * Which guest-physical pages hold code that an engine has translated, and a log of writes to them.
 *
 * Whoever writes guest RAM outside translated code (the interpreter's slow path, devices by DMA)
 * says so with code_map_note; engines that translate read the log and drop what is stale. Pages
 * without translations cost one load to find that out.
 *
 * A note takes the page's mark away, nothing else does: whoever translates there again has to watch
 * it anew. A vCPU may have shortcuts by which it writes without looking here (TLB and table entries).
 * It asks before it makes one, and a page is watched only when the log asked all vCPUs to give theirs
 * up and they did, being past the instruction they were in by then. Devices note after they wrote.
 */
#ifndef LM_MEM_CODE_MAP_H
#define LM_MEM_CODE_MAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mem/addr.h"

#define CODE_LOG 1024u /* a reader that falls behind by more drops everything */

/* In the log: a frame that was written, or one to which shortcuts for writes must go. */
#define CODE_LOG_WATCH 0x80000000u

#define CODE_NONE     0
#define CODE_WATCHING 1 /* some vCPU may still be able to write unnoticed */
#define CODE_WATCHED  2

struct code_map {
	uint8_t *is_code;     /* a CODE_ value for a page frame; atomic; NULL: no engine translates */
	uint8_t *shortcuts;   /* whether some vCPU may have one to a page frame; atomic */
	uint64_t frames;
	pthread_mutex_t lock; /* of writers to the log, and of marks that come or go */
	uint64_t notes;       /* atomic: how many entries were logged, all of them in place */
	uint32_t log[CODE_LOG];
	/* The log has news for vCPUs. Any thread. */
	void (*changed)(void *opaque);
	void *opaque;
};

int code_map_init(struct code_map *map, uint64_t end_of_ram, struct lm_err *err);
void code_map_fini(struct code_map *map);

static inline bool code_map_has(const struct code_map *map, gpa_t gpa)
{
	uint64_t frame = gpa.v >> PAGE_SHIFT;

	return map->is_code && frame < map->frames &&
	       __atomic_load_n(&map->is_code[frame], __ATOMIC_ACQUIRE);
}

/* Before a vCPU makes a shortcut for writes to the page: whether it may. */
static inline bool code_map_allow_shortcut(struct code_map *map, gpa_t gpa)
{
	uint64_t frame = gpa.v >> PAGE_SHIFT;

	if (!map->is_code || frame >= map->frames)
		return true;
	/* Before is_code is read: code_map_watch writes that one first and reads this one then. */
	if (!__atomic_load_n(&map->shortcuts[frame], __ATOMIC_RELAXED))
		__atomic_exchange_n(&map->shortcuts[frame], 1, __ATOMIC_SEQ_CST);
	return !__atomic_load_n(&map->is_code[frame], __ATOMIC_SEQ_CST);
}

/* After it was made: false, it must go again. Marks come and go while we were at it. */
static inline bool code_map_keep_shortcut(struct code_map *map, gpa_t gpa)
{
	uint64_t frame = gpa.v >> PAGE_SHIFT;

	if (!map->is_code || frame >= map->frames ||
	    __atomic_load_n(&map->shortcuts[frame], __ATOMIC_SEQ_CST))
		return true;
	__atomic_exchange_n(&map->shortcuts[frame], 1, __ATOMIC_SEQ_CST);
	return !__atomic_load_n(&map->is_code[frame], __ATOMIC_SEQ_CST);
}

enum code_watch {
	CODE_WATCH_DONE,      /* all writes to the page are noticed */
	CODE_WATCH_SHORTCUTS, /* once no vCPU has shortcuts any more: code_map_watched */
};

/* Before translating. */
enum code_watch code_map_watch(struct code_map *map, gpa_t gpa);
/* Shortcuts are gone. A write may have come between: watch again, until it is done. */
void code_map_watched(struct code_map *map, gpa_t gpa);

/* Appends to the log; gives the number of entries from then on. */
uint64_t code_map_log(struct code_map *map, uint32_t entry);
void code_map_log_write(struct code_map *map, gpa_t gpa);

/* [gpa, gpa + len) was written, or a vCPU is in the instruction that writes it. Any thread. */
static inline void code_map_note(struct code_map *map, gpa_t gpa, uint64_t len)
{
	if (!map->is_code || !len)
		return;
	for (uint64_t at = gpa.v & ~PAGE_MASK; at < gpa.v + len; at += PAGE_SIZE)
		if (code_map_has(map, GPA(at)))
			code_map_log_write(map, GPA(at));
}

#endif
