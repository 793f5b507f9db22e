/* MOV DRn (SDM vol. 2 MOV—Move to/from Debug Registers, vol. 3B §17.2). */
#include "isa/x86/debug.h"
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"

/* DR4 and DR5 are DR6 and DR7 unless CR4.DE makes them undefined. */
static unsigned register_number(struct x86_cpu *c, unsigned n)
{
	if (n > 7 || ((n == 4 || n == 5) && c->s.cr4 & CR4_DE))
		x86_raise(c, VEC_UD);
	return n == 4 || n == 5 ? n + 2 : n;
}

static void write_debug(struct x86_cpu *c, unsigned n, uint64_t value)
{
	if (n >= 6 && value >> 32)
		x86_raise_gp(c, 0);
	if (n == 6)
		value = (value & DR6_WRITABLE) | DR6_FIXED;
	else if (n == 7)
		value = (value & DR7_WRITABLE) | DR7_FIXED;
	c->s.dr[n] = value;
	if (debug_code_armed(c))
		x86_event_set(c, EV_TRAP);
	x86_mode_changed(c);
}

void mov_debug(struct x86_cpu *c, const struct insn *i)
{
	bool write = i->op[0].kind == OPK_DR;
	unsigned gpr = i->op[write ? 1 : 0].reg, n;
	unsigned size = c->code_size == CODE_64 ? 8 : 4;

	require_cpl0(c);
	n = register_number(c, i->op[write ? 0 : 1].reg);
	if (c->s.dr[7] & DR7_GD)
		debug_raise(c, DR6_BD);
	if (write)
		write_debug(c, n, gpr_read(c, gpr, size));
	else
		gpr_write(c, gpr, c->s.dr[n], size);
}
