/*
 * A build for tests (-Djit_checks=true, or LAMINA_JIT_CHECKS in the environment) in which every access of
 * translated code that is checked at all asks here first. What must hold of a table's entry, whatever the guest
 * does, and ends the process if it does not:
 *
 * - it leads to a page of the guest's memory;
 * - an entry for writes leads to no page whose code is watched, so no store to code goes unnoticed.
 *
 * That a walk gives the same page, and permits the access, holds for guests that flush what they change: a
 * processor's TLB may be as stale. Such entries are counted.
 */
#include "engine/jit/jit.h"

#include "base/bug.h"
#include "isa/x86/mmu.h"
#include "mem/code_map.h"

/* Guest-physical; false: not the guest's. */
static bool find_gpa(const struct ram *ram, uint64_t hva, gpa_t *gpa)
{
	for (unsigned k = 0; k < ram->count; k++) {
		const struct ram_range *r = &ram->range[k];

		if (hva - (uint64_t)r->hva < r->size) {
			*gpa = GPA(r->start + (hva - (uint64_t)r->hva));
			return true;
		}
	}
	return false;
}

static bool is_in_window(const struct ram *ram, uint64_t hva, bool write)
{
	for (unsigned k = 0; k < ram->windows; k++) {
		const struct ram_window *w = &ram->window[k];

		if (hva - (uint64_t)w->hva < w->size)
			return !(write && w->read_only);
	}
	return false;
}

static bool is_watched(const struct code_map *map, gpa_t gpa)
{
	uint64_t frame = gpa.v >> PAGE_SHIFT;

	return frame < map->frames &&
	       __atomic_load_n(&map->is_code[frame], __ATOMIC_SEQ_CST) == CODE_WATCHED;
}

static void compare_with_walk(struct jit *j, uint64_t gva, bool write, gpa_t gpa)
{
	struct x86_cpu *c = j->c;
	struct page_walk w;
	uint32_t error;

	if (!mmu_walk(c, GVA(gva), write ? ACCESS_WRITE : ACCESS_READ, (unsigned)(c->tlb - c->tlb_set), false,
		      &w, &error) ||
	    w.gpa.v >> PAGE_SHIFT != gpa.v >> PAGE_SHIFT)
		j->count.stale++;
}

void check_entry(struct jit *j, uint64_t sum, bool write)
{
	struct jit_table *t = table_of(j, (unsigned)(j->c->tlb - j->c->tlb_set));
	const struct ram *ram = j->c->sys->ram;
	uint64_t e = table_entry(t, sum, write), hva = (sum & ~PAGE_MASK) + e + t->origin, gva;
	gpa_t gpa;

	/* A sum that is not canonical finds another's entry, and what they give together faults. */
	if (!e || sum != (uint64_t)((int64_t)(sum << 16) >> 16))
		return;
	j->count.checked++;
	if (!find_gpa(ram, hva, &gpa)) {
		LM_BUG_ON(!is_in_window(ram, hva, write));
		return;
	}
	LM_BUG_ON(write && is_watched(&ram->code, gpa));
	LM_BUG_ON(!table_linear(t, sum, &gva));
	compare_with_walk(j, gva, write, gpa);
}
