/* The rights of a process that only moves packets between one stream and the host's sockets. */
#ifndef LM_BACKEND_NET_CONFINE_H
#define LM_BACKEND_NET_CONFINE_H

#include "base/err.h"

/* For the whole process, for good. Fails where the kernel has no seccomp. */
int net_confine(struct lm_err *err);

#endif
