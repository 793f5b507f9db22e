/*
 * The guest's TSC under KVM: the host's, scaled and moved by the processor.
 *
 * In canonical state the guest's TSC is the machine's clock, scaled, plus s.tsc_offset. The two
 * differ: the machine's clock is the host's monotonic one, which time servers slew, and it stops
 * while the machine stands still. So what the guest's TSC is ahead is found when vCPUs leave
 * (kvm_tsc_left), and it is set anew when they go on after the clock has stood (kvm_tsc_entered).
 *
 * vCPUs that have the same s.tsc_offset have the same offset in the kernel as well, to the last bit: a
 * guest that finds its TSCs apart gives up on them.
 */
#include <errno.h>

#include "engine/kvm/kvm.h"
#include "isa/x86/kvm_pv.h"

#define MSR_TSC          0x10u
#define MSR_TSC_DEADLINE 0x6e0u

/* Newer than the headers of Debian 11. */
#ifndef KVM_VCPU_TSC_CTRL
#define KVM_VCPU_TSC_CTRL   0
#define KVM_VCPU_TSC_OFFSET 0
#endif

static int access_offset(const struct kvm_vcpu *v, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)offset,
	};

	return ioctl(v->fd, request, &attr) ? -errno : 0;
}

/*
 * Values that the kernel is given for the TSC itself it bends, to what it takes for synchronous with
 * other vCPUs. Only kernels before 5.16 get them.
 */
static int shift(const struct kvm_vcpu *v, uint64_t delta)
{
	uint64_t now;
	int rc;

	if (!v->vm->tsc_offset_attr)
		return kvm_msr_get(v, MSR_TSC, &now) && kvm_msr_set(v, MSR_TSC, now + delta) ? 0 : -EIO;
	rc = access_offset(v, KVM_GET_DEVICE_ATTR, &now);
	now += delta;
	return rc ? rc : access_offset(v, KVM_SET_DEVICE_ATTR, &now);
}

/*
 * How far the guest's TSC is ahead of x86_tsc, or some more: the clock is read first. So what the guest
 * sees afterwards, under whatever engine, is never less than what it has seen.
 */
static bool measure_lead(const struct kvm_vcpu *v, uint64_t *lead)
{
	uint64_t clock = x86_tsc(v->c), tsc;

	if (!kvm_msr_get(v, MSR_TSC, &tsc))
		return false;
	*lead = tsc - clock;
	return true;
}

static const struct kvm_vcpu *first_vcpu(const struct kvm_vcpu *v)
{
	return kvm_of(v->c->sys->cpu[0]);
}

/* As the first vCPU's, which was loaded before, and as far from it as the state says. */
static int follow_first(const struct kvm_vcpu *v)
{
	const struct kvm_vcpu *first = first_vcpu(v);
	uint64_t offset;
	int rc = access_offset(first, KVM_GET_DEVICE_ATTR, &offset);

	if (rc < 0)
		return rc;
	offset += v->c->s.tsc_offset - first->c->s.tsc_offset;
	return access_offset(v, KVM_SET_DEVICE_ATTR, &offset);
}

int kvm_tsc_load(struct kvm_vcpu *v)
{
	uint64_t lead;

	v->tsc_offset = v->c->s.tsc_offset;
	v->vm->drift = 0;
	v->vm->clock_base_ns = v->c->sys->loop->clock.base_ns;
	if (v->vm->tsc_offset_attr && v != first_vcpu(v))
		return follow_first(v);
	return measure_lead(v, &lead) ? shift(v, -lead) : -EIO;
}

void kvm_tsc_save(struct kvm_vcpu *v)
{
	v->c->s.tsc_offset = v->tsc_offset + v->vm->drift;
}

void kvm_tsc_left(struct kvm_vcpu *v)
{
	struct kvm_vm *vm = v->vm;

	pthread_mutex_lock(&vm->lock);
	v->c->s.tsc_offset = v->tsc_offset;
	measure_lead(v, &vm->drift);
	pthread_mutex_unlock(&vm->lock);
}

/* The kernel's timer went on by itself: it is armed again for the moved TSC. */
static int set_anew(struct kvm_vcpu *v)
{
	uint64_t deadline = 0;
	int rc = kvm_tsc_load(v);

	if (rc < 0)
		return rc;
	if (kvm_msr_get(v, MSR_TSC_DEADLINE, &deadline) && deadline &&
	    !kvm_msr_set(v, MSR_TSC_DEADLINE, deadline))
		return -EIO;
	return 0;
}

/* The first vCPU to go on sets them all, before any of them runs: they were parked together. */
int kvm_tsc_entered(struct kvm_vcpu *v)
{
	struct x86_system *sys = v->c->sys;
	struct kvm_vm *vm = v->vm;
	int rc = 0;

	pthread_mutex_lock(&vm->lock);
	if (vm->clock_base_ns != sys->loop->clock.base_ns) {
		for (unsigned k = 0; k < sys->cpu_count; k++)
			kvm_tsc_save(kvm_of(sys->cpu[k]));
		for (unsigned k = 0; !rc && k < sys->cpu_count; k++)
			rc = set_anew(kvm_of(sys->cpu[k]));
	}
	pthread_mutex_unlock(&vm->lock);
	return rc;
}

bool kvm_tsc_move(struct kvm_vcpu *v, uint64_t delta)
{
	struct x86_state *s = &v->c->s;

	if (shift(v, delta) < 0)
		return false;
	v->tsc_offset += delta;
	s->tsc_offset += delta;
	s->tsc_adjust += delta;
	kvm_clock_refresh(v->c);
	return true;
}
