#include "base/file_io.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int read_exactly(int fd, void *to, size_t len, off_t offset)
{
	char *p = to;

	while (len) {
		ssize_t n = pread(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

int write_exactly(int fd, const void *from, size_t len, off_t offset)
{
	const char *p = from;

	while (len) {
		ssize_t n = pwrite(fd, p, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

int read_whole(int fd, const char *name, size_t size, uint8_t **bytes, struct lm_err *err)
{
	int rc;

	*bytes = malloc(size + 1);
	rc = *bytes ? read_exactly(fd, *bytes, size, 0) : -ENOMEM;
	if (rc < 0) {
		free(*bytes);
		*bytes = NULL;
		return lm_err_errno(err, rc, "cannot read %s", name);
	}
	(*bytes)[size] = 0;
	return 0;
}
