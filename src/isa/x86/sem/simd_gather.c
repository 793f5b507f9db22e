/*
 * VGATHER and VPGATHER (SDM vol. 2). The mask's sign bits spread over their elements first; then
 * elements complete in order, and each one that is complete has a clear mask element: a fault
 * leaves a state from which the instruction continues.
 */
#include "isa/x86/sem/simd.h"

/* Sizes in bytes of an index and of an element. */
struct gather_shape {
	unsigned index, element;
};

static uint64_t element_offset(const struct x86_cpu *c, const struct insn *i, unsigned index_size,
			       unsigned k)
{
	const union x86_vec *indices = &c->s.vec[i->index];
	int64_t index = index_size == 4 ? indices->sd[k] : indices->sq[k];
	uint64_t base = i->base == REG_NONE ? 0 : c->s.gpr[i->base];

	return (base + (uint64_t)index * i->scale + (uint64_t)i->disp) & mask_bytes(i->asz);
}

static uint64_t load_element(struct x86_cpu *c, const struct insn *i, struct gather_shape shape,
			     unsigned k)
{
	uint64_t offset = element_offset(c, i, shape.index, k);

	return lin_read_element(c, x86_linear(c, i->seg, offset, shape.element, ACCESS_READ),
				shape.element);
}

static bool is_selected(const union x86_vec *mask, unsigned k, unsigned size)
{
	return mask->b[k * size + size - 1] & 0x80;
}

/* The whole mask operand, also beyond the elements that the destination has. */
static void spread_signs(union x86_vec *mask, unsigned bytes, unsigned size)
{
	for (unsigned k = 0; k < bytes / size; k++)
		memset(mask->b + k * size, is_selected(mask, k, size) ? 0xff : 0, size);
	memset(mask->b + bytes, 0, sizeof(mask->b) - bytes);
}

static void gather(struct x86_cpu *c, const struct insn *i, struct gather_shape shape)
{
	union x86_vec *dst = &c->s.vec[i->op[0].reg], *mask = &c->s.vec[i->op[2].reg];
	unsigned count = i->vlen / LM_MAX(shape.index, shape.element), size = shape.element;

	spread_signs(mask, i->vlen, size);
	for (unsigned k = 0; k < count; k++) {
		if (is_selected(mask, k, size))
			le_store(dst->b + k * size, load_element(c, i, shape, k), size);
		memset(mask->b + k * size, 0, size);
	}
	memset(mask->b, 0, sizeof(mask->b));
	memset(dst->b + count * size, 0, sizeof(dst->b) - count * size);
}

/* VGATHERDPS, VPGATHERDD */
void simd_gather_d_d(struct x86_cpu *c, const struct insn *i)
{
	gather(c, i, (struct gather_shape){ .index = 4, .element = 4 });
}

/* VGATHERDPD, VPGATHERDQ */
void simd_gather_d_q(struct x86_cpu *c, const struct insn *i)
{
	gather(c, i, (struct gather_shape){ .index = 4, .element = 8 });
}

/* VGATHERQPS, VPGATHERQD */
void simd_gather_q_d(struct x86_cpu *c, const struct insn *i)
{
	gather(c, i, (struct gather_shape){ .index = 8, .element = 4 });
}

/* VGATHERQPD, VPGATHERQQ */
void simd_gather_q_q(struct x86_cpu *c, const struct insn *i)
{
	gather(c, i, (struct gather_shape){ .index = 8, .element = 8 });
}
