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
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/net_stream.h"
#include "backend/unix_listen.h"
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
	int fd = unix_connect(&n->address);

	if (fd < 0)
		return fd;
	use_peer(n, fd);
	return 0;
}

static int start_listening(struct net_socket *n, struct lm_err *err)
{
	int fd = unix_listen(&n->address, err);

	if (fd < 0)
		return fd;
	n->listen_fd = fd;
	return event_fd_init(&n->listener, n->stream.net.dev.loop, fd, EPOLLIN, on_connection, n, err);
}

static int connect_or_listen(struct net_socket *n, struct lm_err *err)
{
	int rc = connect_peer(n);

	if (rc == 0)
		return 0;
	if (rc != -ENOENT && rc != -ECONNREFUSED)
		return lm_err_errno(err, rc, "cannot connect to %s", n->address.sun_path);
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
	struct sockaddr_un address;
	struct net_socket *n;
	int rc;

	rc = unix_address(&address, options->name, err);
	if (rc < 0)
		return rc;
	n = calloc(1, sizeof(*n));
	if (!n)
		return lm_err_set(err, -ENOMEM, "no memory for a network");
	net_stream_init(&n->stream, loop);
	n->listen_fd = -1;
	n->address = address;
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
