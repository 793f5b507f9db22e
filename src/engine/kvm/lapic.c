/*
 * The kernel's local APIC and struct lapic_state (api.rst §4.57; SDM vol. 3A §11.4.1). The kernel's
 * is an image of the register page; the timer is in it as counts, ours has the time of its start.
 */
#include <errno.h>

#include "engine/kvm/kvm.h"
#include "isa/x86/lapic.h"

#define MSR_TSC_DEADLINE 0x6e0u

enum {
	REG_ID = 0x020, REG_TPR = 0x080, REG_LDR = 0x0d0, REG_DFR = 0x0e0, REG_SVR = 0x0f0,
	REG_ISR = 0x100, REG_TMR = 0x180, REG_IRR = 0x200, REG_ESR = 0x280, REG_LVT_CMCI = 0x2f0,
	REG_ICR = 0x300, REG_ICR_HIGH = 0x310, REG_LVT_TIMER = 0x320, REG_TIMER_INITIAL = 0x380,
	REG_TIMER_CURRENT = 0x390, REG_TIMER_DIVIDE = 0x3e0,
};

#define LVT_MASKED           0x10000u
#define LVT_VECTOR           0xffu
#define LVT_TIMER_MODE_SHIFT 17
#define TIMER_ONE_SHOT       0u
#define TIMER_TSC_DEADLINE   2u
#define NS_PER_S             UINT64_C(1000000000)

static uint32_t get(const struct kvm_lapic_state *page, unsigned reg)
{
	return (uint32_t)le_load(page->regs + reg, 4);
}

static void put(struct kvm_lapic_state *page, unsigned reg, uint32_t value)
{
	le_store(page->regs + reg, value, 4);
}

static bool in_x2apic(const struct kvm_vcpu *v)
{
	return v->c->s.apic_base & APIC_BASE_X2APIC;
}

static void get_vectors(const struct kvm_lapic_state *page, unsigned reg, uint32_t *to)
{
	for (unsigned k = 0; k < 8; k++)
		__atomic_store_n(&to[k], get(page, reg + 16 * k), __ATOMIC_RELAXED);
}

static void put_vectors(struct kvm_lapic_state *page, unsigned reg, const uint32_t *from)
{
	for (unsigned k = 0; k < 8; k++)
		put(page, reg + 16 * k, from[k]);
}

/* ---- The timer ---- */

static unsigned timer_mode(const struct lapic_state *l)
{
	return l->lvt[LVT_TIMER] >> LVT_TIMER_MODE_SHIFT & 3;
}

/* Divide configuration: bits 0, 1 and 3 select 2, 4, ... 128, 1 (SDM vol. 3A §11.5.4). */
static uint64_t tick_ns(const struct lapic_state *l)
{
	uint32_t code = (l->timer_divide & 3) | (l->timer_divide >> 1 & 4);

	return (code == 7 ? 1 : UINT64_C(2) << code) * NS_PER_S / LAPIC_BUS_HZ;
}

/*
 * At zero, the kernel does not say whether the interrupt is still to come: better once more than
 * never.
 */
static void repeat_expired(struct lapic_state *l)
{
	uint32_t lvt = l->lvt[LVT_TIMER], vector = lvt & LVT_VECTOR;

	l->timer_stopped = true;
	if (!(lvt & LVT_MASKED) && vector >= 16)
		l->irr[vector / 32] |= 1u << vector % 32;
}

static void get_timer(struct kvm_vcpu *v, const struct kvm_lapic_state *page)
{
	struct lapic_state *l = &v->c->s.lapic;
	uint32_t current = get(page, REG_TIMER_CURRENT);
	int64_t now = clock_now(&v->c->sys->loop->clock);

	l->timer_initial = get(page, REG_TIMER_INITIAL);
	l->timer_divide = get(page, REG_TIMER_DIVIDE);
	l->timer_stopped = false;
	l->timer_start_ns = now - (int64_t)((uint64_t)(l->timer_initial - current) * tick_ns(l));
	if (timer_mode(l) == TIMER_ONE_SHOT && l->timer_initial && !current)
		repeat_expired(l);
}

/* What is left of the count; one that is over must not interrupt again, so it is not loaded. */
static void put_timer(const struct kvm_vcpu *v, struct kvm_lapic_state *page)
{
	const struct lapic_state *l = &v->c->s.lapic;
	int64_t elapsed = clock_now(&v->c->sys->loop->clock) - l->timer_start_ns;
	uint64_t ticks = elapsed > 0 ? (uint64_t)elapsed / tick_ns(l) : 0;
	uint64_t left = l->timer_initial;

	put(page, REG_TIMER_DIVIDE, l->timer_divide);
	if (!l->timer_initial || l->timer_stopped)
		return;
	if (timer_mode(l) == TIMER_ONE_SHOT)
		left = ticks < left ? left - ticks : 1; /* late: now */
	else
		left -= ticks % left;
	put(page, REG_TIMER_INITIAL, l->timer_initial);
	put(page, REG_TIMER_CURRENT, (uint32_t)left);
}

/* ---- The page ---- */

static void get_registers(struct kvm_vcpu *v, const struct kvm_lapic_state *page)
{
	struct lapic_state *l = &v->c->s.lapic;

	l->id = in_x2apic(v) ? get(page, REG_ID) : get(page, REG_ID) >> 24;
	l->tpr = get(page, REG_TPR);
	l->ldr = get(page, REG_LDR);
	l->dfr = get(page, REG_DFR);
	l->svr = get(page, REG_SVR);
	l->esr = get(page, REG_ESR);
	l->esr_pending = 0;
	l->icr = get(page, REG_ICR) | (uint64_t)get(page, REG_ICR_HIGH) << 32;
	get_vectors(page, REG_ISR, l->isr);
	get_vectors(page, REG_TMR, l->tmr);
	get_vectors(page, REG_IRR, l->irr);
	for (unsigned n = LVT_TIMER; n < LVT_COUNT; n++)
		l->lvt[n] = get(page, REG_LVT_TIMER + 16 * (n - LVT_TIMER));
}

static void put_registers(const struct kvm_vcpu *v, struct kvm_lapic_state *page)
{
	const struct lapic_state *l = &v->c->s.lapic;

	put(page, REG_ID, in_x2apic(v) ? l->id : l->id << 24);
	put(page, REG_TPR, l->tpr);
	put(page, REG_LDR, l->ldr);
	put(page, REG_DFR, l->dfr);
	put(page, REG_SVR, l->svr);
	put(page, REG_ESR, l->esr);
	put(page, REG_ICR, (uint32_t)l->icr);
	put(page, REG_ICR_HIGH, (uint32_t)(l->icr >> 32));
	put(page, REG_LVT_CMCI, LVT_MASKED);
	put_vectors(page, REG_ISR, l->isr);
	put_vectors(page, REG_TMR, l->tmr);
	put_vectors(page, REG_IRR, l->irr);
	for (unsigned n = LVT_TIMER; n < LVT_COUNT; n++)
		put(page, REG_LVT_TIMER + 16 * (n - LVT_TIMER), l->lvt[n]);
}

int kvm_lapic_save(struct kvm_vcpu *v)
{
	struct kvm_lapic_state page;

	if (ioctl(v->fd, KVM_GET_LAPIC, &page))
		return -errno;
	get_registers(v, &page);
	get_timer(v, &page);
	v->c->s.tsc_deadline = 0;
	if (timer_mode(&v->c->s.lapic) == TIMER_TSC_DEADLINE)
		kvm_msr_get(v, MSR_TSC_DEADLINE, &v->c->s.tsc_deadline);
	return 0;
}

int kvm_lapic_load(const struct kvm_vcpu *v)
{
	struct kvm_lapic_state page = { 0 };

	put_registers(v, &page);
	put_timer(v, &page);
	if (ioctl(v->fd, KVM_SET_LAPIC, &page))
		return -errno;
	if (timer_mode(&v->c->s.lapic) != TIMER_TSC_DEADLINE || !v->c->s.tsc_deadline)
		return 0;
	return kvm_msr_set(v, MSR_TSC_DEADLINE, v->c->s.tsc_deadline) ? 0 : -EIO;
}
