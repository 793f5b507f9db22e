/*
 * The local APIC's registers, priorities and timer (SDM vol. 3A ch. 11). Routing of messages between
 * vCPUs is in lapic_msg.c.
 *
 * IRR, TMR, and the identity that routing reads (id, LDR, DFR, SVR, base) are accessed atomically;
 * the timer's registers are under lapic.lock, because its callback runs on the event loop's thread.
 * All else belongs to the vCPU's thread.
 */
#include "isa/x86/cpu.h"

/* Register offsets in the xAPIC page; x2APIC MSR = 0x800 + offset / 16 (SDM vol. 3A table 11-6). */
enum {
	REG_ID = 0x020, REG_VERSION = 0x030, REG_TPR = 0x080, REG_APR = 0x090, REG_PPR = 0x0a0,
	REG_EOI = 0x0b0, REG_RRD = 0x0c0, REG_LDR = 0x0d0, REG_DFR = 0x0e0, REG_SVR = 0x0f0,
	REG_ISR = 0x100, REG_TMR = 0x180, REG_IRR = 0x200, REG_ESR = 0x280, REG_LVT_CMCI = 0x2f0,
	REG_ICR_LOW = 0x300, REG_ICR_HIGH = 0x310, REG_LVT_TIMER = 0x320, REG_LVT_ERROR = 0x370,
	REG_TIMER_INITIAL = 0x380, REG_TIMER_CURRENT = 0x390, REG_TIMER_DIVIDE = 0x3e0,
	REG_SELF_IPI = 0x3f0,
};

#define VERSION         0x00050014u /* integrated APIC, six LVT entries */
#define SVR_RESET       0x000000ffu
#define SVR_ENABLE      0x00000100u
#define SVR_WRITABLE    0x000003ffu
#define DFR_RESET       0xffffffffu
#define LVT_MASKED      0x00010000u
#define LVT_VECTOR      0x000000ffu
#define LVT_MODE_SHIFT  8
#define LVT_TIMER_MODE_SHIFT 17
#define LVT_EXTINT_MODE (DELIVERY_EXTINT << LVT_MODE_SHIFT)
#define ICR_BUSY        0x00001000u
#define ICR_WRITABLE    0x000ccfffu
#define ESR_SEND_VECTOR 0x20u
#define ESR_RECV_VECTOR 0x40u
#define ESR_REGISTER    0x80u

#define X2APIC_MSR_BASE 0x800u
#define NS_PER_S        INT64_C(1000000000)
#define MIN_PERIOD_NS   INT64_C(20000) /* a guest cannot keep the event loop busy with its timer */

enum timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };

static bool x2apic(const struct x86_cpu *c)
{
	return c->s.apic_base & APIC_BASE_X2APIC;
}

static bool software_enabled(const struct x86_cpu *c)
{
	return c->s.lapic.svr & SVR_ENABLE;
}

/* ---- 256-bit vector registers ---- */

static void vector_set(uint32_t *reg, unsigned vector)
{
	__atomic_fetch_or(&reg[vector / 32], 1u << vector % 32, __ATOMIC_ACQ_REL);
}

static void vector_clear(uint32_t *reg, unsigned vector)
{
	__atomic_fetch_and(&reg[vector / 32], ~(1u << vector % 32), __ATOMIC_ACQ_REL);
}

static bool vector_test(const uint32_t *reg, unsigned vector)
{
	return __atomic_load_n(&reg[vector / 32], __ATOMIC_ACQUIRE) >> vector % 32 & 1;
}

static int vector_highest(const uint32_t *reg)
{
	for (int k = 7; k >= 0; k--) {
		uint32_t bits = __atomic_load_n(&reg[k], __ATOMIC_ACQUIRE);

		if (bits)
			return 32 * k + 31 - __builtin_clz(bits);
	}
	return -1;
}

/* ---- Priorities (SDM vol. 3A §11.8.3) ---- */

static uint32_t processor_priority(const struct x86_cpu *c)
{
	int isr = vector_highest(c->s.lapic.isr);
	uint32_t service = isr < 0 ? 0 : (uint32_t)isr & 0xf0;

	return (c->s.lapic.tpr & 0xf0) >= service ? c->s.lapic.tpr : service;
}

int lapic_pending(struct x86_cpu *c)
{
	int vector = vector_highest(c->s.lapic.irr);

	if (vector < 0 || !software_enabled(c) || !(c->s.apic_base & APIC_BASE_ENABLE))
		return -1;
	return ((uint32_t)vector & 0xf0) > (processor_priority(c) & 0xf0) ? vector : -1;
}

int lapic_acknowledge(struct x86_cpu *c)
{
	int vector = lapic_pending(c);

	if (vector < 0)
		return (int)(c->s.lapic.svr & LVT_VECTOR); /* spurious */
	vector_clear(c->s.lapic.irr, (unsigned)vector);
	vector_set(c->s.lapic.isr, (unsigned)vector);
	return vector;
}

/* Lowering a priority may let a waiting vector through. */
static void priority_lowered(struct x86_cpu *c)
{
	if (lapic_pending(c) >= 0)
		x86_event_set(c, EV_INTERRUPT);
}

static void set_tpr(struct x86_cpu *c, uint32_t tpr)
{
	c->s.lapic.tpr = tpr & 0xff;
	priority_lowered(c);
}

uint8_t lapic_get_cr8(const struct x86_cpu *c)
{
	return (uint8_t)(c->s.lapic.tpr >> 4);
}

void lapic_set_cr8(struct x86_cpu *c, uint8_t cr8)
{
	set_tpr(c, (uint32_t)cr8 << 4);
}

/* An EOI of a level-triggered vector is broadcast to the IOAPICs (SDM vol. 3A §11.8.5). */
static void end_of_interrupt(struct x86_cpu *c)
{
	int vector = vector_highest(c->s.lapic.isr);

	if (vector < 0)
		return;
	vector_clear(c->s.lapic.isr, (unsigned)vector);
	if (vector_test(c->s.lapic.tmr, (unsigned)vector) && c->sys->eoi)
		c->sys->eoi(c->sys->opaque, (uint8_t)vector);
	priority_lowered(c);
}

bool lapic_accepts_extint(const struct x86_cpu *c)
{
	const uint32_t mode = 7u << LVT_MODE_SHIFT;

	if (!(c->s.apic_base & APIC_BASE_ENABLE))
		return true;
	return (c->s.lapic.lvt[LVT_LINT0] & (mode | LVT_MASKED)) == LVT_EXTINT_MODE;
}

/* ---- Errors ---- */

static void raise_error(struct x86_cpu *c, uint32_t bit)
{
	uint32_t lvt = __atomic_load_n(&c->s.lapic.lvt[LVT_ERROR], __ATOMIC_RELAXED);
	uint32_t before = __atomic_fetch_or(&c->s.lapic.esr_pending, bit, __ATOMIC_RELAXED);

	if (!(before & bit) && !(lvt & LVT_MASKED) && (lvt & LVT_VECTOR) >= 16)
		lapic_deliver(c, (uint8_t)lvt, DELIVERY_FIXED, false);
}

/* ---- An interrupt for this vCPU ---- */

static void deliver_vector(struct x86_cpu *c, uint8_t vector, bool level)
{
	if (vector < 16) {
		raise_error(c, ESR_RECV_VECTOR);
		return;
	}
	if (!(__atomic_load_n(&c->s.lapic.svr, __ATOMIC_RELAXED) & SVR_ENABLE))
		return;
	if (level)
		vector_set(c->s.lapic.tmr, vector);
	else
		vector_clear(c->s.lapic.tmr, vector);
	vector_set(c->s.lapic.irr, vector);
	x86_event_raise(c, EV_INTERRUPT);
}

/* Hardware would take the first at once and latch the second; ours may both come within one run. */
static void deliver_nmi(struct x86_cpu *c)
{
	uint32_t before = __atomic_fetch_or(&c->events, EV_NMI, __ATOMIC_ACQ_REL);

	x86_event_raise(c, before & EV_NMI ? EV_NMI_AGAIN : 0);
}

void lapic_deliver(struct x86_cpu *c, uint8_t vector, enum lapic_delivery_mode mode, bool level)
{
	switch (mode) {
	case DELIVERY_FIXED:
	case DELIVERY_LOWEST:
		deliver_vector(c, vector, level);
		break;
	case DELIVERY_NMI:
		deliver_nmi(c);
		break;
	case DELIVERY_INIT:
		x86_event_raise(c, EV_INIT);
		break;
	case DELIVERY_SIPI:
		__atomic_store_n(&c->s.sipi_vector, vector, __ATOMIC_RELEASE);
		x86_event_raise(c, EV_SIPI);
		break;
	default: /* SMI: there is no SMM; ExtINT comes by the PIC's line */
		break;
	}
}

/* ---- The timer (SDM vol. 3A §11.5.4); lapic.lock is held ---- */

static enum timer_mode timer_mode(const struct lapic_state *l)
{
	return l->lvt[LVT_TIMER] >> LVT_TIMER_MODE_SHIFT & 3;
}

/* Divide configuration: bits 0, 1 and 3 select 2, 4, ... 128, 1. */
static uint32_t timer_divisor(const struct lapic_state *l)
{
	uint32_t code = (l->timer_divide & 3) | (l->timer_divide >> 1 & 4);

	return code == 7 ? 1 : 2u << code;
}

static int64_t ticks_to_ns(const struct lapic_state *l, uint64_t ticks)
{
	return (int64_t)(ticks * timer_divisor(l) * (uint64_t)NS_PER_S / LAPIC_BUS_HZ);
}

static int64_t timer_period(const struct lapic_state *l)
{
	return LM_MAX(ticks_to_ns(l, l->timer_initial), MIN_PERIOD_NS);
}

/* Machine time at which the guest's TSC reaches `tsc`, which is yet to come. */
static int64_t tsc_to_ns(const struct x86_cpu *c, uint64_t tsc)
{
	unsigned __int128 ticks = tsc - c->s.tsc_offset;
	unsigned __int128 ns = (ticks * (uint64_t)NS_PER_S + c->sys->tsc_hz - 1) / c->sys->tsc_hz;

	return ns > INT64_MAX ? INT64_MAX : (int64_t)ns;
}

static bool deadline_passed(const struct x86_cpu *c)
{
	return c->s.tsc_deadline && x86_tsc(c) >= c->s.tsc_deadline;
}

/* Sets or cancels the host timer for what the registers say. */
static void timer_program(struct x86_cpu *c)
{
	const struct lapic_state *l = &c->s.lapic;
	int64_t now = clock_now(&c->sys->loop->clock);
	int64_t elapsed = now - l->timer_start_ns;

	if (c->sys->irqchip) {
		timer_cancel(&c->lapic.timer);
		return;
	}
	if (timer_mode(l) == TIMER_TSC_DEADLINE) {
		if (c->s.tsc_deadline)
			timer_arm(&c->lapic.timer,
				  deadline_passed(c) ? now : tsc_to_ns(c, c->s.tsc_deadline));
		else
			timer_cancel(&c->lapic.timer);
		return;
	}
	if (!l->timer_initial || l->timer_stopped)
		timer_cancel(&c->lapic.timer);
	else if (timer_mode(l) == TIMER_PERIODIC)
		timer_arm(&c->lapic.timer, now + timer_period(l) - elapsed % timer_period(l));
	else if (elapsed < ticks_to_ns(l, l->timer_initial))
		timer_arm(&c->lapic.timer, l->timer_start_ns + ticks_to_ns(l, l->timer_initial));
	else
		timer_cancel(&c->lapic.timer);
}

static uint32_t timer_current(const struct x86_cpu *c)
{
	const struct lapic_state *l = &c->s.lapic;
	int64_t elapsed = clock_now(&c->sys->loop->clock) - l->timer_start_ns;
	int64_t total = ticks_to_ns(l, l->timer_initial);

	if (!total || l->timer_stopped || timer_mode(l) == TIMER_TSC_DEADLINE)
		return 0;
	if (timer_mode(l) == TIMER_PERIODIC)
		elapsed %= total;
	if (elapsed >= total)
		return 0;
	return (uint32_t)((uint64_t)(total - elapsed) * LAPIC_BUS_HZ / (uint64_t)NS_PER_S /
			  timer_divisor(l));
}

static void timer_interrupt(struct x86_cpu *c, uint32_t lvt)
{
	if (!(lvt & LVT_MASKED))
		lapic_deliver(c, (uint8_t)lvt, DELIVERY_FIXED, false);
}

static void timer_fire(void *opaque)
{
	struct x86_cpu *c = opaque;
	struct lapic_state *l = &c->s.lapic;
	uint32_t lvt;

	pthread_mutex_lock(&c->lapic.lock);
	lvt = l->lvt[LVT_TIMER];
	if (timer_mode(l) == TIMER_PERIODIC)
		timer_program(c);
	else if (timer_mode(l) == TIMER_TSC_DEADLINE)
		c->s.tsc_deadline = 0;
	pthread_mutex_unlock(&c->lapic.lock);
	timer_interrupt(c, lvt);
}

static void timer_start(struct x86_cpu *c, uint32_t initial)
{
	pthread_mutex_lock(&c->lapic.lock);
	if (timer_mode(&c->s.lapic) != TIMER_TSC_DEADLINE) {
		c->s.lapic.timer_initial = initial;
		c->s.lapic.timer_stopped = false;
		c->s.lapic.timer_start_ns = clock_now(&c->sys->loop->clock);
		timer_program(c);
	}
	pthread_mutex_unlock(&c->lapic.lock);
}

/* Counting goes on at the new rate from the present count. */
static void timer_set_divide(struct x86_cpu *c, uint32_t value)
{
	struct lapic_state *l = &c->s.lapic;
	uint32_t left;

	pthread_mutex_lock(&c->lapic.lock);
	left = timer_current(c);
	l->timer_divide = value & 0xb;
	l->timer_start_ns = clock_now(&c->sys->loop->clock) -
			    ticks_to_ns(l, l->timer_initial - left);
	timer_program(c);
	pthread_mutex_unlock(&c->lapic.lock);
}

/* A change to or from TSC-deadline mode disarms; between the others the count goes on. */
static void timer_change_mode(struct x86_cpu *c, enum timer_mode before)
{
	struct lapic_state *l = &c->s.lapic;
	int64_t now = clock_now(&c->sys->loop->clock);

	if (before == TIMER_TSC_DEADLINE || timer_mode(l) == TIMER_TSC_DEADLINE) {
		l->timer_initial = 0;
		c->s.tsc_deadline = 0;
	} else if (before == TIMER_PERIODIC) {
		l->timer_start_ns = now - (now - l->timer_start_ns) % timer_period(l);
	} else if (now - l->timer_start_ns >= ticks_to_ns(l, l->timer_initial)) {
		l->timer_stopped = true;
	}
	timer_program(c);
}

static void timer_set_lvt(struct x86_cpu *c, uint32_t value)
{
	struct lapic_state *l = &c->s.lapic;
	enum timer_mode before;

	pthread_mutex_lock(&c->lapic.lock);
	before = timer_mode(l);
	l->lvt[LVT_TIMER] = value;
	if (before != timer_mode(l))
		timer_change_mode(c, before);
	pthread_mutex_unlock(&c->lapic.lock);
}

/* A deadline in the past interrupts at once, without a detour over the event loop's thread. */
void lapic_tsc_deadline_write(struct x86_cpu *c, uint64_t value)
{
	uint32_t lvt = LVT_MASKED;

	pthread_mutex_lock(&c->lapic.lock);
	if (timer_mode(&c->s.lapic) == TIMER_TSC_DEADLINE) {
		c->s.tsc_deadline = value;
		if (deadline_passed(c)) {
			c->s.tsc_deadline = 0;
			lvt = c->s.lapic.lvt[LVT_TIMER];
		}
		timer_program(c);
	}
	pthread_mutex_unlock(&c->lapic.lock);
	timer_interrupt(c, lvt);
}

uint64_t lapic_tsc_deadline_read(struct x86_cpu *c)
{
	uint64_t value;

	pthread_mutex_lock(&c->lapic.lock);
	value = c->s.tsc_deadline;
	pthread_mutex_unlock(&c->lapic.lock);
	return value;
}

/* ---- Local vector table ---- */

static const uint32_t lvt_writable[LVT_COUNT] = {
	[LVT_TIMER] = 0x000700ff, [LVT_THERMAL] = 0x000107ff, [LVT_PERF] = 0x000107ff,
	[LVT_LINT0] = 0x0001a7ff, [LVT_LINT1] = 0x0001a7ff, [LVT_ERROR] = 0x000100ff,
};

static void write_lvt(struct x86_cpu *c, enum lapic_lvt n, uint32_t value)
{
	value &= lvt_writable[n];
	if (!software_enabled(c))
		value |= LVT_MASKED;
	if (n == LVT_TIMER)
		timer_set_lvt(c, value);
	else
		__atomic_store_n(&c->s.lapic.lvt[n], value, __ATOMIC_RELAXED);
}

/* Disabling by software masks every LVT entry; they stay so (SDM vol. 3A §11.4.7.2). */
static void write_svr(struct x86_cpu *c, uint32_t value)
{
	__atomic_store_n(&c->s.lapic.svr, value & SVR_WRITABLE, __ATOMIC_RELEASE);
	if (software_enabled(c)) {
		priority_lowered(c);
		return;
	}
	for (unsigned n = LVT_TIMER; n < LVT_COUNT; n++)
		write_lvt(c, n, c->s.lapic.lvt[n]);
}

/* ---- Register access, common to xAPIC and x2APIC ---- */

static void write_esr(struct x86_cpu *c)
{
	c->s.lapic.esr = __atomic_exchange_n(&c->s.lapic.esr_pending, 0, __ATOMIC_RELAXED);
}

static void send_ipi(struct x86_cpu *c)
{
	uint8_t mode = c->s.lapic.icr >> 8 & 7;

	if ((mode == DELIVERY_FIXED || mode == DELIVERY_LOWEST) && (c->s.lapic.icr & 0xff) < 16)
		raise_error(c, ESR_SEND_VECTOR);
	else
		lapic_send(c, c->s.lapic.icr);
}

/* False: no such register. */
static bool read_register(struct x86_cpu *c, uint32_t reg, uint32_t *value)
{
	const struct lapic_state *l = &c->s.lapic;

	if (reg >= REG_ISR && reg < REG_ESR) {
		const uint32_t *set = reg < REG_TMR ? l->isr : reg < REG_IRR ? l->tmr : l->irr;

		*value = __atomic_load_n(&set[reg >> 4 & 7], __ATOMIC_RELAXED);
		return true;
	}
	if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR) {
		*value = l->lvt[LVT_TIMER + ((reg - REG_LVT_TIMER) >> 4)];
		return true;
	}
	switch (reg) {
	case REG_VERSION:
		*value = VERSION;
		break;
	case REG_TPR:
		*value = l->tpr;
		break;
	case REG_PPR:
		*value = processor_priority(c);
		break;
	case REG_LDR:
		*value = l->ldr;
		break;
	case REG_SVR:
		*value = l->svr;
		break;
	case REG_ESR:
		*value = l->esr;
		break;
	case REG_ICR_LOW:
		*value = (uint32_t)l->icr;
		break;
	case REG_TIMER_INITIAL:
		*value = l->timer_initial;
		break;
	case REG_TIMER_CURRENT:
		pthread_mutex_lock(&c->lapic.lock);
		*value = timer_current(c);
		pthread_mutex_unlock(&c->lapic.lock);
		break;
	case REG_TIMER_DIVIDE:
		*value = l->timer_divide;
		break;
	default:
		return false;
	}
	return true;
}

static bool write_register(struct x86_cpu *c, uint32_t reg, uint32_t value)
{
	if (reg >= REG_LVT_TIMER && reg <= REG_LVT_ERROR) {
		write_lvt(c, LVT_TIMER + ((reg - REG_LVT_TIMER) >> 4), value);
		return true;
	}
	switch (reg) {
	case REG_TPR:
		set_tpr(c, value);
		break;
	case REG_EOI:
		end_of_interrupt(c);
		break;
	case REG_SVR:
		write_svr(c, value);
		break;
	case REG_ESR:
		write_esr(c);
		break;
	case REG_TIMER_INITIAL:
		timer_start(c, value);
		break;
	case REG_TIMER_DIVIDE:
		timer_set_divide(c, value);
		break;
	default:
		return false;
	}
	return true;
}

/* ---- The xAPIC page ---- */

uint32_t lapic_mmio_read(struct x86_cpu *c, uint32_t offset)
{
	uint32_t reg = offset & ~0xfu;
	uint32_t value = 0;

	if (offset & 0xf) /* registers are the first dword of each 16 bytes */
		return 0;
	switch (reg) {
	case REG_ID:
		return c->s.lapic.id << 24;
	case REG_DFR:
		return c->s.lapic.dfr;
	case REG_ICR_HIGH:
		return (uint32_t)(c->s.lapic.icr >> 32);
	case REG_APR:
	case REG_RRD:
	case REG_EOI:
		return 0;
	default:
		if (!read_register(c, reg, &value))
			raise_error(c, ESR_REGISTER);
		return value;
	}
}

void lapic_mmio_write(struct x86_cpu *c, uint32_t offset, uint32_t value)
{
	struct lapic_state *l = &c->s.lapic;

	if (offset & 0xf)
		return;
	switch (offset) {
	case REG_ID: /* read-only on integrated APICs */
		break;
	case REG_LDR:
		__atomic_store_n(&l->ldr, value & 0xff000000, __ATOMIC_RELAXED);
		break;
	case REG_DFR:
		__atomic_store_n(&l->dfr, value | 0x0fffffff, __ATOMIC_RELAXED);
		break;
	case REG_ICR_HIGH:
		l->icr = (uint32_t)l->icr | (uint64_t)(value & 0xff000000) << 32;
		break;
	case REG_ICR_LOW:
		l->icr = (l->icr & ~UINT64_C(0xffffffff)) | (value & ICR_WRITABLE & ~ICR_BUSY);
		send_ipi(c);
		break;
	default:
		if (!write_register(c, offset, value))
			raise_error(c, ESR_REGISTER);
		break;
	}
}

/* ---- x2APIC MSRs (SDM vol. 3A §11.12) ---- */

bool lapic_msr_read(struct x86_cpu *c, uint32_t msr, uint64_t *value)
{
	uint32_t reg = (msr - X2APIC_MSR_BASE) << 4;
	uint32_t low;

	if (!x2apic(c))
		return false;
	switch (reg) {
	case REG_ID:
		*value = c->s.lapic.id;
		return true;
	case REG_ICR_LOW:
		*value = c->s.lapic.icr;
		return true;
	default:
		if (!read_register(c, reg, &low))
			return false;
		*value = low;
		return true;
	}
}

bool lapic_msr_write(struct x86_cpu *c, uint32_t msr, uint64_t value)
{
	uint32_t reg = (msr - X2APIC_MSR_BASE) << 4;

	if (!x2apic(c))
		return false;
	if (reg == REG_ICR_LOW) {
		c->s.lapic.icr = value & (UINT64_C(0xffffffff00000000) | (ICR_WRITABLE & ~ICR_BUSY));
		send_ipi(c);
		return true;
	}
	if (value >> 32)
		return false;
	if (reg == REG_SELF_IPI) {
		if (value > LVT_VECTOR)
			return false;
		lapic_deliver(c, (uint8_t)value, DELIVERY_FIXED, false);
		return true;
	}
	if ((reg == REG_EOI || reg == REG_ESR) && value)
		return false;
	return write_register(c, reg, (uint32_t)value);
}

/* ---- IA32_APIC_BASE and life ---- */

/* x2APIC's logical ID follows from its ID (SDM vol. 3A §11.12.10.2). */
static uint32_t x2apic_ldr(uint32_t id)
{
	return id >> 4 << 16 | 1u << (id & 0xf);
}

bool lapic_base_write(struct x86_cpu *c, uint64_t value)
{
	uint64_t old = c->s.apic_base;
	uint64_t mode = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	uint64_t address = (LM_BIT(c->sys->model.physical_bits) - 1) & ~PAGE_MASK;

	if (value & ~(address | mode | APIC_BASE_BSP))
		return false;
	if ((value & mode) == APIC_BASE_X2APIC) /* x2APIC without APIC */
		return false;
	if (value & APIC_BASE_X2APIC && !(old & APIC_BASE_ENABLE)) /* only by way of xAPIC */
		return false;
	if (value & APIC_BASE_X2APIC && !model_has(&c->sys->model, F_X2APIC))
		return false;
	if ((old & mode) == mode && (value & mode) == APIC_BASE_ENABLE) /* no way back */
		return false;
	__atomic_store_n(&c->s.apic_base, value, __ATOMIC_RELEASE);
	if (value & ~old & APIC_BASE_X2APIC)
		__atomic_store_n(&c->s.lapic.ldr, x2apic_ldr(c->s.lapic.id), __ATOMIC_RELAXED);
	if (old & ~value & APIC_BASE_ENABLE)
		lapic_reset(c);
	return true;
}

void lapic_init(struct x86_cpu *c)
{
	pthread_mutex_init(&c->lapic.lock, NULL);
	timer_init(&c->lapic.timer, c->sys->loop, timer_fire, c);
}

void lapic_fini(struct x86_cpu *c)
{
	timer_cancel(&c->lapic.timer);
	pthread_mutex_destroy(&c->lapic.lock);
}

/* SDM vol. 3A §11.4.7.1. The PC's virtual wire: the boot CPU's LINT0 passes the PIC through. */
void lapic_reset(struct x86_cpu *c)
{
	struct lapic_state *l = &c->s.lapic;

	pthread_mutex_lock(&c->lapic.lock);
	timer_cancel(&c->lapic.timer);
	memset(l, 0, sizeof(*l));
	l->id = c->index;
	l->dfr = DFR_RESET;
	l->svr = SVR_RESET;
	for (unsigned n = 0; n < LVT_COUNT; n++)
		l->lvt[n] = LVT_MASKED;
	if (c->s.apic_base & APIC_BASE_BSP)
		l->lvt[LVT_LINT0] = LVT_EXTINT_MODE;
	if (x2apic(c))
		l->ldr = x2apic_ldr(l->id);
	c->s.tsc_deadline = 0;
	pthread_mutex_unlock(&c->lapic.lock);
}

void lapic_load(struct x86_cpu *c)
{
	pthread_mutex_lock(&c->lapic.lock);
	timer_program(c);
	pthread_mutex_unlock(&c->lapic.lock);
}
