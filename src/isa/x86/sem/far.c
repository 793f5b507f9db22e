/*
 * Far JMP, CALL and RET: real mode, code segments, call gates, TSSs and task gates (SDM vol. 2 JMP,
 * CALL, RET; vol. 3A §5.8).
 */
#include "isa/x86/sem/far.h"

#include "isa/x86/flags.h"
#include "isa/x86/frame.h"
#include "isa/x86/sem/system.h"
#include "isa/x86/task.h"

enum far_kind { FAR_JMP, FAR_CALL };

struct far_target {
	enum far_kind kind;
	uint16_t selector;
	uint64_t offset;
	unsigned size; /* operand size: of what CALL pushes */
};

static struct far_target far_operand(struct x86_cpu *c, const struct insn *i, enum far_kind kind)
{
	struct far_target t = { .kind = kind, .size = i->osz };
	gva_t at;

	if (i->op[0].kind == OPK_FAR) {
		t.offset = i->imm & mask_bytes(i->osz);
		t.selector = i->imm2;
		return t;
	}
	at = mem_operand(c, i, i->osz + 2u, ACCESS_READ);
	t.offset = lin_read(c, at, i->osz);
	t.selector = (uint16_t)lin_read(c, table_gva(c, at.v, i->osz), 2);
	return t;
}

static struct stack_frame push_return(struct x86_cpu *c, unsigned size)
{
	struct stack_frame f = frame_current(c, 0);

	frame_check(c, &f, 2 * size);
	frame_push(c, &f, c->s.seg[CS].selector, size);
	frame_push(c, &f, c->next_rip, size);
	return f;
}

static void real_transfer(struct x86_cpu *c, const struct far_target *t)
{
	struct stack_frame f;

	if (t->kind == FAR_CALL)
		f = push_return(c, t->size);
	if (t->offset > c->s.seg[CS].limit)
		x86_raise_gp(c, 0);
	if (t->kind == FAR_CALL)
		frame_commit(c, &f);
	seg_load_real(c, CS, t->selector);
	c->next_rip = t->offset;
}

/* ---- Protected mode ---- */

static void check_offset(struct x86_cpu *c, const struct x86_desc *code, uint64_t offset)
{
	bool to_64bit = x86_long_mode(c) && desc_attr(code) & SEG_L;

	if (to_64bit ? !x86_canonical(offset) : offset > desc_limit(code))
		x86_raise_gp(c, 0);
}

static void load_code(struct x86_cpu *c, uint16_t selector, unsigned cpl, const struct x86_desc *code,
		      uint64_t rip)
{
	c->s.seg[CS] = seg_from_desc(SEL_WITH_RPL(selector, cpl), code);
	c->next_rip = rip;
}

static void to_code_segment(struct x86_cpu *c, const struct far_target *t, struct x86_desc *code)
{
	uint32_t error = ERR_SEL(t->selector);
	struct stack_frame f;

	if (x86_long_mode(c) && (desc_attr(code) & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		x86_raise_gp(c, error);
	if (desc_is_conforming(code) ? desc_dpl(code) > c->cpl
				     : SEL_RPL(t->selector) > c->cpl || desc_dpl(code) != c->cpl)
		x86_raise_gp(c, error);
	if (!desc_present(code))
		x86_raise_error(c, VEC_NP, error);
	if (t->kind == FAR_CALL)
		f = push_return(c, t->size);
	check_offset(c, code, t->offset);
	desc_mark_accessed(c, code);

	if (t->kind == FAR_CALL)
		frame_commit(c, &f);
	load_code(c, t->selector, c->cpl, code, t->offset);
}

/* To a more privileged level: a new stack from the TSS, with the parameters copied over. */
static void call_inner(struct x86_cpu *c, const struct x86_desc *gate, struct x86_desc *code,
		       unsigned size)
{
	unsigned count = size == 8 ? 0 : gate->raw >> 32 & 0x1f;
	unsigned cpl = desc_dpl(code);
	struct stack_frame f = frame_from_tss(c, cpl, 0);

	frame_check(c, &f, (4 + count) * size);
	frame_push(c, &f, c->s.seg[SS].selector, size);
	frame_push(c, &f, c->s.gpr[RSP], size);
	for (unsigned k = count; k-- > 0;)
		frame_push(c, &f, stack_peek(c, k * size, size), size);
	frame_push(c, &f, c->s.seg[CS].selector, size);
	frame_push(c, &f, c->next_rip, size);
	check_offset(c, code, gate_offset(gate));
	desc_mark_accessed(c, code);

	frame_commit(c, &f);
	load_code(c, gate_selector(gate), cpl, code, gate_offset(gate));
}

static void through_call_gate(struct x86_cpu *c, const struct far_target *t, struct x86_desc *gate)
{
	uint16_t selector = gate_selector(gate);
	bool wide = desc_type(gate) & SYS_TYPE_32;
	unsigned size = x86_long_mode(c) ? 8 : wide ? 4 : 2;
	struct stack_frame f;
	struct x86_desc code;

	if (x86_long_mode(c) && (!wide || !desc_read_upper(c, t->selector, gate)))
		x86_raise_gp(c, ERR_SEL(t->selector));
	if (SEL_IS_NULL(selector))
		x86_raise_gp(c, 0);
	if (!desc_read(c, selector, &code) || !desc_is_code(&code) || desc_dpl(&code) > c->cpl)
		x86_raise_gp(c, ERR_SEL(selector));
	if (x86_long_mode(c) && (desc_attr(&code) & (SEG_L | SEG_DB)) != SEG_L)
		x86_raise_gp(c, ERR_SEL(selector));
	if (t->kind == FAR_JMP && !desc_is_conforming(&code) && desc_dpl(&code) != c->cpl)
		x86_raise_gp(c, ERR_SEL(selector));
	if (!desc_present(&code))
		x86_raise_error(c, VEC_NP, ERR_SEL(selector));
	if (!desc_is_conforming(&code) && desc_dpl(&code) < c->cpl) {
		call_inner(c, gate, &code, size);
		return;
	}
	if (t->kind == FAR_CALL)
		f = push_return(c, size);
	check_offset(c, &code, gate_offset(gate));
	desc_mark_accessed(c, &code);

	if (t->kind == FAR_CALL)
		frame_commit(c, &f);
	load_code(c, selector, c->cpl, &code, gate_offset(gate));
}

static void to_system_segment(struct x86_cpu *c, const struct far_target *t, struct x86_desc *d)
{
	unsigned type = desc_type(d);
	bool is_call_gate = type == SYS_CALL_GATE || type == SYS_CALL_GATE16;
	bool is_task = type == SYS_TASK_GATE || type == SYS_TSS || type == SYS_TSS16;
	uint32_t error = ERR_SEL(t->selector);

	if (!is_call_gate && (!is_task || x86_long_mode(c)))
		x86_raise_gp(c, error);
	if (desc_dpl(d) < c->cpl || SEL_RPL(t->selector) > desc_dpl(d))
		x86_raise_gp(c, error);
	if (!desc_present(d))
		x86_raise_error(c, VEC_NP, error);
	if (is_call_gate)
		through_call_gate(c, t, d);
	else
		task_switch(c, type == SYS_TASK_GATE ? gate_selector(d) : t->selector,
			    t->kind == FAR_CALL ? TASK_CALL : TASK_JMP, c->next_rip, flags_get(c), 0);
}

static void far_transfer(struct x86_cpu *c, const struct insn *i, enum far_kind kind)
{
	struct far_target t = far_operand(c, i, kind);
	struct x86_desc d;

	if (c->real_or_v86) {
		real_transfer(c, &t);
	} else {
		if (SEL_IS_NULL(t.selector))
			x86_raise_gp(c, 0);
		if (!desc_read(c, t.selector, &d))
			x86_raise_gp(c, ERR_SEL(t.selector));
		if (desc_is_code(&d))
			to_code_segment(c, &t, &d);
		else if (desc_is_system(&d))
			to_system_segment(c, &t, &d);
		else
			x86_raise_gp(c, ERR_SEL(t.selector));
	}
	x86_mode_changed(c);
}

void far_jmp(struct x86_cpu *c, const struct insn *i)
{
	far_transfer(c, i, FAR_JMP);
}

void far_call(struct x86_cpu *c, const struct insn *i)
{
	far_transfer(c, i, FAR_CALL);
}

/* ---- Returns ---- */

void far_return_check_code(struct x86_cpu *c, struct far_return *r)
{
	unsigned rpl = SEL_RPL(r->cs);
	uint32_t error = ERR_SEL(r->cs);

	if (SEL_IS_NULL(r->cs))
		x86_raise_gp(c, 0);
	if (!desc_read(c, r->cs, &r->code) || !desc_is_code(&r->code) || rpl < c->cpl)
		x86_raise_gp(c, error);
	if (desc_is_conforming(&r->code) ? desc_dpl(&r->code) > rpl : desc_dpl(&r->code) != rpl)
		x86_raise_gp(c, error);
	if (x86_long_mode(c) && (desc_attr(&r->code) & (SEG_L | SEG_DB)) == (SEG_L | SEG_DB))
		x86_raise_gp(c, error);
	if (!desc_present(&r->code))
		x86_raise_error(c, VEC_NP, error);
}

void far_return_check_stack(struct x86_cpu *c, struct far_return *r)
{
	unsigned cpl = SEL_RPL(r->cs);
	struct x86_desc d;

	if (SEL_IS_NULL(r->ss) && far_return_to_64bit(c, r) && cpl != 3 && SEL_RPL(r->ss) == cpl) {
		r->stack = seg_null(r->ss, cpl);
	} else {
		seg_check_stack(c, r->ss, cpl, VEC_GP, 0, &d);
		desc_mark_accessed(c, &d);
		r->stack = seg_from_desc(r->ss, &d);
	}
}

void far_return_commit_stack(struct x86_cpu *c, const struct far_return *r)
{
	uint64_t *rsp = &c->s.gpr[RSP];

	if (far_return_to_64bit(c, r))
		*rsp = r->rsp;
	else if (r->stack.attr & SEG_DB)
		*rsp = (uint32_t)r->rsp;
	else
		*rsp = (*rsp & ~UINT64_C(0xffff)) | (r->rsp & 0xffff);
	c->s.seg[SS] = r->stack;
	if (SEL_RPL(r->cs) > c->cpl)
		seg_drop_inner(c, SEL_RPL(r->cs));
}

void far_return_commit_code(struct x86_cpu *c, struct far_return *r)
{
	c->s.seg[CS] = seg_from_desc(r->cs, &r->code);
	c->next_rip = r->rip;
}

static void real_return(struct x86_cpu *c, unsigned size, unsigned release)
{
	uint64_t rip = stack_peek(c, 0, size);
	uint16_t cs = (uint16_t)stack_peek(c, size, size);

	if (rip > c->s.seg[CS].limit)
		x86_raise_gp(c, 0);
	stack_adjust(c, 2 * size + release);
	seg_load_real(c, CS, cs);
	c->next_rip = rip;
}

static void protected_return(struct x86_cpu *c, unsigned size, unsigned release)
{
	struct far_return r = {
		.rip = stack_peek(c, 0, size),
		.cs = (uint16_t)stack_peek(c, size, size),
	};
	bool outer;

	far_return_check_code(c, &r);
	outer = SEL_RPL(r.cs) > c->cpl;
	if (outer) {
		r.rsp = stack_peek(c, 2 * size + release, size);
		r.ss = (uint16_t)stack_peek(c, 3 * size + release, size);
		far_return_check_stack(c, &r);
	}
	check_offset(c, &r.code, r.rip);
	desc_mark_accessed(c, &r.code);

	if (outer) {
		r.rsp += release;
		far_return_commit_stack(c, &r);
	} else {
		stack_adjust(c, 2 * size + release);
	}
	far_return_commit_code(c, &r);
}

void far_ret(struct x86_cpu *c, const struct insn *i)
{
	unsigned release = i->opcode == 0xca ? i->imm & 0xffff : 0;

	if (c->real_or_v86)
		real_return(c, i->osz, release);
	else
		protected_return(c, i->osz, release);
	x86_mode_changed(c);
}
