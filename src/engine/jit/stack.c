/* The stack and the interrupt flag. */
#include "engine/jit/translation.h"

static void emit_move_stack(struct translation *t, int32_t bytes)
{
	t->rsp_late += bytes;
}

void emit_late_rsp(struct translation *t)
{
	if (t->rsp_late)
		emit_lea_word(t, RSP, at_base(RSP, t->rsp_late));
	t->rsp_late = 0;
}

static bool uses_rsp(const struct item *it)
{
	bool uses = it->i.base == RSP || it->i.index == RSP;

	for (unsigned n = 0; n < it->i.op_count; n++)
		uses |= it->i.op[n].kind == OPK_GPR && it->i.op[n].reg == RSP;
	return uses;
}

/* What compilers put between pushes and pops, and what cannot fault. */
static bool is_simple(const struct item *it)
{
	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_MOVZX:
	case ZYDIS_MNEMONIC_MOVSX:
	case ZYDIS_MNEMONIC_MOVSXD:
	case ZYDIS_MNEMONIC_LEA:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_SUB:
		return it->class == JIT_COPY && !it->access.size && !uses_rsp(it);
	default:
		return it->class == JIT_SKIP;
	}
}

bool works_with_late_rsp(const struct item *it)
{
	if (is_simple(it))
		return true;
	if (it->access.group == NO_GROUP || it->access.leader)
		return false;
	switch (it->class) {
	case JIT_PUSH:
	case JIT_POP:
		return !memory_operand(it) && !uses_rsp(it);
	case JIT_RET:
		return true;
	case JIT_CALL:
		return it->i.op[0].kind == OPK_REL;
	default:
		return false;
	}
}

static void emit_push_reg(struct translation *t, const struct item *it, unsigned reg)
{
	emit_store_word(t, reg, emit_access(t, it, NULL));
	emit_move_stack(t, -(int32_t)t->word);
}

/* mov word [...], imm32 */
static void emit_push_imm(struct translation *t, const struct item *it)
{
	emit_sized(&t->e, t->word == 8, 0xc7, 0, emit_access(t, it, NULL));
	emit_u32(&t->e, (uint32_t)it->i.imm);
	emit_move_stack(t, -(int32_t)t->word);
}

unsigned emit_push_address(struct translation *t, const struct item *it, uint64_t offset)
{
	unsigned data = NO_REG;
	struct place m = emit_access(t, it, &data);

	emit_page_relative(&t->e, data, offset);
	emit_store_word(t, data, m);
	emit_move_stack(t, -(int32_t)t->word);
	return data;
}

void emit_push(struct translation *t, const struct item *it)
{
	const struct operand *o = &it->i.op[0];
	const ZydisDecodedOperand *explicit = memory_operand(it);
	unsigned data = NO_REG;
	struct place m;

	if (o->kind == OPK_IMM) {
		emit_push_imm(t, it);
	} else if (explicit) {
		emit_load_word(t, H11, emit_read_operand(t, it, explicit));
		emit_store_gs(&t->e, H11, JS(work));
		m = emit_access(t, it, &data);
		emit_load_gs(&t->e, data, JS(work));
		emit_store_word(t, data, m);
		emit_move_stack(t, -(int32_t)t->word);
	} else if (it->data_regs) {
		m = emit_access(t, it, &data);
		emit_load_gs(&t->e, data, reg_slot(it->data_regs));
		emit_store_word(t, data, m);
		emit_move_stack(t, -(int32_t)t->word);
	} else {
		emit_push_reg(t, it, o->reg);
	}
}

void emit_pop(struct translation *t, const struct item *it)
{
	unsigned reg = it->i.op[0].reg, data = NO_REG;
	struct place m = emit_access(t, it, it->data_regs ? &data : NULL);

	if (it->data_regs) {
		emit_load_word(t, data, m);
		emit_store_gs(&t->e, data, JS_GPR(reg));
	} else {
		emit_load_word(t, reg, m);
	}
	if (reg != RSP)
		emit_move_stack(t, (int32_t)t->word);
}

void emit_leave(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	unsigned data = NO_REG;
	struct place m = emit_access(t, it, &data);

	emit_load_word(t, data, m);
	emit_lea_word(t, RSP, at_base(RBP, (int32_t)t->word));
	emit_mov(e, RBP, data);
}

/* ---- The interrupt flag ---- */

void emit_set_interrupt_flag(struct emit *e, unsigned value)
{
	EMIT(e, 0x65, 0xc6, 0x04, 0x25); /* mov byte gs:[disp], imm8 */
	emit_u32(e, (uint32_t)JS(interrupt_flag));
	emit_u8(e, value);
}

/* An interrupt that waits makes the read fault, and the interpreter does it properly. */
void emit_sti(struct translation *t, const struct item *it)
{
	scratch_free(t, H11);
	emit_load_gs(&t->e, H11, JS(sti_poll));
	EMIT(&t->e, 0x45, 0x8b, 0x1b); /* mov r11d, [r11] */
	emit_store_gs_imm(&t->e, JS(behind_sti), (uint32_t)it->rip + it->i.length);
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
	unsigned data = NO_REG;
	struct place m;

	scratch_free_all(t);
	flags_park(t, H11);
	t->flags.here = false;
	emit_load_byte(e, H11, JS(save_flags) + 1); /* AH */
	emit_load_byte(e, H10, JS(save_flags));     /* OF */
	EMIT(e, 0x41, 0xc1, 0xe2, 11);              /* shl r10d, 11 */
	EMIT(e, 0x45, 0x09, 0xd3);                  /* or r11d, r10d */
	emit_load_byte(e, H10, JS(interrupt_flag));
	EMIT(e, 0x41, 0xc1, 0xe2, 9);               /* shl r10d, 9 */
	EMIT(e, 0x45, 0x09, 0xd3);
	emit_gs(e, 0x0b, H11, JS(system_flags));    /* or r11, gs:[...] */
	emit_store_gs(e, H11, JS(work));
	m = emit_access(t, it, &data);
	emit_load_gs(e, data, JS(work));
	emit_store_word(t, data, m);
	emit_move_stack(t, -(int32_t)t->word);
}
