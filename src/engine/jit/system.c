/* System instructions in translated code. */
#include "engine/jit/translation.h"

static const struct operand *first_gpr(const struct insn *i)
{
	for (unsigned n = 0; n < i->op_count; n++)
		if (i->op[n].kind == OPK_GPR)
			return &i->op[n];
	return NULL;
}

/* Accessed or not (INVLPG). */
static const ZydisDecodedOperand *address_operand(const struct item *it)
{
	for (unsigned n = 0; n < it->z.operand_count_visible; n++)
		if (it->ops[n].type == ZYDIS_OPERAND_TYPE_MEMORY)
			return &it->ops[n];
	return NULL;
}

/* What a helper works with, besides the registers that it finds in the state page. */
static void emit_operand(struct translation *t, const struct item *it)
{
	const ZydisDecodedOperand *m = address_operand(it);
	const struct operand *gpr = first_gpr(&it->i);

	if (m) { /* its address */
		emit_address(t, it, m);
		emit_segment(t, m);
		emit_store_gs(&t->e, H10, JS(work));
	} else if (gpr) {
		if (it->data_regs) {
			emit_load_gs(&t->e, H11, reg_slot(it->data_regs));
			emit_store_gs(&t->e, H11, JS(work));
		} else {
			emit_store_gs(&t->e, gpr->reg, JS(work));
		}
	}
}

void emit_helper(struct translation *t, const struct item *it)
{
	scratch_free_all(t);
	flags_park(t, H11);
	emit_operand(t, it);
	emit_mov_imm(&t->e, H10, helper_word(&it->i, it->rip));
	emit_mov_imm(&t->e, H11, (uint64_t)jit_helper_of(&it->i));
	emit_jmp(&t->e, t->j->helper_common);
}

void emit_swapgs(struct translation *t)
{
	const int32_t base = (int32_t)(JS(seg_base) + 8 * GS);

	scratch_free_all(t);
	emit_load_gs(&t->e, H10, base);
	emit_load_gs(&t->e, H11, JS(kernel_gs_base));
	emit_store_gs(&t->e, H11, base);
	emit_store_gs(&t->e, H10, JS(kernel_gs_base));
}

/* A selector, or 8 bytes of the vCPU's state, to the instruction's register. */
static void emit_read_state(struct translation *t, const struct item *it, const void *from,
			    bool selector)
{
	struct emit *e = &t->e;
	unsigned reg = it->data_regs ? H11 : it->i.op[0].reg;

	scratch_free_all(t);
	emit_mov_imm(e, H10, (uint64_t)from);
	if (it->data_regs && selector && it->i.op[0].size == 2)
		emit_load_gs(e, reg, reg_slot(it->data_regs));
	if (selector && it->i.op[0].size == 2) { /* mov reg16, [r10] */
		emit_u8(e, 0x66);
		emit_u8(e, rex(false, reg, 0, H10));
		emit_u8(e, 0x8b);
		emit_u8(e, modrm(0, reg, H10));
	} else if (selector) { /* movzx reg32, word [r10] */
		emit_u8(e, rex(false, reg, 0, H10));
		EMIT(e, 0x0f, 0xb7);
		emit_u8(e, modrm(0, reg, H10));
	} else {
		emit_u8(e, rex(true, reg, 0, H10)); /* mov reg, [r10] */
		emit_u8(e, 0x8b);
		emit_u8(e, modrm(0, reg, H10));
	}
	if (it->data_regs)
		emit_store_gs(e, reg, reg_slot(it->data_regs));
}

void emit_read_cr2(struct translation *t, const struct item *it)
{
	emit_read_state(t, it, &t->j->c->s.cr2, false);
}

void emit_read_selector(struct translation *t, const struct item *it)
{
	emit_read_state(t, it, &t->j->c->s.seg[it->i.op[1].reg].selector, true);
}

/* RDFSBASE and RDGSBASE. */
void emit_read_base(struct translation *t, const struct item *it)
{
	unsigned seg = it->z.mnemonic == ZYDIS_MNEMONIC_RDFSBASE ? FS : GS;
	unsigned reg = it->data_regs ? scratch_take(t, NO_REG) : it->i.op[0].reg;

	emit_load_gs(&t->e, reg, (int32_t)(JS(seg_base) + 8 * (int)seg));
	if (it->data_regs)
		emit_store_gs(&t->e, reg, reg_slot(it->data_regs));
}
