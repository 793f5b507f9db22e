/*
 * BT, BTS, BTR and BTC of memory with the bit's number in a register, which reaches beyond the memory
 * operand (SDM vol. 1 §3.1.1.9 "Bit and Byte Order", vol. 2 BT): the word with the bit is found first.
 */
#include "engine/jit/translation.h"

/* VEX.LZ.pp.0F38.W opcode with h11 for ModRM.reg and a general operand: register, or gs:[disp]. */
static void emit_bmi(struct emit *e, unsigned pp, unsigned opcode, bool wide, unsigned vvvv,
		     unsigned reg, int32_t disp)
{
	bool from_memory = reg == H10 || reg == H11;

	if (from_memory)
		emit_u8(e, 0x65);
	emit_u8(e, 0xc4);
	emit_u8(e, 0x40u | (from_memory || reg < 8 ? 0x20u : 0) | 2); /* R: h11 */
	emit_u8(e, (unsigned)wide << 7 | (~vvvv & 15u) << 3 | pp);
	emit_u8(e, opcode);
	emit_u8(e, from_memory ? modrm(0, H11, 4) : modrm(3, H11, reg));
	if (from_memory) {
		emit_u8(e, 0x25);
		emit_u32(e, (uint32_t)disp);
	}
}

/* h11 = a guest register. */
static void emit_register(struct emit *e, unsigned reg)
{
	if (reg == R10 || reg == R11)
		emit_load_gs(e, H11, JS_GPR((int)reg));
	else
		emit_mov(e, H11, reg);
}

/* h10 += size * (reg >> log2 of the operand's bits), reg being signed; no flag changes but without BMI2. */
static void emit_word_address(struct translation *t, const struct item *it, unsigned reg)
{
	struct emit *e = &t->e;
	bool wide = it->i.osz == 8;

	if (t->j->host->bmi2) {
		emit_mov_imm(e, H11, wide ? 6 : 5);
		emit_bmi(e, 2, 0xf7, wide, H11, reg, JS_GPR((int)reg)); /* sarx h11, reg, h11 */
	} else {
		emit_register(e, reg);
		emit_u8(e, rex(wide, 0, 0, H11)); /* sar h11, n */
		EMIT(e, 0xc1, 0xfb);
		emit_u8(e, wide ? 6 : 5);
	}
	if (wide) {
		EMIT(e, 0x4f, 0x8d, 0x14, 0xda); /* lea r10, [r10 + r11 * 8] */
	} else {
		EMIT(e, 0x4d, 0x63, 0xdb);       /* movsxd r11, r11d */
		EMIT(e, 0x4f, 0x8d, 0x14, 0x9a); /* lea r10, [r10 + r11 * 4] */
	}
}

/* h11 = reg modulo the operand's bits; no flag changes but without BMI2. */
static void emit_bit_number(struct translation *t, const struct item *it, unsigned reg)
{
	struct emit *e = &t->e;

	emit_register(e, reg);
	if (t->j->host->bmi2) {
		EMIT(e, 0x65, 0xc4, 0x62, 0xa2, 0xf5, 0x1c, 0x25); /* pext r11, r11, gs:[mask] */
		emit_u32(e, (uint32_t)(it->i.osz == 8 ? JS(mask63) : JS(mask31)));
	} else {
		EMIT(e, 0x41, 0x83, 0xe3); /* and r11d, n */
		emit_u8(e, it->i.osz == 8 ? 63 : 31);
	}
}

void emit_bit_string(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	const ZydisDecodedOperand *m = memory_operand(it);
	bool write = m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	unsigned reg = it->i.op[1].reg;

	scratch_free_all(t);
	if (!t->j->host->bmi2)
		flags_clobber(t, H11);
	emit_address(t, it, m);
	emit_word_address(t, it, reg);
	if (it->i.asz == 4)
		EMIT(e, 0x45, 0x89, 0xd2); /* mov r10d, r10d: the sum wraps at 4 GiB */
	emit_segment(t, m);
	emit_translate(t, it->i.osz, write);
	if (t->j->host->bmi2) {
		flags_provide(t, it, H11);
		emit_bit_number(t, it, reg);
	} else {
		emit_bit_number(t, it, reg);
		flags_provide(t, it, NO_REG);
	}
	if (it->i.lock)
		emit_u8(e, 0xf0);
	emit_u8(e, rex(it->i.osz == 8, H11, 0, H10));
	emit_u8(e, 0x0f);
	emit_u8(e, it->i.opcode);
	emit_u8(e, modrm(0, H11, H10));
}
