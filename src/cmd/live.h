/* A machine in this process, from its making to its end: what run and restore have in common. */
#ifndef LM_CMD_LIVE_H
#define LM_CMD_LIVE_H

#include "machine/machine.h"

struct live_options {
	const char *name;    /* of the control socket; NULL: one is made up */
	const char *symbols; /* for a backtrace at a bad end, or NULL */
	bool stats;
	unsigned timeout_s;  /* as the machine has it, for messages */
};

/*
 * Opens the control socket, makes the machine and runs it. Returns the exit status of the process, or
 * a negative errno.
 */
int live_run(const struct live_options *o,
	     int (*make)(void *opaque, struct machine **out, struct lm_err *err), void *opaque,
	     struct lm_err *err);

/* The exit status for how a machine ended, and a line where that is not plain. */
int live_status(const struct machine_result *result, unsigned timeout_s);

#endif
