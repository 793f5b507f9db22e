/* GETATTR, SETATTR, STATFS: what a file is beside its bytes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backend/fs/server.h"

#define NSEC_MAX 999999999u

/* Numbers of the root's file system as they are; those of others are moved out of their way. */
static uint64_t inode_number(const struct fs_server *fs, const struct stat *st)
{
	uint64_t other = st->st_dev ^ fs->inodes.root.dev;

	return st->st_ino ^ other << 48;
}

void fs_fill_attr(const struct fs_server *fs, const struct stat *st, struct fuse_attr *attr)
{
	*attr = (struct fuse_attr){
	    .ino = inode_number(fs, st),
	    .size = (uint64_t)st->st_size,
	    .blocks = (uint64_t)st->st_blocks,
	    .atime = (uint64_t)st->st_atim.tv_sec,
	    .mtime = (uint64_t)st->st_mtim.tv_sec,
	    .ctime = (uint64_t)st->st_ctim.tv_sec,
	    .atimensec = (uint32_t)st->st_atim.tv_nsec,
	    .mtimensec = (uint32_t)st->st_mtim.tv_nsec,
	    .ctimensec = (uint32_t)st->st_ctim.tv_nsec,
	    .mode = st->st_mode,
	    .nlink = (uint32_t)st->st_nlink,
	    .uid = fs->keep_owners ? st->st_uid : 0,
	    .gid = fs->keep_owners ? st->st_gid : 0,
	    /* The kernel's new encoding of device numbers (include/linux/kdev_t.h). */
	    .rdev = (minor(st->st_rdev) & 0xff) | major(st->st_rdev) << 8 |
		    (minor(st->st_rdev) & ~0xffu) << 12,
	    .blksize = (uint32_t)st->st_blksize,
	};
}

void fs_fill_entry(const struct fs_server *fs, const struct stat *st, struct fuse_entry_out *entry)
{
	fs_fill_attr(fs, st, &entry->attr);
	entry->entry_valid = entry->attr_valid = fs->cache_s;
}

/* By an inode's descriptor, which tells the truth of open and of deleted files as well. */
static int reply_attr(struct fuse_call *c)
{
	struct fuse_attr_out out = {.attr_valid = c->fs->cache_s};
	struct stat st;

	if (fstatat(c->inode->fd, "", &st, AT_EMPTY_PATH))
		return -errno;
	fs_fill_attr(c->fs, &st, &out.attr);
	return fuse_reply(c, &out, sizeof(out));
}

int op_getattr(struct fuse_call *c)
{
	return reply_attr(c);
}

static int set_mode(struct fuse_call *c, const struct fuse_setattr_in *in)
{
	mode_t mode = in->mode & 07777;

	if (c->inode->type == S_IFLNK)
		return -EOPNOTSUPP;
	if (!c->fs->keep_owners && c->inode->type == S_IFREG)
		mode &= ~(mode_t)(S_ISUID | S_ISGID); /* of the user who runs lamina: see SECURITY.md */
	return chmod(confine_path(c->inode->fd).text, mode) ? -errno : 0;
}

/* Where owners are not kept all is root's, and giving it to root changes nothing. */
static int set_owner(struct fuse_call *c, const struct fuse_setattr_in *in)
{
	uid_t uid = in->valid & FATTR_UID ? in->uid : (uid_t)-1;
	gid_t gid = in->valid & FATTR_GID ? in->gid : (gid_t)-1;

	if (!c->fs->keep_owners)
		return (uid + 1) > 1 || (gid + 1) > 1 ? -EPERM : 0;
	return fchownat(c->inode->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) ? -errno
											 : 0;
}

static int set_size(struct fuse_call *c, const struct fuse_setattr_in *in)
{
	struct fs_handle *h = NULL;
	int fd, rc = 0;

	if (in->size > INT64_MAX)
		return -EFBIG;
	if (in->valid & FATTR_FH)
		h = handle_get(&c->fs->handles, in->fh, false);
	if (h)
		fd = h->fd;
	else
		rc = fs_open_inode(c, c->inode, O_WRONLY, 0, &fd);
	if (rc)
		return rc;
	if (ftruncate(fd, (off_t)in->size))
		rc = -errno;
	else if (in->valid & FATTR_KILL_SUIDGID)
		rc = fs_kill_suid(fd);
	if (h)
		handle_put(&c->fs->handles, h);
	else
		close(fd);
	return rc;
}

static struct timespec time_of(uint32_t valid, uint32_t set, uint32_t now, uint64_t s, uint32_t ns)
{
	struct timespec t = {.tv_nsec = UTIME_OMIT};

	if (valid & now)
		t.tv_nsec = UTIME_NOW;
	else if (valid & set)
		t = (struct timespec){(time_t)s, ns > NSEC_MAX ? NSEC_MAX : ns};
	return t;
}

static int set_times(struct fuse_call *c, const struct fuse_setattr_in *in)
{
	struct timespec t[2] = {
	    time_of(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
	    time_of(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
	};

	if (!utimensat(c->inode->fd, "", t, AT_EMPTY_PATH))
		return 0;
	if (errno != EINVAL || c->inode->type == S_IFLNK)
		return -errno;
	/* Linux before 5.8. */
	return utimensat(AT_FDCWD, confine_path(c->inode->fd).text, t, 0) ? -errno : 0;
}

int op_setattr(struct fuse_call *c)
{
	static const struct {
		uint32_t valid;
		int (*set)(struct fuse_call *c, const struct fuse_setattr_in *in);
	} parts[] = {
	    {FATTR_UID | FATTR_GID, set_owner}, /* before the mode, whose set-user-id it clears */
	    {FATTR_MODE, set_mode},
	    {FATTR_SIZE, set_size},
	    {FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW, set_times},
	};
	struct fuse_setattr_in in;

	memcpy(&in, c->arg, sizeof(in));
	if (c->quick && in.valid & FATTR_SIZE)
		return FUSE_LATER;
	for (size_t k = 0; k < sizeof(parts) / sizeof(parts[0]); k++) {
		int rc = in.valid & parts[k].valid ? parts[k].set(c, &in) : 0;

		if (rc)
			return rc;
	}
	return reply_attr(c);
}

int op_statfs(struct fuse_call *c)
{
	struct fuse_statfs_out out = {0};
	struct statvfs st;

	if (fstatvfs(c->inode->fd, &st))
		return -errno;
	out.st = (struct fuse_kstatfs){
	    .blocks = st.f_blocks,
	    .bfree = st.f_bfree,
	    .bavail = st.f_bavail,
	    .files = st.f_files,
	    .ffree = st.f_ffree,
	    .bsize = (uint32_t)st.f_bsize,
	    .namelen = (uint32_t)st.f_namemax,
	    .frsize = (uint32_t)st.f_frsize,
	};
	return fuse_reply(c, &out, sizeof(out));
}
