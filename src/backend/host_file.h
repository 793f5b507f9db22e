/*
 * A file or block device of the host that holds an image: opened, locked, read and written whole,
 * with O_DIRECT where wanted and possible.
 */
#ifndef LM_BACKEND_HOST_FILE_H
#define LM_BACKEND_HOST_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"

struct host_file {
	int fd;		    /* through the page cache; -1 where not open */
	int direct;	    /* O_DIRECT; -1 where there is none */
	unsigned alignment; /* of memory, for direct; offsets and lengths are multiples of 512 */
	bool is_device;
	bool lost; /* a flush failed: the host may have dropped data, so no flush succeeds again */
};

struct host_file_options {
	const char *path;
	bool writable;
	bool direct;
};

/* Opens and locks: one writer, or any number of readers; also against QEMU's locks. */
int host_file_open(struct host_file *file, const struct host_file_options *options,
		   struct lm_err *err);
void host_file_close(struct host_file *file);
int host_file_size(const struct host_file *file, uint64_t *size);

/* Data: direct where there is O_DIRECT, through an aligned buffer where memory is not aligned. */
int host_file_read(struct host_file *file, uint64_t offset, const struct iovec *iov, unsigned count,
		   uint64_t skip, uint64_t len, bool zeros_at_end);
int host_file_write(struct host_file *file, uint64_t offset, const struct iovec *iov,
		    unsigned count, uint64_t skip, uint64_t len);
/* Makes a range read as zeros: a hole where allowed and possible, else written. */
int host_file_zero(struct host_file *file, uint64_t offset, uint64_t len, bool may_unmap);
/* Frees a range; that the file system cannot is no failure. */
int host_file_discard(struct host_file *file, uint64_t offset, uint64_t len);
/* All written data are on stable storage when this returns 0. */
int host_file_sync(struct host_file *file);

/* Whether O_DIRECT takes these pieces as they are. */
bool host_file_aligned(const struct host_file *file, const struct iovec *iov, unsigned count);

#endif
