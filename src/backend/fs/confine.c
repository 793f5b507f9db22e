#include "backend/fs/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/bits.h"

#define PATH_FLAGS (O_PATH | O_NOFOLLOW | O_CLOEXEC)

/* File systems that are a view of the kernel: memory, devices and switches under the names of files. */
static const long kernel_file_systems[] = {
    PROC_SUPER_MAGIC,	 SYSFS_MAGIC,	 DEBUGFS_MAGIC,	  TRACEFS_MAGIC,  SECURITYFS_MAGIC,
    CGROUP_SUPER_MAGIC,	 BPF_FS_MAGIC,	 EFIVARFS_MAGIC,  NSFS_MAGIC,	  DEVPTS_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC, SELINUX_MAGIC,	 BINDERFS_SUPER_MAGIC, PSTOREFS_MAGIC,
    0x62656570, /* configfs: fs/configfs/mount.c, in no header */
};

static bool is_of_kernel(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return true;
	for (size_t k = 0; k < LM_ARRAY_SIZE(kernel_file_systems); k++)
		if ((unsigned long)fs.f_type == (unsigned long)kernel_file_systems[k])
			return true;
	return false;
}

static int open_name(const struct confine *c, int dir_fd, const char *name, bool cached)
{
	struct open_how how = {
	    .flags = PATH_FLAGS,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
		       (cached ? RESOLVE_CACHED : 0),
	};
	int fd = c->has_openat2 ? (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how))
				: openat(dir_fd, name, PATH_FLAGS);

	return fd < 0 ? -errno : fd;
}

/* Old kernels have no openat2, and old filters of containers deny it. */
static void probe_openat2(struct confine *c)
{
	int fd;

	c->has_openat2 = true;
	fd = open_name(c, AT_FDCWD, "..", false);
	if (fd >= 0)
		close(fd);
	c->has_openat2 = fd == -EXDEV;
	fd = open_name(c, AT_FDCWD, ".", true);
	if (fd >= 0)
		close(fd);
	c->has_cached = c->has_openat2 && fd >= 0;
}

int confine_init(struct confine *c, struct lm_err *err)
{
	struct statfs fs;

	c->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (c->proc_fd < 0 || fstatfs(c->proc_fd, &fs) || fs.f_type != PROC_SUPER_MAGIC)
		return lm_err_set(err, -ENOENT, "sharing folders needs /proc on the host");
	probe_openat2(c);
	return 0;
}

void confine_fini(struct confine *c)
{
	if (c->proc_fd >= 0)
		close(c->proc_fd);
	c->proc_fd = -1;
}

bool confine_name_ok(const char *name)
{
	size_t len = strnlen(name, NAME_MAX + 1);

	return len && len <= NAME_MAX && !memchr(name, '/', len) && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

int confine_lookup(const struct confine *c, int dir_fd, const char *name, bool cached,
		   struct stat *st)
{
	struct stat dir;
	int fd, rc = 0;

	if (!confine_name_ok(name))
		return -EINVAL;
	if (cached && !c->has_cached)
		return -EAGAIN;
	fd = open_name(c, dir_fd, name, cached);
	if (fd < 0)
		return fd;
	if (fstatat(fd, "", st, AT_EMPTY_PATH) || fstat(dir_fd, &dir))
		rc = -errno;
	else if (st->st_dev != dir.st_dev && is_of_kernel(fd))
		rc = -EACCES;
	if (!rc)
		return fd;
	close(fd);
	return rc;
}

int confine_reopen(const struct confine *c, int path_fd, int flags)
{
	char number[16];
	int fd;

	snprintf(number, sizeof(number), "%d", path_fd);
	fd = openat(c->proc_fd, number, (flags & ~O_NOFOLLOW) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

struct confine_path confine_path(int path_fd)
{
	struct confine_path p;

	snprintf(p.text, sizeof(p.text), "/proc/self/fd/%d", path_fd);
	return p;
}
