/* Names: LOOKUP and what makes, moves and removes them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/fs/server.h"

#define RENAME_FLAGS (RENAME_NOREPLACE | RENAME_EXCHANGE)

/* The argument's only name. */
static const char *name_at(const struct fuse_call *c, size_t offset)
{
	const char *name = fuse_text(c, &offset);

	return name && confine_name_ok(name) ? name : NULL;
}

int fs_lookup(struct fuse_call *c, struct fs_inode *dir, const char *name,
	      struct fuse_entry_out *entry)
{
	struct fs_server *fs = c->fs;
	bool cached = c->quick && c->in.opcode == FUSE_LOOKUP; /* others look at what they know or made */
	struct stat st;
	int fd = confine_lookup(&fs->confine, dir->fd, name, cached, &st);

	if (fd < 0)
		return fd == -EAGAIN && cached ? FUSE_LATER : fd;
	*entry = (struct fuse_entry_out){0};
	fs_fill_entry(fs, &st, entry);
	return inode_enter(&fs->inodes, fd, &st, dir, name, &entry->nodeid);
}

int op_lookup(struct fuse_call *c)
{
	struct fuse_entry_out entry = {0};
	size_t offset = 0;
	const char *name = fuse_text(c, &offset);
	int rc;

	if (!name || !confine_name_ok(name))
		return name && strlen(name) > 255 ? -ENAMETOOLONG : -EINVAL;
	rc = fs_lookup(c, c->inode, name, &entry);
	/* Node 0: there is none, and that may be believed as long as a name that is there. */
	if (rc == -ENOENT && c->fs->cache_s) {
		entry = (struct fuse_entry_out){.entry_valid = c->fs->cache_s};
		rc = 0;
	}
	return rc ? rc : fuse_reply(c, &entry, sizeof(entry));
}

/* ---- Making ---- */

static mode_t new_mode(const struct fs_server *fs, mode_t mode)
{
	return mode & (fs->keep_owners ? 07777 : 01777);
}

/*
 * Gives what was just made to whom it belongs, with the mode that was asked for: the host's umask has
 * no say, and a change of owner clears set-user-id. A set-group-id folder hands its group on.
 */
static int adopt(struct fuse_call *c, int path_fd, mode_t mode)
{
	struct fs_server *fs = c->fs;
	uid_t uid = fs->keep_owners ? c->in.uid : fs->new_uid;
	gid_t gid = fs->keep_owners ? c->in.gid : fs->new_gid;
	struct stat dir, st;

	if (fstat(c->inode->fd, &dir) || fstatat(path_fd, "", &st, AT_EMPTY_PATH))
		return -errno;
	if (dir.st_mode & S_ISGID)
		gid = st.st_gid;
	if ((uid != (uid_t)-1 && uid != st.st_uid) || (gid != (gid_t)-1 && gid != st.st_gid))
		if (fchownat(path_fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
			return -errno;
	if (S_ISLNK(st.st_mode) || !(mode & (fs->umask | S_ISUID | S_ISGID)))
		return 0;
	mode |= S_ISDIR(st.st_mode) ? st.st_mode & S_ISGID : 0;
	return chmod(confine_path(path_fd).text, mode) ? -errno : 0;
}

/* After the name was made: owner, mode, and the reply. */
static int reply_made(struct fuse_call *c, const char *name, mode_t mode, int undo_flags)
{
	struct fuse_entry_out entry;
	struct stat st;
	int fd = confine_lookup(&c->fs->confine, c->inode->fd, name, false, &st);
	int rc = fd < 0 ? fd : adopt(c, fd, mode);

	if (fd >= 0)
		close(fd);
	if (!rc)
		rc = fs_lookup(c, c->inode, name, &entry);
	if (rc) {
		unlinkat(c->inode->fd, name, undo_flags);
		return rc;
	}
	return fuse_reply(c, &entry, sizeof(entry));
}

/* Files, pipes and sockets; and 0:0, which overlays use as a mark. Real devices are the host's. */
int op_mknod(struct fuse_call *c)
{
	struct fuse_mknod_in in;
	const char *name = name_at(c, sizeof(in));
	mode_t type, mode;

	memcpy(&in, c->arg, sizeof(in));
	type = in.mode & S_IFMT;
	mode = new_mode(c->fs, in.mode);
	if (!name)
		return -EINVAL;
	if ((type == S_IFCHR && in.rdev) || type == S_IFBLK)
		return -EPERM;
	if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK && type != S_IFCHR)
		return -EINVAL;
	if (mknodat(c->inode->fd, name, type | (mode & 0777), 0))
		return -errno;
	return reply_made(c, name, mode, 0);
}

int op_mkdir(struct fuse_call *c)
{
	struct fuse_mkdir_in in;
	const char *name = name_at(c, sizeof(in));
	mode_t mode;

	memcpy(&in, c->arg, sizeof(in));
	mode = new_mode(c->fs, in.mode);
	if (!name)
		return -EINVAL;
	if (mkdirat(c->inode->fd, name, mode))
		return -errno;
	return reply_made(c, name, mode, AT_REMOVEDIR);
}

int op_symlink(struct fuse_call *c)
{
	size_t offset = 0;
	const char *name = fuse_text(c, &offset);
	const char *target = name ? fuse_text(c, &offset) : NULL;

	if (!target || !confine_name_ok(name))
		return -EINVAL;
	if (symlinkat(target, c->inode->fd, name))
		return -errno;
	return reply_made(c, name, 0, 0);
}

int op_link(struct fuse_call *c)
{
	struct fuse_link_in in;
	const char *name = name_at(c, sizeof(in));
	struct fuse_entry_out entry;
	struct fs_inode *old;
	int rc;

	memcpy(&in, c->arg, sizeof(in));
	if (!name)
		return -EINVAL;
	rc = inode_get(&c->fs->inodes, in.oldnodeid, &old);
	if (rc)
		return rc;
	if (old->type == S_IFLNK) /* /proc's link would be followed to the link, and then further */
		rc = linkat(old->fd, "", c->inode->fd, name, AT_EMPTY_PATH) ? -errno : 0;
	else if (linkat(AT_FDCWD, confine_path(old->fd).text, c->inode->fd, name, AT_SYMLINK_FOLLOW))
		rc = -errno;
	inode_put(&c->fs->inodes, old);
	if (!rc)
		rc = fs_lookup(c, c->inode, name, &entry);
	return rc ? rc : fuse_reply(c, &entry, sizeof(entry));
}

/* An open descriptor makes the file without a name no other; what is there is opened, not followed. */
static int create_or_open(struct fuse_call *c, const char *name, const struct fuse_create_in *in,
			  mode_t mode, struct fuse_entry_out *entry, int *fd)
{
	int flags = (int)(in->flags & (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC));
	struct fs_inode *inode;
	int rc;

	*fd = openat(c->inode->fd, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		     mode & 0777);
	if (*fd >= 0) {
		rc = adopt(c, *fd, mode);
		if (!rc)
			rc = fs_lookup(c, c->inode, name, entry);
		if (!rc)
			return 0;
		close(*fd);
		unlinkat(c->inode->fd, name, 0);
		return rc;
	}
	if (errno != EEXIST || in->flags & O_EXCL)
		return -errno;
	if (c->quick)
		return FUSE_LATER;
	rc = fs_lookup(c, c->inode, name, entry);
	if (rc)
		return rc;
	rc = inode_get(&c->fs->inodes, entry->nodeid, &inode);
	if (rc)
		return rc;
	rc = fs_open_inode(c, inode, in->flags, in->open_flags, fd);
	inode_put(&c->fs->inodes, inode);
	if (rc)
		inode_forget(&c->fs->inodes, entry->nodeid, 1);
	return rc;
}

int op_create(struct fuse_call *c)
{
	struct fuse_create_in in;
	const char *name = name_at(c, sizeof(in));
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {.open.open_flags = FOPEN_KEEP_CACHE};
	int fd, rc;

	memcpy(&in, c->arg, sizeof(in));
	if (!name)
		return -EINVAL;
	rc = create_or_open(c, name, &in, new_mode(c->fs, in.mode), &out.entry, &fd);
	if (rc)
		return rc;
	rc = handle_add(&c->fs->handles, fd, false, &out.open.fh);
	if (!rc)
		return fuse_reply(c, &out, sizeof(out));
	inode_forget(&c->fs->inodes, out.entry.nodeid, 1);
	return rc;
}

/* ---- Moving and removing ---- */

/* What is about to lose this name can be reached by its descriptor alone. */
static void pin(struct fuse_call *c, const struct fs_inode *dir, const char *name)
{
	struct stat st;
	int fd = confine_lookup(&c->fs->confine, dir->fd, name, false, &st);

	if (fd >= 0)
		inode_pin(&c->fs->inodes, fd, &st);
}

static int remove_name(struct fuse_call *c, int flags)
{
	const char *name = name_at(c, 0);

	if (!name)
		return -EINVAL;
	pin(c, c->inode, name);
	return unlinkat(c->inode->fd, name, flags) ? -errno : 0;
}

int op_unlink(struct fuse_call *c)
{
	return remove_name(c, 0);
}

int op_rmdir(struct fuse_call *c)
{
	return remove_name(c, AT_REMOVEDIR);
}

/* Where a file is now, should its descriptor be needed again. */
static void note_place(struct fuse_call *c, struct fs_inode *dir, const char *name)
{
	struct stat st;
	int fd = confine_lookup(&c->fs->confine, dir->fd, name, false, &st);

	if (fd >= 0)
		inode_renamed(&c->fs->inodes, fd, &st, dir, name);
}

static int move(struct fuse_call *c, size_t names, uint64_t newdir, unsigned flags)
{
	const char *from = fuse_text(c, &names);
	const char *to = from ? fuse_text(c, &names) : NULL;
	struct fs_inode *dir;
	int rc;

	if (!to || !confine_name_ok(from) || !confine_name_ok(to) || flags & ~RENAME_FLAGS)
		return -EINVAL;
	rc = inode_get(&c->fs->inodes, newdir, &dir);
	if (rc)
		return rc;
	if (!(flags & RENAME_EXCHANGE))
		pin(c, dir, to);
	if (syscall(SYS_renameat2, c->inode->fd, from, dir->fd, to, flags))
		rc = -errno;
	note_place(c, dir, to);
	if (rc || flags & RENAME_EXCHANGE)
		note_place(c, c->inode, from);
	inode_put(&c->fs->inodes, dir);
	return rc;
}

int op_rename(struct fuse_call *c)
{
	struct fuse_rename_in in;

	memcpy(&in, c->arg, sizeof(in));
	return move(c, sizeof(in), in.newdir, 0);
}

int op_rename2(struct fuse_call *c)
{
	struct fuse_rename2_in in;

	memcpy(&in, c->arg, sizeof(in));
	return move(c, sizeof(in), in.newdir, in.flags);
}

int op_readlink(struct fuse_call *c)
{
	ssize_t n = readlinkat(c->inode->fd, "", (char *)c->reply, FS_REPLY_MAX);

	if (n < 0)
		return -errno;
	c->reply_len = (size_t)n;
	return 0;
}
