/*
 * The inside of the FUSE server. A request comes from the queue to a worker thread (work_pool.h), is
 * copied and checked against a table of operations (dispatch.c), and served by one function of op_*.c,
 * which finds files through inode.h and handle.h and reaches them through confine.h.
 */
#ifndef LM_BACKEND_FS_SERVER_H
#define LM_BACKEND_FS_SERVER_H

#include <linux/fuse.h>

#include "backend/fs.h"
#include "backend/fs/confine.h"
#include "backend/fs/handle.h"
#include "backend/fs/inode.h"
#include "backend/work_pool.h"
#include "dev/fsdev.h"

#define FS_MAX_WRITE (1024 * 1024)
#define FS_ARG_MAX   (66 * 1024) /* the largest: an attribute of XATTR_SIZE_MAX with its name */
#define FS_REPLY_MAX (64 * 1024) /* of replies that are built; files' data go straight to the guest */

struct fs_scratch {
	_Alignas(8) uint8_t arg[FS_ARG_MAX + 1];
	_Alignas(8) uint8_t reply[FS_REPLY_MAX];
};

struct fs_server {
	struct fsdev dev;
	struct work_pool pool;
	struct fs_scratch scratch[WORK_POOL_THREADS + 1]; /* the last: of what submit serves itself */
	struct confine confine;
	struct fs_inodes inodes;
	struct fs_handles handles;
	bool read_only, keep_owners, writeback;
	uid_t new_uid; /* of what the guest makes where owners are not kept; -1: lamina's */
	gid_t new_gid;
	mode_t umask; /* of the process */
	unsigned cache_s;
	bool started; /* INIT was answered; atomic */
	bool local;   /* the folder is on a file system of this host: quick requests are quick */
	bool nowait_writes; /* until the file system says that it cannot; atomic */
	unsigned not_quick; /* so many requests go to the threads, since one had to wait */
};

struct fuse_call {
	struct fs_server *fs;
	struct fs_request *req;
	struct fuse_in_header in;
	struct fs_inode *inode; /* of in.nodeid, where the operation has one */
	uint8_t *arg;		/* what follows the header, a zero byte behind it */
	size_t arg_len;
	uint8_t *reply; /* FS_REPLY_MAX bytes, for whoever builds a reply */
	size_t reply_len;
	bool reply_placed; /* the payload is in the guest already */
	bool quick;	   /* under the device lock: what would wait for a disk says FUSE_LATER */
};

#define FUSE_LATER (-4096) /* no errno: serve it again where it may wait; nothing has been done yet */

/* Returns 0 or a negative errno, which is what the guest sees. */
typedef int fuse_op(struct fuse_call *c);

/* The reply is these bytes; in c->reply already for fuse_reply_built. */
int fuse_reply(struct fuse_call *c, const void *payload, size_t len);
/* The name (or other text) at `offset` of the argument, NULL where it has no end; moves *offset. */
const char *fuse_text(const struct fuse_call *c, size_t *offset);

/* attr.c */
void fs_fill_attr(const struct fs_server *fs, const struct stat *st, struct fuse_attr *attr);
void fs_fill_entry(const struct fs_server *fs, const struct stat *st, struct fuse_entry_out *entry);

/* Looks a name up and lets the guest know the inode: the rest of what a name's reply needs. */
int fs_lookup(struct fuse_call *c, struct fs_inode *dir, const char *name,
	      struct fuse_entry_out *entry);

/* Opens an inode as the guest asks, for a handle; *fd is the caller's. */
int fs_open_inode(struct fuse_call *c, const struct fs_inode *i, uint32_t flags,
		  uint32_t open_flags, int *fd);
/* Clears set-user-id and set-group-id as a write by somebody without CAP_FSETID does. */
int fs_kill_suid(int fd);

fuse_op op_init, op_destroy, op_forget, op_batch_forget, op_interrupt;
fuse_op op_lookup, op_mknod, op_mkdir, op_symlink, op_link, op_unlink, op_rmdir, op_rename,
    op_rename2, op_readlink, op_create;
fuse_op op_getattr, op_setattr, op_statfs;
fuse_op op_open, op_read, op_write, op_flush, op_release, op_fsync, op_fallocate, op_lseek,
    op_copy_file_range, op_syncfs;
fuse_op op_opendir, op_readdir, op_readdirplus, op_releasedir, op_fsyncdir;
fuse_op op_getxattr, op_setxattr, op_listxattr, op_removexattr;

#endif
