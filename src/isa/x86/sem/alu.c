/* Addition, subtraction, comparison and logic (SDM vol. 2). */
#include "isa/x86/sem/sem.h"

/* Size of the operation: that of the destination. */
static inline unsigned width(const struct insn *i)
{
	return i->op[0].size;
}

static inline uint64_t source(struct x86_cpu *c, const struct insn *i)
{
	return op_read(c, i, 1) & mask_bytes(width(i));
}

static void add_with(struct x86_cpu *c, const struct insn *i, uint64_t carry)
{
	uint64_t b = source(c, i), a, sum;

	do {
		a = rmw_read(c, i);
		sum = a + b + carry;
	} while (!rmw_write(c, i, a, sum));
	flags_add(c, a, b, sum, width(i));
}

static void sub_with(struct x86_cpu *c, const struct insn *i, uint64_t borrow)
{
	uint64_t b = source(c, i), a, difference;

	do {
		a = rmw_read(c, i);
		difference = a - b - borrow;
	} while (!rmw_write(c, i, a, difference));
	flags_sub(c, a, b, difference, width(i));
}

void alu_add(struct x86_cpu *c, const struct insn *i)
{
	add_with(c, i, 0);
}

void alu_adc(struct x86_cpu *c, const struct insn *i)
{
	add_with(c, i, flag_carry(c));
}

void alu_sub(struct x86_cpu *c, const struct insn *i)
{
	sub_with(c, i, 0);
}

void alu_sbb(struct x86_cpu *c, const struct insn *i)
{
	sub_with(c, i, flag_carry(c));
}

void alu_cmp(struct x86_cpu *c, const struct insn *i)
{
	uint64_t a = op_read(c, i, 0), b = source(c, i);

	flags_sub(c, a, b, a - b, width(i));
}

void alu_and(struct x86_cpu *c, const struct insn *i)
{
	uint64_t b = source(c, i), a;

	do {
		a = rmw_read(c, i);
	} while (!rmw_write(c, i, a, a & b));
	flags_logic(c, a & b, width(i));
}

void alu_or(struct x86_cpu *c, const struct insn *i)
{
	uint64_t b = source(c, i), a;

	do {
		a = rmw_read(c, i);
	} while (!rmw_write(c, i, a, a | b));
	flags_logic(c, a | b, width(i));
}

void alu_xor(struct x86_cpu *c, const struct insn *i)
{
	uint64_t b = source(c, i), a;

	do {
		a = rmw_read(c, i);
	} while (!rmw_write(c, i, a, a ^ b));
	flags_logic(c, a ^ b, width(i));
}

void alu_test(struct x86_cpu *c, const struct insn *i)
{
	flags_logic(c, op_read(c, i, 0) & source(c, i), width(i));
}

/* INC and DEC leave CF alone. */
void alu_inc(struct x86_cpu *c, const struct insn *i)
{
	uint32_t carry = flag_carry(c) ? FLAG_CF : 0;
	uint64_t a;

	do {
		a = rmw_read(c, i);
	} while (!rmw_write(c, i, a, a + 1));
	flags_add(c, a, 1, a + 1, width(i));
	flags_set_arith(c, FLAG_CF, carry);
}

void alu_dec(struct x86_cpu *c, const struct insn *i)
{
	uint32_t carry = flag_carry(c) ? FLAG_CF : 0;
	uint64_t a;

	do {
		a = rmw_read(c, i);
	} while (!rmw_write(c, i, a, a - 1));
	flags_sub(c, a, 1, a - 1, width(i));
	flags_set_arith(c, FLAG_CF, carry);
}

void alu_neg(struct x86_cpu *c, const struct insn *i)
{
	uint64_t a;

	do {
		a = rmw_read(c, i);
	} while (!rmw_write(c, i, a, -a));
	flags_sub(c, 0, a, -a, width(i));
}

void alu_not(struct x86_cpu *c, const struct insn *i)
{
	uint64_t a;

	do {
		a = rmw_read(c, i);
	} while (!rmw_write(c, i, a, ~a));
}

/* ADCX and ADOX: unsigned addition whose carry lives in CF or OF alone. */
static void add_through(struct x86_cpu *c, const struct insn *i, uint32_t flag)
{
	uint64_t mask = mask_bytes(width(i));
	uint64_t b = source(c, i), a = op_read(c, i, 0);
	uint64_t carry = (flags_arith(c) & flag) != 0;
	uint64_t sum = (a + b + carry) & mask;
	bool out = ((a & b) | ((a | b) & ~sum)) >> (8 * width(i) - 1) & 1;

	op_write(c, i, 0, sum);
	flags_set_arith(c, flag, out ? flag : 0);
}

void alu_adcx(struct x86_cpu *c, const struct insn *i)
{
	add_through(c, i, FLAG_CF);
}

void alu_adox(struct x86_cpu *c, const struct insn *i)
{
	add_through(c, i, FLAG_OF);
}
