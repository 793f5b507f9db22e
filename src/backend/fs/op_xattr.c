/*
 * Extended attributes. Where owners are not kept only user.*: the others mean rights on the host
 * (capabilities, labels, lists of who may), and those are not the guest's to give.
 */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include <linux/xattr.h>

#include "backend/fs/server.h"
#include "base/bits.h"

static bool may_have(const struct fuse_call *c, const char *name)
{
	return c->fs->keep_owners || !strncmp(name, XATTR_USER_PREFIX, XATTR_USER_PREFIX_LEN);
}

/* Links have none that could be reached by an O_PATH descriptor, and special files no user.*. */
static bool has_attributes(const struct fuse_call *c)
{
	return c->inode->type == S_IFREG || c->inode->type == S_IFDIR;
}

/* The name that stands at `offset`, if the guest may use it; else NULL and *rc. */
static const char *attribute_name(const struct fuse_call *c, size_t *offset, int *rc)
{
	const char *name = fuse_text(c, offset);

	*rc = 0;
	if (!name || !*name)
		*rc = -EINVAL;
	else if (!has_attributes(c) || !may_have(c, name))
		*rc = -EOPNOTSUPP;
	return *rc ? NULL : name;
}

/* Size 0 asks how much there is. */
static int reply_value(struct fuse_call *c, ssize_t n, uint32_t size)
{
	struct fuse_getxattr_out out = {.size = (uint32_t)n};

	if (n < 0)
		return -errno;
	if (!size)
		return fuse_reply(c, &out, sizeof(out));
	if ((size_t)n > size)
		return -ERANGE;
	c->reply_len = (size_t)n;
	return 0;
}

int op_getxattr(struct fuse_call *c)
{
	struct fuse_getxattr_in in;
	size_t offset = sizeof(in), room;
	const char *name;
	int rc;

	memcpy(&in, c->arg, sizeof(in));
	name = attribute_name(c, &offset, &rc);
	if (rc)
		return rc == -EOPNOTSUPP ? -ENODATA : rc;
	room = in.size ? LM_MIN(in.size, FS_REPLY_MAX) : 0;
	return reply_value(c, getxattr(confine_path(c->inode->fd).text, name, c->reply, room),
			   in.size);
}

int op_setxattr(struct fuse_call *c)
{
	struct fuse_setxattr_in in = {0};
	size_t offset = FUSE_COMPAT_SETXATTR_IN_SIZE;
	const char *name;
	int rc;

	memcpy(&in, c->arg, FUSE_COMPAT_SETXATTR_IN_SIZE);
	name = attribute_name(c, &offset, &rc);
	if (rc)
		return rc;
	if (in.size > c->arg_len - offset)
		return -EINVAL;
	rc = setxattr(confine_path(c->inode->fd).text, name, c->arg + offset, in.size,
		      (int)in.flags);
	return rc ? -errno : 0;
}

/* Leaves out what the guest may not have; the new length. */
static size_t filter(const struct fuse_call *c, char *names, size_t len)
{
	size_t kept = 0;

	for (size_t at = 0, next; at < len; at = next) {
		next = at + strnlen(names + at, len - at) + 1;
		next = LM_MIN(next, len);
		if (!may_have(c, names + at))
			continue;
		memmove(names + kept, names + at, next - at);
		kept += next - at;
	}
	return kept;
}

int op_listxattr(struct fuse_call *c)
{
	struct fuse_getxattr_in in;
	ssize_t n = 0;

	memcpy(&in, c->arg, sizeof(in));
	if (has_attributes(c))
		n = listxattr(confine_path(c->inode->fd).text, (char *)c->reply, FS_REPLY_MAX);
	if (n > 0)
		n = (ssize_t)filter(c, (char *)c->reply, (size_t)n);
	return reply_value(c, n, in.size);
}

int op_removexattr(struct fuse_call *c)
{
	size_t offset = 0;
	int rc;
	const char *name = attribute_name(c, &offset, &rc);

	if (rc)
		return rc;
	return removexattr(confine_path(c->inode->fd).text, name) ? -errno : 0;
}
