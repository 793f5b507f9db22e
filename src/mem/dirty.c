#include "mem/dirty.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int dirty_start(struct dirty_map *map, uint64_t ram_bytes, struct lm_err *err)
{
	if (map->on)
		return lm_err_set(err, -EBUSY, "what is written is being followed already: one migration "
					       "at a time");
	map->pages = ram_bytes >> PAGE_SHIFT;
	if (!map->words)
		map->words = malloc(dirty_word_count(map) * sizeof(*map->words));
	if (!map->words)
		return lm_err_set(err, -ENOMEM, "no memory for the map of written pages");
	memset(map->words, 0, dirty_word_count(map) * sizeof(*map->words));
	map->on = true;
	return 0;
}

void dirty_stop(struct dirty_map *map)
{
	map->on = false;
}

void dirty_fini(struct dirty_map *map)
{
	free(map->words);
	*map = (struct dirty_map){ .words = NULL };
}

void dirty_take(struct dirty_map *map, uint64_t *to)
{
	for (uint64_t k = 0; k < dirty_word_count(map); k++)
		if (__atomic_load_n(&map->words[k], __ATOMIC_RELAXED))
			to[k] |= __atomic_exchange_n(&map->words[k], 0, __ATOMIC_ACQUIRE);
}
