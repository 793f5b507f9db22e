/* A shared folder from its opening to its closing. */
#include "backend/fs/server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "backend/fs/dispatch.h"
#include "base/bits.h"

#define FDS_RESERVED 512 /* for all else that lamina has open */
#define FDS_MIN	     64

static struct fs_server *server_of(struct fsdev *dev)
{
	return LM_CONTAINER_OF(dev, struct fs_server, dev);
}

static struct fs_request *request_of(struct queue_item *item)
{
	return LM_CONTAINER_OF(item, struct fs_request, queued);
}

static void run(void *opaque, struct queue_item *item, void *scratch)
{
	fuse_serve(opaque, request_of(item), scratch);
}

static void served(void *opaque, struct queue_item *item)
{
	struct fs_request *req = request_of(item);

	req->done(req);
}

static void fs_submit(struct fsdev *dev, struct fs_request *req)
{
	struct fs_server *fs = server_of(dev);

	if (fuse_serve_quick(fs, req, &fs->scratch[WORK_POOL_THREADS]))
		req->done(req);
	else
		work_pool_submit(&fs->pool, &req->queued);
}

static void fs_drain(struct fsdev *dev)
{
	struct work_pool *pool = &server_of(dev)->pool;

	do
		work_pool_drain(pool);
	while (work_pool_busy(pool));
}

static void fs_reset(struct fsdev *dev)
{
	struct fs_server *fs = server_of(dev);

	fs->started = false;
	handles_clear(&fs->handles);
	inodes_clear(&fs->inodes);
}

static const struct fsdev_ops fs_ops = {fs_submit, fs_drain, fs_reset};

/* As many descriptors as the host allows, shared fairly. */
static unsigned descriptor_budget(unsigned shares)
{
	struct rlimit limit;
	rlim_t n;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return FDS_MIN;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NOFILE, &limit))
			getrlimit(RLIMIT_NOFILE, &limit);
	}
	n = LM_MIN(limit.rlim_cur, 1024 * 1024);
	n = n > FDS_RESERVED ? (n - FDS_RESERVED) / LM_MAX(shares, 1) : 0;
	return (unsigned)LM_MAX(n, FDS_MIN);
}

static int set_owners(struct fs_server *fs, enum fs_owners owners, const struct stat *st,
		      struct lm_err *err)
{
	bool root = !geteuid();

	if (owners == FS_OWNERS_KEEP && !root)
		return lm_err_set(err, -EPERM, "only root can keep owners");
	fs->keep_owners = owners == FS_OWNERS_KEEP || (owners == FS_OWNERS_DEFAULT && root);
	fs->new_uid = root ? st->st_uid : (uid_t)-1;
	fs->new_gid = root ? st->st_gid : (gid_t)-1;
	return 0;
}

/* File systems that answer from memory or a disk of this machine, not from a network or a process. */
static bool is_local(int fd)
{
	static const unsigned long types[] = {
	    EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, F2FS_SUPER_MAGIC,
	};
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return false;
	for (size_t k = 0; k < LM_ARRAY_SIZE(types); k++)
		if ((unsigned long)fs.f_type == types[k])
			return true;
	return false;
}

static int open_root(struct fs_server *fs, const struct fs_options *o, struct lm_err *err)
{
	unsigned fds = descriptor_budget(o->shares) / 2; /* the other half is for open files */
	int fd = open(o->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int rc;

	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot open it");
	rc = inodes_init(&fs->inodes, &fs->confine, fd, LM_MAX(o->max_files, 1024), fds, err);
	if (rc)
		return rc;
	if (fstat(fd, &st))
		return lm_err_errno(err, -errno, "cannot look at it");
	if (handles_init(&fs->handles, fds))
		return lm_err_set(err, -ENOMEM, "no memory for a table of open files");
	rc = confine_reopen(&fs->confine, fd, O_RDONLY | O_DIRECTORY);
	if (rc < 0)
		return lm_err_errno(err, rc, "cannot read it");
	close(rc);
	fs->local = fs->nowait_writes = is_local(fd);
	return set_owners(fs, o->owners, &st, err);
}

static mode_t process_umask(void)
{
	mode_t mask = umask(0);

	umask(mask);
	return mask;
}

static int set_up(struct fs_server *fs, const struct fs_options *o, struct event_loop *loop,
		  struct lm_err *err)
{
	int rc = confine_init(&fs->confine, err);

	if (!rc)
		rc = open_root(fs, o, err);
	if (rc)
		return rc;
	fs->umask = process_umask();
	fs->pool = (struct work_pool){
	    .run = run,
	    .done = served,
	    .opaque = fs,
	    .synchronous = o->synchronous,
	    .done_on_worker = true,
	    .scratch = fs->scratch,
	    .scratch_size = sizeof(fs->scratch[0]),
	};
	return work_pool_init(&fs->pool, loop, err);
}

int fs_open(struct fsdev **out, const struct fs_options *o, struct event_loop *loop,
	    struct lm_err *err)
{
	struct fs_server *fs = calloc(1, sizeof(*fs));
	int rc;

	*out = NULL;
	if (!fs)
		return lm_err_set(err, -ENOMEM, "no memory for a shared folder");
	fs->dev.ops = &fs_ops;
	fs->confine.proc_fd = fs->inodes.root.fd = -1;
	memcpy(fs->dev.tag, o->tag, strnlen(o->tag, FS_TAG_SIZE));
	fs->read_only = o->read_only;
	fs->writeback = o->writeback;
	fs->cache_s = o->cache_s;
	rc = set_up(fs, o, loop, err);
	if (rc) {
		fs_close(&fs->dev);
		lm_err_wrap(err, "shared folder %s", o->path);
		return rc;
	}
	*out = &fs->dev;
	return 0;
}

void fs_close(struct fsdev *dev)
{
	struct fs_server *fs;

	if (!dev)
		return;
	fs = server_of(dev);
	if (fs->pool.run) {
		fs_drain(dev);
		work_pool_fini(&fs->pool);
	}
	handles_fini(&fs->handles);
	inodes_fini(&fs->inodes);
	confine_fini(&fs->confine);
	free(fs);
}
