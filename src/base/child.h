/*
 * Helper processes: a program with one socket to us, that ends when we do.
 */
#ifndef LM_BASE_CHILD_H
#define LM_BASE_CHILD_H

#include <sys/types.h>

#include "base/err.h"

/* The number under which a child finds its end of the socket. */
#define CHILD_SOCKET_FD 3

struct child {
	pid_t pid;   /* 0: none */
	int socket;  /* our end, non-blocking (stream_pair.h); the caller's to close, or -1 */
	int errors;  /* what it says on standard error, non-blocking; or -1 */
};

/*
 * Starts argv[0] (looked up in PATH), which gets no descriptor of ours but its end of the socket and a
 * standard error that never blocks it. Standard input and output are /dev/null.
 */
int child_start(struct child *c, char *const *argv, struct lm_err *err);
/* The last line of what the child said, without control characters; empty where there is none. */
void child_last_words(const struct child *c, char *buf, unsigned size);
/* Ends and reaps the child; closes `errors`. */
void child_stop(struct child *c);

#endif
