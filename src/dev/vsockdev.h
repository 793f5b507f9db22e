/*
 * The host's side of a socket device as the device sees it: packets of connections go out and are
 * asked for. The backend is in src/backend (vsock.h). Under the device lock.
 */
#ifndef LM_DEV_VSOCKDEV_H
#define LM_DEV_VSOCKDEV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <linux/virtio_vsock.h>

#define VSOCK_CID_HOST	  2
#define VSOCK_CID_FIRST	  3 /* of guests */
#define VSOCK_PACKET_MAX  (64u * 1024) /* payload; Linux' VIRTIO_VSOCK_MAX_PKT_BUF_SIZE */

/* A packet's header in host byte order, without addresses that follow from its direction. */
struct vsock_header {
	uint32_t host_port, guest_port;
	uint32_t len; /* of the payload; 0 but for OP_RW */
	uint16_t op;
	uint32_t flags;
	uint32_t buf_alloc, fwd_cnt; /* the sender's credit (virtio 1.2 §5.10.6.3) */
};

struct vsockdev;

struct vsockdev_ops {
	/* A packet of the guest's. The payload is guest memory, good until return. */
	void (*send)(struct vsockdev *v, const struct vsock_header *h, const struct iovec *iov,
		     unsigned count);
	/* The next packet for the guest, with up to `room` bytes of payload in iov; false for none. */
	bool (*receive)(struct vsockdev *v, struct vsock_header *h, struct iovec *iov,
			unsigned count, uint32_t room);
	/* The guest knows of no connection any more. */
	void (*reset)(struct vsockdev *v);
};

struct vsockdev {
	const struct vsockdev_ops *ops;
	/* The device's: there may be something to receive. */
	void (*pending)(void *opaque);
	void *opaque;
};

#endif
