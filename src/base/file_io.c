#include "base/file_io.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bits.h"

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

static int too_large(size_t max, struct lm_err *err)
{
	if (max % MIB)
		return lm_err_set(err, -EFBIG, "it is larger than %zu KiB", max / KIB);
	return lm_err_set(err, -EFBIG, "it is larger than %zu MiB", max / MIB);
}

int read_text(const char *path, size_t max, char **text, size_t *len, struct lm_err *err)
{
	FILE *f = fopen(path, "re");
	int rc = 0;

	*text = f ? malloc(max + 1) : NULL;
	if (*text)
		*len = fread(*text, 1, max + 1, f);
	if (!*text || ferror(f))
		rc = lm_err_errno(err, -errno, "cannot read it");
	else if (*len > max)
		rc = too_large(max, err);
	else
		(*text)[*len] = 0;
	if (f)
		fclose(f);
	if (rc < 0) {
		free(*text);
		*text = NULL;
	}
	return rc;
}
