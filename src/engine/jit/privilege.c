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

/* Translated code runs with TF and DF clear, and an interrupt that waits must be taken now. */
static bool may_load_flags(const struct jit *j, uint64_t flags, unsigned cpl)
{
	const struct jit_state *js = j->js;

	if (flags & (FLAG_TF | FLAG_DF | FLAG_NT | FLAG_VM))
		return false;
	if (flags & FLAG_IF && !js->interrupt_flag && js->sti_poll != js->poll)
		return false;
	return !(cpl == 3 && flags & FLAG_AC && j->c->s.cr0 & CR0_AM); /* #AC may come */
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

/* ---- SYSCALL and SYSRET ---- */

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

	if (!(c->s.efer & EFER_SCE) || helper_operand_size(js) != 8 ||
	    !x86_canonical(js->gpr[RCX]) || !may_load_flags(j, flags, 3))
		return false;
	js->rip = js->gpr[RCX];
	load_flags(j, flags);
	seg_load_flat(c, base + 16, base + 8, 3, true);
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

/* Of a present 64-bit code segment that was accessed before; conforming ones are not for us. */
static bool code_segment(struct jit *j, uint64_t selector, struct x86_segment *s)
{
	const unsigned mask = SEG_P | SEG_S | SEG_CODE | SEG_CONFORMING | SEG_ACCESSED | SEG_L | SEG_DB;
	struct x86_desc d;

	if (!read_descriptor(j, selector, &d) || desc_dpl(&d) != SEL_RPL(selector) ||
	    (desc_attr(&d) & mask) != (SEG_P | SEG_S | SEG_CODE | SEG_ACCESSED | SEG_L))
		return false;
	*s = (struct x86_segment){ (uint16_t)selector, desc_attr(&d), desc_limit(&d), desc_base(&d) };
	return true;
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

/* From CPL 0 in 64-bit code to 64-bit code of CPL 0 or 3. */
bool helper_iret(struct jit *j)
{
	const uint64_t loadable = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT | FLAG_AC | FLAG_ID |
				  FLAG_IF | FLAG_IOPL | FLAG_VIF | FLAG_VIP;
	struct jit_state *js = j->js;
	struct x86_cpu *c = j->c;
	uint64_t frame[5], flags; /* RIP, CS, RFLAGS, RSP, SS */
	struct x86_segment code, stack;
	unsigned cpl;

	if (c->tlb != &c->tlb_set[TLB_SUPERVISOR] || js->system_flags & FLAG_NT || c->s.nmi_blocked)
		return false;
	for (unsigned k = 0; k < LM_ARRAY_SIZE(frame); k++)
		if (!peek(j, js->gpr[RSP] + 8 * k, &frame[k]))
			return false;
	frame[1] &= 0xffff;
	frame[4] &= 0xffff;
	cpl = SEL_RPL(frame[1]);
	if (frame[2] & (FLAG_TF | FLAG_DF | FLAG_NT) || (cpl != 0 && cpl != 3))
		return false;
	if (frame[2] & FLAG_RF && j->counted) /* whoever compares engines sees it */
		return false;
	flags = (flags_image(js) & ~loadable) | (frame[2] & loadable);
	if (!x86_canonical(frame[0]) || !may_load_flags(j, flags, cpl) ||
	    !code_segment(j, frame[1], &code) || !stack_segment(j, frame[4], cpl, &stack) ||
	    (cpl == 3 && has_inner_data(c)))
		return false;
	load_flags(j, flags);
	c->s.seg[CS] = code;
	c->s.seg[SS] = stack;
	js->gpr[RSP] = frame[3];
	js->rip = frame[0];
	use_privilege(j, cpl);
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
