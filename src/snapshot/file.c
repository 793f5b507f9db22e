#include "snapshot/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file_io.h"

#define JSON_STYLE (JSON_INDENT(1) | JSON_ENSURE_ASCII)

int file_create(int dir, const char *name, struct lm_err *err)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return fd < 0 ? lm_err_errno(err, -errno, "cannot create %s", name) : fd;
}

int file_open(int dir, const char *name, struct lm_err *err)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot open %s", name);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	close(fd);
	return lm_err_set(err, -EINVAL, "%s is no regular file", name);
}

int file_save_json(int dir, const char *name, const json_t *json, struct lm_err *err)
{
	char *text = json_dumps(json, JSON_STYLE);
	int fd, rc;

	if (!text)
		return lm_err_set(err, -ENOMEM, "no memory to write %s", name);
	fd = file_create(dir, name, err);
	if (fd < 0) {
		free(text);
		return fd;
	}
	rc = write_exactly(fd, text, strlen(text), 0);
	if (!rc)
		rc = write_exactly(fd, "\n", 1, (off_t)strlen(text));
	close(fd);
	free(text);
	return rc ? lm_err_errno(err, rc, "cannot write %s", name) : 0;
}

static int load_fd(int fd, const char *name, char **text, size_t *len, struct lm_err *err)
{
	struct stat st;
	uint8_t *bytes;
	int rc;

	if (fstat(fd, &st) < 0)
		return lm_err_errno(err, -errno, "cannot look at %s", name);
	if (st.st_size > FILE_TEXT_MAX)
		return lm_err_set(err, -EFBIG, "%s is larger than %u MiB", name,
				  FILE_TEXT_MAX >> 20);
	*len = (size_t)st.st_size;
	rc = read_whole(fd, name, *len, &bytes, err);
	*text = (char *)bytes;
	return rc;
}

int file_load(int dir, const char *name, char **text, size_t *len, struct lm_err *err)
{
	int fd = file_open(dir, name, err), rc;

	*text = NULL;
	if (fd < 0)
		return fd;
	rc = load_fd(fd, name, text, len, err);
	close(fd);
	return rc;
}

int file_parse_json(const char *name, const char *text, size_t len, json_t **out,
		    struct lm_err *err)
{
	json_error_t e;

	*out = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (!*out)
		return lm_err_set(err, -EINVAL, "%s, line %d: %s", name, e.line, e.text);
	return 0;
}
