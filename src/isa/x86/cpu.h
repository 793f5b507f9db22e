/*
 * One vCPU as the software engines run it: the canonical state plus what is derived from it.
 *
 * Everything below `s` can be rebuilt from `s` (x86_cpu_load) and is folded back into it by
 * x86_cpu_save; engines keep to this, so a state taken at any instruction boundary is complete.
 * A vCPU is used by its own thread only, except for `events`, the LAPIC's IRR, and what is said to
 * be callable from any thread.
 */
#ifndef LM_ISA_X86_CPU_H
#define LM_ISA_X86_CPU_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/fields.h"
#include "event/loop.h"
#include "isa/x86/decode.h"
#include "isa/x86/lapic.h"
#include "isa/x86/model.h"
#include "isa/x86/state.h"
#include "isa/x86/tlb.h"
#include "mem/io.h"
#include "mem/ram.h"

#define X86_MAX_CPUS 255

/* Bits of x86_cpu.events: why the run loop must look up from running instructions. */
#define EV_INTERRUPT 0x001u /* the LAPIC may have a deliverable vector */
#define EV_EXTINT    0x002u /* the PIC's INTR line is high and may be deliverable */
#define EV_NMI       0x004u
#define EV_NMI_AGAIN 0x100u /* another NMI came while EV_NMI was set */
#define EV_INIT      0x008u
#define EV_SIPI      0x010u
#define EV_KICK      0x020u /* leave run() with EXIT_KICKED */
#define EV_TRAP      0x040u /* s.interrupt_shadow, TF, a pending debug trap, or VIF with VIP */
#define EV_SHUTDOWN  0x080u /* triple fault: leave run() with EXIT_SHUTDOWN */
#define EV_CODE      0x800u /* translated code was overwritten: the translator reads the log */
#define EV_TLB       0x200u /* flush this vCPU's TLB (another thread asks) */
#define EV_UNHALT    0x400u /* a paravirtual kick: the next (or present) HLT ends */

/* An exception on its way to delivery. */
struct x86_fault {
	uint8_t vector;
	bool has_error;
	uint32_t error;
	uint64_t address;  /* #PF: CR2; #DB: the DR6 bits to set */
};

struct x86_trace;
struct x86_system;

struct x86_counters {
	uint64_t instructions, exceptions, interrupts, tlb_misses, decodes, io_exits, mmio_exits, hlts,
		pauses;
};

/* What a translating engine tells about its code; all NULL: nothing. */
struct x86_listing {
	FILE *blocks;    /* listings of the blocks with the instruction at ... */
	uint64_t block;  /* ... this guest-virtual address */
	FILE *perf_map;  /* in the format of perf's /tmp/perf-PID.map */
};

/*
 * Of an engine that keeps the local APICs itself. s.lapic is current only while saved then; messages
 * go to the engine, and it is told the message of each IOAPIC pin whose EOI it must report.
 */
struct x86_irqchip {
	/* An MSI or IOAPIC message. Any thread. */
	void (*message)(struct x86_system *sys, uint64_t address, uint32_t data);
	/* The pin, level-triggered, sends this from now on; data 0: it is none. Under the device lock. */
	void (*route)(struct x86_system *sys, unsigned pin, uint64_t address, uint32_t data);
};

/* What all vCPUs of one machine share. Filled by the machine before the first run. */
struct x86_system {
	struct ram *ram;
	const struct mem_io *io;
	struct event_loop *loop;
	struct x86_model model;              /* CPUID policy */
	uint64_t tsc_hz;
	struct x86_cpu *cpu[X86_MAX_CPUS];
	unsigned cpu_count;
	const struct x86_trace *trace;       /* NULL: off */
	struct x86_listing listing;
	pthread_mutex_t split_lock;          /* for locked accesses no host atomic can do */
	void *engine;                        /* the engine's own, for all vCPUs */
	const struct x86_irqchip *irqchip;   /* the engine's; NULL: lapic.c is the local APIC */
	/* The PIC: returns the vector for an ExtINT acknowledge. Takes the device lock itself. */
	int (*pic_ack)(void *opaque);
	/* EOI of a level-triggered vector, for the IOAPIC. Takes the device lock itself. */
	void (*eoi)(void *opaque, uint8_t vector);
	/* A vCPU got an event while it may be sleeping: wake its thread. Any thread. */
	void (*wake)(void *opaque, struct x86_cpu *c);
	void *opaque;
	unsigned unknown_msrs;               /* atomic: accesses to MSRs that do not exist */
};

/* Arithmetic flags of the last operation, computed when asked for (flags.h). */
struct lazy_flags {
	bool valid;       /* false: the arithmetic flags stand in s.rflags */
	uint8_t bits;     /* operand width of the operation: 8, 16, 32 or 64 */
	uint64_t result;  /* sign-extended to 64 bits */
	uint64_t carries; /* carry (borrow) out of each bit position */
};

/*
 * Where instructions are fetched from: the current code page. Whatever changes translations or the
 * mode sets `page` to FETCH_NONE.
 */
#define FETCH_NONE UINT64_MAX

struct fetch_window {
	uint64_t page;         /* gva of the page, or FETCH_NONE */
	uint64_t gpa;          /* of the page */
	const uint8_t *hva;    /* NULL: not RAM */
};

/* Which addresses were translated by pages larger than 4 KiB. */
struct x86_large_pages {
	uint64_t low, high; /* low > high: none */
	uint64_t bytes;     /* the largest of them */
};

struct x86_cpu {
	struct x86_state s;

	/* Derived from s; see x86_mode_changed. */
	enum x86_code_size code_size;
	uint8_t cpl;
	uint8_t stack_size;          /* bytes of SP in use: 2, 4 or 8 */
	bool real_or_v86;            /* CR0.PE = 0 or EFLAGS.VM = 1 */
	uint8_t guard_traps;         /* GUARD_ classes that trap now */
	bool flat_data;              /* 64-bit, or DS, ES, SS are flat 4 GiB read/write segments */
	struct x86_tlb *tlb;         /* the set for the current privilege: tlb_set[...] */
	struct lazy_flags lf;
	struct fetch_window fetch;

	/* The instruction being executed. */
	uint64_t next_rip;
	const struct insn *insn;
	struct x86_fault fault;      /* what x86_raise threw */
	bool delivering;             /* an event is being delivered: the next fault may be a #DF */
	uint8_t delivering_vector;
	jmp_buf unwind;              /* of the run loop */
	uint64_t fault_at;           /* count.instructions at the last fault ... */
	unsigned faults_in_row;      /* ... and the faults since the last instruction */
	uint64_t pending_db;         /* DR6 bits of traps to be taken after this instruction */
	bool repeat;                 /* a REP instruction stopped between iterations: rip stays */

	uint32_t events;             /* atomic */
	bool extint;                 /* the PIC's INTR line; atomic */
	bool access_checks;          /* #AC or data breakpoints active: every access is slow */

	struct x86_system *sys;
	unsigned index;
	struct lapic lapic;          /* runtime part; registers are s.lapic */
	struct x86_counters count;
	void *engine;                /* the engine's own */
	void *interp;                /* the interpreter's own: other engines fall back on it */
	/*
	 * An engine may hold the x87 and SIMD registers elsewhere (simd_away is 0xff, else 0): whoever
	 * needs them in s calls simd_home.
	 */
	uint8_t simd_away;
	void (*simd_home)(struct x86_cpu *c);
	void (*on_event)(struct x86_cpu *c); /* an event was raised, maybe by another thread */
	void *vcpu;                  /* the machine's own */

	struct x86_tlb tlb_set[TLB_SETS];
	struct x86_large_pages large[2]; /* used since the last full flush, by bit 63 of the address */
	/* An engine with translations of its own learns what becomes stale; on the vCPU's thread. */
	void (*on_flush)(struct x86_cpu *c, const struct tlb_flush *f);
};

/* Power-on (INIT = false) or INIT reset (SDM vol. 3A table 9-1). */
void x86_cpu_reset(struct x86_cpu *c, bool init);

/* Heap; index is the vCPU's number and APIC ID. NULL when out of memory. */
struct x86_cpu *x86_cpu_create(struct x86_system *sys, unsigned index);
void x86_cpu_destroy(struct x86_cpu *c);

/*
 * s as a snapshot holds it (between x86_cpu_save and x86_cpu_load of the engine); loading checks all
 * that no guest could have broken from inside.
 */
extern const struct fields_section x86_cpu_section;
extern const struct field x86_state_fields[];

/* Rebuilds everything derived from s; folds the derived parts (lazy flags) back into s. */
void x86_cpu_load(struct x86_cpu *c);
void x86_cpu_save(struct x86_cpu *c);

/*
 * To be called after any change of CR0, CR4, XCR0, EFER, a segment register, EFLAGS.VM, EFLAGS.AC,
 * DR7 or FSW: recomputes code_size, cpl, stack_size, real_or_v86, guard_traps, access_checks,
 * flat_data and the TLB set.
 */
void x86_mode_changed(struct x86_cpu *c);

/* Sets event bits and wakes the vCPU if it sleeps. Any thread. */
void x86_event_raise(struct x86_cpu *c, uint32_t bits);

/* The PIC's INTR line changed. Any thread. */
void x86_extint_set(struct x86_cpu *c, bool level);
static inline bool x86_extint(const struct x86_cpu *c)
{
	return __atomic_load_n(&c->extint, __ATOMIC_ACQUIRE);
}

static inline void x86_event_clear(struct x86_cpu *c, uint32_t bits)
{
	__atomic_fetch_and(&c->events, ~bits, __ATOMIC_ACQ_REL);
}

static inline uint32_t x86_events(const struct x86_cpu *c)
{
	return __atomic_load_n(&c->events, __ATOMIC_RELAXED);
}

/* From the vCPU's own thread, where no wake-up is needed. */
static inline void x86_event_set(struct x86_cpu *c, uint32_t bits)
{
	__atomic_fetch_or(&c->events, bits, __ATOMIC_RELAXED);
}

static inline bool x86_long_mode(const struct x86_cpu *c)
{
	return c->s.efer & EFER_LMA;
}

/* 48-bit linear addresses (no LA57): bits 63-47 are equal. */
static inline bool x86_canonical(uint64_t linear)
{
	return (uint64_t)((int64_t)(linear << 16) >> 16) == linear;
}

/* True when gpa is in this vCPU's enabled xAPIC page. */
static inline bool lapic_owns(const struct x86_cpu *c, gpa_t gpa)
{
	return (c->s.apic_base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE &&
	       (gpa.v & ~PAGE_MASK) == (c->s.apic_base & ~PAGE_MASK);
}

static inline bool x86_v86(const struct x86_cpu *c)
{
	return c->s.rflags & FLAG_VM;
}

static inline bool x86_protected(const struct x86_cpu *c)
{
	return !c->real_or_v86;
}

static inline unsigned x86_iopl(const struct x86_cpu *c)
{
	return (unsigned)(c->s.rflags & FLAG_IOPL) >> FLAG_IOPL_SHIFT;
}

/*
 * CLI and STI act on VIF, as do PUSHF, POPF, INT n and IRET in virtual-8086 mode (SDM vol. 3B
 * §20.3.2, §20.4).
 */
static inline bool x86_virtual_interrupts(const struct x86_cpu *c)
{
	if (x86_iopl(c) == 3 || c->cpl != 3)
		return false;
	return c->s.cr4 & (x86_v86(c) ? CR4_VME : CR4_PVI);
}

/* The monitor wants to be asked before the next instruction: #GP(0). */
static inline bool x86_virtual_interrupt_due(const struct x86_cpu *c)
{
	const uint64_t both = FLAG_VIF | FLAG_VIP;

	return LM_UNLIKELY((c->s.rflags & both) == both) && x86_virtual_interrupts(c);
}

/* The guest's time-stamp counter now (without RDTSC's checks). */
uint64_t x86_tsc(const struct x86_cpu *c);

#endif
