/*
 * Which guest-physical pages hold code that an engine has translated, and a log of writes to them.
 *
 * Whoever writes guest RAM outside translated code (the interpreter's slow path, devices by DMA)
 * says so with code_map_note; engines that translate read the log and drop what is stale. Pages
 * without translations cost one load to find that out.
 */
#ifndef LM_MEM_CODE_MAP_H
#define LM_MEM_CODE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mem/addr.h"

#define CODE_LOG 1024u /* a reader that falls behind by more drops everything */

struct code_map {
	uint8_t *is_code;     /* one byte a page frame; atomic; NULL while no engine translates */
	uint64_t frames;
	uint64_t notes;       /* atomic: how many writes were logged */
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

void code_map_set(struct code_map *map, gpa_t gpa, bool is_code);

void code_map_log(struct code_map *map, gpa_t gpa);

/* [gpa, gpa + len) is about to be or has been written. */
static inline void code_map_note(struct code_map *map, gpa_t gpa, uint64_t len)
{
	if (!map->is_code || !len)
		return;
	for (uint64_t at = gpa.v & ~PAGE_MASK; at < gpa.v + len; at += PAGE_SIZE)
		if (code_map_has(map, GPA(at)))
			code_map_log(map, GPA(at));
}

#endif
