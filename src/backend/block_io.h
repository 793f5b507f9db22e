/* Whole transfers between files and pieces of memory: retries, short transfers, holes. */
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
/* Makes a range read as zeros: a hole where allowed and possible, else written. */
int block_zero(int fd, uint64_t offset, uint64_t len, bool may_unmap);
/* Frees a range; that the file system cannot is no failure. */
int block_discard(int fd, uint64_t offset, uint64_t len);

#endif
