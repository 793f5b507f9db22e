/* The inside of a source, for its files: source.c has the thread, rounds.c what it sends. */
#ifndef LM_MIGRATION_SOURCE_IMPL_H
#define LM_MIGRATION_SOURCE_IMPL_H

#include <pthread.h>

#include "migration/frame.h"
#include "migration/pages.h"
#include "migration/source.h"

struct source_disk {
	struct blockdev *dev;
	struct dirty_map *writes;
	uint64_t *todo; /* pieces of 4 KiB to send; NULL: nothing of this disk is */
	bool shared;    /* written to, on a path that the target opens too */
	bool detached;
};

/* What the event loop's thread does when the guest does not stand still for us any more. */
enum verdict { VERDICT_NONE, VERDICT_GO_ON, VERDICT_PAUSE, VERDICT_GONE };

struct source {
	struct machine *m;
	struct source_options options;
	void (*ended)(void *opaque);
	void *opaque;
	pthread_t thread;
	struct wire wire;
	struct pages batch;
	uint8_t *body; /* of a frame */
	json_t *manifest;
	uint64_t *todo, words; /* pages of memory to send */
	struct source_disk disk[MACHINE_MAX_DISKS];
	unsigned disks;
	struct migration_progress progress;
	bool tracking;

	/* The thread and the event loop's meet here; under lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct machine_task task;
	int (*call)(struct source *s, struct lm_err *err);
	bool called, abandoned, cancelled;
	enum verdict verdict;

	int64_t held_ns; /* when the guest came to stand still */
	int result;
	struct lm_err err;
};

int64_t source_now_ns(void);

/* Sends everything that is marked in todo; counts it. With `still` the guest stands still. */
int source_send_round(struct source *s, bool still, struct lm_err *err);
/* Waits until the target has taken the round, so that rates are true. */
int source_end_round(struct source *s, struct lm_err *err);
/* Pages that are marked, of memory and disks. */
uint64_t source_pending(const struct source *s);

#endif
