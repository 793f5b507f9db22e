#include "migration/address.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define UNIX_PREFIX "unix:"
#define CONNECT_MS  10000
#define HOST_MAX    256

/* ---- Unix sockets ---- */

static int unix_address(const char *path, struct sockaddr_un *to, struct lm_err *err)
{
	*to = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (!*path || strlen(path) >= sizeof(to->sun_path))
		return lm_err_set(err, -EINVAL, "the path of a Unix socket has 1 to %zu bytes",
				  sizeof(to->sun_path) - 1);
	strcpy(to->sun_path, path);
	return 0;
}

static int unix_open(const char *path, bool listening, struct lm_err *err)
{
	struct sockaddr_un to;
	int rc = unix_address(path, &to, err), fd;

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot make a socket");
	if (listening)
		rc = bind(fd, (struct sockaddr *)&to, sizeof(to)) || listen(fd, 1) ? -errno : 0;
	else
		rc = connect(fd, (struct sockaddr *)&to, sizeof(to)) ? -errno : 0;
	if (!rc)
		return fd;
	close(fd);
	return lm_err_errno(err, rc, "cannot %s", listening ? "listen" : "connect");
}

/* ---- TCP ---- */

static int split(const char *text, char host[HOST_MAX], const char **port, struct lm_err *err)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;

	if (!colon || !colon[1] || len >= HOST_MAX)
		return lm_err_set(err, -EINVAL, "an address is HOST:PORT, [IPV6]:PORT or unix:PATH");
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	memcpy(host, text, len);
	host[len] = 0;
	*port = colon + 1;
	return 0;
}

static int wait_connected(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	socklen_t len = sizeof(int);
	int error = 0;

	if (poll(&p, 1, CONNECT_MS) == 0)
		return -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len))
		return -errno;
	return -error;
}

/* 0 and *fd, or a negative errno. */
static int tcp_open_one(const struct addrinfo *a, bool listening, int *fd)
{
	int on = 1, rc;

	*fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | (listening ? 0 : SOCK_NONBLOCK), 0);
	if (*fd < 0)
		return -errno;
	setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (listening)
		rc = bind(*fd, a->ai_addr, a->ai_addrlen) || listen(*fd, 1) ? -errno : 0;
	else
		rc = connect(*fd, a->ai_addr, a->ai_addrlen) ? -errno : 0;
	if (rc == -EINPROGRESS)
		rc = wait_connected(*fd);
	if (rc < 0)
		close(*fd);
	return rc;
}

static int tcp_open(const char *text, bool listening, struct lm_err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = listening ? AI_PASSIVE : 0 };
	struct addrinfo *list;
	char host[HOST_MAX];
	const char *port = NULL;
	int rc = split(text, host, &port, err), fd = -1;

	if (rc < 0)
		return rc;
	if (!*host && !listening)
		return lm_err_set(err, -EINVAL, "which host?");
	rc = getaddrinfo(*host ? host : NULL, port, &hints, &list);
	if (rc)
		return lm_err_set(err, -ENOENT, "%s", gai_strerror(rc));
	rc = -ENOENT;
	for (const struct addrinfo *a = list; a && rc < 0; a = a->ai_next)
		rc = tcp_open_one(a, listening, &fd);
	freeaddrinfo(list);
	return rc < 0 ? lm_err_errno(err, rc, "cannot %s", listening ? "listen" : "connect") : fd;
}

/* ---- Both ---- */

bool address_is_local(const char *text)
{
	return !strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX));
}

int address_connect(const char *text, struct lm_err *err)
{
	return address_is_local(text) ? unix_open(text + strlen(UNIX_PREFIX), false, err) : tcp_open(text, false, err);
}

static void show(int fd, const char *text, char shown[128])
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);
	char host[80], port[16];

	snprintf(shown, 128, "%s", text);
	if (address_is_local(text) || getsockname(fd, (struct sockaddr *)&at, &len) ||
	    getnameinfo((struct sockaddr *)&at, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	snprintf(shown, 128, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

void address_remove(const char *text)
{
	if (address_is_local(text))
		unlink(text + strlen(UNIX_PREFIX));
}

int address_listen(const char *text, char shown[128], struct lm_err *err)
{
	int fd = address_is_local(text) ? unix_open(text + strlen(UNIX_PREFIX), true, err)
					: tcp_open(text, true, err);

	if (fd >= 0)
		show(fd, text, shown);
	return fd;
}
