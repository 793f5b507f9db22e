/*
 * vCPU threads: each runs its engine until an exit, sleeps while halted, and parks when the machine
 * wants all vCPUs to stand still.
 */
#ifndef LM_MACHINE_VCPU_H
#define LM_MACHINE_VCPU_H

#include <pthread.h>
#include <stdbool.h>

#include "engine/engine.h"

struct vcpu_group;

struct vcpu {
	struct vcpu_group *group;
	struct x86_cpu *cpu;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock; /* leaf lock: sleeping and waking */
	pthread_cond_t wake;
	bool sleeping;        /* atomic */
	int64_t rested_ns;    /* when it last rested; 0: it is not throttled */
};

struct vcpu_group {
	const struct engine_ops *engine;
	struct x86_system *sys;
	struct vcpu *vcpu;
	unsigned count;
	pthread_mutex_t lock; /* of parking */
	pthread_cond_t parked_changed, go;
	unsigned parked;
	bool park, quit; /* atomic: what vCPUs are asked */
	unsigned throttle; /* atomic: per cent of their time that they rest */
	/* A vCPU met a triple fault. Called on its thread, no locks held. */
	void (*shutdown)(void *opaque);
	/* The engine cannot go on. One thread at a time. */
	void (*failed)(void *opaque, const char *why);
	void *opaque;
};

/* Creates the vCPUs of sys (engine state included), parked. */
int vcpus_init(struct vcpu_group *g, const struct engine_ops *engine, struct x86_system *sys,
	       unsigned count, struct lm_err *err);
/* Starts the threads; they stay parked until vcpus_resume. */
int vcpus_start(struct vcpu_group *g, struct lm_err *err);
/* Waits until all vCPUs stand at an instruction boundary. Not under the device lock. */
void vcpus_park(struct vcpu_group *g);
/* Also kicks them, which they need often to rest in small pieces. Any thread. */
void vcpus_throttle(struct vcpu_group *g, unsigned percent);
void vcpus_resume(struct vcpu_group *g);
/* Ends the threads and frees everything. */
void vcpus_fini(struct vcpu_group *g);

/* struct x86_system.wake. Any thread. */
void vcpu_wake(void *opaque, struct x86_cpu *c);

#endif
