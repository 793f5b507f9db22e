/* BMI1 and BMI2 (SDM vol. 2). Flags noted as undefined there are cleared. */
#include "isa/x86/sem/sem.h"

static void logic_with_carry(struct x86_cpu *c, uint64_t result, bool carry, unsigned size)
{
	flags_logic(c, result, size);
	flags_set_arith(c, FLAG_CF, carry ? FLAG_CF : 0);
}

void bmi_andn(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	uint64_t result = ~op_read(c, i, 1) & op_read(c, i, 2) & mask_bytes(size);

	op_write(c, i, 0, result);
	flags_logic(c, result, size);
}

void bmi_extract(struct x86_cpu *c, const struct insn *i)
{
	uint64_t a = op_read(c, i, 1), control = op_read(c, i, 2);
	unsigned start = control & 0xff, len = control >> 8 & 0xff;
	uint64_t result = start < 64 ? a >> start : 0;

	if (len < 64)
		result &= (UINT64_C(1) << len) - 1;
	op_write(c, i, 0, result);
	flags_set_arith(c, FLAGS_ARITH, result ? 0 : FLAG_ZF);
}

void bmi_lowest_isolate(struct x86_cpu *c, const struct insn *i)
{
	uint64_t a = op_read(c, i, 1), result = a & -a;

	op_write(c, i, 0, result);
	logic_with_carry(c, result, a != 0, i->op[0].size);
}

void bmi_lowest_mask(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	uint64_t a = op_read(c, i, 1), result = (a ^ (a - 1)) & mask_bytes(size);

	op_write(c, i, 0, result);
	logic_with_carry(c, result, a == 0, size);
}

void bmi_lowest_reset(struct x86_cpu *c, const struct insn *i)
{
	uint64_t a = op_read(c, i, 1), result = a & (a - 1);

	op_write(c, i, 0, result);
	logic_with_carry(c, result, a == 0, i->op[0].size);
}

void bmi_zero_high(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size, bits = 8 * size;
	uint64_t a = op_read(c, i, 1);
	unsigned index = op_read(c, i, 2) & 0xff;
	uint64_t result = index < bits ? a & ((UINT64_C(1) << index) - 1) : a;

	op_write(c, i, 0, result);
	logic_with_carry(c, result, index > bits - 1, size);
}

/* When both destinations are one register the high half stays. */
void bmi_mulx(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	unsigned __int128 product =
		(unsigned __int128)gpr_read(c, RDX, size) * op_read(c, i, 2);

	op_write(c, i, 1, (uint64_t)product);
	op_write(c, i, 0, (uint64_t)(product >> (8 * size)));
}

void bmi_deposit(struct x86_cpu *c, const struct insn *i)
{
	uint64_t a = op_read(c, i, 1), mask = op_read(c, i, 2), result = 0;

	for (; mask; mask &= mask - 1, a >>= 1)
		if (a & 1)
			result |= mask & -mask;
	op_write(c, i, 0, result);
}

void bmi_extract_mask(struct x86_cpu *c, const struct insn *i)
{
	uint64_t a = op_read(c, i, 1), mask = op_read(c, i, 2), result = 0;

	for (unsigned k = 0; mask; mask &= mask - 1, k++)
		if (a & mask & -mask)
			result |= UINT64_C(1) << k;
	op_write(c, i, 0, result);
}

void bmi_rotate(struct x86_cpu *c, const struct insn *i)
{
	unsigned bits = 8 * i->op[0].size;
	uint64_t a = op_read(c, i, 1);
	unsigned count = (unsigned)i->imm & (bits - 1);

	op_write(c, i, 0, count ? a >> count | a << (bits - count) : a);
}

static unsigned shift_count(struct x86_cpu *c, const struct insn *i)
{
	return (unsigned)op_read(c, i, 2) & (8 * i->op[0].size - 1);
}

void bmi_shift_arithmetic(struct x86_cpu *c, const struct insn *i)
{
	int64_t a = sign_extend_bytes(op_read(c, i, 1), i->op[0].size);

	op_write(c, i, 0, (uint64_t)(a >> shift_count(c, i)));
}

void bmi_shift_left(struct x86_cpu *c, const struct insn *i)
{
	op_write(c, i, 0, op_read(c, i, 1) << shift_count(c, i));
}

void bmi_shift_right(struct x86_cpu *c, const struct insn *i)
{
	op_write(c, i, 0, op_read(c, i, 1) >> shift_count(c, i));
}
