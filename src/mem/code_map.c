#include "mem/code_map.h"

#include <errno.h>
#include <stdlib.h>

int code_map_init(struct code_map *map, uint64_t end_of_ram, struct lm_err *err)
{
	map->frames = end_of_ram >> PAGE_SHIFT;
	map->is_code = calloc(map->frames, 1);
	if (!map->is_code)
		return lm_err_set(err, -ENOMEM, "no memory for the map of code pages");
	return 0;
}

void code_map_fini(struct code_map *map)
{
	free(map->is_code);
	map->is_code = NULL;
}

void code_map_set(struct code_map *map, gpa_t gpa, bool is_code)
{
	uint64_t frame = gpa.v >> PAGE_SHIFT;

	if (frame < map->frames)
		__atomic_store_n(&map->is_code[frame], is_code, __ATOMIC_SEQ_CST);
}

void code_map_log(struct code_map *map, gpa_t gpa)
{
	uint64_t n = __atomic_fetch_add(&map->notes, 1, __ATOMIC_ACQ_REL);

	__atomic_store_n(&map->log[n % CODE_LOG], (uint32_t)(gpa.v >> PAGE_SHIFT),
			 __ATOMIC_RELEASE);
	if (map->changed)
		map->changed(map->opaque);
}
