/* Data movement and conversions of width (SDM vol. 2: MOV, MOVSX, XCHG, LEA, CMOVcc, ...). */
#include "isa/x86/sem/sem.h"

/* MOV and MOVZX: operands are read zero-extended from their own size. */
void move(struct x86_cpu *c, const struct insn *i)
{
	op_write(c, i, 0, op_read(c, i, 1));
}

void move_sign(struct x86_cpu *c, const struct insn *i)
{
	op_write(c, i, 0, (uint64_t)sign_extend_bytes(op_read(c, i, 1), i->op[1].size));
}

/* XCHG with memory is locked whether or not a prefix says so. */
void move_exchange(struct x86_cpu *c, const struct insn *i)
{
	unsigned mem = i->op[1].kind == OPK_MEM ? 1 : 0;
	unsigned size = i->op[0].size;
	uint64_t a, b;

	if (i->op[mem].kind != OPK_MEM) {
		a = op_read(c, i, 0);
		b = op_read(c, i, 1);
		op_write(c, i, 0, b);
		op_write(c, i, 1, a);
		return;
	}
	b = op_read(c, i, 1 - mem);
	do {
		a = lin_read_rmw(c, mem_operand(c, i, size, ACCESS_WRITE), size);
	} while (!lin_cas(c, mem_operand(c, i, size, ACCESS_WRITE), a, b, size));
	op_write(c, i, 1 - mem, a);
}

void move_address(struct x86_cpu *c, const struct insn *i)
{
	op_write(c, i, 0, x86_offset(c, i));
}

/* BSWAP of a 16-bit register is undefined; processors give zero. */
void move_swap(struct x86_cpu *c, const struct insn *i)
{
	uint64_t a = op_read(c, i, 0);

	switch (i->op[0].size) {
	case 8:
		op_write(c, i, 0, __builtin_bswap64(a));
		break;
	case 4:
		op_write(c, i, 0, __builtin_bswap32((uint32_t)a));
		break;
	default:
		op_write(c, i, 0, 0);
		break;
	}
}

void move_big_endian(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;

	op_write(c, i, 0, __builtin_bswap64(op_read(c, i, 1)) >> (64 - 8 * size));
}

/* CBW, CWDE, CDQE: the lower half of rAX, sign-extended. */
void convert_double(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->osz;

	gpr_write(c, RAX, (uint64_t)sign_extend_bytes(c->s.gpr[RAX], size / 2), size);
}

/* CWD, CDQ, CQO: the sign of rAX all over rDX. */
void convert_spread(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->osz;

	gpr_write(c, RDX, (uint64_t)(sign_extend_bytes(c->s.gpr[RAX], size) >> 63), size);
}

void move_translate(struct x86_cpu *c, const struct insn *i)
{
	uint64_t offset = (c->s.gpr[RBX] + (c->s.gpr[RAX] & 0xff)) & mask_bytes(i->asz);

	gpr_write(c, RAX, seg_read(c, i->seg, offset, 1), 1);
}

/* The source is read, and may fault, whether or not the condition holds. */
void move_if(struct x86_cpu *c, const struct insn *i)
{
	uint64_t value = op_read(c, i, 1);

	if (!flags_condition(c, i->cc))
		value = op_read(c, i, 0); /* a 32-bit destination still loses its upper half */
	op_write(c, i, 0, value);
}

void set_if(struct x86_cpu *c, const struct insn *i)
{
	op_write(c, i, 0, flags_condition(c, i->cc));
}
