/*
 * Links: direct jumps to other pages. Blocks are the same for every address at which their page is mapped,
 * so what another page is depends on the address space and on the address itself. Code compares the
 * target's gva with the link's place below the table in use, and jumps if they are equal. All
 * places of a link stand for the one block that it is chained to, or was last.
 *
 * An empty place is 0, as memory that was never touched is: an address at the start of a page is never the
 * target of a link.
 */
#include "engine/jit/jit.h"

static uint64_t *places_of(const struct jit_table *t)
{
	return (uint64_t *)(t->base - JIT_BELOW);
}

void link_set(struct jit_table *t, uint32_t link, uint64_t gva)
{
	uint64_t *place = places_of(t) + link;

	if (!*place && t->link_count < JIT_LINKS)
		t->link_log[t->link_count++] = link;
	*place = gva;
}

void link_clear(struct jit_table *t, uint32_t link)
{
	uint64_t *place = places_of(t) + link;

	if (*place) /* memory that was never written stays so */
		*place = 0;
}

void links_forget(struct jit_table *t)
{
	bool all = t->link_count == JIT_LINKS;

	for (uint32_t k = 0; k < t->link_count; k++)
		link_clear(t, all ? k : t->link_log[k]);
	t->link_count = 0;
}

void links_forget_pages(struct jit_table *t, uint64_t first, uint64_t pages)
{
	bool all = t->link_count == JIT_LINKS;

	for (uint32_t k = 0; k < t->link_count; k++) {
		uint64_t *place = places_of(t) + (all ? k : t->link_log[k]);

		if ((*place >> PAGE_SHIFT) - first < pages)
			link_clear(t, (uint32_t)(place - places_of(t)));
	}
}
