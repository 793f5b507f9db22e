/* Effective addresses and segmentation (SDM vol. 1 §3.7.5, vol. 3A §5.3-5.5). */
#include "isa/x86/access.h"
#include "isa/x86/fault.h"

uint64_t x86_offset(const struct x86_cpu *c, const struct insn *i)
{
	uint64_t a = (uint64_t)i->disp;

	if (i->base < BASE_RIP)
		a += c->s.gpr[i->base];
	else if (i->base == BASE_RIP)
		a += c->next_rip;
	if (i->index != REG_NONE)
		a += c->s.gpr[i->index] * i->scale;
	return a & mask_bytes(i->asz);
}

static _Noreturn void raise_segment(struct x86_cpu *c, unsigned seg)
{
	x86_raise_error(c, seg == SS ? VEC_SS : VEC_GP, 0);
}

static gva_t linear_64(struct x86_cpu *c, unsigned seg, uint64_t offset, unsigned size)
{
	uint64_t a = offset;

	if (seg >= FS)
		a += c->s.seg[seg].base;
	if (LM_UNLIKELY(!x86_canonical(a) || !x86_canonical(a + size - 1)))
		raise_segment(c, seg);
	return GVA(a);
}

static bool type_allows(const struct x86_segment *s, enum mem_access access)
{
	if (access == ACCESS_WRITE)
		return !(s->attr & SEG_CODE) && s->attr & SEG_WRITABLE;
	return !(s->attr & SEG_CODE) || s->attr & SEG_READABLE;
}

/* Expand-down segments are valid above the limit, up to 64 KiB or 4 GiB by their B flag. */
static bool limit_allows(const struct x86_segment *s, uint64_t offset, unsigned size)
{
	uint64_t last = offset + size - 1;
	bool expand_down = !(s->attr & SEG_CODE) && s->attr & SEG_EXPAND;

	if (!expand_down)
		return last <= s->limit;
	return offset > s->limit && last <= (s->attr & SEG_DB ? 0xffffffff : 0xffff);
}

static gva_t linear_legacy(struct x86_cpu *c, unsigned seg, uint64_t offset, unsigned size,
			   enum mem_access access)
{
	const struct x86_segment *s = &c->s.seg[seg];

	if (x86_protected(c)) {
		if (s->attr & SEG_UNUSABLE || !type_allows(s, access))
			raise_segment(c, seg);
	}
	if (!limit_allows(s, offset, size))
		raise_segment(c, seg);
	return GVA((uint32_t)(s->base + offset));
}

gva_t x86_linear(struct x86_cpu *c, unsigned seg, uint64_t offset, unsigned size,
		 enum mem_access access)
{
	if (c->code_size == CODE_64)
		return linear_64(c, seg, offset, size);
	return linear_legacy(c, seg, offset, size, access);
}
