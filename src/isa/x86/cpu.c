/* A vCPU's life: creation, reset (SDM vol. 3A §9.1), and what follows from a change of mode. */
#include "isa/x86/cpu.h"

#include <stdlib.h>

#include "isa/x86/debug.h"
#include "isa/x86/flags.h"
#include "isa/x86/mmu.h"
#include "isa/x86/msr.h"

#define RESET_VECTOR_OFFSET UINT64_C(0xfff0)
#define RESET_CS_BASE       UINT64_C(0xffff0000)
#define RESET_CS_SELECTOR   0xf000u
#define RESET_FCW           0x0040u
#define RESET_MXCSR         0x1f80u
#define NS_PER_S            1000000000u

static void reset_segments(struct x86_state *s)
{
	const struct x86_segment data = {
		.limit = 0xffff, .attr = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED,
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(s->seg); k++)
		s->seg[k] = data;
	s->seg[CS].selector = RESET_CS_SELECTOR;
	s->seg[CS].base = RESET_CS_BASE;
	s->ldtr = (struct x86_segment){ .limit = 0xffff, .attr = SEG_P | 2 };
	s->tr = (struct x86_segment){ .limit = 0xffff, .attr = SEG_P | 11 };
	s->gdtr = s->idtr = (struct x86_table_reg){ .limit = 0xffff };
}

/* What INIT leaves alone: x87, SSE, TSC and most MSRs (SDM vol. 3A table 9-1). */
static void reset_power_on(struct x86_cpu *c)
{
	struct x86_state *s = &c->s;

	memset(&s->fpu, 0, sizeof(s->fpu));
	s->fpu.fcw = RESET_FCW;
	s->fpu.ftw = 0xff;
	memset(s->vec, 0, sizeof(s->vec));
	s->mxcsr = RESET_MXCSR;
	s->cr0 = CR0_CD | CR0_NW;
	s->xcr0 = XCR0_X87;
	msr_reset(c);
}

void x86_cpu_reset(struct x86_cpu *c, bool init)
{
	struct x86_state *s = &c->s;

	if (!init)
		reset_power_on(c);
	memset(s->gpr, 0, sizeof(s->gpr));
	s->gpr[RDX] = x86_cpuid(c, 1, 0).eax;
	s->rip = RESET_VECTOR_OFFSET;
	s->rflags = FLAG_FIXED;
	reset_segments(s);
	s->cr0 = (s->cr0 & (CR0_CD | CR0_NW)) | CR0_ET;
	s->cr2 = s->cr3 = s->cr4 = s->efer = 0;
	memset(s->pdpte, 0, sizeof(s->pdpte));
	memset(s->dr, 0, sizeof(s->dr));
	s->dr[6] = DR6_FIXED;
	s->dr[7] = DR7_FIXED;
	s->interrupt_shadow = s->debug_shadow = false;
	s->nmi_blocked = s->nmi_pending = s->second_nmi_pending = false;
	s->init_pending = s->sipi_pending = s->unhalt_pending = false;
	s->pending_debug = 0;
	s->pv_unhalt = false;
	s->activity = s->apic_base & APIC_BASE_BSP ? CPU_ACTIVE : CPU_WAIT_FOR_SIPI;
	lapic_reset(c);
	x86_event_clear(c, EV_NMI | EV_NMI_AGAIN | EV_INTERRUPT | EV_SHUTDOWN | EV_UNHALT);
	if (!init) /* a SIPI may already follow the INIT */
		x86_event_clear(c, EV_INIT | EV_SIPI);
	x86_cpu_load(c);
}

struct x86_cpu *x86_cpu_create(struct x86_system *sys, unsigned index)
{
	struct x86_cpu *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->sys = sys;
	c->index = index;
	for (unsigned k = 0; k < TLB_SETS; k++)
		for (unsigned e = 0; e < TLB_ENTRIES; e++)
			c->tlb_set[k].entry[e] = (struct tlb_entry){
				TLB_NO_TAG, TLB_NO_TAG, TLB_NO_TAG, 0, 0,
			};
	lapic_init(c);
	sys->cpu[index] = c;
	x86_cpu_reset(c, false);
	return c;
}

void x86_cpu_destroy(struct x86_cpu *c)
{
	if (!c)
		return;
	c->sys->cpu[c->index] = NULL;
	lapic_fini(c);
	free(c);
}

/* How events that are bits of x86_cpu.events stand in the canonical state. */
static const struct {
	uint32_t event;
	uint16_t pending; /* offset in struct x86_state of a bool */
} pending_events[] = {
	{ EV_NMI, offsetof(struct x86_state, nmi_pending) },
	{ EV_NMI_AGAIN, offsetof(struct x86_state, second_nmi_pending) },
	{ EV_INIT, offsetof(struct x86_state, init_pending) },
	{ EV_SIPI, offsetof(struct x86_state, sipi_pending) },
	{ EV_UNHALT, offsetof(struct x86_state, unhalt_pending) },
};

static bool *pending_of(struct x86_cpu *c, unsigned k)
{
	return (bool *)((char *)&c->s + pending_events[k].pending);
}

static void adopt_pending_events(struct x86_cpu *c)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(pending_events); k++) {
		if (*pending_of(c, k))
			x86_event_set(c, pending_events[k].event);
		*pending_of(c, k) = false;
	}
}

void x86_cpu_load(struct x86_cpu *c)
{
	c->lf.valid = false;
	c->next_rip = c->s.rip;
	c->repeat = false;
	c->delivering = false;
	c->pending_db = c->s.pending_debug;
	c->fetch.page = FETCH_NONE;
	x86_mode_changed(c);
	mmu_flush_all(c);
	lapic_load(c);
	x86_event_set(c, EV_TRAP | EV_INTERRUPT | (x86_extint(c) ? EV_EXTINT : 0));
	adopt_pending_events(c);
	if (c->s.activity == CPU_SHUTDOWN)
		x86_event_set(c, EV_SHUTDOWN);
}

void x86_cpu_save(struct x86_cpu *c)
{
	flags_get(c);
	c->s.pending_debug = c->pending_db;
	for (unsigned k = 0; k < LM_ARRAY_SIZE(pending_events); k++)
		*pending_of(c, k) = x86_events(c) & pending_events[k].event;
}

void x86_event_raise(struct x86_cpu *c, uint32_t bits)
{
	__atomic_fetch_or(&c->events, bits, __ATOMIC_SEQ_CST);
	if (c->on_event)
		c->on_event(c);
	if (c->sys->wake)
		c->sys->wake(c->sys->opaque, c);
}

void x86_extint_set(struct x86_cpu *c, bool level)
{
	__atomic_store_n(&c->extint, level, __ATOMIC_SEQ_CST);
	if (level)
		x86_event_raise(c, EV_EXTINT);
	else
		x86_event_clear(c, EV_EXTINT);
}

uint64_t x86_tsc(const struct x86_cpu *c)
{
	uint64_t ns = (uint64_t)clock_now(&c->sys->loop->clock);

	return (uint64_t)((unsigned __int128)ns * c->sys->tsc_hz / NS_PER_S) + c->s.tsc_offset;
}

/* ---- Derived state ---- */

static unsigned derive_cpl(const struct x86_state *s)
{
	if (!(s->cr0 & CR0_PE))
		return 0;
	return s->rflags & FLAG_VM ? 3 : SEG_DPL(s->seg[SS].attr);
}

static enum x86_code_size derive_code_size(const struct x86_state *s)
{
	if (s->efer & EFER_LMA && s->seg[CS].attr & SEG_L)
		return CODE_64;
	return s->seg[CS].attr & SEG_DB ? CODE_32 : CODE_16;
}

static unsigned derive_stack_size(const struct x86_cpu *c)
{
	if (c->code_size == CODE_64)
		return 8;
	return c->s.seg[SS].attr & SEG_DB ? 4 : 2;
}

/* A superset of what x86_guard_raise raises for: it looks again, with the instruction in hand. */
static uint8_t derive_guard_traps(const struct x86_state *s)
{
	uint8_t traps = 0;

	if (s->cr0 & CR0_TS)
		traps |= GUARD_X87 | GUARD_MMX | GUARD_SSE | GUARD_AVX;
	if (s->cr0 & CR0_EM)
		traps |= GUARD_X87 | GUARD_MMX | GUARD_SSE;
	if ((s->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		traps |= GUARD_WAIT;
	if (s->fpu.fsw & FSW_ES)
		traps |= GUARD_MF;
	if (!(s->cr4 & CR4_OSFXSR))
		traps |= GUARD_SSE;
	if (!(s->cr4 & CR4_OSXSAVE) ||
	    (s->xcr0 & (XCR0_SSE | XCR0_AVX)) != (XCR0_SSE | XCR0_AVX))
		traps |= GUARD_AVX;
	return traps;
}

static bool is_flat(const struct x86_segment *s)
{
	const uint16_t rw = SEG_P | SEG_S | SEG_WRITABLE;

	return s->base == 0 && s->limit == 0xffffffff &&
	       (s->attr & (rw | SEG_CODE | SEG_EXPAND | SEG_UNUSABLE)) == rw;
}

static bool derive_flat_data(const struct x86_cpu *c)
{
	const struct x86_segment *seg = c->s.seg;

	return c->code_size == CODE_64 || (is_flat(&seg[DS]) && is_flat(&seg[ES]) && is_flat(&seg[SS]));
}

static unsigned derive_tlb_set(const struct x86_cpu *c)
{
	if (c->cpl == 3)
		return TLB_USER;
	return c->s.cr4 & CR4_SMAP && c->s.rflags & FLAG_AC ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
}

static bool derive_access_checks(const struct x86_cpu *c)
{
	bool alignment = c->s.cr0 & CR0_AM && c->s.rflags & FLAG_AC && c->cpl == 3;

	return alignment || debug_data_armed(c);
}

/*
 * What 64-bit code left in the upper halves is undefined outside of it (SDM vol. 1 §3.4.1.1); it is 0
 * here, so that engines need not agree on when it disappears.
 */
static void clear_upper_halves(struct x86_state *s)
{
	for (unsigned r = 0; r < 8; r++)
		s->gpr[r] = (uint32_t)s->gpr[r];
}

void x86_mode_changed(struct x86_cpu *c)
{
	uint8_t cpl = c->cpl;
	enum x86_code_size code_size = c->code_size;
	bool checks;

	c->real_or_v86 = !(c->s.cr0 & CR0_PE) || c->s.rflags & FLAG_VM;
	c->cpl = (uint8_t)derive_cpl(&c->s);
	c->code_size = derive_code_size(&c->s);
	c->stack_size = (uint8_t)derive_stack_size(c);
	if (c->code_size != CODE_64)
		clear_upper_halves(&c->s);
	c->guard_traps = derive_guard_traps(&c->s);
	c->flat_data = derive_flat_data(c);
	c->tlb = &c->tlb_set[derive_tlb_set(c)];
	if (cpl != c->cpl || code_size != c->code_size)
		c->fetch.page = FETCH_NONE;
	if (x86_virtual_interrupt_due(c))
		x86_event_set(c, EV_TRAP);
	checks = derive_access_checks(c);
	if (checks != c->access_checks) { /* no TLB entry may exist while every access is checked */
		c->access_checks = checks;
		mmu_flush_all(c);
	}
}
