/* Ways out of a block: jumps, calls, returns, and exits to the dispatcher. */
#include <stddef.h>

#include "engine/jit/translation.h"

void emit_page_relative(struct emit *e, unsigned reg, uint64_t offset)
{
	emit_load_gs(e, reg, JS(page_base));
	emit_add(e, reg, (int32_t)offset);
}

/* Offset of the ways of the jump cache from GS base. */
#define FIRST_WAY  ((uint32_t)-JIT_BELOW)
#define SECOND_WAY ((uint32_t)(JIT_JUMP_ENTRIES * sizeof(struct jit_jump) - JIT_BELOW))

/* With h10 = gva: falls through when the way does not have it. h11 = 8 (or 4) * the entry's number + dirt. */
static void emit_try_way(struct emit *e, unsigned scale, uint32_t jumps)
{
	unsigned sib = (scale == 4 ? 2u : 1u) << 6 | (H11 & 7) << 3 | 5; /* [r11 * scale + disp32] */

	EMIT(e, 0x41, 0x81, 0xe3); /* and r11d, ... */
	emit_u32(e, (JIT_JUMP_ENTRIES - 1) * ((unsigned)sizeof(struct jit_jump) / scale));
	EMIT(e, 0x65, 0x4e, 0x39, 0x14); /* cmp gs:[r11 * scale + tag], r10 */
	emit_u8(e, sib);
	emit_u32(e, jumps + (uint32_t)offsetof(struct jit_jump, tag));
	EMIT(e, 0x75, 0x09);             /* jne over */
	EMIT(e, 0x65, 0x42, 0xff, 0x24); /* jmp gs:[r11 * scale + host] */
	emit_u8(e, sib);
	emit_u32(e, jumps + (uint32_t)offsetof(struct jit_jump, host));
}

void emit_lookup(struct jit *j, struct emit *e, uint32_t info)
{
	EMIT(e, 0xc4, 0x43, 0xfb, 0xf0, 0xda, JIT_JUMP_ROTATE - 3); /* rorx r11, r10, ... */
	EMIT(e, 0x4f, 0x8d, 0x1c, 0xd3);                            /* lea r11, [r11 + r10 * 8] */
	emit_try_way(e, 2, FIRST_WAY);
	emit_mov_imm(e, H11, info);
	emit_jmp(e, j->jump_miss);
}

/* With info in h11. */
void emit_second_lookup(struct emit *e)
{
	emit_store_gs(e, H11, JS(insn));
	EMIT(e, 0xc4, 0x43, 0xfb, 0xf0, 0xda, JIT_JUMP_ROTATE2 - 2);
	EMIT(e, 0x4f, 0x8d, 0x1c, 0xd3);
	emit_try_way(e, 4, SECOND_WAY);
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

static uint8_t *emit_jmp_rel32(struct emit *e)
{
	EMIT(e, 0xe9, 0, 0, 0, 0);
	return e->full ? NULL : e->p - 4;
}

/* A target in another page cannot be chained: that page may be mapped anew. */
static void emit_to_other_page(struct translation *t, uint64_t rip, uint32_t info, unsigned insns)
{
	if (insns < t->count)
		emit_store_gs_imm(&t->e, JS(left_after), insns);
	flags_park(t, H11);
	emit_page_relative(&t->e, H10, rip);
	emit_lookup(t->j, &t->e, info);
}

void emit_direct(struct translation *t, uint64_t rip, uint32_t info)
{
	if (rip >> PAGE_SHIFT)
		emit_to_other_page(t, rip, info, t->count);
	else
		leave_later(t, emit_jmp_rel32(&t->e), rip, t->count);
}

/* To a stub, and within the page straight to the target's block once that exists. */
static void emit_side_exit(struct translation *t, const struct side *s)
{
	struct jit_exit *x = &t->block->exit[t->exits++];

	patch_here(&t->e, s->jump);
	t->flags = s->flags;
	x->insns = s->insns;
	if (s->rip >> PAGE_SHIFT) {
		emit_to_other_page(t, s->rip, JIT_JUMP_INFO(t->item[s->item].rip, 0), s->insns);
		return;
	}
	x->patch = s->jump;
	x->stub = t->e.p + t->e.to_exec;
	x->from = t->block;
	x->offset = (uint32_t)s->rip;
	x->flags_here = s->flags.here;
	x->flags_parked = s->flags.parked;
	emit_leave_to(t, s->rip, (uint64_t)x);
}

void emit_side_exits(struct translation *t)
{
	for (unsigned k = 0; k < t->sides; k++)
		emit_side_exit(t, &t->side[k]);
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
		emit_load(e, H10, emit_read_operand(t, it, m));
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
	emit_lookup(t->j, &t->e, JIT_JUMP_INFO(it->rip, 0));
}

void emit_call(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	bool direct = it->i.op[0].kind == OPK_REL;
	uint32_t info = JIT_JUMP_INFO(it->rip, -8);

	if (!direct || (is_last(t) && relative_target(it) >> PAGE_SHIFT))
		flags_park(t, scratch_spare(t, at_base(NO_REG, 0)));
	if (!direct) {
		emit_indirect_target(t, it);
		emit_store_gs(e, H10, JS(call_target));
	}
	emit_push_address(t, it, it->rip + it->i.length);
	if (!direct || is_last(t))
		emit_late_rsp(t);
	if (direct) {
		if (is_last(t))
			emit_direct(t, relative_target(it), info);
		return;
	}
	emit_load_gs(e, H10, JS(call_target));
	emit_lookup(t->j, e, info);
}

void emit_ret(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	unsigned released = it->i.op_count ? it->i.imm & 0xffff : 0;

	flags_park(t, scratch_spare(t, at_base(NO_REG, 0)));
	emit_load(e, H10, emit_access(t, it, NULL));
	t->rsp_late += 8 + (int32_t)released;
	emit_late_rsp(t);
	emit_lookup(t->j, e, JIT_JUMP_INFO(it->rip, 8 + (int32_t)released));
}
