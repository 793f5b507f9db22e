/*
 * libslirp in a process of its own: what `--net user` uses where passt cannot run. The process has one
 * stream of frames (net_stream.h) and the host's sockets, and gives up everything else before the
 * first frame: no files, no programs, no other kinds of sockets, no more memory than it needs.
 */
#ifndef LM_BACKEND_NET_SLIRP_H
#define LM_BACKEND_NET_SLIRP_H

#include "backend/net.h"
#include "base/err.h"

/* Serves frames on fd until the other end closes it; returns 0 then. */
int net_slirp_serve(int fd, unsigned mtu, const struct net_published *published, unsigned count,
		    struct lm_err *err);

#endif
