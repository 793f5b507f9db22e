/* System instructions in translated code. */
#include "engine/jit/translation.h"

/* What a helper works with, besides the registers that it finds in the state page. */
static void emit_operand(struct translation *t, const struct item *it)
{
	const ZydisDecodedOperand *m = memory_operand(it);

	if (m) { /* its address */
		emit_address(t, it, m);
		emit_segment(t, m);
		emit_store_gs(&t->e, H10, JS(work));
	} else if (it->i.op_count && it->i.op[0].kind == OPK_GPR) {
		if (it->data_regs) {
			emit_load_gs(&t->e, H11, reg_slot(it->data_regs));
			emit_store_gs(&t->e, H11, JS(work));
		} else {
			emit_store_gs(&t->e, it->i.op[0].reg, JS(work));
		}
	}
}

void emit_helper(struct translation *t, const struct item *it)
{
	scratch_free_all(t);
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

/* RDFSBASE and RDGSBASE. */
void emit_read_base(struct translation *t, const struct item *it)
{
	unsigned seg = it->z.mnemonic == ZYDIS_MNEMONIC_RDFSBASE ? FS : GS;
	unsigned reg = it->data_regs ? scratch_take(t, NO_REG) : it->i.op[0].reg;

	emit_load_gs(&t->e, reg, (int32_t)(JS(seg_base) + 8 * (int)seg));
	if (it->data_regs)
		emit_store_gs(&t->e, reg, reg_slot(it->data_regs));
}
