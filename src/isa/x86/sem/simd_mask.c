/*
 * Masked moves: bytes or elements whose mask bit is clear are neither accessed nor checked
 * (SDM vol. 2: MASKMOVDQU, VMASKMOV, VPMASKMOV). They are parts of one operand: it is its address
 * that wraps at the address size, theirs do not.
 */
#include "isa/x86/sem/simd.h"

/* ---- MASKMOVQ, MASKMOVDQU: bytes to DS:(E/R)DI ---- */

static void store_masked_bytes(struct x86_cpu *c, const struct insn *i, unsigned count)
{
	uint64_t base = gpr_read(c, RDI, i->asz);
	union x86_vec data, mask;
	gva_t gva;

	vec_read(c, i, 0, &data);
	vec_read(c, i, 1, &mask);
	for (unsigned k = 0; k < count; k++) {
		if (!(mask.b[k] & 0x80))
			continue;
		gva = x86_linear(c, i->seg, base + k, 1, ACCESS_WRITE);
		lin_probe(c, gva, 1, ACCESS_WRITE);
	}
	for (unsigned k = 0; k < count; k++) {
		if (!(mask.b[k] & 0x80))
			continue;
		gva = x86_linear(c, i->seg, base + k, 1, ACCESS_WRITE);
		lin_write(c, gva, data.b[k], 1);
	}
}

void simd_maskmovq(struct x86_cpu *c, const struct insn *i)
{
	store_masked_bytes(c, i, 8);
	mmx_enter(c);
}

void simd_maskmovdqu(struct x86_cpu *c, const struct insn *i)
{
	store_masked_bytes(c, i, 16);
}

/* ---- VMASKMOV, VPMASKMOV: elements of 4 or 8 bytes ---- */

static bool element_selected(const union x86_vec *mask, unsigned k, unsigned size)
{
	return mask->b[k * size + size - 1] & 0x80;
}

static gva_t element_address(struct x86_cpu *c, const struct insn *i, unsigned k, unsigned size,
			     enum mem_access access)
{
	return x86_linear(c, i->seg, x86_offset(c, i) + k * size, size, access);
}

static void load_masked(struct x86_cpu *c, const struct insn *i, unsigned size)
{
	const union x86_vec *mask = &c->s.vec[i->op[1].reg];
	union x86_vec v = { 0 };
	uint64_t element;

	for (unsigned k = 0; k < i->vlen / size; k++) {
		if (!element_selected(mask, k, size))
			continue;
		element = lin_read_element(c, element_address(c, i, k, size, ACCESS_READ), size);
		memcpy(v.b + k * size, &element, size);
	}
	vec_write(c, i, &v);
}

static void store_masked(struct x86_cpu *c, const struct insn *i, unsigned size)
{
	const union x86_vec *mask = &c->s.vec[i->op[1].reg];
	const union x86_vec *data = &c->s.vec[i->op[2].reg];
	unsigned count = i->vlen / size;

	for (unsigned k = 0; k < count; k++)
		if (element_selected(mask, k, size))
			lin_probe(c, element_address(c, i, k, size, ACCESS_WRITE), size,
				  ACCESS_WRITE);
	for (unsigned k = 0; k < count; k++)
		if (element_selected(mask, k, size))
			lin_write_element(c, element_address(c, i, k, size, ACCESS_WRITE),
					  le_load(data->b + k * size, size), size);
}

static void move_masked(struct x86_cpu *c, const struct insn *i, unsigned size)
{
	if (i->op[0].kind == OPK_MEM)
		store_masked(c, i, size);
	else
		load_masked(c, i, size);
}

/* VMASKMOVPS, VPMASKMOVD */
void simd_vmaskmov32(struct x86_cpu *c, const struct insn *i)
{
	move_masked(c, i, 4);
}

/* VMASKMOVPD, VPMASKMOVQ */
void simd_vmaskmov64(struct x86_cpu *c, const struct insn *i)
{
	move_masked(c, i, 8);
}
