/* What a disk holds, by samples: whether both sides of a migration see the same one. */
#ifndef LM_MIGRATION_FINGERPRINT_H
#define LM_MIGRATION_FINGERPRINT_H

#include "base/err.h"
#include "dev/blockdev.h"
#include "event/loop.h"

#define FINGERPRINT_SIZE 17 /* hexadecimal digits and NUL */

/* The disk is quiescent and nobody serves the loop. */
int disk_fingerprint(struct event_loop *loop, struct blockdev *dev, char sum[FINGERPRINT_SIZE],
		     struct lm_err *err);

#endif
