#include "undefined.h"

#include <Zydis/Zydis.h>

#include "base/bits.h"

#define OSZAPC (FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF)

/* ---- Flags, by instruction: source SDM vol. 2, "Flags Affected" of the instruction named ---- */

static const struct {
	uint16_t mnemonic;
	uint32_t flags;
} always[] = {
	{ ZYDIS_MNEMONIC_AND, FLAG_AF },
	{ ZYDIS_MNEMONIC_OR, FLAG_AF },
	{ ZYDIS_MNEMONIC_XOR, FLAG_AF },
	{ ZYDIS_MNEMONIC_TEST, FLAG_AF },
	{ ZYDIS_MNEMONIC_MUL, FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_IMUL, FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_DIV, OSZAPC },
	{ ZYDIS_MNEMONIC_IDIV, OSZAPC },
	{ ZYDIS_MNEMONIC_BT, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_BTS, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_BTR, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_BTC, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_BSF, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF | FLAG_CF },
	{ ZYDIS_MNEMONIC_BSR, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF | FLAG_CF },
	{ ZYDIS_MNEMONIC_TZCNT, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_LZCNT, FLAG_OF | FLAG_SF | FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_ANDN, FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_BEXTR, FLAG_SF | FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_BLSI, FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_BLSMSK, FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_BLSR, FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_BZHI, FLAG_AF | FLAG_PF },
	{ ZYDIS_MNEMONIC_AAA, FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_PF },
	{ ZYDIS_MNEMONIC_AAS, FLAG_OF | FLAG_SF | FLAG_ZF | FLAG_PF },
	{ ZYDIS_MNEMONIC_AAM, FLAG_OF | FLAG_AF | FLAG_CF },
	{ ZYDIS_MNEMONIC_AAD, FLAG_OF | FLAG_AF | FLAG_CF },
	{ ZYDIS_MNEMONIC_DAA, FLAG_OF },
	{ ZYDIS_MNEMONIC_DAS, FLAG_OF },
};

/* The masked count of a shift or rotate, from its last operand. */
static unsigned shift_count(const struct oracle_case *c)
{
	const struct insn *i = &c->insn;
	unsigned mask = i->op[0].size == 8 ? 63 : 31;

	if (i->op[i->op_count - 1].kind == OPK_IMM)
		return (unsigned)i->imm & mask;
	return (unsigned)c->in.gpr[RCX] & mask;
}

/* SAL/SAR/SHL/SHR: OF for counts other than 1, AF always, CF for counts that reach the width. */
static uint32_t undefined_after_shift(const struct oracle_case *c)
{
	unsigned count = shift_count(c), bits = 8 * c->insn.op[0].size;
	bool arithmetic = c->insn.mnemonic == ZYDIS_MNEMONIC_SAR;

	if (!count)
		return 0;
	return FLAG_AF | (count > 1 ? FLAG_OF : 0) | (count >= bits && !arithmetic ? FLAG_CF : 0);
}

/* RCL/RCR/ROL/ROR: OF for counts other than 1. */
static uint32_t undefined_after_rotate(const struct oracle_case *c)
{
	return shift_count(c) > 1 ? FLAG_OF : 0;
}

/* SHLD, SHRD: OF for counts other than 1, AF always; everything for counts above the width. */
static uint32_t undefined_after_double_shift(const struct oracle_case *c)
{
	unsigned count = shift_count(c), bits = 8 * c->insn.op[0].size;

	if (!count)
		return 0;
	if (count > bits)
		return OSZAPC;
	return FLAG_AF | (count > 1 ? FLAG_OF : 0);
}

uint32_t undefined_flags(const struct oracle_case *c)
{
	if (!c->decodes)
		return 0;
	switch (c->insn.mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
		return undefined_after_shift(c);
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
		return undefined_after_rotate(c);
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
		return undefined_after_double_shift(c);
	default:
		break;
	}
	for (unsigned k = 0; k < LM_ARRAY_SIZE(always); k++)
		if (always[k].mnemonic == c->insn.mnemonic)
			return always[k].flags;
	return 0;
}

/* ---- Results ---- */

static const struct {
	uint16_t mnemonic;
	enum tolerance tolerance;
} inexact[] = {
	/* Each vendor has its own tables; only the error bound is architectural. */
	{ ZYDIS_MNEMONIC_RCPPS, ESTIMATE },
	{ ZYDIS_MNEMONIC_RCPSS, ESTIMATE },
	{ ZYDIS_MNEMONIC_RSQRTPS, ESTIMATE },
	{ ZYDIS_MNEMONIC_RSQRTSS, ESTIMATE },
	{ ZYDIS_MNEMONIC_VRCPPS, ESTIMATE },
	{ ZYDIS_MNEMONIC_VRCPSS, ESTIMATE },
	{ ZYDIS_MNEMONIC_VRSQRTPS, ESTIMATE },
	{ ZYDIS_MNEMONIC_VRSQRTSS, ESTIMATE },
	/* SDM vol. 2 DPPS: which of several NaNs the sum is depends on the order of the additions. */
	{ ZYDIS_MNEMONIC_DPPS, ANY_NAN32 },
	{ ZYDIS_MNEMONIC_VDPPS, ANY_NAN32 },
	{ ZYDIS_MNEMONIC_DPPD, ANY_NAN64 },
	{ ZYDIS_MNEMONIC_VDPPD, ANY_NAN64 },
	/* SDM vol. 1 §8.3.10: the error is below one unit in the last place, not zero. */
	{ ZYDIS_MNEMONIC_F2XM1, LAST_BIT },
	{ ZYDIS_MNEMONIC_FYL2X, LAST_BIT },
	{ ZYDIS_MNEMONIC_FYL2XP1, LAST_BIT },
	{ ZYDIS_MNEMONIC_FPATAN, LAST_BIT },
	{ ZYDIS_MNEMONIC_FPTAN, LAST_BIT },
	{ ZYDIS_MNEMONIC_FSIN, LAST_BIT },
	{ ZYDIS_MNEMONIC_FCOS, LAST_BIT },
	{ ZYDIS_MNEMONIC_FSINCOS, LAST_BIT },
};

enum tolerance result_tolerance(const struct oracle_case *c)
{
	const struct insn *i = &c->insn;

	if (!c->decodes)
		return EXACT;
	if ((i->mnemonic == ZYDIS_MNEMONIC_SHLD || i->mnemonic == ZYDIS_MNEMONIC_SHRD) &&
	    shift_count(c) > 8u * i->op[0].size)
		return NO_DESTINATION;
	for (unsigned k = 0; k < LM_ARRAY_SIZE(inexact); k++)
		if (inexact[k].mnemonic == i->mnemonic)
			return inexact[k].tolerance;
	return EXACT;
}
