/* The inside of a network backend: what net.c knows of the kinds. */
#ifndef LM_BACKEND_NET_IMPL_H
#define LM_BACKEND_NET_IMPL_H

#include "backend/net.h"

struct net_backend {
	struct netdev dev;
	const char *name;
	void (*close)(struct net_backend *net); /* frees it */
};

/* Openers of the kinds: *out is set on success only. */
int net_user_open(struct net_backend **out, const struct net_options *options,
		  struct event_loop *loop, struct lm_err *err);
int net_socket_open(struct net_backend **out, const struct net_options *options,
		    struct event_loop *loop, struct lm_err *err);
int net_tap_open(struct net_backend **out, const struct net_options *options,
		 struct event_loop *loop, struct lm_err *err);

#endif
