/*
 * 32-bit code, of compatibility mode and of protected mode with flat segments, as 64-bit code: most of
 * it is encoded alike, some instructions are encoded anew, the others are the interpreter's.
 *
 * Registers hold 32-bit values, zero-extended: the dispatcher and the helpers that come here see to
 * that, and no instruction of a block changes it. Memory operands are summed with 64 bits. Where the sum
 * is not the address, which wraps at 4 GiB, the table has an entry for the sum all the same (table.c).
 */
#include "engine/jit/translation.h"

/* 16-bit addresses; a segment that cannot be written to, or read from. */
static bool has_odd_address(const struct item *it)
{
	for (unsigned n = 0; n < it->z.operand_count; n++) {
		const ZydisDecodedOperand *o = &it->ops[n];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (it->i.asz != 4 || o->mem.segment == ZYDIS_REGISTER_CS))
			return true;
	}
	return false;
}

/* What VEX.W would make wider: GPRs, and memory in their stead. */
static bool may_widen(const struct item *it)
{
	for (unsigned n = 0; n < it->i.op_count; n++)
		if (it->i.op[n].kind == OPK_GPR || (it->i.op[n].kind == OPK_MEM && it->i.op[n].size == 4))
			return true;
	return false;
}

/* VEX.B and the highest bit of VEX.vvvv name no register here, nor does VEX.W widen anything. */
static bool has_odd_vex(const struct item *it)
{
	const ZydisDecodedInstructionRawVex *vex = &it->z.raw.vex;

	if (!it->i.vex)
		return false;
	return !vex->R || !vex->X || !vex->B || !(vex->vvvv & 8) || (vex->W && may_widen(it));
}

/* What concerns eight vector registers in 32-bit code and sixteen in 64-bit code, or does not exist. */
static bool means_other_things(const struct item *it)
{
	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_VZEROUPPER:
	case ZYDIS_MNEMONIC_VZEROALL:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVES:
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTORS:
	case ZYDIS_MNEMONIC_SYSCALL:
	case ZYDIS_MNEMONIC_SYSRET:
		return true;
	default:
		return false;
	}
}

/* INC and DEC with the register in the opcode, which would be a REX prefix. */
static void recode_increment(struct item *it)
{
	unsigned n = it->i.length - 1u, opcode = it->bytes[n];
	uint8_t *p = item_recode(it);

	p[n] = 0xff;
	p[n + 1] = modrm(3, opcode >> 3 & 1, opcode);
	it->host_length++;
}

enum jit_class narrow_recode(struct item *it)
{
	const struct insn *i = &it->i;
	bool one_byte = i->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT;

	it->i.disp = (int32_t)i->disp;
	if (has_odd_address(it) || has_odd_vex(it) || means_other_things(it))
		return JIT_INTERP;
	if ((it->class == JIT_JCC || it->class == JIT_LOOP) && (i->osz != 4 || i->asz != 4))
		return JIT_INTERP;
	if (one_byte && (i->opcode & 0xf0) == 0x40) {
		if (i->length > INSN_MAX_LENGTH - 1)
			return JIT_INTERP;
		recode_increment(it);
	} else if (one_byte && i->opcode == 0x82) { /* 0x80 by another name */
		item_recode(it)[it->z.raw.modrm.offset - 1] = 0x80;
	}
	return it->class;
}
