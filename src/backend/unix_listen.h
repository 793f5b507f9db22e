/* Listening at a path in the file system. */
#ifndef LM_BACKEND_UNIX_LISTEN_H
#define LM_BACKEND_UNIX_LISTEN_H

#include <sys/un.h>

#include "base/err.h"

/* Fails where the path is too long for a socket's. */
int unix_address(struct sockaddr_un *a, const char *path, struct lm_err *err);
/*
 * A non-blocking stream socket that listens there, for the user alone. A socket that nobody listens at
 * any more, left by a machine that was killed, is replaced; anything else that exists stays.
 */
int unix_listen(const struct sockaddr_un *a, struct lm_err *err);
/* A non-blocking connection to it, or a negative errno. */
int unix_connect(const struct sockaddr_un *a);

#endif
