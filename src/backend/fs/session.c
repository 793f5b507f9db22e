/* The session: INIT, DESTROY, what the guest forgets. */
#include <errno.h>
#include <string.h>

#include "backend/fs/server.h"
#include "base/bits.h"

#define MINOR_MIN	     31 /* what virtio-fs drivers speak at least (Linux 5.4) */
#define MAX_BACKGROUND	     64
#define CONGESTION_THRESHOLD 48
#define PAGE_BYTES	     4096

/* What we make use of where the driver offers it. */
#define WANTED_FLAGS                                                                               \
	(FUSE_ASYNC_READ | FUSE_ATOMIC_O_TRUNC | FUSE_BIG_WRITES | FUSE_AUTO_INVAL_DATA |          \
	 FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS |     \
	 FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_HANDLE_KILLPRIV_V2)

int op_init(struct fuse_call *c)
{
	struct fs_server *fs = c->fs;
	struct fuse_init_in in;
	struct fuse_init_out out = {
	    .major = FUSE_KERNEL_VERSION,
	    .minor = FUSE_KERNEL_MINOR_VERSION,
	    .max_background = MAX_BACKGROUND,
	    .congestion_threshold = CONGESTION_THRESHOLD,
	    .max_write = FS_MAX_WRITE,
	    .time_gran = 1,
	    .max_pages = FS_MAX_WRITE / PAGE_BYTES,
	};

	memcpy(&in, c->arg, offsetof(struct fuse_init_in, flags2));
	if (in.major < FUSE_KERNEL_VERSION ||
	    (in.major == FUSE_KERNEL_VERSION && in.minor < MINOR_MIN))
		return -EPROTO;
	if (in.major > FUSE_KERNEL_VERSION) /* it asks again, as we speak */
		return fuse_reply(c, &out, sizeof(out));
	out.max_readahead = in.max_readahead;
	out.flags = in.flags & (WANTED_FLAGS | (fs->writeback ? FUSE_WRITEBACK_CACHE : 0u));
	__atomic_store_n(&fs->started, true, __ATOMIC_RELEASE);
	return fuse_reply(c, &out, sizeof(out));
}

/* What the guest knew and had open goes when the driver resets the device. */
int op_destroy(struct fuse_call *c)
{
	__atomic_store_n(&c->fs->started, false, __ATOMIC_RELEASE);
	return 0;
}

int op_forget(struct fuse_call *c)
{
	struct fuse_forget_in in;

	memcpy(&in, c->arg, sizeof(in));
	inode_forget(&c->fs->inodes, c->in.nodeid, in.nlookup);
	return 0;
}

int op_batch_forget(struct fuse_call *c)
{
	struct fuse_batch_forget_in in;
	const uint8_t *at = c->arg + sizeof(in), *end = c->arg + c->arg_len;

	memcpy(&in, c->arg, sizeof(in));
	for (uint32_t k = 0; k < in.count; k++, at += sizeof(struct fuse_forget_one)) {
		struct fuse_forget_one one;

		if ((size_t)(end - at) < sizeof(one))
			return -EINVAL;
		memcpy(&one, at, sizeof(one));
		inode_forget(&c->fs->inodes, one.nodeid, one.nlookup);
	}
	return 0;
}

/* No operation of ours waits for anything but the host's storage. */
int op_interrupt(struct fuse_call *c)
{
	return 0;
}
