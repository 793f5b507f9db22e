/*
 * Which guest-physical pages hold code that an engine has translated, and a log of writes to them.
 *
 * Whoever writes guest RAM outside translated code (the interpreter's slow path, devices by DMA)
 * says so with code_map_note; engines that translate read the log and drop what is stale. Pages
 * without translations cost one load to find that out.
 *
 * A note takes the page's mark away, nothing else does: whoever translates there again has to watch
 * it anew, and by that waits until all vCPUs are past the instruction they were in, so that a noted
 * write that is still under way is not missed. Devices note after they wrote.
 */
#ifndef LM_MEM_CODE_MAP_H
#define LM_MEM_CODE_MAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mem/addr.h"

#define CODE_LOG 1024u /* a reader that falls behind by more drops everything */

#define CODE_NONE     0
#define CODE_WATCHING 1 /* some vCPU may still be able to write unnoticed */
#define CODE_WATCHED  2

struct code_map {
	uint8_t *is_code;     /* a CODE_ value for a page frame; atomic; NULL: no engine translates */
	uint64_t frames;
	pthread_mutex_t lock; /* of writers to the log */
	uint64_t notes;       /* atomic: how many writes were logged, the entries in place */
	uint32_t log[CODE_LOG];
	/* A page was written: vCPUs have to look at the log. Any thread. */
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

/*
 * Before translating: true if all writes to the page are noticed already. Else the caller has to make
 * all vCPUs forget their ways around the map, wait until they did, and ask again.
 */
bool code_map_watch(struct code_map *map, gpa_t gpa);
/* They did. */
void code_map_watched(struct code_map *map, gpa_t gpa);

void code_map_log(struct code_map *map, gpa_t gpa);

/* [gpa, gpa + len) was written, or a vCPU is in the instruction that writes it. Any thread. */
static inline void code_map_note(struct code_map *map, gpa_t gpa, uint64_t len)
{
	if (!map->is_code || !len)
		return;
	for (uint64_t at = gpa.v & ~PAGE_MASK; at < gpa.v + len; at += PAGE_SIZE)
		if (code_map_has(map, GPA(at)))
			code_map_log(map, GPA(at));
}

#endif
