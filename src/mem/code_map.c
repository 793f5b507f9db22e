#include "mem/code_map.h"

#include <errno.h>
#include <stdlib.h>

int code_map_init(struct code_map *map, uint64_t end_of_ram, struct lm_err *err)
{
	map->frames = end_of_ram >> PAGE_SHIFT;
	map->is_code = calloc(map->frames, 1);
	pthread_mutex_init(&map->lock, NULL);
	if (!map->is_code)
		return lm_err_set(err, -ENOMEM, "no memory for the map of code pages");
	return 0;
}

void code_map_fini(struct code_map *map)
{
	free(map->is_code);
	map->is_code = NULL;
}

bool code_map_watch(struct code_map *map, gpa_t gpa)
{
	uint64_t frame = gpa.v >> PAGE_SHIFT;
	uint8_t was = CODE_NONE;

	if (frame >= map->frames)
		return true;
	__atomic_compare_exchange_n(&map->is_code[frame], &was, CODE_WATCHING, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return was == CODE_WATCHED;
}

void code_map_watched(struct code_map *map, gpa_t gpa)
{
	uint8_t was = CODE_WATCHING;

	/* A note meanwhile took the mark away: then it stays away. */
	__atomic_compare_exchange_n(&map->is_code[gpa.v >> PAGE_SHIFT], &was, CODE_WATCHED, false,
				    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

void code_map_log(struct code_map *map, gpa_t gpa)
{
	uint64_t frame = gpa.v >> PAGE_SHIFT;

	pthread_mutex_lock(&map->lock);
	__atomic_store_n(&map->is_code[frame], CODE_NONE, __ATOMIC_SEQ_CST);
	map->log[map->notes % CODE_LOG] = (uint32_t)frame;
	__atomic_store_n(&map->notes, map->notes + 1, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&map->lock);
	if (map->changed)
		map->changed(map->opaque);
}
