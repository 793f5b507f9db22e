/*
 * Routing of interrupt messages: IPIs, MSIs and IOAPIC messages to the vCPUs they address (SDM
 * vol. 3A §11.6.1, §11.6.2, §11.11, §11.12.9).
 */
#include "isa/x86/cpu.h"

#define DFR_CLUSTER    0x0fffffffu
#define BROADCAST_8    0xffu
#define BROADCAST_32   0xffffffffu
#define ICR_LOGICAL    0x0800u
#define ICR_ASSERT     0x4000u
#define ICR_LEVEL      0x8000u
#define ICR_MODE(icr)  ((icr) >> 8 & 7)
#define MSI_DEST(a)    ((uint32_t)((a) >> 12 & 0xff))
#define MSI_LOGICAL    0x4u
#define MSI_LEVEL      0x8000u

enum shorthand { SHORTHAND_NONE, SHORTHAND_SELF, SHORTHAND_ALL, SHORTHAND_OTHERS };

struct message {
	uint32_t dest;
	bool wide;     /* dest has 32 bits (x2APIC) */
	bool logical;
	enum lapic_delivery_mode mode;
	uint8_t vector;
	bool level;
};

static uint32_t peek(const uint32_t *reg)
{
	return __atomic_load_n(reg, __ATOMIC_RELAXED);
}

static bool in_x2apic(const struct x86_cpu *c)
{
	return __atomic_load_n(&c->s.apic_base, __ATOMIC_RELAXED) & APIC_BASE_X2APIC;
}

struct x86_cpu *lapic_find(struct x86_system *sys, uint32_t apic_id)
{
	return apic_id < sys->cpu_count ? sys->cpu[apic_id] : NULL;
}

static bool is_broadcast(const struct message *m)
{
	return m->dest == (m->wide ? BROADCAST_32 : BROADCAST_8);
}

/* Flat: any bit in common; cluster: the same cluster and any of its four bits. */
static bool matches_xapic_logical(const struct x86_cpu *c, uint32_t dest)
{
	uint32_t ldr = peek(&c->s.lapic.ldr) >> 24;

	if (peek(&c->s.lapic.dfr) == DFR_CLUSTER)
		return dest >> 4 == ldr >> 4 && dest & ldr & 0xf;
	return dest & ldr;
}

static bool matches(const struct x86_cpu *c, const struct message *m)
{
	uint32_t ldr = peek(&c->s.lapic.ldr);

	if (is_broadcast(m))
		return true;
	if (!m->logical)
		return m->dest == peek(&c->s.lapic.id);
	if (in_x2apic(c))
		return m->dest >> 16 == ldr >> 16 && m->dest & ldr & 0xffff;
	return m->dest <= 0xff && matches_xapic_logical(c, m->dest);
}

/* Of those addressed, the one with the lowest task priority; the first among equals. */
static struct x86_cpu *lowest_priority(struct x86_system *sys, const struct message *m)
{
	struct x86_cpu *best = NULL;

	for (unsigned k = 0; k < sys->cpu_count; k++) {
		struct x86_cpu *c = sys->cpu[k];

		if (!matches(c, m))
			continue;
		if (!best || peek(&c->s.lapic.tpr) < peek(&best->s.lapic.tpr))
			best = c;
	}
	return best;
}

static void route(struct x86_system *sys, const struct message *m)
{
	if (m->mode == DELIVERY_LOWEST) {
		struct x86_cpu *c = lowest_priority(sys, m);

		if (c)
			lapic_deliver(c, m->vector, m->mode, m->level);
		return;
	}
	for (unsigned k = 0; k < sys->cpu_count; k++)
		if (matches(sys->cpu[k], m))
			lapic_deliver(sys->cpu[k], m->vector, m->mode, m->level);
}

void lapic_message(struct x86_system *sys, uint64_t address, uint32_t data)
{
	struct message m = {
		.dest = MSI_DEST(address),
		.logical = address & MSI_LOGICAL,
		.mode = ICR_MODE(data),
		.vector = (uint8_t)data,
		.level = data & MSI_LEVEL,
	};

	if (sys->irqchip)
		sys->irqchip->message(sys, address, data);
	else
		route(sys, &m);
}

void lapic_send(struct x86_cpu *c, uint64_t icr)
{
	enum shorthand shorthand = icr >> 18 & 3;
	struct message m = {
		.dest = (uint32_t)(in_x2apic(c) ? icr >> 32 : icr >> 56),
		.wide = in_x2apic(c),
		.logical = icr & ICR_LOGICAL,
		.mode = ICR_MODE(icr),
		.vector = (uint8_t)icr,
	};

	if (m.mode == DELIVERY_INIT && (icr & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
		return; /* INIT level de-assert: does nothing on today's processors */
	switch (shorthand) {
	case SHORTHAND_NONE:
		route(c->sys, &m);
		break;
	case SHORTHAND_SELF:
		lapic_deliver(c, m.vector, m.mode, false);
		break;
	default:
		for (unsigned k = 0; k < c->sys->cpu_count; k++)
			if (shorthand == SHORTHAND_ALL || c->sys->cpu[k] != c)
				lapic_deliver(c->sys->cpu[k], m.vector, m.mode, false);
		break;
	}
}
