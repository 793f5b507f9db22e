/* Folders: entries as the host lists them, by its own positions. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backend/fs/server.h"
#include "base/bits.h"

#define LIST_BYTES (32 * 1024)

/* getdents64(2); glibc's struct dirent64 is the same. */
struct listing {
	_Alignas(8) uint8_t buf[LIST_BYTES];
	size_t at, len;
};

int op_opendir(struct fuse_call *c)
{
	/* A guest that believes names for long may keep the list as well. */
	struct fuse_open_out out = {
	    .open_flags = c->fs->cache_s > 1 ? FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR : 0};
	int fd, rc;

	if (c->inode->type != S_IFDIR)
		return -ENOTDIR;
	fd = confine_reopen(&c->fs->confine, c->inode->fd, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	rc = handle_add(&c->fs->handles, fd, true, &out.fh);
	return rc ? rc : fuse_reply(c, &out, sizeof(out));
}

int op_releasedir(struct fuse_call *c)
{
	return op_release(c);
}

int op_fsyncdir(struct fuse_call *c)
{
	struct fuse_fsync_in in;
	struct fs_handle *h;
	int rc;

	memcpy(&in, c->arg, sizeof(in));
	h = handle_get(&c->fs->handles, in.fh, true);
	if (!h)
		return -EBADF;
	rc = fsync(h->fd) ? -errno : 0;
	handle_put(&c->fs->handles, h);
	return rc;
}

static int next_entry(int fd, struct listing *l, const struct dirent64 **entry)
{
	long n;

	if (l->at >= l->len) {
		n = syscall(SYS_getdents64, fd, l->buf, sizeof(l->buf));
		if (n < 0)
			return -errno;
		l->at = 0;
		l->len = (size_t)n;
	}
	*entry = l->len ? (const void *)(l->buf + l->at) : NULL;
	if (*entry)
		l->at += (*entry)->d_reclen;
	return 0;
}

static bool is_dots(const char *name)
{
	return !strcmp(name, ".") || !strcmp(name, "..");
}

/* Attributes and node of an entry; one that cannot be looked up (any more) is named all the same. */
static void look_at_entry(struct fuse_call *c, const struct dirent64 *e,
			  struct fuse_entry_out *entry)
{
	*entry = (struct fuse_entry_out){0};
	if (!is_dots(e->d_name) && fs_lookup(c, c->inode, e->d_name, entry))
		*entry = (struct fuse_entry_out){0};
}

/* Adds an entry to the reply if there is room. What lies above the root has the root's number. */
static bool put_entry(struct fuse_call *c, const struct dirent64 *e, bool plus, size_t room)
{
	size_t len = strlen(e->d_name);
	size_t head = plus ? sizeof(struct fuse_entry_out) : 0;
	size_t used = head + FUSE_DIRENT_ALIGN(sizeof(struct fuse_dirent) + len);
	uint8_t *at = c->reply + c->reply_len;
	struct fuse_dirent dirent = {
	    .ino = e->d_ino,
	    .off = (uint64_t)e->d_off,
	    .namelen = (uint32_t)len,
	    .type = e->d_type,
	};

	if (used > room - c->reply_len)
		return false;
	if (c->inode == &c->fs->inodes.root && !strcmp(e->d_name, ".."))
		dirent.ino = c->fs->inodes.root.ino;
	memset(at, 0, used);
	if (plus) {
		struct fuse_entry_out entry;

		look_at_entry(c, e, &entry);
		memcpy(at, &entry, sizeof(entry));
	}
	memcpy(at + head, &dirent, sizeof(dirent));
	memcpy(at + head + sizeof(dirent), e->d_name, len);
	c->reply_len += used;
	return true;
}

static int list(struct fuse_call *c, int fd, uint64_t offset, size_t room, bool plus)
{
	const struct dirent64 *entry = NULL;
	struct listing l = {.len = 0};
	int rc;

	if (lseek(fd, (off_t)offset, SEEK_SET) < 0)
		return -errno;
	do {
		rc = next_entry(fd, &l, &entry);
		if (rc)
			return c->reply_len ? 0 : rc;
	} while (entry && put_entry(c, entry, plus, room));
	return 0;
}

static int read_entries(struct fuse_call *c, bool plus)
{
	struct fuse_read_in in;
	struct fs_handle *h;
	size_t room;
	int rc;

	memcpy(&in, c->arg, sizeof(in));
	h = handle_get(&c->fs->handles, in.fh, true);
	if (!h)
		return -EBADF;
	room = LM_MIN(in.size, FS_REPLY_MAX);
	if (c->req->out_len < sizeof(struct fuse_out_header))
		room = 0; /* a node that the guest never hears of would never be forgotten */
	else
		room = LM_MIN(room, c->req->out_len - sizeof(struct fuse_out_header));
	pthread_mutex_lock(&h->position_lock);
	rc = list(c, h->fd, in.offset, room, plus);
	pthread_mutex_unlock(&h->position_lock);
	handle_put(&c->fs->handles, h);
	return rc;
}

int op_readdir(struct fuse_call *c)
{
	return read_entries(c, false);
}

int op_readdirplus(struct fuse_call *c)
{
	return read_entries(c, true);
}
