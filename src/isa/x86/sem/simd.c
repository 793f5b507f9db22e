/* Operands of the SIMD groups: reading, writing, alignment, MMX state and MXCSR. See simd.h. */
#include "isa/x86/sem/simd.h"

void vec_load(struct x86_cpu *c, gva_t gva, union x86_vec *v, unsigned size)
{
	*v = (union x86_vec){ 0 };
	if (size <= 8)
		v->q[0] = lin_read(c, gva, size);
	else
		lin_read_block(c, gva, v->b, size);
}

void vec_store(struct x86_cpu *c, gva_t gva, const union x86_vec *v, unsigned size)
{
	if (size <= 8)
		lin_write(c, gva, v->q[0], size);
	else
		lin_write_block(c, gva, v->b, size);
}

/* `align` is the alignment a memory operand must have. */
static void read_operand(struct x86_cpu *c, const struct insn *i, unsigned n, unsigned align,
			 union x86_vec *v)
{
	const struct operand *op = &i->op[n];
	gva_t gva;

	switch (op->kind) {
	case OPK_VEC:
		*v = c->s.vec[op->reg];
		break;
	case OPK_MMX:
		*v = (union x86_vec){ .q = { c->s.fpu.st[op->reg].sig } };
		break;
	default:
		gva = mem_operand(c, i, op->size, ACCESS_READ);
		simd_check_aligned(c, gva, align);
		vec_load(c, gva, v, op->size);
		break;
	}
}

void vec_read(struct x86_cpu *c, const struct insn *i, unsigned n, union x86_vec *v)
{
	read_operand(c, i, n, !i->vex && i->op[n].size == 16 ? 16 : 1, v);
}

void vec_read_unaligned(struct x86_cpu *c, const struct insn *i, unsigned n, union x86_vec *v)
{
	read_operand(c, i, n, 1, v);
}

void vec_read_aligned(struct x86_cpu *c, const struct insn *i, unsigned n, union x86_vec *v)
{
	read_operand(c, i, n, i->op[n].size, v);
}

uint64_t vec_read_low(struct x86_cpu *c, const struct insn *i, unsigned n, unsigned size)
{
	const struct operand *op = &i->op[n];

	switch (op->kind) {
	case OPK_VEC:
		return c->s.vec[op->reg].q[0] & mask_bytes(size);
	case OPK_MMX:
		return c->s.fpu.st[op->reg].sig & mask_bytes(size);
	case OPK_GPR:
		return gpr_read(c, op->reg, size);
	default:
		return lin_read(c, mem_operand(c, i, size, ACCESS_READ), size);
	}
}

void vec_write_reg(struct x86_cpu *c, const struct insn *i, unsigned reg, unsigned size,
		   const union x86_vec *v)
{
	union x86_vec *d = &c->s.vec[reg];

	if (i->vex && size > 16) {
		*d = *v;
		return;
	}
	d->q[0] = v->q[0];
	d->q[1] = v->q[1];
	if (i->vex)
		d->q[2] = d->q[3] = 0;
}

void vec_write(struct x86_cpu *c, const struct insn *i, const union x86_vec *v)
{
	const struct operand *op = &i->op[0];

	if (op->kind == OPK_MMX)
		mmx_write(c, op->reg, v->q[0]);
	else
		vec_write_reg(c, i, op->reg, op->size, v);
}

void mmx_enter(struct x86_cpu *c)
{
	c->s.fpu.fsw &= (uint16_t)~FSW_TOP;
	c->s.fpu.ftw = 0xff;
}

void mmx_enter_for(struct x86_cpu *c, const struct insn *i)
{
	for (unsigned n = 0; n < i->op_count; n++)
		if (i->op[n].kind == OPK_MMX)
			mmx_enter(c);
}

void mmx_write(struct x86_cpu *c, unsigned reg, uint64_t value)
{
	mmx_enter(c);
	c->s.fpu.st[reg] = (struct f80){ .sig = value, .se = 0xffff };
}

void simd_fp_finish(struct x86_cpu *c, const struct fp_env *env)
{
	c->s.mxcsr |= fp_reported_flags(env);
	if (fp_unmasked_flags(env))
		x86_raise(c, c->s.cr4 & CR4_OSXMMEXCPT ? VEC_XM : VEC_UD);
}
