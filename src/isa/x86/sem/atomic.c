/* Exchange and compare (SDM vol. 2: XADD, CMPXCHG, CMPXCHG8B/16B). */
#include "isa/x86/sem/sem.h"

void atomic_xadd(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	uint64_t b = op_read(c, i, 1), a;

	if (i->op[0].kind != OPK_MEM) {
		a = op_read(c, i, 0);
		op_write(c, i, 1, a); /* first: with two equal registers the sum remains */
		op_write(c, i, 0, a + b);
	} else {
		do {
			a = rmw_read(c, i);
		} while (!rmw_write(c, i, a, a + b));
		op_write(c, i, 1, a);
	}
	flags_add(c, a, b, a + b, size);
}

/* The destination is written in any case: with its own value when the comparison fails. */
void atomic_cmpxchg(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	uint64_t expected = gpr_read(c, RAX, size), desired = op_read(c, i, 1), a;
	bool equal;

	do {
		a = rmw_read(c, i);
		equal = a == expected;
		if (!equal && i->op[0].kind != OPK_MEM)
			break;
	} while (!rmw_write(c, i, a, equal ? desired : a));
	if (!equal)
		gpr_write(c, RAX, a, size);
	flags_sub(c, expected, a, expected - a, size);
}

void atomic_cmpxchg8b(struct x86_cpu *c, const struct insn *i)
{
	uint64_t expected = (c->s.gpr[RDX] & 0xffffffff) << 32 | (c->s.gpr[RAX] & 0xffffffff);
	uint64_t desired = (c->s.gpr[RCX] & 0xffffffff) << 32 | (c->s.gpr[RBX] & 0xffffffff);
	bool equal;
	uint64_t a;

	do {
		a = rmw_read(c, i);
		equal = a == expected;
	} while (!rmw_write(c, i, a, equal ? desired : a));
	if (!equal) {
		gpr_write(c, RAX, a, 4);
		gpr_write(c, RDX, a >> 32, 4);
	}
	flags_set_arith(c, FLAG_ZF, equal ? FLAG_ZF : 0);
}

void atomic_cmpxchg16b(struct x86_cpu *c, const struct insn *i)
{
	uint64_t *g = c->s.gpr;
	unsigned __int128 expected = (unsigned __int128)g[RDX] << 64 | g[RAX];
	unsigned __int128 desired = (unsigned __int128)g[RCX] << 64 | g[RBX];
	gva_t gva = mem_operand(c, i, 16, ACCESS_WRITE);
	bool equal;

	if (gva.v & 15)
		x86_raise_gp(c, 0);
	equal = lin_cas16(c, gva, &expected, desired);
	if (!equal) {
		g[RAX] = (uint64_t)expected;
		g[RDX] = (uint64_t)(expected >> 64);
	}
	flags_set_arith(c, FLAG_ZF, equal ? FLAG_ZF : 0);
}
