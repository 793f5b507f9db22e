/*
 * The engine boundary: like KVM's, run() carries a vCPU until the machine has to look at it.
 *
 * An engine executes struct x86_cpu from and to its canonical state and reaches what is outside RAM
 * only through struct mem_io. It never knows a device. Engines are const descriptors, listed in
 * engine.c.
 */
#ifndef LM_ENGINE_ENGINE_H
#define LM_ENGINE_ENGINE_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "isa/x86/cpu.h"

enum exit_reason {
	EXIT_BUDGET,   /* max_insns were executed */
	EXIT_HALTED,   /* HLT, or waiting for SIPI: sleep until event_wakes */
	EXIT_KICKED,   /* EV_KICK was raised (and is cleared), or event_only_faults */
	EXIT_SHUTDOWN, /* triple fault */
	EXIT_FAILED,   /* the host cannot go on: failure() says why */
};

enum dirty_log { DIRTY_LOG_START, DIRTY_LOG_COLLECT, DIRTY_LOG_STOP };

#define ENGINE_NO_BUDGET UINT64_MAX

struct engine_ops {
	const char *name;
	const char *summary; /* one line for help and doctor */
	unsigned cpus_max;   /* so many vCPUs can a machine have */
	bool exact;          /* executes instruction by instruction: budgets, virtual clocks, traces */

	/* 0 when this host can run it; else the reason in err. */
	int (*probe)(struct lm_err *err);
	/* What this host makes it do without, for doctor: "" where that is nothing; NULL: never anything. */
	void (*shortfall)(char *text, size_t size);
	/*
	 * Before vCPUs are created, with ram, io and model set: makes sys->engine, takes from the model
	 * what this host cannot give a guest, and sets the TSC's frequency to one that it can. NULL:
	 * nothing to do. system_destroy after the last vCPU, and after a failure too.
	 */
	int (*system_create)(struct x86_system *sys, struct lm_err *err);
	void (*system_destroy)(struct x86_system *sys);
	/* Allocates what the engine keeps for a vCPU (c->engine). */
	int (*vcpu_create)(struct x86_cpu *c, struct lm_err *err);
	void (*vcpu_destroy)(struct x86_cpu *c);
	/*
	 * On the vCPU's own thread. Executes at most max_insns instructions (exactly that many when
	 * it returns EXIT_BUDGET; delivering an event counts as none).
	 */
	enum exit_reason (*run)(struct x86_cpu *c, uint64_t max_insns);
	/* Makes run() return soon with EXIT_KICKED. Any thread. */
	void (*kick)(struct x86_cpu *c);
	/* Makes c->s complete and current; adopts a c->s written from outside. vCPU not running. */
	void (*state_save)(struct x86_cpu *c);
	void (*state_load)(struct x86_cpu *c);
	/* Behind EXIT_FAILED: one line. NULL where run() never fails. */
	const char *(*failure)(const struct x86_cpu *c);
	/*
	 * Dirty tracking (mem/dirty.h): the vCPU, which does not run, keeps no shortcut for writes
	 * that would not be noted. An engine that has neither this nor dirty_log does not note writes.
	 */
	void (*forget_writes)(struct x86_cpu *c);
	/*
	 * For an engine whose vCPUs' writes are noted elsewhere (by hardware): starts, brings what
	 * was noted since the last time to sys->ram->dirty, stops. No vCPU runs. NULL: nothing to do.
	 */
	int (*dirty_log)(struct x86_system *sys, enum dirty_log what, struct lm_err *err);
	/* The engine's own counters of a vCPU, as "vcpuN.name value" lines; may be NULL. */
	void (*print_stats)(const struct x86_cpu *c, FILE *out);
};

/* NULL-terminated; `auto` takes the first that this host can run. */
extern const struct engine_ops *const engines[];

/* By name, or NULL. */
const struct engine_ops *engine_find(const char *name);

#endif
