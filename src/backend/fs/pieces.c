#include "backend/fs/pieces.h"

#include <string.h>

#include "base/bits.h"

unsigned pieces_slice(const struct iovec *iov, unsigned count, uint64_t skip, uint64_t len,
		      struct iovec *out)
{
	unsigned used = 0;

	for (; count && len && used < PIECES_MAX; iov++, count--) {
		uint64_t piece = iov->iov_len;

		if (skip >= piece) {
			skip -= piece;
			continue;
		}
		piece = LM_MIN(piece - skip, len);
		out[used++] = (struct iovec){(uint8_t *)iov->iov_base + skip, piece};
		len -= piece;
		skip = 0;
	}
	return used;
}

size_t pieces_read(const struct iovec *iov, unsigned count, uint64_t offset, void *buf, size_t len)
{
	struct iovec piece[PIECES_MAX];
	unsigned n = pieces_slice(iov, count, offset, len, piece);
	size_t done = 0;

	for (unsigned k = 0; k < n; k++) {
		memcpy((uint8_t *)buf + done, piece[k].iov_base, piece[k].iov_len);
		done += piece[k].iov_len;
	}
	__asm__ volatile("" ::: "memory"); /* what was copied is not read from the guest again */
	return done;
}

size_t pieces_write(const struct iovec *iov, unsigned count, uint64_t offset, const void *buf,
		    size_t len)
{
	struct iovec piece[PIECES_MAX];
	unsigned n = pieces_slice(iov, count, offset, len, piece);
	size_t done = 0;

	for (unsigned k = 0; k < n; k++) {
		memcpy(piece[k].iov_base, (const uint8_t *)buf + done, piece[k].iov_len);
		done += piece[k].iov_len;
	}
	return done;
}
