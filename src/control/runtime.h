/*
 * The runtime directory: where each machine of this user has a socket NAME.sock, by which it is found.
 *
 * It is $XDG_RUNTIME_DIR/lamina where that variable names a directory of ours, else /tmp/lamina-UID;
 * machines are looked for in both. A directory that is a symbolic link, belongs to somebody else or is
 * open to others is refused. Sockets without a listener are what killed machines left behind; whoever
 * meets one removes it, under a lock on the directory.
 */
#ifndef LM_CONTROL_RUNTIME_H
#define LM_CONTROL_RUNTIME_H

#include <limits.h>
#include <stddef.h>

#include "base/err.h"

#define RUNTIME_NAME_MAX 64

/* 1 to 64 letters, digits, dots, dashes and underscores, the first a letter or digit. */
int runtime_check_name(const char *name, struct lm_err *err);

struct runtime_socket {
	int fd;	     /* listening, close-on-exec, not blocking */
	int dir;     /* where the socket's file is */
	char name[RUNTIME_NAME_MAX + 1];
};

/*
 * A listening socket for a new machine; two machines never have the same name. With name NULL one is
 * made up ("vm-PID").
 */
int runtime_listen(struct runtime_socket *s, const char *name, struct lm_err *err);
/* Removes the socket's file and closes it. */
void runtime_unlisten(struct runtime_socket *s);

/* A connected, blocking socket to the machine, or a negative errno (-ENOENT: there is no such one). */
int runtime_connect(const char *name, struct lm_err *err);

/* Names of machines, sorted; for runtime_free_names. Sockets of dead ones are removed on the way. */
int runtime_names(char ***names, size_t *count, struct lm_err *err);
void runtime_free_names(char **names, size_t count);

#endif
