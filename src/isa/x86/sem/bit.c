/* Bit tests, scans and counts (SDM vol. 2: BT.., BSF, BSR, TZCNT, LZCNT, POPCNT). */
#include "isa/x86/sem/sem.h"

enum bit_action { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };

static uint64_t apply(uint64_t a, uint64_t bit, enum bit_action action)
{
	switch (action) {
	case BIT_SET:
		return a | bit;
	case BIT_RESET:
		return a & ~bit;
	case BIT_COMPLEMENT:
		return a ^ bit;
	default:
		return a;
	}
}

/* With a register index into memory the bit string extends beyond the operand both ways. */
static gva_t bit_string_address(struct x86_cpu *c, const struct insn *i, int64_t index,
				enum mem_access access)
{
	unsigned size = i->op[0].size;
	unsigned shift = size == 2 ? 4 : size == 4 ? 5 : 6;
	uint64_t offset = x86_offset(c, i) + (uint64_t)((index >> shift) * (int64_t)size);

	return x86_linear(c, i->seg, offset & mask_bytes(i->asz), size, access);
}

static void bit_in_memory(struct x86_cpu *c, const struct insn *i, enum bit_action action)
{
	unsigned size = i->op[0].size;
	bool by_register = i->op[1].kind == OPK_GPR;
	int64_t index = sign_extend_bytes(op_read(c, i, 1), by_register ? size : 1);
	uint64_t bit = UINT64_C(1) << (index & (8 * size - 1));
	enum mem_access access = action == BIT_TEST ? ACCESS_READ : ACCESS_WRITE;
	gva_t gva = by_register ? bit_string_address(c, i, index, access)
				: mem_operand(c, i, size, access);
	uint64_t a;

	if (action == BIT_TEST) {
		a = lin_read(c, gva, size);
	} else if (i->lock) {
		do {
			a = lin_read_rmw(c, gva, size);
		} while (!lin_cas(c, gva, a, apply(a, bit, action), size));
	} else {
		a = lin_read_rmw(c, gva, size);
		lin_write(c, gva, apply(a, bit, action), size);
	}
	flags_set_arith(c, FLAG_CF, a & bit ? FLAG_CF : 0);
}

static void bit_operation(struct x86_cpu *c, const struct insn *i, enum bit_action action)
{
	unsigned size = i->op[0].size;
	uint64_t a, bit;

	if (i->op[0].kind == OPK_MEM) {
		bit_in_memory(c, i, action);
		return;
	}
	a = op_read(c, i, 0);
	bit = UINT64_C(1) << (op_read(c, i, 1) & (8 * size - 1));
	if (action != BIT_TEST)
		op_write(c, i, 0, apply(a, bit, action));
	flags_set_arith(c, FLAG_CF, a & bit ? FLAG_CF : 0);
}

void bit_test(struct x86_cpu *c, const struct insn *i)
{
	bit_operation(c, i, BIT_TEST);
}

void bit_test_set(struct x86_cpu *c, const struct insn *i)
{
	bit_operation(c, i, BIT_SET);
}

void bit_test_reset(struct x86_cpu *c, const struct insn *i)
{
	bit_operation(c, i, BIT_RESET);
}

void bit_test_complement(struct x86_cpu *c, const struct insn *i)
{
	bit_operation(c, i, BIT_COMPLEMENT);
}

/* A zero source sets ZF and leaves the destination as every known processor does. */
static void scan(struct x86_cpu *c, const struct insn *i, bool forward)
{
	uint64_t a = op_read(c, i, 1);
	unsigned index;

	flags_set_arith(c, FLAG_ZF, a ? 0 : FLAG_ZF);
	if (!a)
		return;
	index = forward ? (unsigned)__builtin_ctzll(a) : 63 - (unsigned)__builtin_clzll(a);
	op_write(c, i, 0, index);
}

void bit_scan_forward(struct x86_cpu *c, const struct insn *i)
{
	scan(c, i, true);
}

void bit_scan_reverse(struct x86_cpu *c, const struct insn *i)
{
	scan(c, i, false);
}

static void count_flags(struct x86_cpu *c, bool source_zero, unsigned result)
{
	flags_set_arith(c, FLAG_CF | FLAG_ZF,
			(source_zero ? FLAG_CF : 0) | (result ? 0 : FLAG_ZF));
}

void bit_count_trailing(struct x86_cpu *c, const struct insn *i)
{
	unsigned bits = 8 * i->op[0].size;
	uint64_t a = op_read(c, i, 1);
	unsigned n = a ? (unsigned)__builtin_ctzll(a) : bits;

	op_write(c, i, 0, n);
	count_flags(c, !a, n);
}

void bit_count_leading(struct x86_cpu *c, const struct insn *i)
{
	unsigned bits = 8 * i->op[0].size;
	uint64_t a = op_read(c, i, 1);
	unsigned n = a ? (unsigned)__builtin_clzll(a) - (64 - bits) : bits;

	op_write(c, i, 0, n);
	count_flags(c, !a, n);
}

void bit_population(struct x86_cpu *c, const struct insn *i)
{
	uint64_t a = op_read(c, i, 1);

	op_write(c, i, 0, (uint64_t)__builtin_popcountll(a));
	flags_set_arith(c, FLAGS_ARITH, a ? 0 : FLAG_ZF);
}
