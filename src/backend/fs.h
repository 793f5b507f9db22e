/* Shared folders: a FUSE server (protocol 7.31 and later) that never leaves its root. */
#ifndef LM_BACKEND_FS_H
#define LM_BACKEND_FS_H

#include <stdbool.h>

#include "base/err.h"
#include "dev/fsdev.h"
#include "event/loop.h"

enum fs_owners {
	FS_OWNERS_DEFAULT, /* keep for root, squash for others */
	FS_OWNERS_KEEP,	   /* the guest's user and group numbers are the host's; root only */
	/*
	 * In the guest all files are root's. What it makes belongs to the user who runs lamina, or,
	 * where that is root, to the owner of the folder.
	 */
	FS_OWNERS_SQUASH,
};

struct fs_options {
	const char *path;
	const char *tag; /* longer ones are cut */
	bool read_only;
	enum fs_owners owners;
	unsigned cache_s; /* how long the guest may believe names and attributes */
	bool writeback;	  /* the guest keeps written data back; only where nobody else writes */
	bool synchronous; /* serve within submit: deterministic machines */
	/* That the guest may know at once: bounds our memory (about 150 bytes each and their names). */
	unsigned max_files;
	unsigned shares; /* of the machine: they share the process' descriptors */
};

/* Heap. `path` is opened here and may change its name later. */
int fs_open(struct fsdev **out, const struct fs_options *options, struct event_loop *loop,
	    struct lm_err *err);
/* Under the device lock, NULL allowed. */
void fs_close(struct fsdev *dev);

#endif
