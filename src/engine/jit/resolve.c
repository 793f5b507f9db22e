/*
 * Indirect jumps that the jump cache does not know, to blocks that exist. Runs like a helper, in the
 * middle of translated code (helper.h).
 */
#include "engine/jit/jit.h"
#include "isa/x86/mmu.h"
#include "mem/code_map.h"

uint32_t jit_mode(const struct jit *j, unsigned longest)
{
	const struct x86_cpu *c = j->c;

	return (uint32_t)c->guard_traps | longest << 8 | (uint32_t)c->cpl << 16 |
	       (uint32_t)!!(c->s.cr4 & CR4_FSGSBASE) << 18;
}

const uint8_t *jit_resolve(struct jit *j)
{
	struct x86_cpu *c = j->c;
	unsigned set = (unsigned)(c->tlb - c->tlb_set);
	uint64_t gva = j->js->rip;
	struct jit_block *b;
	struct page_walk w;
	uint32_t error;

	if (j->counted || x86_events(c) || !x86_canonical(gva) ||
	    j->notes_seen != __atomic_load_n(&c->sys->ram->code.notes, __ATOMIC_RELAXED) ||
	    !mmu_walk(c, GVA(gva), ACCESS_EXEC, set, false, &w, &error))
		return NULL;
	b = cache_find(j, w.gpa.v, jit_mode(j, JIT_MAX_INSNS));
	if (!b || jit_crosses(b))
		return NULL;
	mmu_note_large_page(c, GVA(gva), w.page_bytes);
	table_remember_jump(table_of(j, set), gva, b->code, w.global);
	j->count.resolved++;
	return b->code;
}
