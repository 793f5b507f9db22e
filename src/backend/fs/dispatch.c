/* From a request in guest RAM to the operation that serves it, and back. */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "backend/fs/dispatch.h"
#include "backend/fs/pieces.h"
#include "backend/fs/server.h"
#include "base/bits.h"

#define HEADER_SIZE sizeof(struct fuse_in_header)
#define NAME_SPACE  256 /* NAME_MAX and its end */
#define WAITED_PAUSE 100 /* requests, after one that had to wait */

enum operation_flags {
	OP_WRITES = 1,	 /* EROFS where the share is read-only */
	OP_SILENT = 2,	 /* has no reply */
	OP_NO_INODE = 4, /* in.nodeid means nothing */
	OP_FIRST = 8,	 /* also before INIT */
	OP_QUICK = 16,	 /* mostly done in a few microseconds */
};

/* Arguments: a struct of `fixed` bytes, then up to `more` of names or values. */
static const struct operation {
	fuse_op *run;
	uint16_t fixed;
	uint32_t more;
	uint8_t flags;
} operations[] = {
    [FUSE_LOOKUP] = {op_lookup, 0, NAME_SPACE, OP_QUICK},
    [FUSE_FORGET] = {op_forget, sizeof(struct fuse_forget_in), 0, OP_SILENT | OP_NO_INODE},
    [FUSE_GETATTR] = {op_getattr, sizeof(struct fuse_getattr_in), 0, OP_QUICK},
    [FUSE_SETATTR] = {op_setattr, sizeof(struct fuse_setattr_in), 0, OP_WRITES | OP_QUICK},
    [FUSE_READLINK] = {op_readlink, 0, 0, OP_QUICK},
    [FUSE_SYMLINK] = {op_symlink, 0, NAME_SPACE + 4096, OP_WRITES | OP_QUICK},
    [FUSE_MKNOD] = {op_mknod, sizeof(struct fuse_mknod_in), NAME_SPACE, OP_WRITES | OP_QUICK},
    [FUSE_MKDIR] = {op_mkdir, sizeof(struct fuse_mkdir_in), NAME_SPACE, OP_WRITES | OP_QUICK},
    [FUSE_UNLINK] = {op_unlink, 0, NAME_SPACE, OP_WRITES},
    [FUSE_RMDIR] = {op_rmdir, 0, NAME_SPACE, OP_WRITES},
    [FUSE_RENAME] = {op_rename, sizeof(struct fuse_rename_in), 2 * NAME_SPACE, OP_WRITES},
    [FUSE_LINK] = {op_link, sizeof(struct fuse_link_in), NAME_SPACE, OP_WRITES},
    [FUSE_OPEN] = {op_open, sizeof(struct fuse_open_in), 0, OP_QUICK},
    [FUSE_READ] = {op_read, sizeof(struct fuse_read_in), 0, OP_NO_INODE | OP_QUICK},
    [FUSE_WRITE] = {op_write, sizeof(struct fuse_write_in), 0,
		    OP_WRITES | OP_NO_INODE | OP_QUICK},
    [FUSE_STATFS] = {op_statfs, 0, 0, OP_QUICK},
    [FUSE_RELEASE] = {op_release, sizeof(struct fuse_release_in), 0, OP_NO_INODE | OP_QUICK},
    [FUSE_FSYNC] = {op_fsync, sizeof(struct fuse_fsync_in), 0, OP_NO_INODE},
    [FUSE_SETXATTR] = {op_setxattr, FUSE_COMPAT_SETXATTR_IN_SIZE, NAME_SPACE + 65536, OP_WRITES},
    [FUSE_GETXATTR] = {op_getxattr, sizeof(struct fuse_getxattr_in), NAME_SPACE, OP_QUICK},
    [FUSE_LISTXATTR] = {op_listxattr, sizeof(struct fuse_getxattr_in), 0, OP_QUICK},
    [FUSE_REMOVEXATTR] = {op_removexattr, 0, NAME_SPACE, OP_WRITES},
    [FUSE_FLUSH] = {op_flush, sizeof(struct fuse_flush_in), 0, OP_NO_INODE | OP_QUICK},
    [FUSE_INIT] = {op_init, offsetof(struct fuse_init_in, flags2), 0, OP_NO_INODE | OP_FIRST},
    [FUSE_OPENDIR] = {op_opendir, sizeof(struct fuse_open_in), 0, OP_QUICK},
    [FUSE_READDIR] = {op_readdir, sizeof(struct fuse_read_in), 0, OP_QUICK},
    [FUSE_RELEASEDIR] = {op_releasedir, sizeof(struct fuse_release_in), 0, OP_NO_INODE | OP_QUICK},
    [FUSE_FSYNCDIR] = {op_fsyncdir, sizeof(struct fuse_fsync_in), 0, OP_NO_INODE},
    [FUSE_CREATE] = {op_create, sizeof(struct fuse_create_in), NAME_SPACE, OP_WRITES | OP_QUICK},
    [FUSE_INTERRUPT] = {op_interrupt, sizeof(struct fuse_interrupt_in), 0, OP_SILENT | OP_NO_INODE | OP_QUICK},
    [FUSE_DESTROY] = {op_destroy, 0, 0, OP_NO_INODE},
    [FUSE_BATCH_FORGET] = {op_batch_forget, sizeof(struct fuse_batch_forget_in), 65536,
			   OP_SILENT | OP_NO_INODE},
    [FUSE_FALLOCATE] = {op_fallocate, sizeof(struct fuse_fallocate_in), 0, OP_WRITES | OP_NO_INODE},
    [FUSE_READDIRPLUS] = {op_readdirplus, sizeof(struct fuse_read_in), 0, OP_QUICK},
    [FUSE_RENAME2] = {op_rename2, sizeof(struct fuse_rename2_in), 2 * NAME_SPACE, OP_WRITES},
    [FUSE_LSEEK] = {op_lseek, sizeof(struct fuse_lseek_in), 0, OP_NO_INODE},
    [FUSE_COPY_FILE_RANGE] = {op_copy_file_range, sizeof(struct fuse_copy_file_range_in), 0,
			      OP_WRITES | OP_NO_INODE},
    [FUSE_SYNCFS] = {op_syncfs, 0, 0, 0},
};

/* Not here, and what ENOSYS means to the driver: GETLK, SETLK, SETLKW (not asked for: locks are the
 * guest's own), ACCESS (not needed: it checks by attributes), BMAP, IOCTL, POLL, TMPFILE (it has other
 * ways), SETUPMAPPING (no DAX window). */

int fuse_reply(struct fuse_call *c, const void *payload, size_t len)
{
	memcpy(c->reply, payload, len);
	c->reply_len = len;
	return 0;
}

const char *fuse_text(const struct fuse_call *c, size_t *offset)
{
	const char *text = (const char *)c->arg + *offset;
	const char *end = *offset < c->arg_len ? memchr(text, 0, c->arg_len - *offset) : NULL;

	if (!end)
		return NULL;
	*offset += (size_t)(end - text) + 1;
	return text;
}

static void finish(struct fuse_call *c, int rc)
{
	struct fs_request *req = c->req;
	struct fuse_out_header out = {
	    .len = (uint32_t)(sizeof(out) + (rc < 0 ? 0 : c->reply_len)),
	    .error = rc,
	    .unique = c->in.unique,
	};

	if (out.len > req->out_len) { /* the guest left no room for it */
		out.len = sizeof(out);
		out.error = -EIO;
	}
	if (req->out_len < sizeof(out))
		return;
	pieces_write(req->out, req->out_count, 0, &out, sizeof(out));
	if (out.len > sizeof(out) && !c->reply_placed)
		pieces_write(req->out, req->out_count, sizeof(out), c->reply, c->reply_len);
	req->written = out.len;
}

/* Files of other file systems in the share may be anywhere. */
static bool may_wait(const struct fuse_call *c)
{
	return c->quick && c->inode->dev != c->fs->inodes.root.dev;
}

static int run_operation(struct fuse_call *c, const struct operation *op)
{
	struct fs_server *fs = c->fs;
	int rc;

	if (!(op->flags & OP_FIRST) && !__atomic_load_n(&fs->started, __ATOMIC_ACQUIRE))
		return -EINVAL;
	if (op->flags & OP_WRITES && fs->read_only)
		return -EROFS;
	if (c->arg_len < op->fixed)
		return -EINVAL;
	if (op->flags & OP_NO_INODE)
		return op->run(c);
	rc = inode_get(&fs->inodes, c->in.nodeid, &c->inode);
	if (rc)
		return rc;
	rc = may_wait(c) ? FUSE_LATER : op->run(c);
	inode_put(&fs->inodes, c->inode);
	return rc;
}

static bool read_call(struct fuse_call *c, const struct operation **op)
{
	struct fs_request *req = c->req;
	size_t max;

	if (pieces_read(req->in, req->in_count, 0, &c->in, HEADER_SIZE) != HEADER_SIZE)
		return false;
	*op = c->in.opcode < LM_ARRAY_SIZE(operations) ? &operations[c->in.opcode] : NULL;
	if (!*op || !(*op)->run)
		*op = NULL;
	max = *op ? (*op)->fixed + (*op)->more : 0;
	c->arg_len = pieces_read(req->in, req->in_count, HEADER_SIZE, c->arg, max);
	c->arg[c->arg_len] = 0;
	return true;
}

static struct fuse_call new_call(struct fs_server *fs, struct fs_request *req,
				 struct fs_scratch *scratch)
{
	req->written = 0;
	return (struct fuse_call){
	    .fs = fs,
	    .req = req,
	    .arg = scratch->arg,
	    .reply = scratch->reply,
	};
}

static void complete(struct fuse_call *c, const struct operation *op, int rc)
{
	__atomic_fetch_add(&c->fs->dev.requests, 1, __ATOMIC_RELAXED);
	if (rc < 0 && rc != -ENOENT)
		__atomic_fetch_add(&c->fs->dev.errors, 1, __ATOMIC_RELAXED);
	if (!op || !(op->flags & OP_SILENT))
		finish(c, rc);
}

void fuse_serve(void *opaque, struct fs_request *req, struct fs_scratch *scratch)
{
	struct fuse_call c = new_call(opaque, req, scratch);
	const struct operation *op = NULL;
	int rc = -EIO;

	if (read_call(&c, &op))
		rc = op ? run_operation(&c, op) : -ENOSYS;
	complete(&c, op, rc);
}

/* How often this thread has waited for something; being preempted is no waiting. */
static long waits(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_nvcsw;
}

bool fuse_serve_quick(struct fs_server *fs, struct fs_request *req, struct fs_scratch *scratch)
{
	struct fuse_call c = new_call(fs, req, scratch);
	const struct operation *op = NULL;
	long before;
	int rc;

	if (fs->not_quick) {
		fs->not_quick--;
		return false;
	}
	if (!fs->local || !read_call(&c, &op) || !op || !(op->flags & OP_QUICK))
		return false;
	c.quick = true;
	before = waits();
	rc = run_operation(&c, op);
	if (waits() != before)
		fs->not_quick = WAITED_PAUSE;
	if (rc == FUSE_LATER)
		return false;
	complete(&c, op, rc);
	return true;
}
