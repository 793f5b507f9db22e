/*
 * Networks behind a struct netdev (dev/netdev.h):
 *
 * - user: the host's network without any right, by a process of its own that does TCP and UDP for the
 *   guest with ordinary sockets: passt, or where that cannot run libslirp in a confined helper;
 * - socket: frames over a Unix stream socket to another machine, with 4 bytes of length in front, as
 *   QEMU's `-netdev stream` does; the first of two comes listens, the second connects;
 * - tap: an interface of the host's.
 */
#ifndef LM_BACKEND_NET_H
#define LM_BACKEND_NET_H

#include "base/err.h"
#include "dev/netdev.h"
#include "event/loop.h"

#define NET_MAX_PUBLISHED 32

enum net_kind { NET_USER, NET_SOCKET, NET_TAP };

enum net_user_kind { NET_USER_AUTO, NET_USER_PASST, NET_USER_SLIRP };

/* A port of the host's that leads to one of the guest's. */
struct net_published {
	char address[46]; /* of the host to listen on, IPv4 or IPv6; empty: all */
	uint16_t host_port, guest_port;
	bool udp;
};

struct net_options {
	enum net_kind kind;
	enum net_user_kind user;
	const char *name; /* of the tap interface, or the socket's path */
	uint8_t mac[6];	  /* the guest's; all zero: one is made up */
	unsigned mtu;	  /* 0: the most that the backend can do */
	unsigned queues;  /* queue pairs that the device will have */
	struct net_published published[NET_MAX_PUBLISHED];
	unsigned published_count;
};

/* *out is owned by the caller, for net_close. On failure *out is NULL. Watches from loop. */
int net_open(struct netdev **out, const struct net_options *options, struct event_loop *loop,
	     struct lm_err *err);
/* The loop does not run any more. NULL is allowed. */
void net_close(struct netdev *dev);

/* What stands behind the network, for `lamina doctor` and logs: "passt", "libslirp", ... */
const char *net_backend_name(const struct netdev *dev);

#endif
