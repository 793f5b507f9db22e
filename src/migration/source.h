/*
 * The machine that goes away.
 *
 * A thread of its own copies memory and what the guest wrote to ephemeral disks while the guest runs,
 * in rounds: each sends what was written during the one before. When the rest is small enough the
 * guest stands still, the rest and the state follow, and the target loads them. Up to the commit any
 * failure leaves the machine as it was; behind it this one never runs again by itself.
 */
#ifndef LM_MIGRATION_SOURCE_H
#define LM_MIGRATION_SOURCE_H

#include "machine/machine.h"
#include "migration/progress.h"
#include "migration/wire.h"

struct source_options {
	int fd;               /* a connected socket, taken over */
	struct wire_key key;
	unsigned downtime_ms; /* wanted, at most */
};

struct source;

/*
 * On the event loop's thread. `ended` is called there too, from a task, when source_finish may be; with
 * success the machine ends behind it.
 */
int source_start(struct source **out, struct machine *m, const struct source_options *options,
		 void (*ended)(void *opaque), void *opaque, struct lm_err *err);
/* `ended` comes soon. Not once the guest stands still for good. */
void source_cancel(struct source *s);
/* The machine has ended and runs no more tasks: cancels and waits; `ended` is not called. */
void source_abandon(struct source *s);
/* Behind `ended`: how it went; frees s. */
int source_finish(struct source *s, struct lm_err *err);

const struct migration_progress *source_progress(const struct source *s);

#endif
