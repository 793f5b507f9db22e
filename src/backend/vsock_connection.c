#include "backend/vsock_connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"

#define SHUTDOWN_BOTH ((uint32_t)(VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND))
/* The guest is told of room when this much has become free. */
#define CREDIT_STEP (VSOCK_BUFFER / 4)

static bool would_block(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* ---- From the guest to the socket ---- */

/* Bytes in the buffer. */
static uint32_t held(const struct vsock_connection *c)
{
	return c->received - c->forwarded;
}

static void told_room(struct vsock_connection *c)
{
	if (c->forwarded - c->forwarded_told >= CREDIT_STEP)
		c->wishes |= WISH_CREDIT;
}

/* After the last byte the socket's reader sees the end. */
static bool end_when_empty(struct vsock_connection *c)
{
	if (held(c) || !c->guest_sends_no_more)
		return true;
	shutdown(c->fd, SHUT_WR);
	return !c->guest_reads_no_more;
}

static bool write_held(struct vsock_connection *c)
{
	while (held(c)) {
		uint32_t at = c->forwarded % VSOCK_BUFFER;
		uint32_t len = LM_MIN(held(c), VSOCK_BUFFER - at);
		ssize_t n = send(c->fd, c->buffer + at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0)
			return would_block();
		c->forwarded += (uint32_t)n;
	}
	return true;
}

bool vsock_connection_flush(struct vsock_connection *c)
{
	bool ok = write_held(c);

	told_room(c);
	return ok && end_when_empty(c);
}

static bool keep(struct vsock_connection *c, const struct iovec *iov, unsigned count, size_t skip)
{
	if (!c->buffer)
		c->buffer = malloc(VSOCK_BUFFER);
	if (!c->buffer)
		return false;
	for (unsigned k = 0; k < count; k++) {
		const uint8_t *from = iov[k].iov_base;
		size_t left = iov[k].iov_len, gone = LM_MIN(skip, left);

		skip -= gone;
		from += gone;
		left -= gone;
		while (left) {
			uint32_t at = c->received % VSOCK_BUFFER;
			uint32_t n = (uint32_t)LM_MIN(left, (size_t)(VSOCK_BUFFER - at));

			memcpy(c->buffer + at, from, n);
			c->received += n;
			from += n;
			left -= n;
		}
	}
	return true;
}

/* Straight to the socket where nothing waits before it; the rest is kept. */
static bool take_data(struct vsock_connection *c, uint32_t len, const struct iovec *iov,
		      unsigned count)
{
	struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = count};
	ssize_t n = 0;

	if (c->guest_sends_no_more || len > VSOCK_BUFFER - held(c))
		return false; /* it was told how much it may send */
	if (!held(c) && len)
		n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && !would_block())
		return false;
	n = LM_MAX(n, 0);
	c->received += (uint32_t)n;
	c->forwarded += (uint32_t)n;
	if ((uint32_t)n < len && !keep(c, iov, count, (size_t)n))
		return false;
	told_room(c);
	return true;
}

static bool take_shutdown(struct vsock_connection *c, uint32_t flags)
{
	c->guest_sends_no_more |= (flags & VIRTIO_VSOCK_SHUTDOWN_SEND) != 0;
	c->guest_reads_no_more |= (flags & VIRTIO_VSOCK_SHUTDOWN_RCV) != 0;
	return end_when_empty(c);
}

/* What the program at the socket waits for, before any data. */
static bool take_response(struct vsock_connection *c)
{
	char answer[VSOCK_COMMAND_SIZE];
	int len = snprintf(answer, sizeof(answer), "OK %u\n", c->host_port);

	if (c->state != VSOCK_REQUESTED)
		return false;
	c->state = VSOCK_OPEN;
	c->wishes |= WISH_DATA;
	return send(c->fd, answer, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) == len;
}

bool vsock_connection_take(struct vsock_connection *c, const struct vsock_header *h,
			   const struct iovec *iov, unsigned count)
{
	c->peer_alloc = h->buf_alloc;
	c->peer_fwd = h->fwd_cnt;
	if (c->hung_up && !c->host_ended)
		c->wishes |= WISH_DATA; /* there may be credit again */
	if (c->state != VSOCK_OPEN && h->op != VIRTIO_VSOCK_OP_RESPONSE)
		return false;
	switch (h->op) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		return take_response(c);
	case VIRTIO_VSOCK_OP_RW:
		return take_data(c, h->len, iov, count);
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		return take_shutdown(c, h->flags);
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		c->wishes |= WISH_DATA;
		return true;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		c->wishes |= WISH_CREDIT;
		return true;
	default:
		return false;
	}
}

/* ---- From the socket to the guest ---- */

/* Bytes that the guest has room for, by what it says; nothing where it says nonsense. */
static uint32_t peer_room(const struct vsock_connection *c)
{
	uint32_t flying = c->sent - c->peer_fwd;

	return flying < c->peer_alloc ? c->peer_alloc - flying : 0;
}

static void end_of_input(struct vsock_connection *c)
{
	c->host_ended = true;
	c->wishes = (c->wishes & ~(unsigned)WISH_DATA) | WISH_SHUTDOWN;
}

/* Bytes that came, straight into the guest's buffer. */
static uint32_t read_data(struct vsock_connection *c, const struct iovec *iov, unsigned count,
			  uint32_t room)
{
	struct iovec narrowed[1];
	struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = count};
	uint32_t credit = peer_room(c);
	ssize_t n;

	if (!credit || !room) {
		c->wishes &= ~(unsigned)WISH_DATA;
		c->wishes |= !credit ? WISH_CREDIT_REQUEST : 0;
		return 0;
	}
	if (credit < room) {
		narrowed[0] = (struct iovec){iov[0].iov_base, LM_MIN(iov[0].iov_len, credit)};
		m = (struct msghdr){.msg_iov = narrowed, .msg_iovlen = 1};
	}
	n = recvmsg(c->fd, &m, MSG_DONTWAIT);
	if (n > 0) {
		c->sent += (uint32_t)n;
		return (uint32_t)n;
	}
	if (n < 0 && would_block())
		c->wishes &= ~(unsigned)WISH_DATA;
	else
		end_of_input(c);
	return 0;
}

static bool take_wish(struct vsock_connection *c, enum vsock_wish wish)
{
	bool had = c->wishes & wish;

	c->wishes &= ~(unsigned)wish;
	return had;
}

/* In the order in which the guest must see them. */
static uint16_t next_op(struct vsock_connection *c, struct vsock_header *h, const struct iovec *iov,
			unsigned count, uint32_t room)
{
	static const struct {
		enum vsock_wish wish;
		uint16_t op;
	} plain[] = {
		{WISH_RST, VIRTIO_VSOCK_OP_RST},
		{WISH_REQUEST, VIRTIO_VSOCK_OP_REQUEST},
		{WISH_RESPONSE, VIRTIO_VSOCK_OP_RESPONSE},
		{WISH_CREDIT, VIRTIO_VSOCK_OP_CREDIT_UPDATE},
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(plain); k++)
		if (take_wish(c, plain[k].wish))
			return plain[k].op;
	if (c->wishes & WISH_DATA && c->state == VSOCK_OPEN) {
		h->len = read_data(c, iov, count, room);
		if (h->len)
			return VIRTIO_VSOCK_OP_RW;
	}
	if (take_wish(c, WISH_CREDIT_REQUEST))
		return VIRTIO_VSOCK_OP_CREDIT_REQUEST;
	if (take_wish(c, WISH_SHUTDOWN)) {
		h->flags = c->hung_up ? SHUTDOWN_BOTH : VIRTIO_VSOCK_SHUTDOWN_SEND;
		return VIRTIO_VSOCK_OP_SHUTDOWN;
	}
	return VIRTIO_VSOCK_OP_INVALID;
}

bool vsock_connection_next(struct vsock_connection *c, struct vsock_header *h,
			   const struct iovec *iov, unsigned count, uint32_t room)
{
	*h = (struct vsock_header){.host_port = c->host_port, .guest_port = c->guest_port};
	h->op = next_op(c, h, iov, count, room);
	h->buf_alloc = VSOCK_BUFFER;
	h->fwd_cnt = c->forwarded;
	if (h->op != VIRTIO_VSOCK_OP_INVALID)
		c->forwarded_told = c->forwarded;
	return h->op != VIRTIO_VSOCK_OP_INVALID;
}

/* ---- The socket ---- */

void vsock_connection_watch(struct vsock_connection *c)
{
	bool wants_input = c->state == VSOCK_COMMAND ||
			   (c->state == VSOCK_OPEN && !c->host_ended && !c->guest_reads_no_more &&
			    !(c->wishes & WISH_DATA) && peer_room(c));
	uint32_t events = (wants_input ? EPOLLIN : 0) | (held(c) ? EPOLLOUT : 0);

	if (c->fd < 0 || c->hung_up || events == c->events)
		return;
	c->events = events;
	event_fd_update(&c->watch, events);
}

void vsock_connection_hang_up(struct vsock_connection *c)
{
	event_fd_fini(&c->watch);
	c->hung_up = true;
	c->wishes |= c->host_ended ? 0 : WISH_DATA;
}

void vsock_connection_close(struct vsock_connection *c)
{
	event_fd_fini(&c->watch);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	free(c->buffer);
	c->buffer = NULL;
	c->received = c->forwarded = 0;
}
