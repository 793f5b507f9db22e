/* The stack and the interrupt flag. */
#include "engine/jit/translation.h"

void emit_stack_write(struct translation *t, const struct item *it)
{
	emit_lea(&t->e, H10, RSP, -8);
	emit_translate(t, 8, true, it->flags_live_in, false);
}

void emit_push(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	const struct operand *o = &it->i.op[0];
	const ZydisDecodedOperand *m = memory_operand(it);

	if (m) {
		emit_address(t, it, m);
		emit_segment(t, m);
		emit_translate(t, 8, false, it->flags_live_in, false);
		emit_load_h10(e, H11);
		emit_store_gs(e, H11, JS(work));
	}
	emit_stack_write(t, it);
	if (m) {
		emit_load_gs(e, H11, JS(work));
		emit_store_h10(e, H11);
	} else if (o->kind == OPK_IMM) {
		emit_mov_imm(e, H11, it->i.imm);
		emit_store_h10(e, H11);
	} else if (it->data_regs) {
		emit_load_gs(e, H11, reg_slot(it->data_regs));
		emit_store_h10(e, H11);
	} else {
		emit_store_h10(e, o->reg);
	}
	emit_lea(e, RSP, RSP, -8);
}

void emit_pop(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	unsigned reg = it->i.op[0].reg;

	emit_mov(e, H10, RSP);
	emit_translate(t, 8, false, it->flags_live_in, false);
	if (reg == R10 || reg == R11) {
		emit_load_h10(e, H11);
		emit_store_gs(e, H11, JS_GPR(reg));
	} else {
		emit_load_h10(e, reg);
	}
	if (reg != RSP)
		emit_lea(e, RSP, RSP, 8);
}

void emit_leave(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;

	emit_mov(e, H10, RBP);
	emit_translate(t, 8, false, it->flags_live_in, false);
	emit_load_h10(e, H11);
	emit_lea(e, RSP, RBP, 8);
	emit_mov(e, RBP, H11);
}

/* ---- The interrupt flag ---- */

void emit_set_interrupt_flag(struct emit *e, unsigned value)
{
	EMIT(e, 0x65, 0xc6, 0x04, 0x25); /* mov byte gs:[disp], imm8 */
	emit_u32(e, (uint32_t)JS(interrupt_flag));
	emit_u8(e, value);
}

/* An interrupt that waits makes the read fault, and the interpreter does it properly. */
void emit_sti(struct translation *t)
{
	emit_load_gs(&t->e, H11, JS(sti_poll));
	EMIT(&t->e, 0x45, 0x8b, 0x1b); /* mov r11d, [r11] */
	emit_set_interrupt_flag(&t->e, 1);
}

/* movzx reg32, byte gs:[disp] */
static void emit_load_byte(struct emit *e, unsigned reg, int32_t disp)
{
	emit_u8(e, 0x65);
	emit_u8(e, rex(false, reg, 0, 0));
	EMIT(e, 0x0f, 0xb6);
	emit_u8(e, modrm(0, reg, 4));
	emit_u8(e, 0x25);
	emit_u32(e, (uint32_t)disp);
}

/* RFLAGS is put together in h11, kept while the stack is translated, and stored. */
void emit_pushf(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;

	emit_save_flags(e);
	emit_load_byte(e, H11, JS(save_flags) + 1); /* AH */
	emit_load_byte(e, H10, JS(save_flags));     /* OF */
	EMIT(e, 0x41, 0xc1, 0xe2, 11);              /* shl r10d, 11 */
	EMIT(e, 0x45, 0x09, 0xd3);                  /* or r11d, r10d */
	emit_load_byte(e, H10, JS(interrupt_flag));
	EMIT(e, 0x41, 0xc1, 0xe2, 9);               /* shl r10d, 9 */
	EMIT(e, 0x45, 0x09, 0xd3);
	emit_gs(e, 0x0b, H11, JS(system_flags));    /* or r11, gs:[...] */
	emit_store_gs(e, H11, JS(work));
	emit_restore_flags(e);
	emit_stack_write(t, it);
	emit_load_gs(e, H11, JS(work));
	emit_store_h10(e, H11);
	emit_lea(e, RSP, RSP, -8);
}
