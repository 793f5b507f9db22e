/*
 * Frames over a stream socket, each with its length in front: 4 bytes, big-endian. passt, our
 * libslirp helper and QEMU's `-netdev stream` speak this.
 *
 * Many frames go with one system call, straight from the caller's memory; of a frame that the socket
 * took in part the rest is copied. The peer is not trusted: a length that no frame has ends the link.
 */
#ifndef LM_BACKEND_NET_STREAM_H
#define LM_BACKEND_NET_STREAM_H

#include "backend/net_impl.h"

#define NET_STREAM_INPUT (256 * 1024)
#define NET_LENGTH_SIZE	 4

struct net_stream {
	struct net_backend net;
	int fd; /* -1: no peer */
	struct event_fd watch;
	uint32_t events; /* that watch waits for */

	/* What the peer needs and promises. */
	bool wants_checksums; /* it looks at them, so open ones are filled in */
	bool sends_valid;     /* what it sends needs no checks by the guest */

	bool port_waits; /* writable is due */
	bool paused;	 /* the port has no room */
	/* The peer is gone; under the lock of the loop. May free or replace fd. */
	void (*gone)(struct net_stream *s);

	size_t rest_len, rest_done;
	size_t in_start, in_end;
	uint8_t rest[NET_LENGTH_SIZE + NET_PACKET_MAX];
	uint8_t in[NET_STREAM_INPUT];
	uint8_t bounce[NET_STREAM_INPUT]; /* frames whose checksum we fill in */
};

extern const struct netdev_ops net_stream_ops;

/* s is zeroed memory with gone set. */
void net_stream_init(struct net_stream *s, struct event_loop *loop);
/* Gives it a connected, non-blocking socket, which it owns from then on, also on failure. */
int net_stream_connect(struct net_stream *s, int fd, struct lm_err *err);
/* Closes the socket and forgets what was half sent and half received. */
void net_stream_disconnect(struct net_stream *s);

#endif
