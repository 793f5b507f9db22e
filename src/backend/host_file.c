#include "backend/host_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block_io.h"
#include "base/bits.h"

#define BOUNCE_SIZE	 (256 * KIB)
#define BOUNCE_ALIGNMENT 4096
#define OFFSET_UNIT	 512

/* ---- Opening ---- */

/*
 * QEMU's protocol (block/file-posix.c): byte 100 + n is held by users of right n, 200 + n by those
 * who share the file with no user of right n. A writer of ours holds all bytes.
 */
#define LOCK_USES     100
#define LOCK_REFUSES  200
#define RIGHT_READ    0
#define RIGHT_WRITE   1
#define RIGHT_RESIZE  3
#define LOCK_BYTES(n) (n), 1

static bool lock_bytes(int fd, short type, off_t start, off_t len)
{
	struct flock lock = {
	    .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

/* Whether somebody else holds the byte; who holds all bytes and lets us read only reads. */
static bool is_held(int fd, off_t byte)
{
	struct flock lock = {
	    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_start > 0;
}

/* Open file description locks; file systems without them are used unlocked. */
static int lock_file(int fd, bool exclusive, struct lm_err *err)
{
	if (exclusive && !lock_bytes(fd, F_WRLCK, 0, 0))
		return lm_err_set(err, -EBUSY, "it is in use by another machine or program");
	if (exclusive)
		return 0;
	if (!lock_bytes(fd, F_RDLCK, LOCK_BYTES(LOCK_USES + RIGHT_READ)) ||
	    !lock_bytes(fd, F_RDLCK, LOCK_BYTES(LOCK_REFUSES + RIGHT_WRITE)) ||
	    !lock_bytes(fd, F_RDLCK, LOCK_BYTES(LOCK_REFUSES + RIGHT_RESIZE)) ||
	    is_held(fd, LOCK_USES + RIGHT_WRITE))
		return lm_err_set(err, -EBUSY,
				  "it is being written by another machine or program");
	return 0;
}

static int check_kind(struct host_file *file, struct lm_err *err)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0)
		return lm_err_errno(err, -errno, "cannot look at it");
	if (S_ISDIR(st.st_mode))
		return lm_err_set(err, -EISDIR, "it is a directory, not a disk image");
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return lm_err_set(err, -EINVAL, "it is neither a regular file nor a block device");
	file->is_device = S_ISBLK(st.st_mode);
	return 0;
}

/* The same file again with other flags, by descriptor: the name may have changed its meaning. */
static int open_again(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/* A block device that is mounted is not ours to write to. */
static int claim_device(struct host_file *file, struct lm_err *err)
{
	int fd = open_again(file->fd, O_RDWR | O_EXCL);

	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot have it alone");
	close(file->fd);
	file->fd = fd;
	return 0;
}

/* 0 where the file system does not say, as before Linux 6.1. */
static void ask_alignment(int fd, unsigned *memory, unsigned *offset)
{
	*memory = *offset = 0;
#ifdef STATX_DIOALIGN
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) == 0 &&
	    st.stx_mask & STATX_DIOALIGN) {
		*memory = st.stx_dio_mem_align;
		*offset = st.stx_dio_offset_align;
	}
#endif
}

/* Direct I/O must take any sector; where it wants more, the page cache is used for everything. */
static void open_direct(struct host_file *file, bool writable)
{
	unsigned memory, offset;
	void *probe;

	file->direct = open_again(file->fd, (writable ? O_RDWR : O_RDONLY) | O_DIRECT);
	if (file->direct < 0)
		return;
	ask_alignment(file->direct, &memory, &offset);
	file->alignment = memory ? memory : OFFSET_UNIT;
	probe = aligned_alloc(BOUNCE_ALIGNMENT, BOUNCE_ALIGNMENT);
	if (!probe || offset > OFFSET_UNIT || file->alignment > BOUNCE_ALIGNMENT ||
	    pread(file->direct, probe, OFFSET_UNIT, 0) < 0) {
		close(file->direct);
		file->direct = -1;
	}
	free(probe);
}

/* O_NONBLOCK keeps the open of a pipe from waiting; it means nothing for files. */
int host_file_open(struct host_file *file, const struct host_file_options *o, struct lm_err *err)
{
	int rc;

	*file = (struct host_file){.direct = -1};
	file->fd = open(o->path, (o->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0 && errno == EISDIR)
		return lm_err_set(err, -EISDIR, "it is a directory, not a disk image");
	if (file->fd < 0)
		return lm_err_errno(err, -errno, "cannot open it%s",
				    o->writable ? " for writing" : "");
	rc = check_kind(file, err);
	if (!rc && file->is_device && o->writable)
		rc = claim_device(file, err);
	if (!rc)
		rc = lock_file(file->fd, o->writable, err);
	if (rc < 0)
		host_file_close(file);
	else if (o->direct)
		open_direct(file, o->writable);
	return rc;
}

void host_file_close(struct host_file *file)
{
	if (file->direct >= 0)
		close(file->direct);
	if (file->fd >= 0)
		close(file->fd);
	file->fd = file->direct = -1;
}

int host_file_size(const struct host_file *file, uint64_t *size)
{
	struct stat st;

	if (file->is_device)
		return ioctl(file->fd, BLKGETSIZE64, size) < 0 ? -errno : 0;
	if (fstat(file->fd, &st) < 0)
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

/* ---- Data ---- */

bool host_file_aligned(const struct host_file *file, const struct iovec *iov, unsigned count)
{
	for (unsigned k = 0; k < count; k++)
		if ((uintptr_t)iov[k].iov_base % file->alignment || iov[k].iov_len % OFFSET_UNIT)
			return false;
	return true;
}

static bool takes_direct(const struct host_file *file, uint64_t offset, const struct iovec *iov,
			 unsigned count, uint64_t skip, uint64_t len)
{
	return offset % OFFSET_UNIT == 0 && skip % OFFSET_UNIT == 0 && len % OFFSET_UNIT == 0 &&
	       host_file_aligned(file, iov, count);
}

/* Through an aligned buffer, a piece at a time. */
static int bounce(struct host_file *file, bool write, uint64_t offset, const struct iovec *iov,
		  unsigned count, uint64_t skip, uint64_t len)
{
	uint8_t *buf = aligned_alloc(BOUNCE_ALIGNMENT, BOUNCE_SIZE);
	int rc = buf ? 0 : -ENOMEM;

	while (!rc && len) {
		struct iovec v = {buf, (size_t)LM_MIN(len, BOUNCE_SIZE)};

		if (write)
			block_gather(buf, iov, count, skip, v.iov_len);
		rc = write ? block_write(file->direct, offset, &v, 1, 0, v.iov_len)
			   : block_read(file->direct, offset, &v, 1, 0, v.iov_len);
		if (!write && !rc)
			block_scatter(iov, count, skip, buf, v.iov_len);
		offset += v.iov_len;
		skip += v.iov_len;
		len -= v.iov_len;
	}
	free(buf);
	return rc;
}

static int transfer(struct host_file *file, bool write, uint64_t offset, const struct iovec *iov,
		    unsigned count, uint64_t skip, uint64_t len)
{
	int fd = file->fd;

	if (file->direct >= 0 && takes_direct(file, offset, iov, count, skip, len))
		fd = file->direct;
	else if (file->direct >= 0 && offset % OFFSET_UNIT == 0 && len % OFFSET_UNIT == 0)
		return bounce(file, write, offset, iov, count, skip, len);
	return write ? block_write(fd, offset, iov, count, skip, len)
		     : block_read(fd, offset, iov, count, skip, len);
}

/* What lies behind the file's end reads as zeros. */
static int read_to_end(struct host_file *file, uint64_t offset, const struct iovec *iov,
		       unsigned count, uint64_t skip, uint64_t len)
{
	uint64_t size = 0, inside;
	int rc = host_file_size(file, &size);

	if (rc < 0)
		return rc;
	inside = offset < size ? LM_MIN(size - offset, len) : 0;
	block_clear(iov, count, skip + inside, len - inside);
	return inside ? block_read(file->fd, offset, iov, count, skip, inside) : 0;
}

int host_file_read(struct host_file *file, uint64_t offset, const struct iovec *iov, unsigned count,
		   uint64_t skip, uint64_t len, bool zeros_at_end)
{
	int rc = transfer(file, false, offset, iov, count, skip, len);

	return rc == -EIO && zeros_at_end ? read_to_end(file, offset, iov, count, skip, len) : rc;
}

int host_file_write(struct host_file *file, uint64_t offset, const struct iovec *iov,
		    unsigned count, uint64_t skip, uint64_t len)
{
	return transfer(file, true, offset, iov, count, skip, len);
}

static int allocate(int fd, int mode, uint64_t offset, uint64_t len)
{
	int rc;

	if (!len)
		return 0;
	do
		rc = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static bool unsupported(int rc)
{
	return rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -ENODEV || rc == -EINVAL;
}

static int write_zeros(struct host_file *file, uint64_t offset, uint64_t len)
{
	static const uint8_t zeros[64 * KIB] __attribute__((aligned(BOUNCE_ALIGNMENT)));

	while (len) {
		struct iovec iov = {(void *)(uintptr_t)zeros, (size_t)LM_MIN(len, sizeof(zeros))};
		int rc = host_file_write(file, offset, &iov, 1, 0, iov.iov_len);

		if (rc < 0)
			return rc;
		offset += iov.iov_len;
		len -= iov.iov_len;
	}
	return 0;
}

int host_file_zero(struct host_file *file, uint64_t offset, uint64_t len, bool may_unmap)
{
	int mode = may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
	int rc = allocate(file->fd, mode, offset, len);

	return unsupported(rc) ? write_zeros(file, offset, len) : rc;
}

int host_file_discard(struct host_file *file, uint64_t offset, uint64_t len)
{
	int rc = allocate(file->fd, FALLOC_FL_PUNCH_HOLE, offset, len);

	return unsupported(rc) ? 0 : rc;
}

/* After a failure the kernel takes the pages for clean: a later success would say nothing. */
int host_file_sync(struct host_file *file)
{
	int rc;

	if (__atomic_load_n(&file->lost, __ATOMIC_RELAXED))
		return -EIO;
	do
		rc = fdatasync(file->fd);
	while (rc < 0 && errno == EINTR);
	if (rc == 0)
		return 0;
	rc = -errno;
	__atomic_store_n(&file->lost, true, __ATOMIC_RELAXED);
	return rc;
}
