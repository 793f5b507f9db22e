/*
 * Trying out what the host may forbid: in a child with a time limit, since a sandbox may answer a
 * system call with death, and a driver may never answer.
 */
#ifndef LM_BASE_PROBE_CHILD_H
#define LM_BASE_PROBE_CHILD_H

enum probe_outcome {
	PROBE_ANSWERED, /* value holds what the probe returned */
	PROBE_KILLED,	/* value holds the signal */
	PROBE_TIMEOUT,
	PROBE_UNTRIED, /* no child could be made; value holds the errno */
};

struct probe_result {
	enum probe_outcome outcome;
	long value;
};

/* Runs probe() in a child; takes at most about limit_ms. Not while other threads run. */
struct probe_result probe_in_child(long (*probe)(void), int limit_ms);

#endif
