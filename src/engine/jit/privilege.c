/*
 * System calls, returns from them and from interrupts, flags, segment bases and time, in the cases that operating systems
 * meet all the time; the interpreter has all others (sem/syscall.c, sem/interrupt.c, sem/sysflags.c).
 * Helpers; see helper.h.
 */

#include "engine/jit/helper.h"
#include "isa/x86/mmu.h"
#include "isa/x86/segment.h"

#define SYSRET_FLAGS UINT64_C(0x3c7fd7) /* SDM vol. 2 SYSRET */

/* ---- RFLAGS ---- */

static uint64_t flags_image(const struct jit_state *js)
{
	return (js->save_flags >> 8 & 0xd5) | (js->save_flags & 1) << 11 |
	       (uint64_t)js->interrupt_flag << 9 | js->system_flags;
}

/* #AC may come once CPL is 3. */
static bool checks_alignment(const struct x86_cpu *c, uint64_t flags)
{
	return flags & FLAG_AC && c->s.cr0 & CR0_AM;
}

/* Translated code runs with TF and DF clear, and an interrupt that waits must be taken now. */
static bool may_load_flags(const struct jit *j, uint64_t flags, unsigned cpl)
{
	const struct jit_state *js = j->js;

	if (flags & (FLAG_TF | FLAG_DF | FLAG_NT | FLAG_VM))
		return false;
	if (flags & FLAG_IF && !js->interrupt_flag && js->sti_poll != js->poll)
		return false;
	return !(cpl == 3 && checks_alignment(j->c, flags));
}

/* RF counts for instruction breakpoints only, with which no translated code runs. */
static void load_flags(struct jit *j, uint64_t flags)
{
	struct jit_state *js = j->js;

	flags = (flags & ~(uint64_t)FLAG_RF) | FLAG_FIXED;
	js->save_flags = (flags & 0xd5) << 8 | (flags >> 11 & 1);
	js->interrupt_flag = flags >> 9 & 1;
	js->system_flags = flags & ~(uint64_t)(FLAGS_ARITH | FLAG_IF);
	j->c->s.rflags = flags;
}

/* After a change of CPL or AC: what x86_mode_changed derives from them, and the table. */
static void use_privilege(struct jit *j, unsigned cpl)
{
	struct x86_cpu *c = j->c;
	unsigned set = TLB_USER;

	if (cpl == 0)
		set = c->s.cr4 & CR4_SMAP && c->s.rflags & FLAG_AC ? TLB_SUPERVISOR_AC
								   : TLB_SUPERVISOR;
	c->cpl = (uint8_t)cpl;
	c->tlb = &c->tlb_set[set];
	c->fetch.page = FETCH_NONE;
	tables_enter(j);
}

/* Between 64-bit code and 32-bit code with flat segments, when CS is loaded. */
static void use_code_size(struct jit *j, enum x86_code_size size)
{
	struct jit_state *js = j->js;
	struct x86_cpu *c = j->c;

	if (c->code_size == CODE_64)
		c->s.seg[GS].base = js->seg_base[GS];
	c->code_size = size;
	c->stack_size = size == CODE_64 ? 8 : 4;
	c->flat_data = true;
	if (size != CODE_64)
		jit_narrow_registers(js);
	js->seg_base[FS] = jit_segment_base(c, FS);
	js->seg_base[GS] = jit_segment_base(c, GS);
}

static bool is_flat(const struct x86_segment *s)
{
	return !s->base && jit_may_use_all(s);
}

static bool has_flat_data(const struct x86_cpu *c)
{
	return is_flat(&c->s.seg[DS]) && is_flat(&c->s.seg[ES]);
}

/* ---- SYSCALL, SYSRET, SYSENTER, SYSEXIT ---- */

bool helper_syscall(struct jit *j)
{
	struct jit_state *js = j->js;
	struct x86_cpu *c = j->c;
	uint64_t flags = flags_image(js);
	unsigned cs = c->s.star >> 32 & 0xfffc;

	if (!(c->s.efer & EFER_SCE))
		return false;
	js->gpr[RCX] = js->rip + helper_length(js);
	js->gpr[R11] = flags;
	load_flags(j, flags & ~c->s.fmask);
	seg_load_flat(c, cs, cs + 8, 0, true);
	use_privilege(j, 0);
	js->rip = c->s.lstar;
	return true;
}

bool helper_sysret(struct jit *j)
{
	struct jit_state *js = j->js;
	struct x86_cpu *c = j->c;
	unsigned base = c->s.star >> 48;
	uint64_t flags = js->gpr[R11] & SYSRET_FLAGS;
	bool to_64bit = helper_operand_size(js) == 8;

	if (!(c->s.efer & EFER_SCE) || !may_load_flags(j, flags, 3) ||
	    (to_64bit ? !x86_canonical(js->gpr[RCX]) : !has_flat_data(c)))
		return false;
	js->rip = to_64bit ? js->gpr[RCX] : (uint32_t)js->gpr[RCX];
	load_flags(j, flags);
	seg_load_flat(c, to_64bit ? base + 16 : base, base + 8, 3, to_64bit);
	use_code_size(j, to_64bit ? CODE_64 : CODE_32);
	use_privilege(j, 3);
	return true;
}

bool helper_sysenter(struct jit *j)
{
	struct jit_state *js = j->js;
	struct x86_cpu *c = j->c;
	unsigned cs = c->s.sysenter_cs & 0xfffc;
	bool wide = x86_long_mode(c);

	if (!cs)
		return false;
	load_flags(j, flags_image(js) & ~(uint64_t)(FLAG_VM | FLAG_IF));
	js->gpr[RSP] = wide ? c->s.sysenter_esp : (uint32_t)c->s.sysenter_esp;
	js->rip = wide ? c->s.sysenter_eip : (uint32_t)c->s.sysenter_eip;
	seg_load_flat(c, cs, cs + 8, 0, wide);
	use_code_size(j, wide ? CODE_64 : CODE_32);
	use_privilege(j, 0);
	return true;
}

bool helper_sysexit(struct jit *j)
{
	struct jit_state *js = j->js;
	struct x86_cpu *c = j->c;
	unsigned cs = c->s.sysenter_cs & 0xfffc;
	bool to_64bit = helper_operand_size(js) == 8;
	uint64_t rip = js->gpr[RDX], rsp = js->gpr[RCX];

	if (!cs || checks_alignment(c, flags_image(js)) ||
	    (to_64bit ? !x86_canonical(rip) || !x86_canonical(rsp) : !has_flat_data(c)))
		return false;
	js->rip = to_64bit ? rip : (uint32_t)rip;
	js->gpr[RSP] = to_64bit ? rsp : (uint32_t)rsp;
	cs += to_64bit ? 32 : 16;
	seg_load_flat(c, cs, cs + 8, 3, to_64bit);
	use_code_size(j, to_64bit ? CODE_64 : CODE_32);
	use_privilege(j, 3);
	return true;
}

/* ---- IRET ---- */

static bool peek32(struct jit *j, uint64_t gva, uint64_t *value)
{
	const uint8_t *p = gva & 3 ? NULL : helper_host(j, gva, false);

	if (!p)
		return false;
	*value = __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
	return true;
}

static bool peek(struct jit *j, uint64_t gva, uint64_t *value)
{
	const uint8_t *p = gva & 7 ? NULL : helper_host(j, gva, false);

	if (!p)
		return false;
	*value = __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
	return true;
}

/* A descriptor of the GDT; its table is a supervisor's whatever the CPL, as is what is peeked at. */
static bool read_descriptor(struct jit *j, uint64_t selector, struct x86_desc *d)
{
	const struct x86_cpu *c = j->c;

	*d = (struct x86_desc){ 0 };
	if (selector & SEL_TI || SEL_IS_NULL(selector) || (selector | 7) > c->s.gdtr.limit)
		return false;
	return peek(j, c->s.gdtr.base + (selector & ~UINT64_C(7)), &d->raw);
}

/*
 * Of a present code segment, of 64 bits or flat with 32 bits, that was accessed before; conforming ones
 * are not for us.
 */
static bool code_segment(struct jit *j, uint64_t selector, struct x86_segment *s)
{
	const unsigned mask = SEG_P | SEG_S | SEG_CODE | SEG_CONFORMING | SEG_ACCESSED;
	struct x86_desc d;

	if (!read_descriptor(j, selector, &d) || desc_dpl(&d) != SEL_RPL(selector) ||
	    (desc_attr(&d) & mask) != (SEG_P | SEG_S | SEG_CODE | SEG_ACCESSED))
		return false;
	*s = (struct x86_segment){ (uint16_t)selector, desc_attr(&d), desc_limit(&d), desc_base(&d) };
	if ((s->attr & (SEG_L | SEG_DB)) == SEG_L)
		return x86_long_mode(j->c);
	return (s->attr & (SEG_L | SEG_DB)) == SEG_DB && !s->base && s->limit == UINT32_MAX;
}

static bool stack_segment(struct jit *j, uint64_t selector, unsigned cpl, struct x86_segment *s)
{
	const unsigned mask = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_ACCESSED;
	struct x86_desc d;

	if (SEL_RPL(selector) != cpl)
		return false;
	if (SEL_IS_NULL(selector) && cpl == 0) {
		*s = (struct x86_segment){ (uint16_t)selector, SEG_UNUSABLE, 0, 0 };
		return true;
	}
	if (!read_descriptor(j, selector, &d) || desc_dpl(&d) != cpl ||
	    (desc_attr(&d) & mask) != (SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED))
		return false;
	*s = (struct x86_segment){ (uint16_t)selector, desc_attr(&d), desc_limit(&d), desc_base(&d) };
	return true;
}

/* Data segments of inner rings would have to go (SDM vol. 3A §5.8.6). */
static bool has_inner_data(const struct x86_cpu *c)
{
	static const uint8_t data[] = { ES, DS, FS, GS };

	for (unsigned k = 0; k < LM_ARRAY_SIZE(data); k++) {
		const struct x86_segment *s = &c->s.seg[data[k]];

		if (!(s->attr & SEG_UNUSABLE) && SEG_DPL(s->attr) < 3)
			return true;
	}
	return false;
}

/* What IRET takes from the stack, and what it loads from there. */
struct iret {
	uint64_t rip, cs, flags, rsp, ss;
	struct x86_segment code, stack;
	unsigned cpl;
	bool to_64bit, with_stack;
};

static bool read_iret_frame(struct jit *j, struct iret *r)
{
	bool wide = j->c->code_size == CODE_64;
	uint64_t *word[] = { &r->rip, &r->cs, &r->flags, &r->rsp, &r->ss };
	unsigned size = wide ? 8 : 4;

	r->with_stack = wide;
	for (unsigned k = 0; k < (r->with_stack ? 5 : 3); k++) {
		uint64_t at = j->js->gpr[RSP] + k * size;

		if (wide ? !peek(j, at, word[k]) : !peek32(j, (uint32_t)at, word[k]))
			return false;
		r->with_stack |= k == 1 && SEL_RPL(r->cs);
	}
	r->cs &= 0xffff;
	r->ss &= 0xffff;
	r->cpl = SEL_RPL(r->cs);
	if (!r->with_stack) {
		r->ss = j->c->s.seg[SS].selector;
		r->rsp = (uint32_t)(j->js->gpr[RSP] + 3 * size);
	}
	return true;
}

/* From 32-bit code to 64-bit code is for the interpreter. */
static bool load_iret_segments(struct jit *j, struct iret *r)
{
	const struct x86_cpu *c = j->c;

	if (!code_segment(j, r->cs, &r->code))
		return false;
	r->to_64bit = r->code.attr & SEG_L;
	if (r->to_64bit && (c->code_size != CODE_64 || !x86_canonical(r->rip)))
		return false;
	r->stack = c->s.seg[SS];
	if (r->with_stack && !stack_segment(j, r->ss, r->cpl, &r->stack))
		return false;
	return r->to_64bit || (r->rip <= UINT32_MAX && is_flat(&r->stack) && r->stack.attr & SEG_DB &&
			       has_flat_data(c));
}

/* From CPL 0 to CPL 0 or 3. */
bool helper_iret(struct jit *j)
{
	const uint64_t loadable = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID |
				  FLAG_IF | FLAG_IOPL | FLAG_VIF | FLAG_VIP;
	struct jit_state *js = j->js;
	struct x86_cpu *c = j->c;
	uint64_t flags;
	struct iret r;

	if (c->tlb != &c->tlb_set[TLB_SUPERVISOR] || js->system_flags & FLAG_NT || c->s.nmi_blocked ||
	    helper_operand_size(js) != (c->code_size == CODE_64 ? 8 : 4) || !read_iret_frame(j, &r))
		return false;
	if (r.flags & (FLAG_TF | FLAG_DF | FLAG_NT | FLAG_VM) || (r.cpl != 0 && r.cpl != 3))
		return false;
	if (r.flags & FLAG_RF && j->counted) /* whoever compares engines sees it */
		return false;
	flags = (flags_image(js) & ~loadable) | (r.flags & loadable);
	if (!may_load_flags(j, flags, r.cpl) || !load_iret_segments(j, &r) ||
	    (r.cpl == 3 && has_inner_data(c)))
		return false;
	load_flags(j, flags);
	c->s.seg[CS] = r.code;
	c->s.seg[SS] = r.stack;
	js->gpr[RSP] = r.rsp;
	js->rip = r.rip;
	use_code_size(j, r.to_64bit ? CODE_64 : CODE_32);
	use_privilege(j, r.cpl);
	return true;
}

/* ---- POPF, STAC, CLAC ---- */

bool helper_popf(struct jit *j)
{
	const uint64_t usual = FLAGS_ARITH | FLAG_IF | FLAG_ID;
	struct jit_state *js = j->js;
	uint64_t old = flags_image(js), mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID;
	uint64_t image, flags;

	if (helper_operand_size(js) == 4 && j->c->code_size == CODE_32) {
		if (!peek32(j, js->gpr[RSP], &image))
			return false;
	} else if (helper_operand_size(js) != 8 || !peek(j, js->gpr[RSP], &image)) {
		return false;
	}
	if (j->c->cpl <= (old & FLAG_IOPL) >> FLAG_IOPL_SHIFT)
		mask |= FLAG_IF;
	if (j->c->cpl == 0)
		mask |= FLAG_IOPL;
	flags = (old & ~mask) | (image & mask);
	if ((flags ^ old) & ~usual || !may_load_flags(j, flags, j->c->cpl))
		return false;
	load_flags(j, flags);
	js->gpr[RSP] += helper_operand_size(js);
	if (j->c->code_size != CODE_64)
		js->gpr[RSP] = (uint32_t)js->gpr[RSP];
	js->rip += helper_length(js);
	return true;
}

static bool set_ac(struct jit *j, uint64_t ac)
{
	struct jit_state *js = j->js;

	js->system_flags = (js->system_flags & ~(uint64_t)FLAG_AC) | ac;
	j->c->s.rflags = (j->c->s.rflags & ~(uint64_t)FLAG_AC) | ac;
	use_privilege(j, 0);
	js->rip += helper_length(js);
	return true;
}

bool helper_stac(struct jit *j)
{
	return set_ac(j, FLAG_AC);
}

bool helper_clac(struct jit *j)
{
	return set_ac(j, 0);
}

/* ---- Paging ---- */

static bool done(struct jit *j)
{
	j->js->rip += helper_length(j->js);
	return true;
}

bool helper_write_cr3(struct jit *j)
{
	struct x86_cpu *c = j->c;
	uint64_t value = j->js->work;
	bool keep = c->s.cr4 & CR4_PCIDE && value & CR3_NOFLUSH;

	if (c->s.cr4 & CR4_PCIDE)
		value &= ~CR3_NOFLUSH;
	if (value >> c->sys->model.physical_bits)
		return false;
	if (!x86_long_mode(c) && c->s.cr0 & CR0_PG && c->s.cr4 & CR4_PAE && !mmu_load_pdptes(c, value))
		return false;
	c->s.cr3 = value;
	mmu_cr3_changed(c, keep);
	tables_enter(j);
	return done(j);
}

bool helper_invlpg(struct jit *j)
{
	if (j->c->code_size != CODE_64 && j->js->work >= JIT_NO_SEGMENT)
		return false;
	mmu_flush_page(j->c, GVA(j->c->code_size == CODE_64 ? j->js->work : (uint32_t)j->js->work));
	return done(j);
}

/* ---- FS and GS base ---- */

static bool write_base(struct jit *j, unsigned seg)
{
	struct jit_state *js = j->js;

	if (!(j->c->s.cr4 & CR4_FSGSBASE) || !x86_canonical(js->work))
		return false;
	js->seg_base[seg] = js->work;
	j->c->s.seg[seg].base = js->work;
	return done(j);
}

bool helper_wrfsbase(struct jit *j)
{
	return write_base(j, FS);
}

bool helper_wrgsbase(struct jit *j)
{
	return write_base(j, GS);
}

/* ---- RDTSC: as x86_tsc ---- */

static bool read_tsc(struct jit *j)
{
	const struct x86_cpu *c = j->c;
	const struct lm_clock *clock = &c->sys->loop->clock;
	struct jit_state *js = j->js;
	uint64_t tsc;

	if (clock->is_virtual || c->sys->tsc_hz != (uint64_t)CLOCK_NS_PER_S ||
	    (c->s.cr4 & CR4_TSD && c->cpl))
		return false;
	tsc = (uint64_t)(jit_clock_ns(&j->clock_by_tsc) - clock->base_ns) + c->s.tsc_offset;
	js->gpr[RAX] = (uint32_t)tsc;
	js->gpr[RDX] = tsc >> 32;
	return done(j);
}

bool helper_rdtsc(struct jit *j)
{
	return read_tsc(j);
}

bool helper_rdtscp(struct jit *j)
{
	if (!read_tsc(j))
		return false;
	j->js->gpr[RCX] = (uint32_t)j->c->s.tsc_aux;
	return true;
}
