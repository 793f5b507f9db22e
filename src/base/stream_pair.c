#include "base/stream_pair.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

static int loopback_listener(struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*a = (struct sockaddr_in){.sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd >= 0 && (bind(fd, (struct sockaddr *)a, len) < 0 || listen(fd, 1) < 0 ||
			getsockname(fd, (struct sockaddr *)a, &len) < 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Another process may have connected to the listener before we did. */
static bool are_ends_of_one(int client, int accepted)
{
	struct sockaddr_in a, b;
	socklen_t a_len = sizeof(a), b_len = sizeof(b);

	return getsockname(client, (struct sockaddr *)&a, &a_len) == 0 &&
	       getpeername(accepted, (struct sockaddr *)&b, &b_len) == 0 &&
	       a.sin_port == b.sin_port && a.sin_addr.s_addr == b.sin_addr.s_addr;
}

static bool connect_pair(int listener, const struct sockaddr_in *a, int fd[2])
{
	int one = 1;

	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd[0] < 0 || connect(fd[0], (const struct sockaddr *)a, sizeof(*a)) < 0)
		return false;
	fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd[1] < 0 || !are_ends_of_one(fd[0], fd[1]))
		return false;
	for (unsigned k = 0; k < 2; k++)
		setsockopt(fd[k], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return true;
}

static bool loopback_pair(int fd[2])
{
	struct sockaddr_in a;
	int listener = loopback_listener(&a);
	bool ok;

	fd[0] = fd[1] = -1;
	if (listener < 0)
		return false;
	ok = connect_pair(listener, &a, fd);
	close(listener);
	for (unsigned k = 0; !ok && k < 2; k++)
		if (fd[k] >= 0)
			close(fd[k]);
	return ok;
}

int stream_pair(int fd[2])
{
	if (loopback_pair(fd))
		return 0;
	fd[0] = fd[1] = -1;
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0 ? -errno : 0;
}
