#include "engine/kvm/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/probe_child.h"

#define LIMIT_MS     900
#define PATIENCE_MS  60000   /* where slow is fine */
#define SHORT_TRIES  3
#define LONG_TRIES   10	     /* the host may not schedule us */
#define MEM_SIZE     0x4000
#define CODE_ADDRESS 0x1000
#define TSS_ADDRESS  0xfffbd000 /* KVM on Intel wants three unused pages for real mode */
#define RUN_SLICES   64		/* returns of KVM_RUN other than by HLT that we put up with */

/*
 * Two loops of two instructions. Hardware executes more than 10^9 of them a second; entering and
 * leaving the VM is the bulk of the time of the short one. An emulated KVM is found out by that one,
 * so that every start of a machine can afford to look, and stays far below the bound with the other.
 */
#define SHORT_LOOPS	 5000u
#define LONG_LOOPS	 50000u
#define LOOP_INSNS	 2u
#define SLOW_INSNS_PER_S 15000000
#define FAST_INSNS_PER_S 50000000

/* 16-bit code, for which the count is in ECX. It halts at once, so that what is done once a VM is not measured. */
static const uint8_t code[] = {
    0xf4,	/* 1: hlt */
    0x66, 0x49, /* 2: dec ecx */
    0x75, 0xfc, /* jnz 2b */
    0xeb, 0xf9, /* jmp 1b */
};

/* What the child answers: nanoseconds, or a step that failed and its errno. */
enum step { STEP_VERSION = 1, STEP_VM, STEP_MEMORY, STEP_VCPU, STEP_REGS, STEP_RUN };

static const char *const step_names[] = {
    [STEP_VERSION] = "KVM_GET_API_VERSION",
    [STEP_VM] = "KVM_CREATE_VM",
    [STEP_MEMORY] = "KVM_SET_USER_MEMORY_REGION",
    [STEP_VCPU] = "KVM_CREATE_VCPU",
    [STEP_REGS] = "KVM_SET_REGS",
    [STEP_RUN] = "KVM_RUN",
};

static long failed(enum step step)
{
	return -(long)(step << 16 | errno);
}

static int add_memory(int vm)
{
	struct kvm_userspace_memory_region region = {.memory_size = MEM_SIZE};
	uint8_t *mem =
	    mmap(NULL, MEM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return -1;
	memcpy(mem + CODE_ADDRESS, code, sizeof(code));
	region.userspace_addr = (uintptr_t)mem;
	ioctl(vm, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static int set_real_mode(int vcpu)
{
	struct kvm_regs regs = {.rip = CODE_ADDRESS, .rflags = 2};
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return -1;
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs))
		return -1;
	return ioctl(vcpu, KVM_SET_REGS, &regs);
}

static int run_to_halt(int vcpu, const volatile struct kvm_run *run)
{
	for (unsigned k = 0; k < RUN_SLICES; k++) {
		if (ioctl(vcpu, KVM_RUN, 0)) {
			if (errno != EINTR && errno != EAGAIN)
				return -1;
		} else if (run->exit_reason == KVM_EXIT_HLT) {
			return 0;
		} else if (run->exit_reason != KVM_EXIT_INTR) {
			errno = EPROTO;
			return -1;
		}
	}
	errno = ETIME;
	return -1;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* Instructions a second, of the best of some tries: others may take the processor. 0: did not run. */
static int64_t speed_of(int vcpu, const struct kvm_run *run, uint32_t loops, unsigned tries)
{
	int64_t best = 0;

	for (unsigned k = 0; k < tries && best < FAST_INSNS_PER_S; k++) {
		struct kvm_regs regs = {.rip = CODE_ADDRESS + 1, .rflags = 2, .rcx = loops};
		int64_t start;

		if (ioctl(vcpu, KVM_SET_REGS, &regs))
			return 0;
		start = now_ns();
		if (run_to_halt(vcpu, run))
			return 0;
		best = LM_MAX(best, INT64_C(1000000000) * loops * LOOP_INSNS /
					LM_MAX(now_ns() - start, INT64_C(1)));
	}
	return best;
}

/* In the child, whose end closes everything. Instructions a second. */
static long measure(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu, size;
	struct kvm_run *run;
	int64_t speed;

	if (kvm < 0 || ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		return failed(STEP_VERSION);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return failed(STEP_VM);
	if (add_memory(vm))
		return failed(STEP_MEMORY);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vcpu < 0 || size < (int)sizeof(*run))
		return failed(STEP_VCPU);
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return failed(STEP_VCPU);
	if (set_real_mode(vcpu))
		return failed(STEP_REGS);
	if (run_to_halt(vcpu, run))
		return failed(STEP_RUN);
	speed = speed_of(vcpu, run, SHORT_LOOPS, SHORT_TRIES);
	if (speed >= SLOW_INSNS_PER_S)
		speed = speed_of(vcpu, run, LONG_LOOPS, LONG_TRIES);
	return speed ? (long)speed : failed(STEP_RUN);
}

bool kvm_slow_is_fine(void)
{
	const char *choice = getenv("LAMINA_KVM_SLOW");

	return choice && choice[0] == '1';
}

static int limit_ms(void)
{
	return kvm_slow_is_fine() ? PATIENCE_MS : LIMIT_MS;
}

static void explain(struct kvm_probe *out, const struct probe_result *r)
{
	unsigned long code_and_errno = (unsigned long)-r->value;

	switch (r->outcome) {
	case PROBE_TIMEOUT:
		snprintf(out->problem, sizeof(out->problem),
			 "a VM did not get through a short loop in %d ms", limit_ms());
		break;
	case PROBE_KILLED:
		snprintf(out->problem, sizeof(out->problem), "trying it was answered by signal %ld",
			 r->value);
		break;
	case PROBE_UNTRIED:
		snprintf(out->problem, sizeof(out->problem), "could not be tried: %s",
			 strerror((int)r->value));
		break;
	case PROBE_ANSWERED:
		snprintf(out->problem, sizeof(out->problem), "%s: %s",
			 step_names[code_and_errno >> 16],
			 strerror((int)(code_and_errno & 0xffff)));
		break;
	}
}

static void probe_host(struct kvm_probe *out)
{
	struct probe_result r;
	int fd;

	out->present = !access("/dev/kvm", F_OK);
	fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		out->open_errno = errno;
		return;
	}
	close(fd);
	r = probe_in_child(measure, limit_ms());
	out->usable = r.outcome == PROBE_ANSWERED && r.value > 0;
	if (!out->usable) {
		explain(out, &r);
		return;
	}
	out->insns_per_s = (uint64_t)r.value;
	out->fast = out->insns_per_s >= FAST_INSNS_PER_S;
}

const struct kvm_probe *kvm_probe_host(void)
{
	static struct kvm_probe probe;
	static bool probed;

	if (!probed)
		probe_host(&probe);
	probed = true;
	return &probe;
}
