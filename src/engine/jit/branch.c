/* Ways out of a block: jumps, calls, returns, and exits to the dispatcher. */
#include <stddef.h>

#include "engine/jit/translation.h"

void emit_page_relative(struct emit *e, unsigned reg, uint64_t offset)
{
	emit_load_gs(e, reg, JS(page_base));
	emit_add(e, reg, (int32_t)offset);
}

void emit_code_address(struct translation *t, unsigned reg, uint64_t offset)
{
	emit_load_gs(&t->e, reg, JS(page_base));
	emit_lea_word(t, reg, at_base(reg, (int32_t)offset));
}

/* Offset of the ways of the jump cache from GS base. */
#define FIRST_WAY  ((uint32_t)-JIT_BELOW_JUMPS)
#define SECOND_WAY ((uint32_t)(JIT_JUMP_ENTRIES * sizeof(struct jit_jump) - JIT_BELOW_JUMPS))

/* With h10 = gva and h11 = 8 * the entry's number + dirt. Gives the rel32 of the jump when it is not there. */
static uint8_t *emit_try_way(struct emit *e, uint32_t jumps)
{
	const uint8_t sib = 1 << 6 | (H11 & 7) << 3 | 5; /* [r11 * 2 + disp32] */
	uint8_t *miss;

	EMIT(e, 0x41, 0x81, 0xe3); /* and r11d, ... */
	emit_u32(e, (JIT_JUMP_ENTRIES - 1) * 8);
	EMIT(e, 0x65, 0x4e, 0x39, 0x14); /* cmp gs:[r11 * 2 + tag], r10 */
	emit_u8(e, sib);
	emit_u32(e, jumps + (uint32_t)offsetof(struct jit_jump, tag));
	miss = emit_jcc_rel32(e, 5);
	EMIT(e, 0x65, 0x42, 0xff, 0x24); /* jmp gs:[r11 * 2 + host] */
	emit_u8(e, sib);
	emit_u32(e, jumps + (uint32_t)offsetof(struct jit_jump, host));
	return miss;
}

/* h11 = h10 rotated right; flags may change, being parked. */
static void emit_rotated(const struct jit *j, struct emit *e, uint8_t n)
{
	if (j->host->bmi2) {
		EMIT(e, 0xc4, 0x43, 0xfb, 0xf0, 0xda); /* rorx r11, r10, n */
	} else {
		emit_mov(e, H11, H10);
		EMIT(e, 0x49, 0xc1, 0xcb); /* ror r11, n */
	}
	emit_u8(e, n);
}

static uint8_t *emit_first_lookup(const struct jit *j, struct emit *e)
{
	emit_rotated(j, e, JIT_JUMP_ROTATE);
	EMIT(e, 0x4f, 0x8d, 0x1c, 0x53);                        /* lea r11, [r11 + r10 * 2] */
	return emit_try_way(e, FIRST_WAY);
}

static void emit_lookup_miss(struct jit *j, struct emit *e, uint8_t *from, uint32_t info)
{
	patch_here(e, from);
	emit_mov_imm(e, H11, info);
	emit_jmp(e, j->jump_miss);
}

void emit_lookup(struct jit *j, struct emit *e, uint32_t info)
{
	emit_lookup_miss(j, e, emit_first_lookup(j, e), info);
}

/* With info in h11. */
void emit_second_lookup(const struct jit *j, struct emit *e)
{
	emit_store_gs(e, H11, JS(insn));
	emit_rotated(j, e, JIT_JUMP_ROTATE2);
	EMIT(e, 0x4f, 0x8d, 0x1c, 0x93);                        /* lea r11, [r11 + r10 * 4] */
	patch_here(e, emit_try_way(e, SECOND_WAY));
}

/* At the end of the block, to the gva in h10. */
static void emit_indirect(struct translation *t, uint32_t info)
{
	t->lookup = (struct lookup){ emit_first_lookup(t->j, &t->e), info };
}

void emit_leave_to(struct translation *t, uint64_t rip, uint64_t exit)
{
	emit_mov_imm(&t->e, H10, rip);
	emit_mov_imm(&t->e, H11, exit);
	emit_jmp(&t->e, t->flags.parked ? t->j->exit_parked : t->j->exit_common);
}

/* A jump whose rel32 is at `patch`, NULL when the cache is full; emit_side_exits gives it a target. */
static void leave_later(struct translation *t, uint8_t *patch, uint64_t rip, unsigned insns)
{
	if (patch)
		t->side[t->sides++] = (struct side){ patch, rip, t->now, insns, t->flags };
}

/* With h10 = gva of the target, flags parked. */
static void emit_link(struct translation *t, uint32_t info)
{
	struct emit *e = &t->e;
	struct jit_exit *x = &t->block->exit[t->exits++];
	struct link *l = &t->link[t->links++];

	*x = (struct jit_exit){ .from = jit_ref_to(t->j, t->block), .is_link = true, .link = t->j->cache.links++, .info = info };
	emit_gs(e, 0x39, H10, (int32_t)(8 * x->link) - (int32_t)JIT_BELOW); /* cmp gs:[...], r10 */
	l->exit = x;
	l->other = emit_jcc_rel32(e, 5);
	l->jump = emit_jmp_rel32(e);
}

static void emit_link_misses(struct translation *t)
{
	struct emit *e = &t->e;

	for (unsigned k = 0; k < t->links; k++) {
		struct link *l = &t->link[k];

		patch_here(e, l->other);
		patch_here(e, l->jump);
		set_places(t, l->exit, l->jump);
		emit_mov_imm(e, H11, (uint64_t)l->exit);
		emit_jmp(e, t->j->link_miss);
	}
}

/* With h10 = gva of what has the offset `rip`: chained as long as that page is what it was. */
static void emit_leave_page(struct translation *t, uint64_t rip, uint32_t info)
{
	if (rip & PAGE_MASK && t->j->cache.links < JIT_LINKS)
		emit_link(t, info);
	else
		emit_lookup(t->j, &t->e, info);
}

static void emit_to_other_page(struct translation *t, uint64_t rip, uint32_t info, unsigned insns)
{
	if (t->j->counted && insns < t->count)
		emit_store_gs_imm(&t->e, JS(left_after), insns);
	flags_park(t, H11);
	emit_code_address(t, H10, rip);
	emit_leave_page(t, rip, info);
}

void emit_direct(struct translation *t, uint64_t rip, uint32_t info)
{
	if (rip >> PAGE_SHIFT)
		emit_to_other_page(t, rip, info, t->count);
	else
		leave_later(t, emit_jmp_rel32(&t->e), rip, t->count);
}

void set_places(const struct translation *t, struct jit_exit *x, const uint8_t *rel32)
{
	const uint8_t *cache = t->j->cache.writable;

	x->patch = (uint32_t)(rel32 - cache);
	x->stub = (uint32_t)(t->e.p - cache);
}

/* To a stub, and within the page straight to the target's block once that exists. */
static void emit_side_exit(struct translation *t, const struct side *s)
{
	struct jit_exit *x;

	patch_here(&t->e, s->jump);
	t->flags = s->flags;
	if (s->rip >> PAGE_SHIFT) {
		emit_to_other_page(t, s->rip, JIT_JUMP_INFO(t->item[s->item].rip, 0), s->insns);
		return;
	}
	x = &t->block->exit[t->exits++];
	set_places(t, x, s->jump);
	x->insns = (uint8_t)s->insns;
	x->from = jit_ref_to(t->j, t->block);
	x->offset = (uint16_t)s->rip;
	x->flags_here = s->flags.here;
	x->flags_parked = s->flags.parked;
	emit_leave_to(t, s->rip, (uint64_t)x);
}

void emit_side_exits(struct translation *t)
{
	for (unsigned k = 0; k < t->sides; k++)
		emit_side_exit(t, &t->side[k]);
	emit_link_misses(t);
	if (t->lookup.miss)
		emit_lookup_miss(t->j, &t->e, t->lookup.miss, t->lookup.info);
}

uint64_t relative_target(const struct item *it)
{
	return it->rip + it->i.length + it->i.imm;
}

static bool is_last(const struct translation *t)
{
	return t->now == t->count - 1;
}

void emit_branch(struct translation *t, const struct item *it)
{
	flags_provide(t, it, scratch_spare(t, at_base(NO_REG, 0)));
	leave_later(t, emit_jcc_rel32(&t->e, it->i.cc), relative_target(it), t->now + 1);
	if (is_last(t))
		emit_direct(t, it->rip + it->i.length, JIT_JUMP_INFO(it->rip, 0));
}

/* h10 = the target of an indirect jump or call. */
static void emit_indirect_target(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	const ZydisDecodedOperand *m = memory_operand(it);

	if (!m)
		scratch_free_all(t);
	if (m) {
		emit_load_word(t, H10, emit_read_operand(t, it, m));
	} else if (it->data_regs) {
		emit_load_gs(e, H10, reg_slot(it->data_regs));
	} else {
		emit_mov(e, H10, it->i.op[0].reg);
	}
}

/* Itself, over a jump to where it falls through to; there is no form with a rel32. */
void emit_loop(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;

	flags_provide(t, it, scratch_spare(t, at_base(NO_REG, 0)));
	if (it->i.asz == 4)
		emit_u8(e, 0x67);
	emit_u8(e, it->i.opcode);
	emit_u8(e, 5);
	leave_later(t, emit_jmp_rel32(e), it->rip + it->i.length, t->count);
	leave_later(t, emit_jmp_rel32(e), relative_target(it), t->count);
}

void emit_jump(struct translation *t, const struct item *it)
{
	if (it->i.op[0].kind == OPK_REL) {
		if (is_last(t))
			emit_direct(t, relative_target(it), JIT_JUMP_INFO(it->rip, 0));
		return;
	}
	flags_park(t, scratch_spare(t, at_base(NO_REG, 0)));
	emit_indirect_target(t, it);
	emit_indirect(t, JIT_JUMP_INFO(it->rip, 0));
}

static uint32_t call_info(const struct translation *t, const struct item *it)
{
	return JIT_JUMP_INFO(it->rip, -(int32_t)t->word);
}

static void emit_indirect_call(struct translation *t, const struct item *it)
{
	flags_park(t, scratch_spare(t, at_base(NO_REG, 0)));
	emit_indirect_target(t, it);
	emit_store_gs(&t->e, H10, JS(call_target));
	emit_push_address(t, it, it->rip + it->i.length);
	emit_late_rsp(t);
	emit_load_gs(&t->e, H10, JS(call_target));
	emit_indirect(t, call_info(t, it));
}

/* The address of what is called is that of the next instruction, which is at hand, and a constant. */
static void emit_call_other_page(struct translation *t, const struct item *it)
{
	uint64_t target = relative_target(it), behind = it->rip + it->i.length;
	unsigned pushed;

	flags_park(t, scratch_spare(t, at_base(NO_REG, 0)));
	pushed = emit_push_address(t, it, behind);
	emit_late_rsp(t);
	emit_lea_word(t, H10, at_base(pushed, (int32_t)(target - behind)));
	emit_leave_page(t, target, call_info(t, it));
}

void emit_call(struct translation *t, const struct item *it)
{
	uint64_t target = relative_target(it);

	if (it->i.op[0].kind != OPK_REL) {
		emit_indirect_call(t, it);
		return;
	}
	if (is_last(t) && target >> PAGE_SHIFT) {
		emit_call_other_page(t, it);
		return;
	}
	emit_push_address(t, it, it->rip + it->i.length);
	if (!is_last(t))
		return;
	emit_late_rsp(t);
	emit_direct(t, target, call_info(t, it));
}

void emit_ret(struct translation *t, const struct item *it)
{
	unsigned released = it->i.op_count ? it->i.imm & 0xffff : 0;

	flags_park(t, scratch_spare(t, at_base(NO_REG, 0)));
	emit_load_word(t, H10, emit_access(t, it, NULL));
	t->rsp_late += (int32_t)(t->word + released);
	emit_late_rsp(t);
	emit_indirect(t, JIT_JUMP_INFO(it->rip, t->word + released));
}
