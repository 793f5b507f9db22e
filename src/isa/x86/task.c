/*
 * Hardware task switching (SDM vol. 3A §7.3). Everything that can still go back to the old task is
 * checked and touched first; from the commit on, faults belong to the new task.
 */
#include "isa/x86/task.h"

#include "isa/x86/debug.h"
#include "isa/x86/event.h"
#include "isa/x86/flags.h"
#include "isa/x86/mmu.h"

/* Where a TSS keeps its fields (SDM vol. 3A figures 7-2 and 7-10). */
struct tss_layout {
	uint8_t width;      /* of general registers */
	uint8_t ip, flags, gpr, seg, seg_stride, seg_count, ldt;
	uint32_t min_limit;
};

static const struct tss_layout layout32 = { 4, 0x20, 0x24, 0x28, 0x48, 4, 6, 0x60, 0x67 };
static const struct tss_layout layout16 = { 2, 0x0e, 0x10, 0x12, 0x22, 2, 4, 0x2a, 0x2b };

#define TSS_LINK   0x00u
#define TSS32_CR3  0x1cu
#define TSS32_TRAP 0x64u

/* What a TSS holds of a task. */
struct task_image {
	uint64_t ip, flags, gpr[8], cr3;
	uint16_t seg[6], ldt;
	bool trap;
};

static const struct tss_layout *layout_of(unsigned type)
{
	return type & SYS_TYPE_32 ? &layout32 : &layout16;
}

static uint64_t tss_read(struct x86_cpu *c, uint64_t base, unsigned at, unsigned size)
{
	return sys_read(c, table_gva(c, base, at), size);
}

static void tss_write(struct x86_cpu *c, uint64_t base, unsigned at, uint64_t value, unsigned size)
{
	sys_write(c, table_gva(c, base, at), value & mask_bytes(size), size);
}

static struct task_image read_task(struct x86_cpu *c, uint64_t base, const struct tss_layout *l)
{
	struct task_image t = {
		.ip = tss_read(c, base, l->ip, l->width),
		.flags = tss_read(c, base, l->flags, l->width),
		.ldt = (uint16_t)tss_read(c, base, l->ldt, 2),
	};

	for (unsigned k = 0; k < 8; k++)
		t.gpr[k] = tss_read(c, base, l->gpr + k * l->width, l->width);
	for (unsigned k = 0; k < l->seg_count; k++)
		t.seg[k] = (uint16_t)tss_read(c, base, l->seg + k * l->seg_stride, 2);
	if (l == &layout32) {
		t.cr3 = tss_read(c, base, TSS32_CR3, 4);
		t.trap = tss_read(c, base, TSS32_TRAP, 2) & 1;
	}
	return t;
}

static void save_task(struct x86_cpu *c, uint64_t rip, uint64_t rflags)
{
	const struct tss_layout *l = layout_of(c->s.tr.attr & SEG_TYPE);
	uint64_t base = c->s.tr.base;

	tss_write(c, base, l->ip, rip, l->width);
	tss_write(c, base, l->flags, rflags, l->width);
	for (unsigned k = 0; k < 8; k++)
		tss_write(c, base, l->gpr + k * l->width, c->s.gpr[k], l->width);
	for (unsigned k = 0; k < l->seg_count; k++)
		tss_write(c, base, l->seg + k * l->seg_stride, c->s.seg[k].selector, 2);
}

/* The new TSS descriptor; a gate or instruction names it, or the back link. */
static void check_descriptor(struct x86_cpu *c, uint16_t selector, enum task_source source,
			     unsigned ext, struct x86_desc *d)
{
	bool back = source == TASK_IRET;
	enum x86_vector vector = back ? VEC_TS : VEC_GP;
	uint32_t error = ERR_SEL(selector) | ext;

	if (selector & SEL_TI || SEL_IS_NULL(selector) || !desc_read(c, selector, d))
		x86_raise_error(c, vector, error);
	if (!desc_is_system(d) || (desc_type(d) & 5) != 1 ||
	    !(desc_type(d) & SYS_TYPE_BUSY) != !back)
		x86_raise_error(c, vector, error);
	if (!desc_present(d))
		x86_raise_error(c, VEC_NP, error);
	if (desc_limit(d) < layout_of(desc_type(d))->min_limit)
		x86_raise_error(c, VEC_TS, error);
}

static void clear_old_busy(struct x86_cpu *c)
{
	struct x86_desc old;

	if (desc_read(c, c->s.tr.selector, &old))
		desc_change_type(c, &old, 0, SYS_TYPE_BUSY);
}

/* ---- In the context of the new task (SDM vol. 3A §7.3 step 12 on) ---- */

static void load_registers(struct x86_cpu *c, const struct task_image *t, const struct tss_layout *l)
{
	for (unsigned k = 0; k < 8; k++)
		c->s.gpr[k] = l->width == 4 ? t->gpr[k] : (c->s.gpr[k] & ~UINT64_C(0xffff)) | t->gpr[k];
	flags_put(c, l->width == 4 ? t->flags : t->flags & 0xffff);
	c->s.rip = c->next_rip = t->ip;
	for (unsigned k = 0; k < 6; k++) /* until each is loaded, none can be used */
		c->s.seg[k] = seg_null(t->seg[k], 0);
	c->s.ldtr = seg_null(t->ldt, 0);
}

static void load_cr3(struct x86_cpu *c, uint64_t cr3)
{
	if (!(c->s.cr0 & CR0_PG))
		return;
	if (c->s.cr4 & CR4_PAE && !mmu_load_pdptes(c, cr3))
		x86_raise_error(c, VEC_TS, ERR_SEL(c->s.tr.selector));
	c->s.cr3 = cr3;
	mmu_cr3_changed(c, false);
}

static void load_code(struct x86_cpu *c, uint16_t selector, unsigned ext)
{
	uint32_t error = ERR_SEL(selector) | ext;
	unsigned rpl = SEL_RPL(selector);
	struct x86_desc d;

	if (SEL_IS_NULL(selector))
		x86_raise_error(c, VEC_TS, ext);
	if (!desc_read(c, selector, &d) || !desc_is_code(&d) ||
	    (desc_is_conforming(&d) ? desc_dpl(&d) > rpl : desc_dpl(&d) != rpl))
		x86_raise_error(c, VEC_TS, error);
	if (!desc_present(&d))
		x86_raise_error(c, VEC_NP, error);
	desc_mark_accessed(c, &d);
	c->s.seg[CS] = seg_from_desc(selector, &d);
}

static void load_segments(struct x86_cpu *c, const struct task_image *t, unsigned ext)
{
	static const uint8_t data[] = { ES, DS, FS, GS };
	unsigned cpl = SEL_RPL(t->seg[CS]);
	struct x86_desc d;

	/* CPL is the new CS's RPL from here on, also for the faults below. */
	c->s.seg[SS] = seg_null(t->seg[SS], cpl);
	x86_mode_changed(c);
	seg_check_stack(c, t->seg[SS], cpl, VEC_TS, ext, &d);
	desc_mark_accessed(c, &d);
	c->s.seg[SS] = seg_from_desc(t->seg[SS], &d);
	for (unsigned k = 0; k < LM_ARRAY_SIZE(data); k++) {
		uint16_t selector = t->seg[data[k]];

		if (SEL_IS_NULL(selector))
			continue;
		seg_check_data(c, selector, cpl, VEC_TS, ext, &d);
		desc_mark_accessed(c, &d);
		c->s.seg[data[k]] = seg_from_desc(selector, &d);
	}
	load_code(c, t->seg[CS], ext);
}

static void enter_task(struct x86_cpu *c, const struct task_image *t, unsigned ext)
{
	if (x86_v86(c)) {
		seg_load_ldtr(c, t->ldt, VEC_TS, ext);
		for (unsigned k = 0; k < 6; k++)
			seg_load_real(c, k, t->seg[k]);
	} else {
		c->s.seg[SS] = seg_null(t->seg[SS], SEL_RPL(t->seg[CS]));
		seg_load_ldtr(c, t->ldt, VEC_TS, ext);
		load_segments(c, t, ext);
	}
	x86_mode_changed(c);
	if (t->ip > c->s.seg[CS].limit)
		x86_raise_gp(c, ext);
}

/* ---- The switch ---- */

static bool nests(enum task_source source)
{
	return source == TASK_CALL || source == TASK_EVENT;
}

void task_switch(struct x86_cpu *c, uint16_t selector, enum task_source source, uint64_t rip,
		 uint64_t rflags, unsigned ext)
{
	uint16_t old_tr = c->s.tr.selector;
	const struct tss_layout *l;
	struct task_image t;
	struct x86_desc d;
	uint64_t base;

	check_descriptor(c, selector, source, ext, &d);
	l = layout_of(desc_type(&d));
	base = desc_base(&d);
	t = read_task(c, base, l);
	save_task(c, rip, source == TASK_IRET ? rflags & ~(uint64_t)FLAG_NT : rflags);
	if (nests(source)) {
		tss_write(c, base, TSS_LINK, old_tr, 2);
		t.flags |= FLAG_NT;
	} else {
		clear_old_busy(c);
	}
	desc_change_type(c, &d, SYS_TYPE_BUSY, 0);

	c->s.tr = seg_from_desc(selector, &d);
	c->s.cr0 |= CR0_TS;
	c->s.dr[7] &= ~DR7_LOCAL_ENABLES;
	load_registers(c, &t, l);
	if (l == &layout32)
		load_cr3(c, t.cr3);
	if (t.trap) {
		c->pending_db |= DR6_BT;
		x86_event_set(c, EV_TRAP);
	}
	event_flags_loaded(c);
	enter_task(c, &t, ext);
}
