/*
 * The host's end of a machine's sockets, by Firecracker's convention: who connects to the Unix socket at
 * PATH and writes "CONNECT PORT\n" is connected to that port of the guest and reads "OK HOSTPORT\n"; a
 * guest that connects to port P of the host reaches whoever listens at PATH_P.
 */
#ifndef LM_BACKEND_VSOCK_H
#define LM_BACKEND_VSOCK_H

#include "base/err.h"
#include "dev/vsockdev.h"
#include "event/loop.h"

/* *out is owned by the caller, for vsock_close. On failure *out is NULL. */
int vsock_open(struct vsockdev **out, const char *path, struct event_loop *loop, struct lm_err *err);
/* NULL is allowed. */
void vsock_close(struct vsockdev *v);

#endif
