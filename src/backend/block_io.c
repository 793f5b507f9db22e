#include "backend/block_io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include "base/bits.h"

#define MAX_PIECES 64 /* of one system call */
#define ZERO_CHUNK (64 * KIB)

/* The pieces of [skip, skip + len), as many as fit in `to`; their number. */
static int slice(const struct iovec *iov, unsigned count, uint64_t skip, uint64_t len,
		 struct iovec to[MAX_PIECES])
{
	int n = 0;

	for (unsigned k = 0; k < count && len && n < MAX_PIECES; k++) {
		size_t piece;

		if (skip >= iov[k].iov_len) {
			skip -= iov[k].iov_len;
			continue;
		}
		piece = (size_t)LM_MIN(iov[k].iov_len - skip, len);
		to[n++] = (struct iovec){(uint8_t *)iov[k].iov_base + skip, piece};
		len -= piece;
		skip = 0;
	}
	return n;
}

static int move(int fd, bool write, uint64_t offset, const struct iovec *iov, unsigned count,
		uint64_t skip, uint64_t len)
{
	uint64_t done = 0;

	while (done < len) {
		struct iovec v[MAX_PIECES];
		int n = slice(iov, count, skip + done, len - done, v);
		off_t at = (off_t)(offset + done);
		ssize_t moved = write ? pwritev(fd, v, n, at) : preadv(fd, v, n, at);

		if (moved < 0 && errno == EINTR)
			continue;
		if (moved < 0)
			return -errno;
		if (moved == 0)
			return -EIO;
		done += (uint64_t)moved;
	}
	return 0;
}

int block_read(int fd, uint64_t offset, const struct iovec *iov, unsigned count, uint64_t skip,
	       uint64_t len)
{
	return move(fd, false, offset, iov, count, skip, len);
}

int block_write(int fd, uint64_t offset, const struct iovec *iov, unsigned count, uint64_t skip,
		uint64_t len)
{
	return move(fd, true, offset, iov, count, skip, len);
}

static int allocate(int fd, int mode, uint64_t offset, uint64_t len)
{
	int rc;

	if (!len)
		return 0;
	do {
		rc = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
	} while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static bool unsupported(int rc)
{
	return rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -ENODEV || rc == -EINVAL;
}

static int write_zeros(int fd, uint64_t offset, uint64_t len)
{
	static const uint8_t zeros[ZERO_CHUNK];

	while (len) {
		uint64_t piece = LM_MIN(len, ZERO_CHUNK);
		struct iovec iov = {(void *)(uintptr_t)zeros, piece};
		int rc = block_write(fd, offset, &iov, 1, 0, piece);

		if (rc < 0)
			return rc;
		offset += piece;
		len -= piece;
	}
	return 0;
}

int block_zero(int fd, uint64_t offset, uint64_t len, bool may_unmap)
{
	int mode = may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
	int rc = allocate(fd, mode, offset, len);

	return unsupported(rc) ? write_zeros(fd, offset, len) : rc;
}

int block_discard(int fd, uint64_t offset, uint64_t len)
{
	int rc = allocate(fd, FALLOC_FL_PUNCH_HOLE, offset, len);

	return unsupported(rc) ? 0 : rc;
}
