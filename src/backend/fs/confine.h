/*
 * The only two ways to a file of the share: one name in a folder that is open, and a file that is
 * open in another way.
 *
 * A name has no slash and is neither "." nor "..", symbolic links are never followed, and /proc's
 * links only to reach a descriptor of our own; so whatever a guest says, what is opened lies where a
 * folder of the share lies. There is no path to race against.
 */
#ifndef LM_BACKEND_FS_CONFINE_H
#define LM_BACKEND_FS_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/err.h"

struct confine {
	int proc_fd;	  /* /proc/self/fd */
	bool has_openat2; /* else openat, which is as good for single names */
	bool has_cached;  /* openat2 can be told not to wait for a disk (Linux 5.12) */
};

int confine_init(struct confine *c, struct lm_err *err);
void confine_fini(struct confine *c);

/* A terminated name of 1 to 255 bytes that stays in its folder. */
bool confine_name_ok(const char *name);

/*
 * Opens a name of a folder as O_PATH, the link itself where it is one, and looks at it. -EACCES for
 * what lies in a file system of the kernel's (/proc, /sys), where writing is more than writing files.
 * Returns the descriptor or a negative errno; with `cached` -EAGAIN where it would have to ask a disk.
 */
int confine_lookup(const struct confine *c, int dir_fd, const char *name, bool cached,
		   struct stat *st);

/* Opens what an O_PATH descriptor stands for; only for regular files and folders. */
int confine_reopen(const struct confine *c, int path_fd, int flags);

/* A path by which system calls without a descriptor reach it; not for symbolic links. */
struct confine_path {
	char text[32];
};
struct confine_path confine_path(int path_fd);

#endif
