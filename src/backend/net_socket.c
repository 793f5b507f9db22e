/*
 * `--net socket=PATH`: a cable between two machines, which may be lamina's or QEMU's (`-netdev
 * stream`). Whoever comes first listens at PATH, the other connects; when the peer goes, the first one
 * waits for the next, and the second one tries to connect again, or to become the first.
 *
 * The link is up while there is a peer. What a peer sends is checked by the guest as from any network:
 * checksums are not vouched for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "backend/net_stream.h"
#include "base/bits.h"
#include "base/log.h"

#define RETRY_NS (500 * INT64_C(1000000))

struct net_socket {
	struct net_stream stream;
	struct sockaddr_un address;
	int listen_fd; /* -1: we are the one who connects */
	struct event_fd listener;
	struct timer retry;
};

static void use_peer(struct net_socket *n, int fd)
{
	struct lm_err err = {0};

	if (net_stream_connect(&n->stream, fd, &err) < 0)
		log_line(LOG_WARN, "network: %s", err.text);
	else
		netdev_set_link(&n->stream.net.dev, true);
}

/* A cable has two ends: further peers are turned away. */
static void on_connection(void *opaque, uint32_t events)
{
	struct net_socket *n = opaque;
	int fd = accept4(n->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 && n->stream.fd >= 0)
		close(fd);
	else if (fd >= 0)
		use_peer(n, fd);
}

static int connect_peer(struct net_socket *n)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&n->address, sizeof(n->address)) < 0) {
		rc = -errno;
		close(fd);
		return rc;
	}
	use_peer(n, fd);
	return 0;
}

static int start_listening(struct net_socket *n, struct lm_err *err)
{
	const char *path = n->address.sun_path;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t old = umask(0077);
	int rc = fd < 0 ? -1 : bind(fd, (struct sockaddr *)&n->address, sizeof(n->address));
	int code = errno;

	umask(old);
	if (rc < 0 || listen(fd, 4) < 0) {
		code = rc < 0 ? code : errno;
		if (fd >= 0)
			close(fd);
		return lm_err_errno(err, -code, "cannot listen at %s", path);
	}
	n->listen_fd = fd;
	return event_fd_init(&n->listener, n->stream.net.dev.loop, fd, EPOLLIN, on_connection, n, err);
}

/* Nobody answers: a socket that a dead machine left is removed, anything else stays. */
static void remove_stale(const char *path, int code)
{
	struct stat st;

	if (code == -ECONNREFUSED && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		unlink(path);
}

static int connect_or_listen(struct net_socket *n, struct lm_err *err)
{
	int rc = connect_peer(n);

	if (rc == 0)
		return 0;
	if (rc != -ENOENT && rc != -ECONNREFUSED)
		return lm_err_errno(err, rc, "cannot connect to %s", n->address.sun_path);
	remove_stale(n->address.sun_path, rc);
	return start_listening(n, err);
}

static void try_again(void *opaque)
{
	struct net_socket *n = opaque;

	if (n->stream.fd < 0 && n->listen_fd < 0 && connect_or_listen(n, NULL) < 0)
		timer_arm(&n->retry, clock_now(&n->stream.net.dev.loop->clock) + RETRY_NS);
}

static void peer_gone(struct net_stream *s)
{
	struct net_socket *n = LM_CONTAINER_OF(s, struct net_socket, stream);

	netdev_set_link(&s->net.dev, false);
	if (n->listen_fd < 0)
		timer_arm(&n->retry, clock_now(&s->net.dev.loop->clock) + RETRY_NS);
}

static void socket_close(struct net_backend *net)
{
	struct net_socket *n = LM_CONTAINER_OF(net, struct net_socket, stream.net);

	timer_cancel(&n->retry);
	net_stream_disconnect(&n->stream);
	event_fd_fini(&n->listener);
	if (n->listen_fd >= 0) {
		close(n->listen_fd);
		unlink(n->address.sun_path);
	}
	free(n);
}

int net_socket_open(struct net_backend **out, const struct net_options *options,
		    struct event_loop *loop, struct lm_err *err)
{
	struct net_socket *n;
	int rc;

	if (!*options->name || strlen(options->name) >= sizeof(n->address.sun_path))
		return lm_err_set(err, -ENAMETOOLONG, "the path of a socket has 1 to %zu bytes",
				  sizeof(n->address.sun_path) - 1);
	n = calloc(1, sizeof(*n));
	if (!n)
		return lm_err_set(err, -ENOMEM, "no memory for a network");
	net_stream_init(&n->stream, loop);
	n->listen_fd = -1;
	n->address.sun_family = AF_UNIX;
	memcpy(n->address.sun_path, options->name, strlen(options->name));
	timer_init(&n->retry, loop, try_again, n);
	n->stream.net.name = "socket";
	n->stream.net.close = socket_close;
	n->stream.gone = peer_gone;
	n->stream.wants_checksums = true;
	n->stream.net.dev.offloads = NET_CSUM;
	n->stream.net.dev.mtu = options->mtu ? options->mtu : NET_MTU_ETHERNET;
	rc = connect_or_listen(n, err);
	if (rc < 0) {
		socket_close(&n->stream.net);
		return rc;
	}
	*out = &n->stream.net;
	return 0;
}
