/* System instructions in translated code. */
#include "engine/jit/translation.h"

void emit_helper(struct translation *t, const struct item *it)
{
	emit_mov_imm(&t->e, H10, helper_word(&it->i, it->rip));
	emit_mov_imm(&t->e, H11, (uint64_t)jit_helper_of(&it->i));
	emit_jmp(&t->e, t->j->helper_common);
}

void emit_swapgs(struct translation *t)
{
	const int32_t base = (int32_t)(JS(seg_base) + 8 * GS);

	emit_load_gs(&t->e, H10, base);
	emit_load_gs(&t->e, H11, JS(kernel_gs_base));
	emit_store_gs(&t->e, H11, base);
	emit_store_gs(&t->e, H10, JS(kernel_gs_base));
}
