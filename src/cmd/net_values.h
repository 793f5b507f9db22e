/* Values of --net, --vsock and -p. */
#ifndef LM_CMD_NET_VALUES_H
#define LM_CMD_NET_VALUES_H

#include "backend/net.h"
#include "base/err.h"

#define NET_SYNTAX     "none|user|tap=NAME|socket=PATH"
#define VSOCK_SYNTAX   "cid=N,uds=PATH"
#define PUBLISH_SYNTAX "[IP:]PORT:GUESTPORT[/udp]"

/*
 * Fills in *net; *backing is heap memory that its strings lie in, the caller's to free, also after a
 * failure. queues stays 0 where none are said.
 */
int value_net(const char *text, struct net_options *net, char **backing, struct lm_err *err);
/* *path points into text. */
int value_vsock(const char *text, uint64_t *cid, const char **path, struct lm_err *err);
int value_published(const char *text, struct net_published *published, struct lm_err *err);

#endif
