#include "mem/code_map.h"

#include <errno.h>
#include <stdlib.h>

int code_map_init(struct code_map *map, uint64_t end_of_ram, struct lm_err *err)
{
	map->frames = end_of_ram >> PAGE_SHIFT;
	map->is_code = calloc(map->frames, 1);
	map->shortcuts = calloc(map->frames, 1);
	pthread_mutex_init(&map->lock, NULL);
	if (!map->is_code || !map->shortcuts)
		return lm_err_set(err, -ENOMEM, "no memory for the map of code pages");
	return 0;
}

void code_map_fini(struct code_map *map)
{
	free(map->is_code);
	free(map->shortcuts);
	map->is_code = map->shortcuts = NULL;
}

static bool set_state(struct code_map *map, uint64_t frame, uint8_t from, uint8_t to)
{
	return __atomic_compare_exchange_n(&map->is_code[frame], &from, to, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST) || from == to;
}

enum code_watch code_map_watch(struct code_map *map, gpa_t gpa)
{
	uint64_t frame = gpa.v >> PAGE_SHIFT;

	if (frame >= map->frames ||
	    __atomic_load_n(&map->is_code[frame], __ATOMIC_ACQUIRE) == CODE_WATCHED)
		return CODE_WATCH_DONE;
	set_state(map, frame, CODE_NONE, CODE_WATCHING);
	if (__atomic_load_n(&map->shortcuts[frame], __ATOMIC_SEQ_CST))
		return CODE_WATCH_SHORTCUTS;
	/* A note meanwhile took the mark away: then it stays away. */
	return set_state(map, frame, CODE_WATCHING, CODE_WATCHED) ? CODE_WATCH_DONE
								  : CODE_WATCH_SHORTCUTS;
}

void code_map_watched(struct code_map *map, gpa_t gpa)
{
	uint64_t frame = gpa.v >> PAGE_SHIFT;

	pthread_mutex_lock(&map->lock);
	if (set_state(map, frame, CODE_WATCHING, CODE_WATCHED)) /* no new ones meanwhile */
		__atomic_store_n(&map->shortcuts[frame], 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&map->lock);
}

/* Under the lock. */
static uint64_t append(struct code_map *map, uint32_t entry)
{
	map->log[map->notes % CODE_LOG] = entry;
	__atomic_store_n(&map->notes, map->notes + 1, __ATOMIC_SEQ_CST);
	return map->notes;
}

uint64_t code_map_log(struct code_map *map, uint32_t entry)
{
	uint64_t notes;

	pthread_mutex_lock(&map->lock);
	notes = append(map, entry);
	pthread_mutex_unlock(&map->lock);
	if (map->changed)
		map->changed(map->opaque);
	return notes;
}

void code_map_log_write(struct code_map *map, gpa_t gpa)
{
	uint64_t frame = gpa.v >> PAGE_SHIFT;

	pthread_mutex_lock(&map->lock);
	__atomic_store_n(&map->is_code[frame], CODE_NONE, __ATOMIC_SEQ_CST);
	append(map, (uint32_t)frame);
	pthread_mutex_unlock(&map->lock);
	if (map->changed)
		map->changed(map->opaque);
}
