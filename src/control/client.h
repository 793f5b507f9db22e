/* The other end of a control socket, for verbs: blocking calls. */
#ifndef LM_CONTROL_CLIENT_H
#define LM_CONTROL_CLIENT_H

#include <jansson.h>
#include <sys/types.h>

#include "base/err.h"

struct control_client {
	int fd;
	pid_t pid;   /* of the machine; 0 where it is not visible */
	char *name;  /* owned */
	char *in;    /* what has come and not been used */
	size_t in_used, in_size;
};

#define CONTROL_NO_TIMEOUT 0

int control_client_open(struct control_client *c, const char *name, struct lm_err *err);
void control_client_close(struct control_client *c);

struct control_call {
	const char *command;
	json_t *args;	/* stolen; NULL for none */
	const int *fd;	/* to go along */
	unsigned fds;
	int timeout_ms; /* without a sign of life; CONTROL_NO_TIMEOUT */
	/* May be NULL. The message is borrowed. */
	void (*progress)(void *opaque, const json_t *message);
	void *opaque;
};

/* One command and its answer, for json_decref; NULL where that is not wanted. */
int control_call(struct control_client *c, const struct control_call *call, json_t **result,
		 struct lm_err *err);

/* A command without arguments and answer, on a connection of its own. */
int control_tell(const char *name, const char *command, struct lm_err *err);

/* Waits until the machine's process has ended: 0, or -ETIMEDOUT without a word in err. */
int control_wait_end(struct control_client *c, int timeout_ms);

#endif
