/* Port I/O: IN, OUT, INS, OUTS, and the permission check (SDM vol. 1 ch. 19). */
#include "isa/x86/debug.h"
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"
#include "isa/x86/segment.h"
#include "isa/x86/trace.h"

void io_check(struct x86_cpu *c, uint16_t port, unsigned size)
{
	uint32_t at, map;

	if (!(c->s.cr0 & CR0_PE) || (!x86_v86(c) && c->cpl <= x86_iopl(c)))
		return;
	at = tss_io_map(c) + port / 8u;
	if (at + 1 > c->s.tr.limit)
		x86_raise_gp(c, 0);
	map = (uint32_t)sys_read(c, table_gva(c, c->s.tr.base, at), 2);
	if (map >> (port & 7) & ((1u << size) - 1))
		x86_raise_gp(c, 0);
}

static uint32_t port_read(struct x86_cpu *c, uint16_t port, unsigned size)
{
	const struct mem_io *io = c->sys->io;
	uint32_t value;

	c->count.io_exits++;
	debug_io_access(c, port, size);
	value = io->port_read(io->opaque, port, size) & (uint32_t)mask_bytes(size);
	if (trace_wants(c, TRACE_PORT))
		trace_port(c, false, port, value, size);
	return value;
}

static void port_write(struct x86_cpu *c, uint16_t port, uint64_t value, unsigned size)
{
	const struct mem_io *io = c->sys->io;

	c->count.io_exits++;
	debug_io_access(c, port, size);
	if (trace_wants(c, TRACE_PORT))
		trace_port(c, true, port, (uint32_t)(value & mask_bytes(size)), size);
	io->port_write(io->opaque, port, (uint32_t)(value & mask_bytes(size)), size);
}

/* Opcode bit 0: word or doubleword. */
static unsigned io_size(const struct insn *i)
{
	if (!(i->opcode & 1))
		return 1;
	return i->osz == 2 ? 2 : 4;
}

/* Opcode bit 3: the port is in DX, not an immediate. */
static uint16_t io_port(const struct x86_cpu *c, const struct insn *i)
{
	return (uint16_t)(i->opcode & 8 ? c->s.gpr[RDX] & 0xffff : i->imm & 0xff);
}

void io_in(struct x86_cpu *c, const struct insn *i)
{
	uint16_t port = io_port(c, i);
	unsigned size = io_size(i);

	io_check(c, port, size);
	gpr_write(c, RAX, port_read(c, port, size), size);
}

void io_out(struct x86_cpu *c, const struct insn *i)
{
	uint16_t port = io_port(c, i);
	unsigned size = io_size(i);

	io_check(c, port, size);
	port_write(c, port, c->s.gpr[RAX], size);
}

/*
 * ---- INS and OUTS: one element for each execution; a repeat keeps RIP. The port is checked even
 * where the count is zero. ----
 */

static bool count_is_zero(const struct x86_cpu *c, const struct insn *i)
{
	return i->rep != REP_NONE && gpr_read(c, RCX, i->asz) == 0;
}

static void step(struct x86_cpu *c, const struct insn *i, unsigned reg, unsigned size)
{
	uint64_t delta = c->s.rflags & FLAG_DF ? -(uint64_t)size : size;

	gpr_write(c, reg, c->s.gpr[reg] + delta, i->asz);
	if (i->rep == REP_NONE)
		return;
	gpr_write(c, RCX, c->s.gpr[RCX] - 1, i->asz);
	c->repeat = gpr_read(c, RCX, i->asz) != 0;
}

void io_ins(struct x86_cpu *c, const struct insn *i)
{
	uint16_t port = (uint16_t)c->s.gpr[RDX];
	unsigned size = io_size(i);
	gva_t at;

	io_check(c, port, size);
	if (count_is_zero(c, i))
		return;
	at = x86_linear(c, ES, gpr_read(c, RDI, i->asz), size, ACCESS_WRITE);
	lin_probe(c, at, size, ACCESS_WRITE); /* the port must not be read in vain */
	lin_write(c, at, port_read(c, port, size), size);
	step(c, i, RDI, size);
}

void io_outs(struct x86_cpu *c, const struct insn *i)
{
	uint16_t port = (uint16_t)c->s.gpr[RDX];
	unsigned size = io_size(i);

	io_check(c, port, size);
	if (count_is_zero(c, i))
		return;
	port_write(c, port, seg_read(c, i->seg, gpr_read(c, RSI, i->asz), size), size);
	step(c, i, RSI, size);
}
