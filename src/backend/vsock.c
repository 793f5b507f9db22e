#include "backend/vsock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/unix_listen.h"
#include "backend/vsock_connection.h"
#include "base/bits.h"

#define CONNECTIONS 256
#define REFUSALS    64 /* RSTs that wait for buffers; further ones are dropped */
#define FIRST_PORT  (UINT32_C(1) << 30) /* of the host's, for connections that it makes */

struct vsock_unix {
	struct vsockdev dev;
	struct event_loop *loop;
	struct sockaddr_un address;
	int listen_fd;
	struct event_fd listener;
	uint32_t last_port;
	unsigned turn; /* whose packet is next */
	unsigned refusals;
	struct vsock_header refusal[REFUSALS];
	struct vsock_connection connection[CONNECTIONS];
};

static void wake_device(struct vsock_unix *v)
{
	if (v->dev.pending)
		v->dev.pending(v->dev.opaque);
}

/* ---- Connections ---- */

static struct vsock_connection *find(struct vsock_unix *v, const struct vsock_header *h)
{
	for (unsigned k = 0; k < CONNECTIONS; k++) {
		struct vsock_connection *c = &v->connection[k];

		if (c->state > VSOCK_COMMAND && c->host_port == h->host_port &&
		    c->guest_port == h->guest_port)
			return c;
	}
	return NULL;
}

static void on_ready(void *opaque, uint32_t events);

/* A free slot that holds fd from then on; NULL (and fd closed) when there is none. */
static struct vsock_connection *adopt(struct vsock_unix *v, int fd, enum vsock_state state)
{
	struct vsock_connection *c = v->connection;

	while (c < v->connection + CONNECTIONS && c->state != VSOCK_FREE)
		c++;
	if (c == v->connection + CONNECTIONS) {
		close(fd);
		return NULL;
	}
	*c = (struct vsock_connection){.state = state, .fd = fd, .owner = v};
	if (event_fd_init(&c->watch, v->loop, fd, 0, on_ready, c, NULL) < 0) {
		vsock_connection_close(c);
		c->state = VSOCK_FREE;
		return NULL;
	}
	return c;
}

/* The guest knows of it, so it has to hear of its end. */
static void kill_connection(struct vsock_connection *c)
{
	bool known = c->state > VSOCK_COMMAND && !(c->wishes & WISH_REQUEST);

	vsock_connection_close(c);
	c->wishes = known ? WISH_RST : 0;
	c->state = known ? VSOCK_DYING : VSOCK_FREE;
}

/* ---- Connections that the host makes ---- */

static uint32_t free_port(struct vsock_unix *v)
{
	struct vsock_header h;
	bool used;

	do {
		used = false;
		v->last_port = LM_MAX(v->last_port + 1, FIRST_PORT);
		h.host_port = v->last_port;
		for (unsigned k = 0; k < CONNECTIONS; k++)
			used |= v->connection[k].state > VSOCK_COMMAND &&
				v->connection[k].host_port == h.host_port;
	} while (used);
	return v->last_port;
}

/* Byte by byte: what comes behind the line is for the guest. False: no such line comes. */
static bool read_command(struct vsock_connection *c, bool *complete)
{
	*complete = false;
	while (c->command_len < sizeof(c->command) - 1) {
		char *byte = &c->command[c->command_len];
		ssize_t n = recv(c->fd, byte, 1, MSG_DONTWAIT);

		if (n <= 0)
			return n < 0 && (errno == EAGAIN || errno == EINTR);
		c->command_len++;
		if (*byte == '\n') {
			*byte = 0;
			*complete = true;
			return true;
		}
	}
	return false;
}

static bool parse_command(const char *line, uint32_t *port)
{
	unsigned long long n;
	char *end;

	if (strncmp(line, "CONNECT ", 8) || line[8] < '0' || line[8] > '9')
		return false;
	n = strtoull(line + 8, &end, 10);
	*port = (uint32_t)n;
	return !*end && n <= UINT32_MAX;
}

static void run_command(struct vsock_unix *v, struct vsock_connection *c)
{
	bool complete;

	if (!read_command(c, &complete) ||
	    (complete && !parse_command(c->command, &c->guest_port))) {
		kill_connection(c);
		return;
	}
	if (!complete)
		return;
	c->host_port = free_port(v);
	c->state = VSOCK_REQUESTED;
	c->wishes = WISH_REQUEST;
}

static void on_connection(void *opaque, uint32_t events)
{
	struct vsock_unix *v = opaque;
	int fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct vsock_connection *c = fd < 0 ? NULL : adopt(v, fd, VSOCK_COMMAND);

	if (c)
		vsock_connection_watch(c);
}

/* ---- Connections that the guest makes ---- */

static void refuse(struct vsock_unix *v, const struct vsock_header *h)
{
	if (v->refusals == REFUSALS || h->op == VIRTIO_VSOCK_OP_RST)
		return;
	v->refusal[v->refusals++] = (struct vsock_header){
		.host_port = h->host_port, .guest_port = h->guest_port, .op = VIRTIO_VSOCK_OP_RST};
}

static void accept_guest(struct vsock_unix *v, const struct vsock_header *h)
{
	struct sockaddr_un a = v->address;
	size_t len = strlen(a.sun_path);
	int n = snprintf(a.sun_path + len, sizeof(a.sun_path) - len, "_%u", h->host_port);
	struct vsock_connection *c = NULL;
	int fd = n > 0 && (size_t)n < sizeof(a.sun_path) - len ? unix_connect(&a) : -1;

	if (fd >= 0)
		c = adopt(v, fd, VSOCK_OPEN);
	if (!c) {
		refuse(v, h);
		return;
	}
	c->host_port = h->host_port;
	c->guest_port = h->guest_port;
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	c->wishes = WISH_RESPONSE | WISH_DATA;
	vsock_connection_watch(c);
}

/* ---- The device's ---- */

static void unix_send(struct vsockdev *dev, const struct vsock_header *h, const struct iovec *iov,
		      unsigned count)
{
	struct vsock_unix *v = LM_CONTAINER_OF(dev, struct vsock_unix, dev);
	struct vsock_connection *c = find(v, h);

	if (!c && h->op == VIRTIO_VSOCK_OP_REQUEST) {
		accept_guest(v, h);
	} else if (!c) {
		refuse(v, h);
	} else if (h->op == VIRTIO_VSOCK_OP_RST) {
		vsock_connection_close(c);
		c->state = VSOCK_FREE;
	} else if (c->state != VSOCK_DYING) {
		if (!vsock_connection_take(c, h, iov, count))
			kill_connection(c);
		else
			vsock_connection_watch(c);
	}
}

static bool next_of(struct vsock_unix *v, struct vsock_connection *c, struct vsock_header *h,
		    struct iovec *iov, unsigned count, uint32_t room)
{
	bool any = c->state != VSOCK_FREE && c->wishes &&
		   vsock_connection_next(c, h, iov, count, room);

	if (c->state == VSOCK_DYING && !c->wishes)
		c->state = VSOCK_FREE;
	else if (c->state != VSOCK_FREE)
		vsock_connection_watch(c);
	return any;
}

static bool unix_receive(struct vsockdev *dev, struct vsock_header *h, struct iovec *iov,
			 unsigned count, uint32_t room)
{
	struct vsock_unix *v = LM_CONTAINER_OF(dev, struct vsock_unix, dev);

	if (v->refusals) {
		*h = v->refusal[--v->refusals];
		return true;
	}
	for (unsigned k = 0; k < CONNECTIONS; k++) {
		v->turn = (v->turn + 1) % CONNECTIONS;
		if (next_of(v, &v->connection[v->turn], h, iov, count, room))
			return true;
	}
	return false;
}

static void forget_all(struct vsock_unix *v)
{
	for (unsigned k = 0; k < CONNECTIONS; k++) {
		if (v->connection[k].state != VSOCK_FREE)
			vsock_connection_close(&v->connection[k]);
		v->connection[k].state = VSOCK_FREE;
	}
	v->refusals = 0;
}

static void unix_reset(struct vsockdev *dev)
{
	forget_all(LM_CONTAINER_OF(dev, struct vsock_unix, dev));
}

static const struct vsockdev_ops unix_ops = {
    .send = unix_send,
    .receive = unix_receive,
    .reset = unix_reset,
};

/* False: it is over. */
static bool serve_open(struct vsock_connection *c, uint32_t events)
{
	if (events & (EPOLLHUP | EPOLLERR)) {
		if (c->state != VSOCK_OPEN || c->host_ended)
			return false;
		vsock_connection_hang_up(c);
		return true;
	}
	if (events & EPOLLIN)
		c->wishes |= WISH_DATA;
	return !(events & EPOLLOUT) || vsock_connection_flush(c);
}

static void on_ready(void *opaque, uint32_t events)
{
	struct vsock_connection *c = opaque;
	struct vsock_unix *v = c->owner;

	if (c->state == VSOCK_COMMAND)
		run_command(v, c);
	else if (!serve_open(c, events))
		kill_connection(c);
	if (c->state != VSOCK_FREE)
		vsock_connection_watch(c);
	wake_device(v);
}

/* ---- Opening ---- */

void vsock_close(struct vsockdev *dev)
{
	struct vsock_unix *v;

	if (!dev)
		return;
	v = LM_CONTAINER_OF(dev, struct vsock_unix, dev);
	forget_all(v);
	event_fd_fini(&v->listener);
	if (v->listen_fd >= 0) {
		close(v->listen_fd);
		unlink(v->address.sun_path);
	}
	free(v);
}

int vsock_open(struct vsockdev **out, const char *path, struct event_loop *loop, struct lm_err *err)
{
	struct vsock_unix *v = calloc(1, sizeof(*v));
	int rc;

	*out = NULL;
	if (!v)
		return lm_err_set(err, -ENOMEM, "no memory for sockets");
	v->dev.ops = &unix_ops;
	v->loop = loop;
	v->listen_fd = -1;
	rc = unix_address(&v->address, path, err);
	if (rc == 0)
		rc = v->listen_fd = unix_listen(&v->address, err);
	if (rc >= 0)
		rc = event_fd_init(&v->listener, loop, v->listen_fd, EPOLLIN, on_connection, v, err);
	if (rc < 0) {
		vsock_close(&v->dev);
		return rc;
	}
	*out = &v->dev;
	return 0;
}
