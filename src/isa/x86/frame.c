/* Stack frames of events and inter-privilege calls; see frame.h. */
#include "isa/x86/frame.h"

struct stack_frame frame_current(const struct x86_cpu *c, unsigned ext)
{
	return (struct stack_frame){
		.ss = c->s.seg[SS],
		.sp = c->s.gpr[RSP],
		.mask = mask_bytes(c->stack_size),
		.cpl = c->cpl,
		.error = ext,
	};
}

static struct stack_frame frame_new(struct x86_segment ss, uint64_t sp, unsigned cpl, unsigned ext)
{
	return (struct stack_frame){
		.ss = ss,
		.sp = sp,
		.mask = ss.attr & SEG_DB ? 0xffffffff : 0xffff,
		.cpl = cpl,
		.error = ERR_SEL(ss.selector) | ext,
	};
}

/* Whether [offset, offset + size) lies within the stack segment. */
static bool inside(const struct x86_segment *ss, uint32_t offset, unsigned size)
{
	uint32_t last = offset + size - 1;
	uint32_t top = ss->attr & SEG_DB ? 0xffffffff : 0xffff;

	if (last < offset)
		return false;
	if (ss->attr & SEG_EXPAND && !(ss->attr & SEG_CODE))
		return offset > ss->limit && last <= top;
	return last <= ss->limit;
}

void frame_check(struct x86_cpu *c, const struct stack_frame *f, unsigned bytes)
{
	uint64_t low = (f->sp - bytes) & f->mask;

	if (f->mask == ~UINT64_C(0)) {
		if (!x86_canonical(low) || !x86_canonical(f->sp - 1))
			x86_raise_error(c, VEC_SS, f->error);
		return;
	}
	/* A frame that wraps at the segment's top is judged element by element as it is pushed. */
	if (low <= ((f->sp - 1) & f->mask) && !inside(&f->ss, (uint32_t)low, bytes))
		x86_raise_error(c, VEC_SS, f->error);
}

static gva_t frame_linear(const struct stack_frame *f)
{
	uint64_t offset = f->sp & f->mask;

	if (f->mask == ~UINT64_C(0))
		return GVA(offset);
	return GVA((uint32_t)(f->ss.base + offset));
}

void frame_push(struct x86_cpu *c, struct stack_frame *f, uint64_t value, unsigned size)
{
	uint64_t sp = (f->sp - size) & f->mask;

	f->sp = (f->sp & ~f->mask) | sp;
	if (f->mask != ~UINT64_C(0) && !inside(&f->ss, (uint32_t)sp, size))
		x86_raise_error(c, VEC_SS, f->error);
	if (f->cpl == 3)
		lin_write(c, frame_linear(f), value & mask_bytes(size), size);
	else
		sys_write(c, frame_linear(f), value & mask_bytes(size), size);
}

void frame_commit(struct x86_cpu *c, const struct stack_frame *f)
{
	uint64_t *rsp = &c->s.gpr[RSP];

	*rsp = f->mask == 0xffff ? (*rsp & ~f->mask) | (f->sp & f->mask) : f->sp & f->mask;
	c->s.seg[SS] = f->ss;
}

/* Legacy TSS: SSn:ESPn or SSn:SPn. */
static struct stack_frame legacy_tss_stack(struct x86_cpu *c, unsigned cpl, unsigned ext)
{
	bool wide = c->s.tr.attr & SYS_TYPE_32;
	unsigned width = wide ? 4 : 2;
	uint32_t at = width + cpl * 2 * width;
	struct x86_desc d;
	uint64_t sp;
	uint16_t ss;

	if (at + width + 1 > c->s.tr.limit)
		x86_raise_error(c, VEC_TS, ERR_SEL(c->s.tr.selector) | ext);
	sp = sys_read(c, table_gva(c, c->s.tr.base, at), width);
	ss = (uint16_t)sys_read(c, table_gva(c, c->s.tr.base, at + width), 2);
	seg_check_stack(c, ss, cpl, VEC_TS, ext, &d);
	desc_mark_accessed(c, &d);
	return frame_new(seg_from_desc(ss, &d), sp, cpl, ext);
}

/* 64-bit TSS: a stack pointer at an offset, with a null SS. */
static struct stack_frame long_tss_stack(struct x86_cpu *c, uint32_t at, unsigned cpl, unsigned ext)
{
	struct stack_frame f = {
		.ss = seg_null((uint16_t)cpl, cpl), .mask = ~UINT64_C(0), .cpl = cpl, .error = ext,
	};

	if (at + 7 > c->s.tr.limit)
		x86_raise_error(c, VEC_TS, ERR_SEL(c->s.tr.selector) | ext);
	f.sp = sys_read(c, table_gva(c, c->s.tr.base, at), 8);
	if (!x86_canonical(f.sp))
		x86_raise_error(c, VEC_SS, ext);
	return f;
}

struct stack_frame frame_from_tss(struct x86_cpu *c, unsigned cpl, unsigned ext)
{
	if (x86_long_mode(c))
		return long_tss_stack(c, 4 + 8 * cpl, cpl, ext);
	return legacy_tss_stack(c, cpl, ext);
}

struct stack_frame frame_from_ist(struct x86_cpu *c, unsigned ist, unsigned cpl, unsigned ext)
{
	return long_tss_stack(c, 28 + 8 * ist, cpl, ext);
}
