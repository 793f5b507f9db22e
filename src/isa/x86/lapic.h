/*
 * The local APIC (SDM vol. 3A ch. 11): xAPIC page and x2APIC MSRs, timer in one-shot, periodic and
 * TSC-deadline mode, IPIs, priorities. Registers are struct lapic_state in the canonical state.
 *
 * Threads: the vCPU's own thread accesses registers and acknowledges; any thread may deliver
 * (lapic_deliver, MSI, timer), which only sets IRR bits and raises an event.
 */
#ifndef LM_ISA_X86_LAPIC_H
#define LM_ISA_X86_LAPIC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "event/loop.h"
#include "mem/addr.h"

struct x86_cpu;
struct x86_system;

struct lapic {
	struct timer timer;
	pthread_mutex_t lock; /* registers, against the timer's thread */
};

#define LAPIC_DEFAULT_BASE UINT64_C(0xfee00000)
#define LAPIC_BUS_HZ       UINT64_C(1000000000) /* what the timer divides; CPUID.15H:ECX */

/* IA32_APIC_BASE. */
#define APIC_BASE_BSP      UINT64_C(0x100)
#define APIC_BASE_X2APIC   UINT64_C(0x400)
#define APIC_BASE_ENABLE   UINT64_C(0x800)

enum lapic_delivery_mode {
	DELIVERY_FIXED, DELIVERY_LOWEST, DELIVERY_SMI, DELIVERY_NMI = 4, DELIVERY_INIT,
	DELIVERY_SIPI, DELIVERY_EXTINT,
};

void lapic_init(struct x86_cpu *c);
void lapic_fini(struct x86_cpu *c);
void lapic_reset(struct x86_cpu *c);
/* Re-arms the timer after the canonical state was loaded. */
void lapic_load(struct x86_cpu *c);

/* The 4 KiB register page; offset within it. */
uint32_t lapic_mmio_read(struct x86_cpu *c, uint32_t offset);
void lapic_mmio_write(struct x86_cpu *c, uint32_t offset, uint32_t value);

/* x2APIC MSRs 0x800-0x8ff; false: raise #GP(0). */
bool lapic_msr_read(struct x86_cpu *c, uint32_t msr, uint64_t *value);
bool lapic_msr_write(struct x86_cpu *c, uint32_t msr, uint64_t value);
/* IA32_APIC_BASE and IA32_TSC_DEADLINE; false: #GP(0). */
bool lapic_base_write(struct x86_cpu *c, uint64_t value);
uint64_t lapic_tsc_deadline_read(struct x86_cpu *c);
void lapic_tsc_deadline_write(struct x86_cpu *c, uint64_t value);

uint8_t lapic_get_cr8(const struct x86_cpu *c);
void lapic_set_cr8(struct x86_cpu *c, uint8_t cr8);

/* The highest deliverable vector now (above PPR), or -1. */
int lapic_pending(struct x86_cpu *c);
/* Moves it from IRR to ISR and returns it. */
int lapic_acknowledge(struct x86_cpu *c);
/* Whether LINT0 (or a disabled APIC) lets the PIC's INTR through. */
bool lapic_accepts_extint(const struct x86_cpu *c);

/* The vCPU with this (x2)APIC ID, or NULL. Any thread. */
struct x86_cpu *lapic_find(struct x86_system *sys, uint32_t apic_id);

/* An interrupt for this one vCPU. Any thread. */
void lapic_deliver(struct x86_cpu *c, uint8_t vector, enum lapic_delivery_mode mode, bool level);

/* An IPI as the interrupt command register describes it (SDM vol. 3A §11.6.1). */
void lapic_send(struct x86_cpu *c, uint64_t icr);

/* An MSI or IOAPIC message (SDM vol. 3A §11.11), routed to the vCPUs it addresses. Any thread. */
void lapic_message(struct x86_system *sys, uint64_t address, uint32_t data);

#endif
