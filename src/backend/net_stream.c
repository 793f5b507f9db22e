#include "backend/net_stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/net_checksum.h"
#include "base/bits.h"
#include "base/log.h"

#define SOCKET_BUFFER (4 * 1024 * 1024) /* asked for; the host gives what it allows */
#define READS_AT_ONCE 8			/* before others get their turn */
#define IOV_LIMIT     IOV_MAX
#define FRAMES_LIMIT  64

static void wait_for(struct net_stream *s, uint32_t events)
{
	if (events == s->events)
		return;
	s->events = events;
	event_fd_update(&s->watch, events);
}

static void update_events(struct net_stream *s)
{
	if (s->fd >= 0)
		wait_for(s, (s->paused ? 0 : EPOLLIN) | (s->port_waits ? EPOLLOUT : 0));
}

static void lose_peer(struct net_stream *s)
{
	if (s->fd < 0)
		return;
	net_stream_disconnect(s);
	s->gone(s);
}

/* ---- Sending ---- */

/* One call's worth of frames. */
struct outbox {
	unsigned frames, pieces;
	size_t bounced; /* bytes of bounce in use */
	uint32_t length[FRAMES_LIMIT];
	unsigned first[FRAMES_LIMIT]; /* piece of each frame */
	struct iovec iov[IOV_LIMIT];
};

/* A copy with its checksum filled in; NULL when there is no room left. */
static uint8_t *finish_frame(struct net_stream *s, struct outbox *out, const struct net_packet *p)
{
	uint8_t *frame = s->bounce + out->bounced;
	size_t len = 0;

	if (p->len > sizeof(s->bounce) - out->bounced)
		return NULL;
	for (unsigned k = 0; k < p->iov_count; k++) {
		memcpy(frame + len, p->iov[k].iov_base, p->iov[k].iov_len);
		len += p->iov[k].iov_len;
	}
	net_checksum_fill(&p->header, frame, p->len);
	out->bounced += p->len;
	return frame;
}

static bool put_frame(struct net_stream *s, struct outbox *out, const struct net_packet *p)
{
	bool finish = s->wants_checksums && p->header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	unsigned pieces = 1 + (finish ? 1 : p->iov_count);
	struct iovec *iov = &out->iov[out->pieces];
	uint8_t *frame = NULL;

	if (out->frames == FRAMES_LIMIT || pieces > IOV_LIMIT - out->pieces)
		return false;
	if (finish) {
		frame = finish_frame(s, out, p);
		if (!frame)
			return false;
	}
	out->length[out->frames] = htonl(p->len);
	out->first[out->frames] = out->pieces;
	iov[0] = (struct iovec){&out->length[out->frames], NET_LENGTH_SIZE};
	if (finish)
		iov[1] = (struct iovec){frame, p->len};
	else
		memcpy(&iov[1], p->iov, p->iov_count * sizeof(*iov));
	out->frames++;
	out->pieces += pieces;
	return true;
}

static ssize_t send_pieces(struct net_stream *s, struct iovec *iov, size_t count)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = count};
	ssize_t n;

	do
		n = sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n;
}

/* Copies a frame that the socket took in part, the first `sent` bytes. */
static void keep_rest(struct net_stream *s, const struct outbox *out, unsigned frame, size_t sent)
{
	size_t size = NET_LENGTH_SIZE + ntohl(out->length[frame]);

	s->rest_len = 0;
	s->rest_done = sent;
	for (const struct iovec *v = &out->iov[out->first[frame]]; s->rest_len < size; v++) {
		memcpy(s->rest + s->rest_len, v->iov_base, v->iov_len);
		s->rest_len += v->iov_len;
	}
}

/* The number of frames that left with the first `sent` bytes, one that did in part included. */
static unsigned settle(struct net_stream *s, const struct outbox *out, size_t sent)
{
	for (unsigned k = 0; k < out->frames; k++) {
		size_t size = NET_LENGTH_SIZE + ntohl(out->length[k]);

		if (sent < size) {
			if (sent)
				keep_rest(s, out, k, sent);
			return k + (sent > 0);
		}
		sent -= size;
	}
	return out->frames;
}

static bool socket_is_full(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS;
}

/* Whether nothing is left of a frame that was begun. */
static bool flush_rest(struct net_stream *s)
{
	struct iovec iov = {s->rest + s->rest_done, s->rest_len - s->rest_done};
	ssize_t n;

	if (!iov.iov_len)
		return true;
	n = send_pieces(s, &iov, 1);
	if (n < 0 && !socket_is_full()) {
		lose_peer(s);
		return true;
	}
	s->rest_done += n > 0 ? (size_t)n : 0;
	return s->rest_done == s->rest_len;
}

/* As many as fit one call; *taken of them left or are ours now. Whether the socket took all. */
static bool send_some(struct net_stream *s, const struct net_packet *packets, unsigned count,
		      unsigned *taken)
{
	struct outbox out;
	ssize_t n;

	out.frames = out.pieces = 0;
	out.bounced = 0;
	while (out.frames < count && put_frame(s, &out, &packets[out.frames]))
		;
	n = send_pieces(s, out.iov, out.pieces);
	if (n < 0 && !socket_is_full()) {
		lose_peer(s);
		*taken = count; /* to nobody */
		return true;
	}
	*taken = settle(s, &out, n < 0 ? 0 : (size_t)n);
	return *taken == out.frames && s->rest_done == s->rest_len;
}

static unsigned stream_send(struct netdev *dev, const struct net_packet *packets, unsigned count)
{
	struct net_stream *s = LM_CONTAINER_OF(dev, struct net_stream, net.dev);
	unsigned done = 0, taken;
	bool room = flush_rest(s);

	while (room && done < count && s->fd >= 0) {
		room = send_some(s, packets + done, count - done, &taken);
		done += taken;
	}
	if (s->fd < 0)
		return count; /* a cable that leads nowhere */
	s->port_waits |= !room;
	update_events(s);
	return done;
}

static void become_writable(struct net_stream *s)
{
	if (!flush_rest(s) || !s->port_waits)
		return;
	s->port_waits = false;
	if (s->net.dev.port)
		s->net.dev.port->writable(s->net.dev.port->opaque);
	update_events(s);
}

/* ---- Receiving ---- */

/* Makes room for a whole frame behind what is there; whether bytes came. */
static bool read_more(struct net_stream *s)
{
	size_t have = s->in_end - s->in_start;
	ssize_t n;

	if (sizeof(s->in) - s->in_start < NET_LENGTH_SIZE + NET_PACKET_MAX || !have) {
		memmove(s->in, s->in + s->in_start, have);
		s->in_start = 0;
		s->in_end = have;
	}
	n = recv(s->fd, s->in + s->in_end, sizeof(s->in) - s->in_end, MSG_DONTWAIT);
	if (n > 0) {
		s->in_end += (size_t)n;
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		lose_peer(s);
	return false;
}

static bool give_to_port(struct net_stream *s, uint8_t *frame, uint32_t len)
{
	const struct net_port *port = s->net.dev.port;
	struct iovec iov = {frame, len};
	struct net_packet p = {.len = len, .iov_count = 1, .iov = &iov};

	p.header.flags = s->sends_valid ? VIRTIO_NET_HDR_F_DATA_VALID : 0;
	return !port || len < NET_PACKET_MIN || port->receive(port->opaque, &p);
}

/* Passes on the whole frames that are there; whether the port took them all. */
static bool give_frames(struct net_stream *s)
{
	while (s->in_end - s->in_start >= NET_LENGTH_SIZE) {
		uint8_t *at = s->in + s->in_start;
		uint32_t len;

		memcpy(&len, at, sizeof(len));
		len = ntohl(len);
		if (len > NET_PACKET_MAX) {
			log_guest_once("network: the peer's frames are too long; the link is down");
			lose_peer(s);
			return false;
		}
		if (s->in_end - s->in_start < NET_LENGTH_SIZE + len)
			break;
		if (!give_to_port(s, at + NET_LENGTH_SIZE, len))
			return false;
		s->in_start += NET_LENGTH_SIZE + len;
	}
	return true;
}

static void receive_all(struct net_stream *s)
{
	bool more = true;

	s->paused = false;
	for (unsigned k = 0; more && k < READS_AT_ONCE && s->fd >= 0; k++) {
		s->paused = !give_frames(s) && s->fd >= 0;
		more = s->fd >= 0 && !s->paused && read_more(s);
	}
	if (more && !s->paused && s->fd >= 0)
		s->paused = !give_frames(s) && s->fd >= 0;
	update_events(s);
	if (s->net.dev.port)
		s->net.dev.port->received(s->net.dev.port->opaque);
}

static void stream_resume(struct netdev *dev)
{
	struct net_stream *s = LM_CONTAINER_OF(dev, struct net_stream, net.dev);

	if (s->fd >= 0 && s->paused)
		receive_all(s);
}

const struct netdev_ops net_stream_ops = {
    .send = stream_send,
    .resume = stream_resume,
};

static void ready(void *opaque, uint32_t events)
{
	struct net_stream *s = opaque;

	if (events & EPOLLOUT)
		become_writable(s);
	if (s->fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !s->paused)
		receive_all(s);
	else if (s->fd >= 0 && events & (EPOLLHUP | EPOLLERR))
		lose_peer(s);
}

/* ---- The connection ---- */

void net_stream_init(struct net_stream *s, struct event_loop *loop)
{
	s->fd = -1;
	s->net.dev.ops = &net_stream_ops;
	s->net.dev.loop = loop;
}

int net_stream_connect(struct net_stream *s, int fd, struct lm_err *err)
{
	int size = SOCKET_BUFFER, rc;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	s->fd = fd;
	s->events = EPOLLIN;
	s->paused = s->port_waits = false;
	rc = event_fd_init(&s->watch, s->net.dev.loop, fd, EPOLLIN, ready, s, err);
	if (rc < 0)
		net_stream_disconnect(s);
	return rc;
}

void net_stream_disconnect(struct net_stream *s)
{
	if (s->fd < 0)
		return;
	event_fd_fini(&s->watch);
	close(s->fd);
	s->fd = -1;
	s->rest_len = s->rest_done = s->in_start = s->in_end = 0;
	s->paused = false;
}
