/* Whole transfers between files and pieces of memory: retries and short transfers. */
#ifndef LM_BACKEND_BLOCK_IO_H
#define LM_BACKEND_BLOCK_IO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * Moves `len` bytes between the file at `offset` and the pieces from byte `skip` on. 0 or negative
 * errno; a file that ends early (truncated under us) is -EIO.
 */
int block_read(int fd, uint64_t offset, const struct iovec *iov, unsigned count, uint64_t skip,
	       uint64_t len);
int block_write(int fd, uint64_t offset, const struct iovec *iov, unsigned count, uint64_t skip,
		uint64_t len);
/* Copies between pieces and a buffer, or clears: bytes [skip, skip + len) of the pieces. */
void block_gather(void *to, const struct iovec *iov, unsigned count, uint64_t skip, uint64_t len);
void block_scatter(const struct iovec *iov, unsigned count, uint64_t skip, const void *from,
		   uint64_t len);
void block_clear(const struct iovec *iov, unsigned count, uint64_t skip, uint64_t len);

#endif
