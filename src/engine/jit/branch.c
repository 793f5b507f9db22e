/* Ways out of a block: jumps, calls, returns, and exits to the dispatcher. */
#include "engine/jit/translation.h"

void emit_leave_to(struct translation *t, uint64_t rip, uint64_t exit)
{
	emit_mov_imm(&t->e, H10, rip);
	emit_mov_imm(&t->e, H11, exit);
	emit_jmp(&t->e, t->j->exit_common);
}

/*
 * A jump whose rel32 is at `patch`: to a stub behind the block, and within the page straight to the
 * target's block once that exists.
 */
static void emit_exit_stub(struct translation *t, uint8_t *patch, uint64_t rip)
{
	struct emit *e = &t->e;
	struct jit_exit *x = &t->block->exit[t->exits++];

	patch_here(e, patch);
	if (rip >> PAGE_SHIFT != t->block->gva >> PAGE_SHIFT) {
		emit_mov_imm(e, H10, rip);
		emit_jmp(e, t->j->jump_common);
		return;
	}
	x->patch = patch;
	x->stub = e->p + e->to_exec;
	x->rip = rip;
	emit_leave_to(t, rip, (uint64_t)x);
}

void emit_direct(struct translation *t, uint64_t rip)
{
	struct emit *e = &t->e;

	emit_u8(e, 0xe9);
	emit_u32(e, 0);
	if (!e->full)
		emit_exit_stub(t, e->p - 4, rip);
}

static uint64_t relative_target(const struct item *it)
{
	return it->rip + it->i.length + it->i.imm;
}

void emit_branch(struct translation *t, const struct item *it)
{
	uint8_t *taken = emit_jcc_rel32(&t->e, it->i.cc);

	emit_direct(t, it->rip + it->i.length);
	if (taken)
		emit_exit_stub(t, taken, relative_target(it));
}

/* h10 = the target of an indirect jump or call. */
static void emit_indirect_target(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	const ZydisDecodedOperand *m = memory_operand(it);

	if (m) {
		emit_address(t, it, m);
		emit_segment(t, m);
		emit_translate(t, 8, false, it->flags_live_in, false);
		emit_load_h10(e, H10);
	} else if (it->data_regs) {
		emit_load_gs(e, H10, reg_slot(it->data_regs));
	} else {
		emit_mov(e, H10, it->i.op[0].reg);
	}
}

void emit_jump(struct translation *t, const struct item *it)
{
	if (it->i.op[0].kind == OPK_REL) {
		emit_direct(t, relative_target(it));
		return;
	}
	emit_indirect_target(t, it);
	emit_jmp(&t->e, t->j->jump_common);
}

void emit_call(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	bool direct = it->i.op[0].kind == OPK_REL;

	if (!direct) {
		emit_indirect_target(t, it);
		emit_store_gs(e, H10, JS(call_target));
	}
	emit_stack_write(t, it);
	emit_mov_imm(e, H11, it->rip + it->i.length);
	emit_store_h10(e, H11);
	emit_lea(e, RSP, RSP, -8);
	if (direct) {
		emit_direct(t, relative_target(it));
		return;
	}
	emit_load_gs(e, H10, JS(call_target));
	emit_jmp(e, t->j->jump_common);
}

void emit_ret(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	unsigned released = it->i.op_count ? it->i.imm & 0xffff : 0;

	emit_mov(e, H10, RSP);
	emit_translate(t, 8, false, it->flags_live_in, false);
	emit_load_h10(e, H10);
	emit_lea(e, RSP, RSP, 8 + (int32_t)released);
	emit_jmp(e, t->j->jump_common);
}
