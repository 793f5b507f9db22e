/* Debug registers (SDM vol. 3B §17.2 and §17.3). */
#include "isa/x86/debug.h"

#include "isa/x86/fault.h"

enum breakpoint_kind { BP_EXECUTE, BP_WRITE, BP_IO, BP_ACCESS };

static bool enabled(const struct x86_cpu *c, unsigned n)
{
	return c->s.dr[7] >> (2 * n) & 3;
}

static enum breakpoint_kind kind_of(const struct x86_cpu *c, unsigned n)
{
	return c->s.dr[7] >> (16 + 4 * n) & 3;
}

static unsigned length_of(const struct x86_cpu *c, unsigned n)
{
	static const uint8_t length[] = { 1, 2, 8, 4 };

	return length[c->s.dr[7] >> (18 + 4 * n) & 3];
}

/* I/O breakpoints are among the data ones: without CR4.DE they never match. */
bool debug_data_armed(const struct x86_cpu *c)
{
	if (!(c->s.dr[7] & DR7_ENABLES))
		return false;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(c, n) && kind_of(c, n) != BP_EXECUTE)
			return true;
	return false;
}

bool debug_code_armed(const struct x86_cpu *c)
{
	if (!(c->s.dr[7] & DR7_ENABLES))
		return false;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(c, n) && kind_of(c, n) == BP_EXECUTE)
			return true;
	return false;
}

/* Breakpoint addresses are compared from a multiple of their length on. */
static bool overlaps(const struct x86_cpu *c, unsigned n, uint64_t address, unsigned size)
{
	uint64_t length = length_of(c, n);
	uint64_t start = align_down(c->s.dr[n], length);

	return address < start + length && start < address + size;
}

static void note(struct x86_cpu *c, uint64_t bits)
{
	if (!bits)
		return;
	c->pending_db |= bits;
	x86_event_set(c, EV_TRAP);
}

void debug_data_access(struct x86_cpu *c, gva_t gva, unsigned size, enum mem_access access)
{
	uint64_t bits = 0;

	for (unsigned n = 0; n < 4; n++) {
		enum breakpoint_kind kind = kind_of(c, n);

		if (enabled(c, n) && overlaps(c, n, gva.v, size) &&
		    (kind == BP_ACCESS || (kind == BP_WRITE && access == ACCESS_WRITE)))
			bits |= DR6_B(n);
	}
	note(c, bits);
}

void debug_io_access(struct x86_cpu *c, uint16_t port, unsigned size)
{
	uint64_t bits = 0;

	if (!(c->s.cr4 & CR4_DE) || !(c->s.dr[7] & DR7_ENABLES))
		return;
	for (unsigned n = 0; n < 4; n++)
		if (enabled(c, n) && kind_of(c, n) == BP_IO && overlaps(c, n, port, size))
			bits |= DR6_B(n);
	note(c, bits);
}

uint64_t debug_code_match(const struct x86_cpu *c, uint64_t linear)
{
	uint64_t bits = 0;

	for (unsigned n = 0; n < 4; n++)
		if (enabled(c, n) && kind_of(c, n) == BP_EXECUTE && c->s.dr[n] == linear)
			bits |= DR6_B(n);
	return bits;
}

void debug_raise(struct x86_cpu *c, uint64_t dr6_bits)
{
	c->fault = (struct x86_fault){ .vector = VEC_DB, .address = dr6_bits };
	longjmp(c->unwind, 1);
}

void debug_enter(struct x86_cpu *c, uint64_t dr6_bits)
{
	c->s.dr[6] = (c->s.dr[6] & ~DR6_B_ALL) | dr6_bits;
	c->s.dr[7] &= ~DR7_GD;
	x86_mode_changed(c);
}
