/*
 * Indirect jumps that the jump cache does not know and links without a place, to blocks that exist. Runs like a helper, in the
 * middle of translated code (helper.h).
 */
#include "engine/jit/jit.h"
#include "isa/x86/mmu.h"
#include "mem/code_map.h"

uint32_t jit_mode(const struct jit *j, unsigned longest)
{
	const struct x86_cpu *c = j->c;

	return (uint32_t)c->guard_traps | longest << 8 | (uint32_t)c->cpl << 16 |
	       (uint32_t)!!(c->s.cr4 & CR4_FSGSBASE) << 18 |
	       (c->code_size == CODE_64 ? 0 : JIT_MODE_NARROW);
}

static unsigned tlb_set(const struct x86_cpu *c)
{
	return (unsigned)(c->tlb - c->tlb_set);
}

/* Where js->rip is in memory; false: the dispatcher must look. */
static bool find_target(struct jit *j, struct page_walk *w)
{
	struct x86_cpu *c = j->c;
	uint64_t gva;
	uint32_t error;

	if (c->code_size != CODE_64)
		j->js->rip = (uint32_t)j->js->rip;
	gva = j->js->rip;
	return !j->counted && !x86_events(c) && x86_canonical(gva) &&
	       j->notes_seen == __atomic_load_n(&c->sys->ram->code.notes, __ATOMIC_RELAXED) &&
	       mmu_walk(c, GVA(gva), ACCESS_EXEC, tlb_set(c), false, w, &error);
}

static void remember(struct jit *j, const struct page_walk *w, const uint8_t *code)
{
	uint64_t gva = j->js->rip;

	mmu_note_large_page(j->c, GVA(gva), w->page_bytes);
	table_remember_jump(table_of(j, tlb_set(j->c)), gva, code, w->global);
	j->count.resolved++;
}

const uint8_t *jit_resolve(struct jit *j)
{
	const uint8_t *code;
	struct page_walk w;

	if (!find_target(j, &w))
		return NULL;
	code = cache_find_code(j, w.gpa.v, jit_mode(j, JIT_MAX_INSNS));
	if (code)
		remember(j, &w, code);
	return code;
}

/* ---- Links ---- */

/* Places stand for one block: when that is another than before, they are good no more. */
static void chain_link(struct jit *j, struct jit_exit *x, struct jit_block *to)
{
	uint32_t frame = (uint32_t)(to->gpa >> PAGE_SHIFT);

	if (x->link_frame != frame)
		tables_drop_link(j, x->link);
	x->link_frame = frame;
	cache_chain(j, x, to);
}

static void remember_link(struct jit *j, const struct page_walk *w, uint32_t link)
{
	struct jit_table *t = table_of(j, tlb_set(j->c));
	uint64_t gva = j->js->rip;

	mmu_note_large_page(j->c, GVA(gva), w->page_bytes);
	link_set(t, link, gva);
	table_remember_page(t, gva, w->global);
	j->count.linked++;
}

const uint8_t *jit_follow_link(struct jit *j, struct jit_exit *x)
{
	uint32_t mode = jit_mode(j, JIT_MAX_INSNS);
	const struct jit_block *from;
	struct jit_block *b;
	struct page_walk w;

	j->js->insn = x->info;
	if (!find_target(j, &w))
		return NULL;
	b = cache_find(j, w.gpa.v, mode);
	if (!b || jit_crosses(b))
		return NULL;
	from = jit_at(j, x->from);
	if (!x->to && !from->dead && mode == (from->mode & ~JIT_MODE_UNGROUPED))
		chain_link(j, x, b);
	if (jit_at(j, x->to) == b)
		remember_link(j, &w, x->link);
	else
		remember(j, &w, b->code);
	return b->code;
}
