/* The default guest: what guest/build left in the user's cache (guest/README.md). */
#ifndef LM_CMD_DEFAULT_GUEST_H
#define LM_CMD_DEFAULT_GUEST_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"

struct default_guest {
	char kernel[PATH_MAX];
	char initrd[PATH_MAX];
	char disk[PATH_MAX];
	char cmdline[1024];
	bool shares; /* it knows shared folders; builds before them do not */
};

/* Finds it under $XDG_CACHE_HOME or ~/.cache; -ENOENT with advice when it was never built. */
int default_guest_find(struct default_guest *guest, struct lm_err *err);

#endif
