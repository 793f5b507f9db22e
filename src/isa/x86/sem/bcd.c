/* Decimal adjustment (SDM vol. 2: AAA, AAS, AAM, AAD, DAA, DAS) and the undocumented SALC. */
#include "isa/x86/sem/sem.h"

static uint32_t flag_adjust(const struct x86_cpu *c)
{
	return flags_arith(c) & FLAG_AF;
}

static void write_al(struct x86_cpu *c, uint64_t al)
{
	gpr_write(c, RAX, al, 1);
}

static void ascii_adjust(struct x86_cpu *c, int direction)
{
	uint64_t ax = c->s.gpr[RAX] & 0xffff;
	bool adjust = (ax & 15) > 9 || flag_adjust(c);

	if (adjust)
		ax += (uint64_t)(direction * 0x106);
	gpr_write(c, RAX, ax & 0xff0f, 2);
	flags_logic(c, ax & 15, 1);
	flags_set_arith(c, FLAG_AF | FLAG_CF, adjust ? FLAG_AF | FLAG_CF : 0);
}

void bcd_aaa(struct x86_cpu *c, const struct insn *i)
{
	ascii_adjust(c, 1);
}

void bcd_aas(struct x86_cpu *c, const struct insn *i)
{
	ascii_adjust(c, -1);
}

void bcd_aam(struct x86_cpu *c, const struct insn *i)
{
	uint64_t al = c->s.gpr[RAX] & 0xff, base = i->imm & 0xff;

	if (!base)
		x86_raise(c, VEC_DE);
	gpr_write(c, RAX, al / base << 8 | al % base, 2);
	flags_logic(c, al % base, 1);
}

void bcd_aad(struct x86_cpu *c, const struct insn *i)
{
	uint64_t ax = c->s.gpr[RAX], al = (ax + (ax >> 8 & 0xff) * (i->imm & 0xff)) & 0xff;

	gpr_write(c, RAX, al, 2);
	flags_logic(c, al, 1);
}

static void decimal_adjust(struct x86_cpu *c, int direction)
{
	uint64_t al = c->s.gpr[RAX] & 0xff, old = al;
	bool carry = flag_carry(c), high = old > 0x99 || carry;
	bool low = (al & 15) > 9 || flag_adjust(c);
	bool carry_out = high;

	if (low) {
		al += (uint64_t)(direction * 6);
		carry_out |= direction < 0 && old < 6;
	}
	if (high)
		al += (uint64_t)(direction * 0x60);
	write_al(c, al);
	flags_logic(c, al & 0xff, 1);
	flags_set_arith(c, FLAG_AF | FLAG_CF,
			(low ? FLAG_AF : 0) | (carry_out ? FLAG_CF : 0));
}

void bcd_daa(struct x86_cpu *c, const struct insn *i)
{
	decimal_adjust(c, 1);
}

void bcd_das(struct x86_cpu *c, const struct insn *i)
{
	decimal_adjust(c, -1);
}

void bcd_salc(struct x86_cpu *c, const struct insn *i)
{
	write_al(c, flag_carry(c) ? 0xff : 0);
}
