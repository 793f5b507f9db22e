/* Open files: their bytes go between the file and guest RAM without a copy of ours. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>

#include "backend/fs/pieces.h"
#include "backend/fs/server.h"
#include "base/bits.h"

#define OPEN_FLAGS	(O_ACCMODE | O_APPEND | O_TRUNC | O_SYNC | O_DSYNC)
#define FALLOCATE_MODES                                                                            \
	(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE |                       \
	 FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)
#define QUICK_MAX	(64 * 1024)
#define COPY_MAX (64 * MIB) /* of one call: a thread is busy no longer than that */

/* Root's writes keep set-user-id on the host; in a file of a guest's they must not. */
int fs_kill_suid(int fd)
{
	struct stat st;
	mode_t kill;

	if (fstat(fd, &st))
		return -errno;
	kill = st.st_mode & S_ISUID;
	if (st.st_mode & S_IXGRP)
		kill |= st.st_mode & S_ISGID;
	return kill && fchmod(fd, (st.st_mode & 07777) & ~kill) ? -errno : 0;
}

/* Devices and pipes are the guest's own to open; their nodes in a share are names only. */
int fs_open_inode(struct fuse_call *c, const struct fs_inode *i, uint32_t flags,
		  uint32_t open_flags, int *fd)
{
	int host = (int)(flags & OPEN_FLAGS);
	int rc;

	if (i->type != S_IFREG)
		return i->type == S_IFDIR ? -EISDIR : i->type == S_IFLNK ? -ELOOP : -ENXIO;
	if (c->fs->read_only && ((host & O_ACCMODE) != O_RDONLY || host & O_TRUNC))
		return -EROFS;
	if (c->fs->writeback) { /* it reads pages that it writes in part, and knows where the end is */
		host &= ~O_APPEND;
		if ((host & O_ACCMODE) == O_WRONLY)
			host = (host & ~O_ACCMODE) | O_RDWR;
	}
	*fd = confine_reopen(&c->fs->confine, i->fd, host);
	if (*fd < 0)
		return *fd;
	rc = open_flags & FUSE_OPEN_KILL_SUIDGID && host & O_TRUNC ? fs_kill_suid(*fd) : 0;
	if (rc)
		close(*fd);
	return rc;
}

int op_open(struct fuse_call *c)
{
	struct fuse_open_out out = {.open_flags = FOPEN_KEEP_CACHE};
	struct fuse_open_in in;
	int fd, rc;

	memcpy(&in, c->arg, sizeof(in));
	if (c->quick && in.flags & O_TRUNC)
		return FUSE_LATER;
	rc = fs_open_inode(c, c->inode, in.flags, in.open_flags, &fd);
	if (!rc)
		rc = handle_add(&c->fs->handles, fd, false, &out.fh);
	return rc ? rc : fuse_reply(c, &out, sizeof(out));
}

/* All the pieces; fewer bytes only at the end of the file or on a full disk. */
static ssize_t move_bytes(int fd, struct iovec *iov, unsigned count, uint64_t offset, bool write)
{
	ssize_t done = 0;

	while (count) {
		ssize_t n = write ? pwritev(fd, iov, (int)count, (off_t)offset)
				  : preadv(fd, iov, (int)count, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && !done ? -errno : done;
		done += n;
		offset += (uint64_t)n;
		for (; count && (size_t)n >= iov->iov_len; iov++, count--)
			n -= (ssize_t)iov->iov_len;
		if (count) {
			iov->iov_base = (uint8_t *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return done;
}

/* All or nothing, and only what is in memory; fewer bytes than asked for mean the end of the file. */
static ssize_t read_quickly(int fd, const struct iovec *iov, unsigned count, uint64_t offset,
			    uint32_t size)
{
	ssize_t n = size > QUICK_MAX ? -1 : preadv2(fd, iov, (int)count, (off_t)offset, RWF_NOWAIT);
	struct stat st;

	if (n < 0 || (n < (ssize_t)size && (fstat(fd, &st) || (off_t)offset + n < st.st_size)))
		return FUSE_LATER;
	return n;
}

int op_read(struct fuse_call *c)
{
	struct iovec iov[PIECES_MAX];
	struct fuse_read_in in;
	struct fs_handle *h;
	unsigned count;
	ssize_t n;

	memcpy(&in, c->arg, sizeof(in));
	h = handle_get(&c->fs->handles, in.fh, false);
	if (!h)
		return -EBADF;
	count = pieces_slice(c->req->out, c->req->out_count, sizeof(struct fuse_out_header),
			     LM_MIN(in.size, FS_MAX_WRITE), iov);
	n = c->quick ? read_quickly(h->fd, iov, count, in.offset, in.size)
		     : move_bytes(h->fd, iov, count, in.offset, false);
	handle_put(&c->fs->handles, h);
	if (n < 0)
		return (int)n;
	c->reply_len = (size_t)n;
	c->reply_placed = true;
	return 0;
}

/*
 * What was written in part is written again as a whole, at the same place: not for handles that
 * append.
 */
static ssize_t write_quickly(struct fuse_call *c, int fd, const struct iovec *iov, unsigned count,
			     uint64_t offset, uint32_t size)
{
	ssize_t n;

	if (size > QUICK_MAX || !__atomic_load_n(&c->fs->nowait_writes, __ATOMIC_RELAXED) ||
	    fcntl(fd, F_GETFL) & O_APPEND)
		return FUSE_LATER;
	n = pwritev2(fd, iov, (int)count, (off_t)offset, RWF_NOWAIT);
	if (n < 0 && errno == EOPNOTSUPP)
		__atomic_store_n(&c->fs->nowait_writes, false, __ATOMIC_RELAXED);
	return n == (ssize_t)size ? n : FUSE_LATER;
}

int op_write(struct fuse_call *c)
{
	struct iovec iov[PIECES_MAX];
	struct fuse_write_out out = {0};
	struct fuse_write_in in;
	struct fs_handle *h;
	unsigned count;
	ssize_t n = 0;

	memcpy(&in, c->arg, sizeof(in));
	h = handle_get(&c->fs->handles, in.fh, false);
	if (!h)
		return -EBADF;
	count = pieces_slice(c->req->in, c->req->in_count,
			     sizeof(struct fuse_in_header) + sizeof(in),
			     LM_MIN(in.size, FS_MAX_WRITE), iov);
	if (in.write_flags & FUSE_WRITE_KILL_SUIDGID)
		n = fs_kill_suid(h->fd);
	if (!n)
		n = c->quick ? write_quickly(c, h->fd, iov, count, in.offset, in.size)
			     : move_bytes(h->fd, iov, count, in.offset, true);
	handle_put(&c->fs->handles, h);
	if (n < 0)
		return (int)n;
	out.size = (uint32_t)n;
	return fuse_reply(c, &out, sizeof(out));
}

/* As close does on the host: file systems tell of late errors there. */
int op_flush(struct fuse_call *c)
{
	struct fuse_flush_in in;
	struct fs_handle *h;
	int rc;

	memcpy(&in, c->arg, sizeof(in));
	h = handle_get(&c->fs->handles, in.fh, false);
	if (!h)
		return -EBADF;
	rc = fcntl(h->fd, F_DUPFD_CLOEXEC, 0);
	if (rc >= 0)
		rc = close(rc);
	rc = rc < 0 ? -errno : 0;
	handle_put(&c->fs->handles, h);
	return rc;
}

/* The last close of a deleted file can take as long as the file is large. */
static bool frees_file(struct fuse_call *c, uint64_t fh)
{
	struct fs_handle *h = handle_get(&c->fs->handles, fh, false);
	struct stat st;
	bool deleted;

	if (!h)
		return false;
	deleted = fstat(h->fd, &st) || !st.st_nlink;
	handle_put(&c->fs->handles, h);
	return deleted;
}

int op_release(struct fuse_call *c)
{
	struct fuse_release_in in;

	memcpy(&in, c->arg, sizeof(in));
	if (c->quick && frees_file(c, in.fh))
		return FUSE_LATER;
	return handle_close(&c->fs->handles, in.fh) ? 0 : -EBADF;
}

int op_fsync(struct fuse_call *c)
{
	struct fuse_fsync_in in;
	struct fs_handle *h;
	int rc;

	memcpy(&in, c->arg, sizeof(in));
	h = handle_get(&c->fs->handles, in.fh, false);
	if (!h)
		return -EBADF;
	rc = in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(h->fd) : fsync(h->fd);
	rc = rc < 0 ? -errno : 0;
	handle_put(&c->fs->handles, h);
	return rc;
}

int op_fallocate(struct fuse_call *c)
{
	struct fuse_fallocate_in in;
	struct fs_handle *h;
	int rc;

	memcpy(&in, c->arg, sizeof(in));
	if (in.mode & ~(uint32_t)FALLOCATE_MODES)
		return -EOPNOTSUPP;
	if (in.offset > INT64_MAX || in.length > INT64_MAX)
		return -EFBIG;
	h = handle_get(&c->fs->handles, in.fh, false);
	if (!h)
		return -EBADF;
	rc = fallocate(h->fd, (int)in.mode, (off_t)in.offset, (off_t)in.length) ? -errno : 0;
	handle_put(&c->fs->handles, h);
	return rc;
}

/* Holes only; everything else of a position is the guest's. */
int op_lseek(struct fuse_call *c)
{
	struct fuse_lseek_out out;
	struct fuse_lseek_in in;
	struct fs_handle *h;
	off_t at;
	int rc;

	memcpy(&in, c->arg, sizeof(in));
	if (in.whence != SEEK_DATA && in.whence != SEEK_HOLE)
		return -EINVAL;
	h = handle_get(&c->fs->handles, in.fh, false);
	if (!h)
		return -EBADF;
	at = lseek(h->fd, (off_t)in.offset, (int)in.whence);
	rc = at < 0 ? -errno : 0;
	handle_put(&c->fs->handles, h);
	out.offset = (uint64_t)at;
	return rc ? rc : fuse_reply(c, &out, sizeof(out));
}

int op_copy_file_range(struct fuse_call *c)
{
	struct fuse_copy_file_range_in in;
	struct fuse_write_out out = {0};
	struct fs_handle *from, *to;
	off_t from_at, to_at;
	ssize_t n = -EBADF;

	memcpy(&in, c->arg, sizeof(in));
	if (in.flags)
		return -EINVAL;
	from = handle_get(&c->fs->handles, in.fh_in, false);
	to = handle_get(&c->fs->handles, in.fh_out, false);
	from_at = (off_t)in.off_in;
	to_at = (off_t)in.off_out;
	if (from && to) {
		n = copy_file_range(from->fd, &from_at, to->fd, &to_at, LM_MIN(in.len, COPY_MAX), 0);
		n = n < 0 ? -errno : n;
	}
	if (from)
		handle_put(&c->fs->handles, from);
	if (to)
		handle_put(&c->fs->handles, to);
	out.size = (uint32_t)n;
	return n < 0 ? (int)n : fuse_reply(c, &out, sizeof(out));
}

int op_syncfs(struct fuse_call *c)
{
	int fd = confine_reopen(&c->fs->confine, c->fs->inodes.root.fd, O_RDONLY | O_DIRECTORY);
	int rc;

	if (fd < 0)
		return fd;
	rc = syncfs(fd) ? -errno : 0;
	close(fd);
	return rc;
}
