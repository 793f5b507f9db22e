#include "backend/unix_listen.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACKLOG 64

static int open_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

int unix_address(struct sockaddr_un *a, const char *path, struct lm_err *err)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!*path || strlen(path) >= sizeof(a->sun_path))
		return lm_err_set(err, -ENAMETOOLONG, "the path of a socket has 1 to %zu bytes",
				  sizeof(a->sun_path) - 1);
	memcpy(a->sun_path, path, strlen(path));
	return 0;
}

int unix_connect(const struct sockaddr_un *a)
{
	int fd = open_socket();
	int code;

	if (fd < 0 || connect(fd, (const struct sockaddr *)a, sizeof(*a)) == 0)
		return fd;
	code = errno;
	close(fd);
	return -code;
}

static void remove_stale(const struct sockaddr_un *a)
{
	struct stat st;
	int fd = unix_connect(a);

	if (fd == -ECONNREFUSED && lstat(a->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(a->sun_path);
	if (fd >= 0)
		close(fd);
}

int unix_listen(const struct sockaddr_un *a, struct lm_err *err)
{
	int fd = open_socket(), code = 0;
	mode_t old;

	if (fd < 0)
		return lm_err_errno(err, fd, "cannot create a socket");
	remove_stale(a);
	old = umask(0077);
	if (bind(fd, (const struct sockaddr *)a, sizeof(*a)) < 0 || listen(fd, BACKLOG) < 0)
		code = errno;
	umask(old);
	if (!code)
		return fd;
	close(fd);
	return lm_err_errno(err, -code, "cannot listen at %s", a->sun_path);
}
