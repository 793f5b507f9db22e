/* How far a migration is: written by its thread, read by any other. */
#ifndef LM_MIGRATION_PROGRESS_H
#define LM_MIGRATION_PROGRESS_H

#include <stdint.h>

enum migration_phase { PHASE_CONNECT, PHASE_COPY, PHASE_STOP, PHASE_DONE };

/* All atomic. */
struct migration_progress {
	unsigned phase;    /* enum migration_phase */
	unsigned round;    /* from 1 */
	unsigned throttle; /* per cent of their time that vCPUs stand still */
	uint64_t total;    /* pages to send in this round */
	uint64_t done;     /* of them sent */
	uint64_t pages;    /* sent in all */
	uint64_t bytes;    /* on the wire */
	uint64_t rate;     /* bytes of memory per second, of the last round */
	uint64_t dirty_rate;  /* the guest's */
	uint64_t downtime_us; /* estimated; measured in PHASE_DONE */
};

#define PROGRESS_SET(p, field, value) __atomic_store_n(&(p)->field, (value), __ATOMIC_RELAXED)
#define PROGRESS_GET(p, field)	      __atomic_load_n(&(p)->field, __ATOMIC_RELAXED)

#endif
