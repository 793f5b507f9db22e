/*
 * Translation of one block: straight-line 64-bit code up to a jump, the end of the page, or an
 * instruction that is the interpreter's.
 */
#include "engine/jit/translation.h"

/* Loads from the page that a kick makes unreadable. */
static void emit_poll(struct translation *t)
{
	EMIT(&t->e, 0x44, 0x8b, 0x1c, 0x25); /* mov r11d, [poll page] */
	emit_u32(&t->e, (uint32_t)(uintptr_t)t->j->poll_page);
}

/* From r10, where the block was reached from outside its page. */
static void emit_page_base(struct translation *t)
{
	emit_add(&t->e, H10, -(int32_t)(t->block->gpa & PAGE_MASK));
	emit_store_gs(&t->e, H10, JS(page_base));
}

static void emit_item(struct translation *t, const struct item *it)
{
	switch (it->class) {
	case JIT_COPY:
		emit_copy(t, it);
		break;
	case JIT_SKIP:
		break;
	case JIT_PUSH:
		emit_push(t, it);
		break;
	case JIT_POP:
		emit_pop(t, it);
		break;
	case JIT_LEAVE:
		emit_leave(t, it);
		break;
	case JIT_JUMP:
		emit_jump(t, it);
		break;
	case JIT_JCC:
		emit_branch(t, it);
		break;
	case JIT_LOOP:
		emit_loop(t, it);
		break;
	case JIT_CALL:
		emit_call(t, it);
		break;
	case JIT_RET:
		emit_ret(t, it);
		break;
	case JIT_CLI:
		emit_set_interrupt_flag(&t->e, 0);
		break;
	case JIT_STI:
		emit_sti(t, it);
		break;
	case JIT_PUSHF:
		emit_pushf(t, it);
		break;
	case JIT_SWAPGS:
		emit_swapgs(t);
		break;
	case JIT_BITS:
		emit_bit_string(t, it);
		break;
	case JIT_READ_CR2:
		emit_read_cr2(t, it);
		break;
	case JIT_READ_SELECTOR:
		emit_read_selector(t, it);
		break;
	case JIT_READ_BASE:
		emit_read_base(t, it);
		break;
	case JIT_HELPER:
	case JIT_HELPER_CPL0:
		emit_helper(t, it);
		break;
	case JIT_INTERP:
		emit_leave_to(t, it->rip, JIT_EXIT_INTERP);
		break;
	}
}

static void emit_block(struct translation *t)
{
	const struct item *last = &t->item[t->count - 1];
	uint8_t *start = t->e.p;

	emit_page_base(t);
	emit_entries(t);
	emit_poll(t);
	for (unsigned k = 0; k < t->count; k++) {
		struct jit_insn_info *info = &t->block->info[k];

		info->host = (uint16_t)(t->e.p - start);
		info->guest = (t->item[k].rip - t->block->gpa) & PAGE_MASK;
		t->now = k;
		if (!works_with_late_rsp(&t->item[k]) || has_group_check(t, k))
			emit_late_rsp(t);
		emit_group_checks(t);
		emit_item(t, &t->item[k]);
		info->parked = t->flags.parked;
		flags_after(t, &t->item[k]);
	}
	emit_late_rsp(t);
	if (!ends_block(last))
		emit_direct(t, last->rip + last->i.length, JIT_JUMP_INFO(last->rip, 0));
}

/* What is seldom needed lies apart, so that caches hold more of the rest. */
static void emit_cold_part(struct translation *t)
{
	emit_cold_entry(t);
	emit_side_exits(t);
	emit_slow_paths(t);
}

/* Of a block and what follows it: its instructions, and room for so many exits. */
static size_t block_bytes(const struct translation *t, unsigned exits)
{
	size_t info = (t->count * sizeof(struct jit_insn_info) + 7) & ~(size_t)7;

	return sizeof(struct jit_block) + info + exits * sizeof(struct jit_exit);
}

static struct jit_block *new_block(const struct translation *t, const struct jit_source *from)
{
	unsigned exits = 2 + t->branches + t->groups; /* at the most */
	struct jit_block *b = cache_room(t->j, block_bytes(t, exits));

	if (!b)
		return NULL;
	b->exit = (struct jit_exit *)((uint8_t *)b + block_bytes(t, 0));
	b->gpa = from->gpa;
	b->second_page = from->second_page;
	b->mode = from->mode;
	b->insns = t->count;
	return b;
}

static struct emit emit_between(const struct jit_cache *cache, size_t from, size_t to)
{
	return (struct emit){
		.p = cache->writable + from,
		.end = cache->writable + to,
		.to_exec = cache->exec - cache->writable,
	};
}

static struct emit emit_hot(const struct jit_cache *cache)
{
	return emit_between(cache, cache->used, cache->size / 2);
}

static struct emit emit_cold(const struct jit_cache *cache)
{
	return emit_between(cache, cache->cold, cache->size);
}

static size_t emitted_until(const struct jit_cache *cache, const struct emit *e)
{
	return (size_t)(e->p - cache->writable);
}

static __thread struct translation translation; /* too large for a stack */

static struct translation *analyse(struct jit *j, const struct jit_source *from)
{
	struct translation *t = &translation;

	t->j = j;
	t->word = from->mode & JIT_MODE_NARROW ? 4 : 8;
	t->count = t->slows = t->exits = t->groups = t->sides = 0;
	t->held[0] = t->held[1] = NO_GROUP;
	t->rsp_late = 0;
	t->links = 0;
	t->lookup.miss = NULL;
	analyse_block(t, from->code, from->room, from->gpa & PAGE_MASK,
		      from->second_page == JIT_ONE_PAGE ? from->max_insns : 1);
	return t;
}

bool translate_wants_more(struct jit *j, const struct jit_source *from)
{
	return from->room < INSN_MAX_LENGTH && !analyse(j, from)->count;
}

/* NULL: the first instruction is not for us, or the cache was full and is empty now. */
struct jit_block *translate(struct jit *j, const struct jit_source *from)
{
	struct translation *t = analyse(j, from);
	struct jit_cache *cache = &j->cache;
	struct jit_block *b;
	struct emit hot;

	if (!t->count || (t->count == 1 && t->item[0].class == JIT_INTERP))
		return NULL;
	if (!(from->mode & JIT_MODE_UNGROUPED) && !j->extent)
		find_groups(t);
	b = t->block = new_block(t, from);
	if (!b) {
		cache_flush(j);
		return NULL;
	}
	t->e = emit_hot(cache);
	b->code = t->e.p + t->e.to_exec;
	emit_block(t);
	b->code_end = t->e.p + t->e.to_exec;
	hot = t->e;
	t->e = emit_cold(cache);
	if (!hot.full)
		emit_cold_part(t);
	if (hot.full || t->e.full) {
		cache_flush(j);
		return NULL;
	}
	b->exits = t->exits;
	cache->used = (emitted_until(cache, &hot) + 15) & ~(size_t)15;
	cache->cold = emitted_until(cache, &t->e);
	cache_add(j, b, block_bytes(t, t->exits));
	j->count.blocks++;
	list_translation(t);
	return b;
}

bool emit_lookup_trampoline(struct jit *j, struct jit_exit *x)
{
	struct emit e = emit_cold(&j->cache);

	if (!x->flags_parked)
		emit_store_flags(&e, H11);
	emit_page_relative(&e, H10, x->offset);
	emit_lookup(j, &e, JIT_JUMP_INFO(0, 0)); /* the target is canonical: it was there */
	if (e.full)
		return false;
	cache_set_target(j, x, j->cache.exec + j->cache.cold);
	j->cache.cold = emitted_until(&j->cache, &e);
	return true;
}
