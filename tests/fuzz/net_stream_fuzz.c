/* A hostile peer at the end of a frame stream, and a port that is often full. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "backend/net_stream.h"
#include "base/bits.h"
#include "fuzz.h"

struct target {
	struct net_stream s;
	struct event_loop loop;
	struct net_port port;
	int peer;
	unsigned room;
	bool gone;
};

static struct target target;

static void require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

static bool receive(void *opaque, const struct net_packet *p)
{
	require(p->len >= NET_PACKET_MIN && p->len <= NET_PACKET_MAX, "length out of range");
	for (unsigned k = 0; k < p->iov_count; k++)
		(void)((const volatile uint8_t *)p->iov[k].iov_base)[p->iov[k].iov_len - 1];
	if (!target.room)
		return false;
	target.room--;
	return true;
}

static void nothing(void *opaque)
{
}

static void gone(struct net_stream *s)
{
	target.gone = true;
}

static void connect_again(void)
{
	int fd[2];

	if (target.peer >= 0)
		close(target.peer);
	require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0, "no socket");
	target.peer = fd[1];
	target.gone = false;
	require(net_stream_connect(&target.s, fd[0], NULL) == 0, "no connection");
}

static void peer_sends(struct fuzz_input *in)
{
	uint8_t bytes[4096] = {0};
	uint32_t len = (uint32_t)fuzz_take(in, 1) < 240 ? (uint32_t)fuzz_take(in, 1) * 8
							 : (uint32_t)fuzz_take(in, 4);
	size_t size = (size_t)fuzz_take(in, 2) % sizeof(bytes);

	bytes[0] = (uint8_t)(len >> 24);
	bytes[1] = (uint8_t)(len >> 16);
	bytes[2] = (uint8_t)(len >> 8);
	bytes[3] = (uint8_t)len;
	(void)!send(target.peer, bytes, fuzz_take(in, 1) < 200 ? LM_MIN((size_t)len + 4, sizeof(bytes)) : size,
		    MSG_NOSIGNAL);
}

static void we_send(struct fuzz_input *in)
{
	static uint8_t frame[NET_PACKET_MAX];
	struct iovec iov[3];
	struct net_packet p[8] = {0};
	uint32_t len = NET_PACKET_MIN + (uint32_t)fuzz_take(in, 2) % (NET_PACKET_MAX - NET_PACKET_MIN);
	unsigned count = 1 + (unsigned)fuzz_take(in, 1) % 8;

	iov[0] = (struct iovec){frame, len / 2};
	iov[1] = (struct iovec){frame + len / 2, len - len / 2};
	for (unsigned k = 0; k < count; k++) {
		p[k] = (struct net_packet){.len = len, .iov_count = 2, .iov = iov};
		if (len > 60 && fuzz_take(in, 1) & 1)
			p[k].header = (struct virtio_net_hdr){
				.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				.csum_start = (uint16_t)(fuzz_take(in, 1) % 40), .csum_offset = 16};
	}
	require(target.s.net.dev.ops->send(&target.s.net.dev, p, count) <= count, "sent too many");
}

static void peer_reads(struct fuzz_input *in)
{
	static uint8_t bytes[65536];

	(void)!recv(target.peer, bytes, (size_t)fuzz_take(in, 2), MSG_DONTWAIT);
}

static void step(struct fuzz_input *in)
{
	switch (fuzz_take(in, 1) % 8) {
	case 0:
		target.room = (unsigned)fuzz_take(in, 1);
		target.s.net.dev.ops->resume(&target.s.net.dev);
		break;
	case 1:
	case 2:
	case 3:
		peer_sends(in);
		break;
	case 4:
		we_send(in);
		break;
	case 5:
		peer_reads(in);
		break;
	case 6:
		if (fuzz_take(in, 1) < 16) {
			close(target.peer);
			target.peer = -1;
		}
		break;
	default:
		if (target.s.fd >= 0)
			target.s.watch.ready(target.s.watch.opaque,
					     (uint32_t)fuzz_take(in, 1) & (EPOLLIN | EPOLLOUT));
	}
}

static void fuzz_one(struct fuzz_input *in)
{
	if (!target.port.receive) {
		require(loop_init(&target.loop, true, NULL) == 0, "no loop");
		target.port = (struct net_port){receive, nothing, nothing, nothing, NULL};
		target.peer = -1;
		net_stream_init(&target.s, &target.loop);
		target.s.gone = gone;
		target.s.wants_checksums = true;
		target.s.net.dev.port = &target.port;
	}
	connect_again();
	target.room = 100;
	while (in->p < in->end && !target.gone && target.peer >= 0)
		step(in);
	net_stream_disconnect(&target.s);
}
