/* Direct access to flags (SDM vol. 2: CLC.., LAHF, SAHF). */
#include "isa/x86/sem/sem.h"

void flag_clear_carry(struct x86_cpu *c, const struct insn *i)
{
	flags_set_arith(c, FLAG_CF, 0);
}

void flag_set_carry(struct x86_cpu *c, const struct insn *i)
{
	flags_set_arith(c, FLAG_CF, FLAG_CF);
}

void flag_complement_carry(struct x86_cpu *c, const struct insn *i)
{
	flags_set_arith(c, FLAG_CF, flag_carry(c) ? 0 : FLAG_CF);
}

void flag_clear_direction(struct x86_cpu *c, const struct insn *i)
{
	c->s.rflags &= ~(uint64_t)FLAG_DF;
}

void flag_set_direction(struct x86_cpu *c, const struct insn *i)
{
	c->s.rflags |= FLAG_DF;
}

#define FLAGS_AH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF)

void flag_load_ah(struct x86_cpu *c, const struct insn *i)
{
	uint64_t ah = (flags_arith(c) & FLAGS_AH) | FLAG_FIXED;

	c->s.gpr[RAX] = (c->s.gpr[RAX] & ~UINT64_C(0xff00)) | ah << 8;
}

void flag_store_ah(struct x86_cpu *c, const struct insn *i)
{
	flags_set_arith(c, FLAGS_AH, (uint32_t)(c->s.gpr[RAX] >> 8) & FLAGS_AH);
}
