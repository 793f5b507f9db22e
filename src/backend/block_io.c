#include "backend/block_io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"

#define MAX_PIECES 64 /* of one system call */

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

/* One of to, from, or neither: zeros into the pieces. */
static void copy(const struct iovec *iov, unsigned count, uint64_t skip, uint8_t *to,
		 const uint8_t *from, uint64_t len)
{
	for (unsigned k = 0; k < count && len; k++) {
		uint8_t *piece = iov[k].iov_base;
		size_t n;

		if (skip >= iov[k].iov_len) {
			skip -= iov[k].iov_len;
			continue;
		}
		n = (size_t)LM_MIN(iov[k].iov_len - skip, len);
		if (to)
			to = (uint8_t *)memcpy(to, piece + skip, n) + n;
		else if (from)
			memcpy(piece + skip, from, n);
		else
			memset(piece + skip, 0, n);
		from = from ? from + n : NULL;
		len -= n;
		skip = 0;
	}
}

void block_gather(void *to, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t len)
{
	copy(iov, count, skip, to, NULL, len);
}

void block_scatter(const struct iovec *iov, unsigned count, uint64_t skip, const void *from,
		   uint64_t len)
{
	copy(iov, count, skip, NULL, from, len);
}

void block_clear(const struct iovec *iov, unsigned count, uint64_t skip, uint64_t len)
{
	copy(iov, count, skip, NULL, NULL, len);
}
