/* virtio-vsock (virtio 1.2 §5.10), streams, on a struct vsockdev. */
#ifndef LM_DEV_VIRTIO_VSOCK_H
#define LM_DEV_VIRTIO_VSOCK_H

#include "base/fields.h"
#include "dev/virtio/virtio.h"
#include "dev/vsockdev.h"

#define VSOCK_QUEUE_SIZE 128

struct virtio_vsock {
	struct virtio_device virtio;
	struct vsockdev *backend; /* not owned */
	struct virtio_vsock_config config;
	bool reset_event; /* the guest is to be told that its connections are gone */
	uint64_t rx_packets, tx_packets, tx_invalid;
};

extern const struct fields_section virtio_vsock_section;

void virtio_vsock_init(struct virtio_vsock *vsock, struct vsockdev *backend, uint64_t cid,
		       struct ram *ram, struct event_loop *loop);
void virtio_vsock_fini(struct virtio_vsock *vsock);

#endif
