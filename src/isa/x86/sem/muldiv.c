/* Multiplication and division (SDM vol. 2: MUL, IMUL, DIV, IDIV). */
#include "isa/x86/sem/sem.h"

/* The double-width accumulator: AX for bytes, else rDX:rAX. */
static void write_double(struct x86_cpu *c, uint64_t low, uint64_t high, unsigned size)
{
	if (size == 1) {
		gpr_write(c, RAX, (low & 0xff) | high << 8, 2);
		return;
	}
	gpr_write(c, RAX, low, size);
	gpr_write(c, RDX, high, size);
}

/* CF = OF = the product does not fit the lower half; SF, ZF, AF, PF are undefined: of the low half. */
static void product_flags(struct x86_cpu *c, uint64_t low, bool overflow, unsigned size)
{
	flags_logic(c, low, size);
	flags_set_arith(c, FLAG_CF | FLAG_OF, overflow ? FLAG_CF | FLAG_OF : 0);
}

void mul_unsigned(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	unsigned __int128 product =
		(unsigned __int128)gpr_read(c, RAX, size) * op_read(c, i, 0);
	uint64_t low = (uint64_t)product & mask_bytes(size);
	uint64_t high = (uint64_t)(product >> (8 * size)) & mask_bytes(size);

	write_double(c, low, high, size);
	product_flags(c, low, high != 0, size);
}

static void mul_one_operand(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	__int128 product = (__int128)sign_extend_bytes(c->s.gpr[RAX], size) *
			   sign_extend_bytes(op_read(c, i, 0), size);
	uint64_t low = (uint64_t)product & mask_bytes(size);
	uint64_t high = (uint64_t)(product >> (8 * size)) & mask_bytes(size);

	write_double(c, low, high, size);
	product_flags(c, low, product != sign_extend_bytes(low, size), size);
}

void mul_signed(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	unsigned first = i->op_count == 3 ? 1 : 0;
	__int128 product;
	uint64_t low;

	if (i->op_count == 1) {
		mul_one_operand(c, i);
		return;
	}
	product = (__int128)sign_extend_bytes(op_read(c, i, first), size) *
		  sign_extend_bytes(op_read(c, i, first + 1), size);
	low = (uint64_t)product & mask_bytes(size);
	op_write(c, i, 0, low);
	product_flags(c, low, product != sign_extend_bytes(low, size), size);
}

static unsigned __int128 read_dividend(const struct x86_cpu *c, unsigned size)
{
	if (size == 1)
		return gpr_read(c, RAX, 2);
	return (unsigned __int128)gpr_read(c, RDX, size) << (8 * size) | gpr_read(c, RAX, size);
}

/* Status flags are undefined after DIV and IDIV; they stay. */
void div_unsigned(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	uint64_t divisor = op_read(c, i, 0);
	unsigned __int128 dividend = read_dividend(c, size), quotient;

	if (!divisor)
		x86_raise(c, VEC_DE);
	quotient = dividend / divisor;
	if (quotient > mask_bytes(size))
		x86_raise(c, VEC_DE);
	write_double(c, (uint64_t)quotient, (uint64_t)(dividend % divisor), size);
}

static __int128 sign_extend_double(unsigned __int128 v, unsigned size)
{
	unsigned shift = 128 - 16 * size;

	return (__int128)(v << shift) >> shift;
}

void div_signed(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	int64_t divisor = sign_extend_bytes(op_read(c, i, 0), size);
	__int128 dividend = sign_extend_double(read_dividend(c, size), size), quotient;
	unsigned __int128 lowest = (unsigned __int128)1 << 127;

	if (!divisor || (divisor == -1 && (unsigned __int128)dividend == lowest))
		x86_raise(c, VEC_DE);
	quotient = dividend / divisor;
	if (quotient != sign_extend_bytes((uint64_t)quotient, size))
		x86_raise(c, VEC_DE);
	write_double(c, (uint64_t)quotient, (uint64_t)(dividend % divisor), size);
}
