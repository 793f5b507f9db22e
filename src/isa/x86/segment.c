/* Descriptors and segment registers (SDM vol. 3A §3.4, §3.5, ch. 5; vol. 2 MOV, LLDT, LTR). */
#include "isa/x86/segment.h"

#define DESC_TYPE_BYTE 5 /* offset of the byte holding type, S, DPL and P */

bool desc_read(struct x86_cpu *c, uint16_t selector, struct x86_desc *d)
{
	bool local = selector & SEL_TI;
	uint64_t base = local ? c->s.ldtr.base : c->s.gdtr.base;
	uint32_t limit = local ? c->s.ldtr.limit : c->s.gdtr.limit;
	uint32_t offset = selector & ~7u;

	if (local && (c->s.ldtr.attr & SEG_UNUSABLE))
		return false;
	if (offset + 7 > limit)
		return false;
	d->at = table_gva(c, base, offset);
	d->raw = sys_read(c, d->at, 8);
	d->upper = 0;
	return true;
}

bool desc_read_upper(struct x86_cpu *c, uint16_t selector, struct x86_desc *d)
{
	uint32_t limit = selector & SEL_TI ? c->s.ldtr.limit : c->s.gdtr.limit;

	if ((selector & ~7u) + 15 > limit)
		return false;
	d->upper = sys_read(c, table_gva(c, d->at.v, 8), 8);
	return (d->upper >> 40 & 0x1f) == 0; /* a type here would be another descriptor */
}

void desc_change_type(struct x86_cpu *c, struct x86_desc *d, uint8_t set, uint8_t clear)
{
	gva_t at = table_gva(c, d->at.v, DESC_TYPE_BYTE);
	uint64_t old = d->raw >> 40 & 0xff;
	uint64_t new;

	for (;;) {
		new = (old | set) & (uint8_t)~clear;
		if (new == old || sys_cas(c, at, old, new, 1))
			break;
		old = sys_read(c, at, 1);
	}
	d->raw = (d->raw & ~(UINT64_C(0xff) << 40)) | new << 40;
}

struct x86_segment seg_from_desc(uint16_t selector, const struct x86_desc *d)
{
	return (struct x86_segment){
		.selector = selector,
		.attr = desc_attr(d),
		.limit = desc_limit(d),
		.base = desc_base(d),
	};
}

struct x86_segment seg_null(uint16_t selector, unsigned dpl)
{
	return (struct x86_segment){
		.selector = selector,
		.attr = (uint16_t)(SEG_UNUSABLE | dpl << SEG_DPL_SHIFT),
	};
}

static void read_or_raise(struct x86_cpu *c, uint16_t selector, enum x86_vector vector, unsigned ext,
			  struct x86_desc *d)
{
	if (!desc_read(c, selector, d))
		x86_raise_error(c, vector, ERR_SEL(selector) | ext);
}

void seg_check_data(struct x86_cpu *c, uint16_t selector, unsigned cpl, enum x86_vector vector,
		    unsigned ext, struct x86_desc *d)
{
	uint32_t error = ERR_SEL(selector) | ext;
	uint16_t attr;

	read_or_raise(c, selector, vector, ext, d);
	attr = desc_attr(d);
	if (!(attr & SEG_S) || (attr & (SEG_CODE | SEG_READABLE)) == SEG_CODE)
		x86_raise_error(c, vector, error);
	if (!desc_is_conforming(d) && (SEL_RPL(selector) > desc_dpl(d) || cpl > desc_dpl(d)))
		x86_raise_error(c, vector, error);
	if (!desc_present(d))
		x86_raise_error(c, VEC_NP, error);
}

void seg_check_stack(struct x86_cpu *c, uint16_t selector, unsigned cpl, enum x86_vector vector,
		     unsigned ext, struct x86_desc *d)
{
	uint32_t error = ERR_SEL(selector) | ext;

	if (SEL_IS_NULL(selector))
		x86_raise_error(c, vector, ext);
	read_or_raise(c, selector, vector, ext, d);
	if (SEL_RPL(selector) != cpl || !desc_is_writable_data(d) || desc_dpl(d) != cpl)
		x86_raise_error(c, vector, error);
	if (!desc_present(d))
		x86_raise_error(c, VEC_SS, error);
}

void seg_load_real(struct x86_cpu *c, unsigned sreg, uint16_t selector)
{
	struct x86_segment *s = &c->s.seg[sreg];

	s->selector = selector;
	s->base = (uint64_t)selector << 4;
	if (x86_v86(c)) {
		s->limit = 0xffff;
		s->attr = SEG_P | 3u << SEG_DPL_SHIFT | SEG_S | SEG_WRITABLE | SEG_ACCESSED;
	} else { /* limit and size survive: firmware relies on "big real" segments */
		s->attr &= SEG_DB | SEG_G;
		s->attr |= SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED;
	}
}

static void load_data(struct x86_cpu *c, unsigned sreg, uint16_t selector)
{
	struct x86_desc d;

	if (SEL_IS_NULL(selector)) {
		c->s.seg[sreg] = seg_null(selector, 0);
		return;
	}
	seg_check_data(c, selector, c->cpl, VEC_GP, 0, &d);
	desc_mark_accessed(c, &d);
	c->s.seg[sreg] = seg_from_desc(selector, &d);
}

static void load_stack(struct x86_cpu *c, uint16_t selector)
{
	struct x86_desc d;

	if (SEL_IS_NULL(selector) && c->code_size == CODE_64 && c->cpl < 3 &&
	    SEL_RPL(selector) == c->cpl) {
		c->s.seg[SS] = seg_null(selector, c->cpl);
		return;
	}
	seg_check_stack(c, selector, c->cpl, VEC_GP, 0, &d);
	desc_mark_accessed(c, &d);
	c->s.seg[SS] = seg_from_desc(selector, &d);
}

void seg_load(struct x86_cpu *c, unsigned sreg, uint16_t selector)
{
	if (c->real_or_v86)
		seg_load_real(c, sreg, selector);
	else if (sreg == SS)
		load_stack(c, selector);
	else
		load_data(c, sreg, selector);
	x86_mode_changed(c);
}

/* Reads an LDT or TSS descriptor, both halves in long mode. */
static void read_system_desc(struct x86_cpu *c, uint16_t selector, enum x86_vector vector,
			     unsigned ext, struct x86_desc *d)
{
	if (selector & SEL_TI)
		x86_raise_error(c, vector, ERR_SEL(selector) | ext);
	read_or_raise(c, selector, vector, ext, d);
}

static void read_system_upper(struct x86_cpu *c, uint16_t selector, struct x86_desc *d)
{
	if (!x86_long_mode(c))
		return;
	if (!desc_read_upper(c, selector, d) || !x86_canonical(desc_base(d)))
		x86_raise_gp(c, ERR_SEL(selector));
}

void seg_load_ldtr(struct x86_cpu *c, uint16_t selector, enum x86_vector vector, unsigned ext)
{
	struct x86_desc d;

	if (SEL_IS_NULL(selector)) {
		c->s.ldtr = seg_null(selector, 0);
		return;
	}
	read_system_desc(c, selector, vector, ext, &d);
	if (!desc_is_system(&d) || desc_type(&d) != SYS_LDT)
		x86_raise_error(c, vector, ERR_SEL(selector) | ext);
	if (!desc_present(&d))
		x86_raise_error(c, vector == VEC_TS ? VEC_TS : VEC_NP, ERR_SEL(selector) | ext);
	read_system_upper(c, selector, &d);
	c->s.ldtr = seg_from_desc(selector, &d);
}

void seg_load_tr(struct x86_cpu *c, uint16_t selector)
{
	struct x86_desc d;

	if (SEL_IS_NULL(selector))
		x86_raise_gp(c, 0);
	read_system_desc(c, selector, VEC_GP, 0, &d);
	if (!desc_is_system(&d) ||
	    (desc_type(&d) != SYS_TSS && (desc_type(&d) != SYS_TSS16 || x86_long_mode(c))))
		x86_raise_gp(c, ERR_SEL(selector));
	if (!desc_present(&d))
		x86_raise_error(c, VEC_NP, ERR_SEL(selector));
	read_system_upper(c, selector, &d);
	desc_change_type(c, &d, SYS_TYPE_BUSY, 0);
	c->s.tr = seg_from_desc(selector, &d);
}

#define TSS_IO_MAP 102u

uint32_t tss_io_map(struct x86_cpu *c)
{
	if (!(c->s.tr.attr & SYS_TYPE_32) || c->s.tr.limit < TSS_IO_MAP + 1)
		x86_raise_gp(c, 0);
	return (uint32_t)sys_read(c, table_gva(c, c->s.tr.base, TSS_IO_MAP), 2);
}

void seg_drop_inner(struct x86_cpu *c, unsigned new_cpl)
{
	static const uint8_t data[] = { ES, DS, FS, GS };

	for (unsigned k = 0; k < LM_ARRAY_SIZE(data); k++) {
		struct x86_segment *s = &c->s.seg[data[k]];
		bool conforming = (s->attr & (SEG_S | SEG_CODE | SEG_CONFORMING)) ==
				  (SEG_S | SEG_CODE | SEG_CONFORMING);

		if (!conforming && !(s->attr & SEG_UNUSABLE) && SEG_DPL(s->attr) < new_cpl) {
			s->selector = 0;
			s->attr = SEG_UNUSABLE;
		}
	}
}
