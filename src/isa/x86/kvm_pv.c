/* kvmclock and hypercalls; see kvm_pv.h. */
#include "isa/x86/kvm_pv.h"

#include "isa/x86/access.h"

#define MSR_WALL_CLOCK_OLD  0x11u
#define MSR_SYSTEM_TIME_OLD 0x12u
#define MSR_WALL_CLOCK      0x4b564d00u
#define MSR_SYSTEM_TIME     0x4b564d01u
#define SYSTEM_TIME_ENABLE  UINT64_C(1)

#define PVCLOCK_TSC_STABLE  0x01u
#define NS_PER_S            UINT64_C(1000000000)

#define HC_VAPIC_POLL_IRQ   1u
#define HC_KICK_CPU         5u
#define HC_SEND_IPI         10u
#define KVM_ENOSYS          1000
#define KVM_EPERM           1

/* In guest memory (Documentation/virt/kvm/x86/msr.rst); the guest retries while version is odd. */
struct pvclock_vcpu_time_info {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
};

struct pvclock_wall_clock {
	uint32_t version, sec, nsec;
};

/* ---- kvmclock ---- */

/* ns = (ticks << shift) * mul / 2^32, with mul in [2^31, 2^32). */
static void time_scale(uint64_t tsc_hz, uint32_t *mul, int8_t *shift)
{
	uint64_t ns = NS_PER_S, ticks = tsc_hz;

	*shift = 0;
	while (ticks > ns) {
		ns <<= 1;
		(*shift)--;
	}
	while (ticks <= ns / 2) {
		ticks <<= 1;
		(*shift)++;
	}
	*mul = (uint32_t)(((unsigned __int128)ns << 31) / ticks);
	(*shift)++;
}

/*
 * All vCPUs count from the machine's start, so that their clocks agree to the last bit whenever
 * they were set up; nothing drifts, because the TSC is derived from the same clock.
 */
static void write_clock(struct x86_cpu *c, uint64_t msr)
{
	uint8_t *at = ram_ptr(c->sys->ram, GPA(msr & ~SYSTEM_TIME_ENABLE),
			      sizeof(struct pvclock_vcpu_time_info));
	struct pvclock_vcpu_time_info info = {
		.tsc_timestamp = c->s.tsc_offset,
		.flags = PVCLOCK_TSC_STABLE,
	};
	uint32_t *version = (uint32_t *)(void *)at;

	if (!at || msr & 2)
		return;
	time_scale(c->sys->tsc_hz, &info.tsc_to_system_mul, &info.tsc_shift);
	info.version = (__atomic_load_n(version, __ATOMIC_RELAXED) | 1) + 2;
	__atomic_store_n(version, info.version, __ATOMIC_SEQ_CST);
	memcpy(at + 4, (uint8_t *)&info + 4, sizeof(info) - 4);
	__atomic_store_n(version, info.version + 1, __ATOMIC_SEQ_CST);
	ram_mark_dirty(c->sys->ram, at, sizeof(info));
}

void kvm_clock_refresh(struct x86_cpu *c)
{
	if (c->s.kvm.system_time & SYSTEM_TIME_ENABLE)
		write_clock(c, c->s.kvm.system_time);
}

/* The wall-clock time at which kvmclock was zero. */
static void write_wall_clock(struct x86_cpu *c, uint64_t gpa)
{
	const struct lm_clock *clock = &c->sys->loop->clock;
	uint64_t boot = (uint64_t)(clock_wall(clock) - clock_now(clock));
	struct pvclock_wall_clock wall = {
		.version = 2,
		.sec = (uint32_t)(boot / NS_PER_S),
		.nsec = (uint32_t)(boot % NS_PER_S),
	};

	ram_write(c->sys->ram, GPA(gpa), &wall, sizeof(wall));
}

bool kvm_msr_read(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	if (!model_has(&c->sys->model, F_KVM))
		return false;
	switch (index) {
	case MSR_WALL_CLOCK_OLD:
	case MSR_WALL_CLOCK:
		*value = c->s.kvm.wall_clock;
		return true;
	case MSR_SYSTEM_TIME_OLD:
	case MSR_SYSTEM_TIME:
		*value = c->s.kvm.system_time;
		return true;
	default:
		return false;
	}
}

bool kvm_msr_write(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	if (!model_has(&c->sys->model, F_KVM))
		return false;
	switch (index) {
	case MSR_WALL_CLOCK_OLD:
	case MSR_WALL_CLOCK:
		c->s.kvm.wall_clock = value;
		write_wall_clock(c, value);
		return true;
	case MSR_SYSTEM_TIME_OLD:
	case MSR_SYSTEM_TIME:
		c->s.kvm.system_time = value;
		kvm_clock_refresh(c);
		return true;
	default:
		return false;
	}
}

/* ---- Hypercalls ---- */

static uint64_t kick_cpu(struct x86_cpu *c, uint64_t apic_id)
{
	struct x86_cpu *target = lapic_find(c->sys, (uint32_t)apic_id);

	if (target)
		x86_event_raise(target, EV_UNHALT);
	return 0;
}

/* Bit k of the bitmap addresses APIC ID min + k; returns how many vCPUs were reached. */
static uint64_t send_ipi(struct x86_cpu *c, const uint64_t bitmap[2], unsigned word_bits,
			 uint64_t min, uint64_t icr)
{
	uint64_t reached = 0;

	for (unsigned k = 0; k < 2 * word_bits; k++) {
		struct x86_cpu *target;

		if (!(bitmap[k / word_bits] >> (k % word_bits) & 1))
			continue;
		target = min + k <= UINT32_MAX ? lapic_find(c->sys, (uint32_t)(min + k)) : NULL;
		if (!target)
			continue;
		lapic_deliver(target, (uint8_t)icr, icr >> 8 & 7, false);
		reached++;
	}
	return reached;
}

void kvm_hypercall(struct x86_cpu *c)
{
	unsigned size = c->code_size == CODE_64 ? 8 : 4;
	uint64_t number = gpr_read(c, RAX, size);
	uint64_t arg[4] = { gpr_read(c, RBX, size), gpr_read(c, RCX, size), gpr_read(c, RDX, size),
			    gpr_read(c, RSI, size) };
	uint64_t result;

	if (c->cpl != 0)
		result = -(uint64_t)KVM_EPERM;
	else if (number == HC_VAPIC_POLL_IRQ)
		result = 0;
	else if (number == HC_KICK_CPU)
		result = kick_cpu(c, arg[1]);
	else if (number == HC_SEND_IPI)
		result = send_ipi(c, arg, size * 8, arg[2], arg[3]);
	else
		result = -(uint64_t)KVM_ENOSYS;
	c->s.gpr[RAX] = result & mask_bytes(size);
}
