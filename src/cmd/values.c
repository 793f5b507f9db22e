#include "cmd/values.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"

/* Digits only; NULL at no digit. Too large becomes UINT64_MAX. */
static const char *scan_digits(const char *text, uint64_t *out)
{
	const char *p = text;

	*out = 0;
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(*out, 10, out) ||
		    __builtin_add_overflow(*out, (uint64_t)(*p - '0'), out))
			*out = UINT64_MAX;
	return p > text ? p : NULL;
}

int value_number(const char *text, uint64_t min, uint64_t max, const char *unit, uint64_t *out,
		 struct lm_err *err)
{
	const char *end = scan_digits(text, out);

	if (!end || *end || *out < min || *out > max)
		return lm_err_set(err, -EINVAL,
				  "the number of %s is a whole number from %" PRIu64 " to %" PRIu64,
				  unit, min, max);
	return 0;
}

int value_size(const char *text, uint64_t *out, struct lm_err *err)
{
	static const char units[] = "KMGTPE";
	const char *end = scan_digits(text, out);
	const char *unit = end && *end ? strchr(units, toupper((unsigned char)*end)) : NULL;

	if (!end || (*end && (!unit || end[1])))
		return lm_err_set(
		    err, -EINVAL,
		    "a size is a whole number with K, M, G or T behind it, such as 512M");
	if (unit && __builtin_mul_overflow(*out, UINT64_C(1) << 10 * (unit - units + 1), out))
		*out = UINT64_MAX;
	return 0;
}

static int open_check(const char *path, int flags, struct lm_err *err)
{
	struct stat st;
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int ret = 0;

	if (fd < 0)
		return lm_err_set(err, -errno, "cannot %s: %s",
				  flags == O_RDONLY ? "read" : "write", strerror(errno));
	if (fstat(fd, &st))
		ret = lm_err_errno(err, -errno, "cannot tell what it is");
	else if (S_ISDIR(st.st_mode))
		ret = lm_err_set(err, -EISDIR, "is a directory, a file is needed");
	else if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		ret = lm_err_set(err, -EINVAL, "is neither a file nor a block device");
	close(fd);
	return ret;
}

int value_file(const char *path, struct lm_err *err)
{
	return open_check(path, O_RDONLY, err);
}

int value_file_writable(const char *path, struct lm_err *err)
{
	return open_check(path, O_RDWR, err);
}

struct size_text size_format(uint64_t bytes)
{
	static const char units[] = " KMGTPE";
	struct size_text s;
	unsigned k = 0;
	uint64_t unit = 1;

	while (k < 6 && bytes / unit >= 1024) {
		unit *= 1024;
		k++;
	}
	if (bytes % unit && bytes / unit < 1000)
		snprintf(s.text, sizeof(s.text), "%" PRIu64 ".%u%c", bytes / unit,
			 (unsigned)(bytes % unit * 10 / unit), units[k]);
	else
		snprintf(s.text, sizeof(s.text), "%" PRIu64 "%.*s", bytes / unit, k > 0, units + k);
	return s;
}
