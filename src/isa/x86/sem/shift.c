/* Shifts and rotates (SDM vol. 2: SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD). */
#include "isa/x86/sem/sem.h"

/* Counts are taken modulo 32, or 64 for 64-bit operands. */
static unsigned masked_count(struct x86_cpu *c, const struct insn *i, unsigned n)
{
	unsigned mask = i->op[0].size == 8 ? 63 : 31;

	return (unsigned)op_read(c, i, n) & mask;
}

/* SF, ZF, PF of the result; CF and OF as given; AF is undefined and cleared. */
static void shift_flags(struct x86_cpu *c, uint64_t result, bool carry, bool overflow,
			unsigned size)
{
	flags_logic(c, result, size);
	flags_set_arith(c, FLAG_CF | FLAG_OF,
			(carry ? FLAG_CF : 0) | (overflow ? FLAG_OF : 0));
}

static bool top_bit(uint64_t v, unsigned size)
{
	return v >> (8 * size - 1) & 1;
}

static bool bit_at(uint64_t v, unsigned n)
{
	return n < 64 && v >> n & 1;
}

void shift_left(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size, bits = 8 * size;
	unsigned count = masked_count(c, i, 1);
	uint64_t a, result;
	bool carry;

	do {
		a = rmw_read(c, i);
		result = (count < 64 ? a << count : 0) & mask_bytes(size);
	} while (!rmw_write(c, i, a, result));
	if (!count)
		return;
	carry = count <= bits && bit_at(a, bits - count);
	shift_flags(c, result, carry, top_bit(result, size) != carry, size);
}

void shift_right(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	unsigned count = masked_count(c, i, 1);
	uint64_t a, result;

	do {
		a = rmw_read(c, i);
		result = a >> count;
	} while (!rmw_write(c, i, a, result));
	if (!count)
		return;
	shift_flags(c, result, bit_at(a, count - 1), top_bit(a, size), size);
}

void shift_arithmetic(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	unsigned count = masked_count(c, i, 1);
	int64_t v;
	uint64_t a;

	do {
		a = rmw_read(c, i);
		v = sign_extend_bytes(a, size);
	} while (!rmw_write(c, i, a, (uint64_t)(v >> count)));
	if (!count)
		return;
	shift_flags(c, (uint64_t)(v >> count) & mask_bytes(size), v >> (count - 1) & 1, false,
		    size);
}

static uint64_t rotl(uint64_t a, unsigned count, unsigned bits)
{
	count %= bits;
	if (!count)
		return a;
	return (a << count | a >> (bits - count)) & mask_bytes(bits / 8);
}

/* Rotates change CF and OF only. OF is defined for counts of 1; the same formula serves all. */
static void rotate_flags(struct x86_cpu *c, bool carry, bool overflow)
{
	flags_set_arith(c, FLAG_CF | FLAG_OF,
			(carry ? FLAG_CF : 0) | (overflow ? FLAG_OF : 0));
}

void rotate_left(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	unsigned count = masked_count(c, i, 1);
	uint64_t a, result;

	do {
		a = rmw_read(c, i);
		result = rotl(a, count, 8 * size);
	} while (!rmw_write(c, i, a, result));
	if (count)
		rotate_flags(c, result & 1, top_bit(result, size) != (result & 1));
}

void rotate_right(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size, bits = 8 * size;
	unsigned count = masked_count(c, i, 1);
	uint64_t a, result;

	do {
		a = rmw_read(c, i);
		result = rotl(a, bits - count % bits, bits);
	} while (!rmw_write(c, i, a, result));
	if (count)
		rotate_flags(c, top_bit(result, size),
			     top_bit(result, size) != bit_at(result, bits - 2));
}

/* RCL and RCR rotate through bits + 1 places: the operand with CF above its top bit. */
static unsigned __int128 rotl_through(unsigned __int128 v, unsigned count, unsigned places)
{
	unsigned __int128 mask = ((unsigned __int128)1 << places) - 1;

	return (v << count | v >> (places - count)) & mask;
}

static void rotate_carry(struct x86_cpu *c, const struct insn *i, bool left)
{
	unsigned size = i->op[0].size, bits = 8 * size;
	unsigned count = masked_count(c, i, 1) % (bits + 1);
	unsigned __int128 carry_in = (unsigned __int128)flag_carry(c) << bits, wide;
	uint64_t a, result;
	bool carry;

	do {
		a = rmw_read(c, i);
		wide = carry_in | a;
		if (count)
			wide = rotl_through(wide, left ? count : bits + 1 - count, bits + 1);
		result = (uint64_t)wide & mask_bytes(size);
	} while (!rmw_write(c, i, a, result));
	if (!count)
		return;
	carry = wide >> bits & 1;
	rotate_flags(c, carry,
		     left ? top_bit(result, size) != carry
			  : top_bit(result, size) != bit_at(result, bits - 2));
}

void rotate_carry_left(struct x86_cpu *c, const struct insn *i)
{
	rotate_carry(c, i, true);
}

void rotate_carry_right(struct x86_cpu *c, const struct insn *i)
{
	rotate_carry(c, i, false);
}

/*
 * 16-bit operands with a count above 16 are undefined; real processors shift in the source again
 * and so do we: the source is repeated in the 32-bit word that is shifted.
 */
void shift_double_left(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size, bits = 8 * size;
	unsigned count = masked_count(c, i, 2);
	uint64_t b = op_read(c, i, 1), a, result;
	unsigned __int128 wide;

	do {
		a = rmw_read(c, i);
		wide = (unsigned __int128)a << bits | b;
		if (size == 2)
			wide = wide << 16 | a;
		result = (uint64_t)(wide << count >> (size == 2 ? 32 : bits)) & mask_bytes(size);
	} while (!rmw_write(c, i, a, count ? result : a));
	if (!count)
		return;
	if (size == 2)
		shift_flags(c, result, (uint64_t)(wide << count >> 48) & 1,
			    top_bit(result, size) != top_bit(a, size), size);
	else
		shift_flags(c, result, bit_at(a, bits - count),
			    top_bit(result, size) != top_bit(a, size), size);
}

void shift_double_right(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size, bits = 8 * size;
	unsigned count = masked_count(c, i, 2);
	uint64_t b = op_read(c, i, 1), a, result;
	unsigned __int128 wide;

	do {
		a = rmw_read(c, i);
		wide = (unsigned __int128)b << bits | a;
		if (size == 2)
			wide |= (unsigned __int128)a << 32;
		result = (uint64_t)(wide >> count) & mask_bytes(size);
	} while (!rmw_write(c, i, a, count ? result : a));
	if (count)
		shift_flags(c, result, (uint64_t)(wide >> (count - 1)) & 1,
			    top_bit(result, size) != top_bit(a, size), size);
}
