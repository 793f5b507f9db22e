/* Ways out of a block: jumps, calls, returns, and exits to the dispatcher. */
#include <stddef.h>

#include "engine/jit/translation.h"

void emit_page_relative(struct emit *e, unsigned reg, uint64_t offset)
{
	emit_load_gs(e, reg, JS(page_base));
	emit_add(e, reg, (int32_t)offset);
}

/* Offset of a member of the jump cache from GS base. */
#define JUMPS(member) ((uint32_t)(offsetof(struct jit_jumps, member) - JIT_BELOW))

/* h11 is the entry's number: goes to `hit` (a rel8 to patch) when its tag is that of h10; uses RCX. */
static uint8_t *emit_compare_tag(struct emit *e, uint32_t tags)
{
	EMIT(e, 0x65, 0xc4, 0x62, 0xa2, 0xf5, 0x1c, 0x25); /* pext r11, r11, gs:[jump_mask] */
	emit_u32(e, (uint32_t)JS(jump_mask));
	EMIT(e, 0x65, 0x4a, 0x8b, 0x0c, 0xdd);             /* mov rcx, gs:[r11 * 8 + tags] */
	emit_u32(e, tags);
	EMIT(e, 0x4a, 0x8d, 0x0c, 0x11);                   /* lea rcx, [rcx + r10] */
	EMIT(e, 0xe3, 0x00);                               /* jrcxz hit */
	return e->p - 1;
}

static void emit_hit(struct emit *e, uint8_t *hit, uint32_t hosts)
{
	if (!e->full)
		*hit = (uint8_t)(e->p - (hit + 1));
	emit_load_gs(e, RCX, JS(jump_rcx));
	EMIT(e, 0x65, 0x42, 0xff, 0x24, 0xdd); /* jmp gs:[r11 * 8 + hosts] */
	emit_u32(e, hosts);
}

/* No flag changes on the way. */
void emit_lookup(struct jit *j, struct emit *e, uint32_t info)
{
	uint8_t *hit;

	emit_store_gs(e, RCX, JS(jump_rcx));
	EMIT(e, 0xc4, 0x43, 0xfb, 0xf0, 0xda, JIT_JUMP_ROTATE); /* rorx r11, r10, ... */
	EMIT(e, 0x4f, 0x8d, 0x1c, 0x13);                        /* lea r11, [r11 + r10] */
	hit = emit_compare_tag(e, JUMPS(tag));
	emit_mov_imm(e, H11, info);
	emit_jmp(e, j->jump_miss);
	emit_hit(e, hit, JUMPS(host));
}

/* With info in h11: falls through when the second way does not have it either. */
void emit_second_lookup(struct emit *e)
{
	uint8_t *hit, *over;

	emit_store_gs(e, H11, JS(insn));
	EMIT(e, 0xc4, 0x43, 0xfb, 0xf0, 0xda, JIT_JUMP_ROTATE2);
	EMIT(e, 0x4f, 0x8d, 0x1c, 0x53); /* lea r11, [r11 + r10 * 2] */
	hit = emit_compare_tag(e, JUMPS(tag2));
	EMIT(e, 0xeb, 0x00);             /* jmp over */
	over = e->p - 1;
	emit_hit(e, hit, JUMPS(host2));
	*over = (uint8_t)(e->p - (over + 1));
}

void emit_leave_to(struct translation *t, uint64_t rip, uint64_t exit)
{
	emit_mov_imm(&t->e, H10, rip);
	emit_mov_imm(&t->e, H11, exit);
	emit_jmp(&t->e, t->j->exit_common);
}

/*
 * A jump whose rel32 is at `patch`: to a stub behind the block, and within the page straight to the
 * target's block once that exists. A target in another page cannot be chained: that page may be
 * mapped anew.
 */
static void emit_exit_stub(struct translation *t, uint8_t *patch, uint64_t rip, uint32_t info,
			   unsigned insns)
{
	struct emit *e = &t->e;
	struct jit_exit *x = &t->block->exit[t->exits++];

	patch_here(e, patch);
	x->insns = insns;
	if (rip >> PAGE_SHIFT) {
		if (insns < t->count)
			emit_store_gs_imm(e, JS(left_after), insns);
		emit_page_relative(e, H10, rip);
		emit_lookup(t->j, e, info);
		return;
	}
	x->patch = patch;
	x->stub = e->p + e->to_exec;
	x->from = t->block;
	x->offset = (uint32_t)rip;
	emit_leave_to(t, rip, (uint64_t)x);
}

void emit_direct(struct translation *t, uint64_t rip, uint32_t info)
{
	struct emit *e = &t->e;

	emit_u8(e, 0xe9);
	emit_u32(e, 0);
	if (!e->full)
		emit_exit_stub(t, e->p - 4, rip, info, t->count);
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
	uint8_t *taken = emit_jcc_rel32(&t->e, it->i.cc);

	t->side[t->sides++] = (struct side){ taken, t->now };
	if (is_last(t))
		emit_direct(t, it->rip + it->i.length, JIT_JUMP_INFO(it->rip, 0));
}

void emit_side_exits(struct translation *t)
{
	for (unsigned k = 0; k < t->sides; k++) {
		const struct item *it = &t->item[t->side[k].item];

		emit_exit_stub(t, t->side[k].jump, relative_target(it), JIT_JUMP_INFO(it->rip, 0),
			       t->side[k].item + 1);
	}
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
	uint32_t info = JIT_JUMP_INFO(it->rip, 0);
	uint8_t *not_taken, *taken;

	if (it->i.asz == 4)
		emit_u8(e, 0x67);
	emit_u8(e, it->i.opcode);
	emit_u8(e, 5);
	EMIT(e, 0xe9, 0, 0, 0, 0);
	not_taken = e->p - 4;
	EMIT(e, 0xe9, 0, 0, 0, 0);
	taken = e->p - 4;
	if (e->full)
		return;
	emit_exit_stub(t, not_taken, it->rip + it->i.length, info, t->count);
	emit_exit_stub(t, taken, relative_target(it), info, t->count);
}

void emit_jump(struct translation *t, const struct item *it)
{
	if (it->i.op[0].kind == OPK_REL) {
		if (is_last(t))
			emit_direct(t, relative_target(it), JIT_JUMP_INFO(it->rip, 0));
		return;
	}
	emit_indirect_target(t, it);
	emit_lookup(t->j, &t->e, JIT_JUMP_INFO(it->rip, 0));
}

void emit_call(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	bool direct = it->i.op[0].kind == OPK_REL;
	uint32_t info = JIT_JUMP_INFO(it->rip, -8);

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

	emit_load(e, H10, emit_access(t, it, NULL));
	t->rsp_late += 8 + (int32_t)released;
	emit_late_rsp(t);
	emit_lookup(t->j, e, JIT_JUMP_INFO(it->rip, 8 + (int32_t)released));
}
