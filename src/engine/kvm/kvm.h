/*
 * The engine that lets the host's processor execute the guest, by way of the Linux kernel's KVM
 * (Documentation/virt/kvm/api.rst; section numbers below are of that file).
 *
 * The kernel keeps the local APICs ("split irqchip", §7.5), everything else of the PC is the
 * machine's. Of a vCPU's registers, those that the processor or the kernel works with are in the
 * kernel and come to struct x86_state by state_save; all other MSRs stay in struct x86_state, since
 * a filter sends accesses to them here (§4.97).
 *
 * Threads: a vCPU's calls are made by its own thread, or by whoever has parked it.
 */
#ifndef LM_ENGINE_KVM_KVM_H
#define LM_ENGINE_KVM_KVM_H

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "base/bits.h"
#include "engine/engine.h"
#include "engine/kvm/kvm_engine.h"

#define KVM_IOAPIC_PINS 24u

/* Room for one of KVM's tables with that many entries behind it. */
#define KVM_TABLE(type, entries_max)                                                               \
	union {                                                                                    \
		struct type head;                                                                  \
		uint8_t bytes[sizeof(struct type) +                                                \
			      (entries_max) * sizeof(((struct type *)0)->entries[0])];             \
	}

struct kvm_route {
	uint64_t address;
	uint32_t data; /* 0: none */
};

/* One machine: x86_system.engine. */
struct kvm_vm {
	struct x86_system *sys;
	int kvm, fd;             /* /dev/kvm and the VM; -1: not open */
	int first_vcpu;          /* made with the VM, which has no TSC frequency without; -1: taken */
	int run_bytes;           /* of struct kvm_run and what follows it */
	struct kvm_cpuid2 *host; /* what this KVM can give guests */
	bool tsc_offset_attr;    /* KVM_VCPU_TSC_OFFSET exists */
	uint64_t window_at[RAM_MAX_WINDOWS]; /* where each has its slot; atomic, written under lock */
	pthread_mutex_t lock;    /* of the two below and of window_at */
	uint64_t drift;          /* how far the guest's TSC was ahead of x86_tsc when vCPUs left last */
	int64_t clock_base_ns;   /* the machine's clock's, for which the TSC is set */
	struct kvm_route route[KVM_IOAPIC_PINS]; /* under the device lock */
};

struct kvm_counters {
	uint64_t runs, interrupted, msr_reads, msr_writes, eois, windows, interpreted;
};

/* One vCPU: x86_cpu.engine. */
struct kvm_vcpu {
	struct x86_cpu *c;
	struct kvm_vm *vm;
	int fd;
	struct kvm_run *run;
	int tid;                 /* of the thread in run(); 0: none; atomic */
	uint64_t tsc_offset;     /* s.tsc_offset as it was when the kernel was given the TSC */
	bool unfinished;         /* the last exit's access is completed by the next KVM_RUN */
	bool must_enter;         /* an interrupt was handed over that only the kernel knows of */
	struct kvm_counters count;
	char failure[160];       /* why run() gave up */
};

static inline struct kvm_vcpu *kvm_of(const struct x86_cpu *c)
{
	return c->engine;
}

/* ---- vm.c: the VM, its memory, its interrupts ---- */

int kvm_vm_create(struct x86_system *sys, struct lm_err *err);
void kvm_vm_destroy(struct x86_system *sys);
/* Opened and mapped; CPUID is set. */
int kvm_vcpu_open(struct kvm_vcpu *v, struct lm_err *err);

/* ---- memory.c ---- */

int kvm_memory_init(struct kvm_vm *vm, struct lm_err *err);
/* Before entering: windows may have been moved. */
void kvm_memory_follow(struct kvm_vm *vm);
int kvm_dirty_log(struct x86_system *sys, enum dirty_log what, struct lm_err *err);

/* ---- cpuid.c ---- */

/* KVM_GET_SUPPORTED_CPUID into vm->host. */
int kvm_cpuid_read_host(struct kvm_vm *vm, struct lm_err *err);
/* Takes from the model what the host has not. */
int kvm_cpuid_limit(const struct kvm_vm *vm, struct x86_model *m, struct lm_err *err);
int kvm_cpuid_set(struct kvm_vcpu *v, struct lm_err *err);

/* ---- msr.c: which registers the kernel keeps ---- */

/* Everything else is sent to us. */
int kvm_msr_filter(const struct kvm_vm *vm, struct lm_err *err);
/* False: the kernel does not take it. */
bool kvm_msr_get(const struct kvm_vcpu *v, uint32_t index, uint64_t *value);
bool kvm_msr_set(const struct kvm_vcpu *v, uint32_t index, uint64_t value);
/* Those that the kernel keeps, to and from c->s; 0 or -errno. */
int kvm_msrs_save(struct kvm_vcpu *v);
int kvm_msrs_load(const struct kvm_vcpu *v);
/* An access that was sent here; false: #GP. */
bool kvm_msr_serve_read(struct kvm_vcpu *v, uint32_t index, uint64_t *value);
bool kvm_msr_serve_write(struct kvm_vcpu *v, uint32_t index, uint64_t value);

/* ---- time.c ---- */

/* The guest sees x86_tsc from now on; the first vCPU first. 0 or -errno. */
int kvm_tsc_load(struct kvm_vcpu *v);
/* s.tsc_offset becomes what the guest saw when vCPUs left. */
void kvm_tsc_save(struct kvm_vcpu *v);
/* The vCPU leaves run() because it was asked to. */
void kvm_tsc_left(struct kvm_vcpu *v);
/* It enters. 0 or -errno. */
int kvm_tsc_entered(struct kvm_vcpu *v);
/* The guest's TSC jumps by so much. */
bool kvm_tsc_move(struct kvm_vcpu *v, uint64_t delta);

/* ---- lapic.c ---- */

int kvm_lapic_save(struct kvm_vcpu *v);
int kvm_lapic_load(const struct kvm_vcpu *v);

/* ---- fpu.c ---- */

int kvm_fpu_save(struct kvm_vcpu *v);
int kvm_fpu_load(const struct kvm_vcpu *v);

/* ---- state.c ---- */

/* Registers, without local APIC and time: enough to execute an instruction. 0 or -errno. */
int kvm_registers_save(struct kvm_vcpu *v);
int kvm_registers_load(struct kvm_vcpu *v);
void kvm_state_save(struct x86_cpu *c);
void kvm_state_load(struct x86_cpu *c);

/* ---- run.c ---- */

enum exit_reason kvm_run(struct x86_cpu *c, uint64_t max_insns);
/* Makes KVM_RUN return. Any thread. */
void kvm_interrupt_run(struct kvm_vcpu *v);
/* run() will return EXIT_FAILED. */
void kvm_fail(struct kvm_vcpu *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
