/* A request's or reply's bytes, which lie in guest RAM in pieces. */
#ifndef LM_BACKEND_FS_PIECES_H
#define LM_BACKEND_FS_PIECES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define PIECES_MAX 256 /* of one direction of a chain: VQ_MAX_SIZE */

/* Copy at `offset`; return the bytes copied, fewer where the pieces end. */
size_t pieces_read(const struct iovec *iov, unsigned count, uint64_t offset, void *buf, size_t len);
size_t pieces_write(const struct iovec *iov, unsigned count, uint64_t offset, const void *buf,
		    size_t len);

/* The pieces of [skip, skip + len), cut where they end, into out[PIECES_MAX]; their number. */
unsigned pieces_slice(const struct iovec *iov, unsigned count, uint64_t skip, uint64_t len,
		      struct iovec *out);

#endif
