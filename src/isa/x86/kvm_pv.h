/*
 * The paravirtual interface of KVM, as documented in the Linux kernel (Documentation/virt/kvm/x86):
 * kvmclock, wall clock, hypercalls. Guests find it through CPUID leaf 0x40000000.
 */
#ifndef LM_ISA_X86_KVM_PV_H
#define LM_ISA_X86_KVM_PV_H

#include "isa/x86/cpu.h"

#define KVM_CPUID_SIGNATURE 0x40000000u
#define KVM_CPUID_FEATURES  0x40000001u
#define KVM_CPUID_TIMING    0x40000010u

#define KVM_FEATURE_CLOCKSOURCE        (1u << 0)
#define KVM_FEATURE_NOP_IO_DELAY       (1u << 1)
#define KVM_FEATURE_CLOCKSOURCE2       (1u << 3)
#define KVM_FEATURE_PV_UNHALT          (1u << 7)
#define KVM_FEATURE_PV_SEND_IPI        (1u << 11)
#define KVM_FEATURE_CLOCKSOURCE_STABLE (1u << 24)

/* MSRs 0x11, 0x12 and 0x4b564d00 on; false: #GP(0). */
bool kvm_msr_read(struct x86_cpu *c, uint32_t index, uint64_t *value);
bool kvm_msr_write(struct x86_cpu *c, uint32_t index, uint64_t value);

/* Writes the vCPU's clock structure again: the guest's TSC was moved. */
void kvm_clock_refresh(struct x86_cpu *c);

/* VMCALL: number in RAX, arguments in RBX, RCX, RDX, RSI, result in RAX. */
void kvm_hypercall(struct x86_cpu *c);

#endif
