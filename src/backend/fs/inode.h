/*
 * The files that a guest knows by node id, each with an O_PATH descriptor.
 *
 * Descriptors are few: beyond max_fds those of files (not of folders) that were not used for longest
 * are closed. Such a file is found again by the folder and name where it was seen last, and is taken
 * only if it is still the same file; what loses its name while the guest knows it keeps its descriptor.
 *
 * Any thread; one lock, held for a few instructions or a system call.
 */
#ifndef LM_BACKEND_FS_INODE_H
#define LM_BACKEND_FS_INODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "backend/fs/confine.h"

struct fs_inode {
	int fd;	     /* O_PATH; -1 while closed, never for those in use */
	bool pinned; /* cannot be found by its name */
	mode_t type; /* S_IFMT bits; of one file they never change */
	dev_t dev;
	ino_t ino;
	uint64_t lookups;  /* that the guest has not forgotten */
	unsigned users;	   /* calls in progress */
	unsigned children; /* inodes that were last seen here */
	uint32_t slot;
	struct fs_inode *hash_next;
	struct fs_inode *older, *newer; /* those whose descriptor may be closed */
	struct fs_inode *parent;	/* with name; NULL for folders */
	char *name;
};

struct fs_inodes {
	const struct confine *confine;
	pthread_mutex_t lock; /* guards what follows */
	struct fs_inode root;
	struct fs_inode **slot; /* by node id - FUSE_ROOT_ID; free ones are NULL */
	uint32_t slots, first_free;
	struct fs_inode **bucket; /* by dev and ino */
	uint32_t buckets;	  /* power of two */
	struct fs_inode *oldest, *newest;
	uint32_t count, max;
	unsigned fds, max_fds;
};

int inodes_init(struct fs_inodes *t, const struct confine *confine, int root_fd, uint32_t max,
		unsigned max_fds, struct lm_err *err);
/* The guest has forgotten all but the root. No call is in progress. */
void inodes_clear(struct fs_inodes *t);
void inodes_fini(struct fs_inodes *t);

/* -ENOENT for an id that is not known, -ESTALE where the file cannot be found again. */
int inode_get(struct fs_inodes *t, uint64_t nodeid, struct fs_inode **out);
void inode_put(struct fs_inodes *t, struct fs_inode *i);

/* The guest looked up fd (ours from here on), named so in parent; 0 and *nodeid or -ENFILE. */
int inode_enter(struct fs_inodes *t, int fd, const struct stat *st, struct fs_inode *parent,
		const char *name, uint64_t *nodeid);
void inode_forget(struct fs_inodes *t, uint64_t nodeid, uint64_t lookups);

/* A file has a new name, or is about to lose one; fd is ours from here on. */
void inode_renamed(struct fs_inodes *t, int fd, const struct stat *st, struct fs_inode *parent,
		   const char *name);
void inode_pin(struct fs_inodes *t, int fd, const struct stat *st);

#endif
