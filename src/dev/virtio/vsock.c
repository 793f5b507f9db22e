#include "dev/virtio/vsock.h"

#include <string.h>
#include <linux/virtio_ids.h>

#define QUEUE_RX    0
#define QUEUE_TX    1
#define QUEUE_EVENT 2
#define QUEUES	    3
#define HEADER_SIZE sizeof(struct virtio_vsock_hdr)

/* ---- To the guest ---- */

static void write_header(const struct virtio_vsock *vsock, const struct vq_chain *chain,
			 const struct vsock_header *h)
{
	struct virtio_vsock_hdr wire = {
		.src_cid = htole64(VSOCK_CID_HOST),
		.dst_cid = vsock->config.guest_cid,
		.src_port = htole32(h->host_port),
		.dst_port = htole32(h->guest_port),
		.len = htole32(h->len),
		.type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(h->op),
		.flags = htole32(h->flags),
		.buf_alloc = htole32(h->buf_alloc),
		.fwd_cnt = htole32(h->fwd_cnt),
	};

	vq_chain_write(chain, 0, &wire, sizeof(wire));
}

/* The chain's pieces stay whole for virtio_push; the backend gets a copy without the header's part. */
static bool receive_into(struct virtio_vsock *vsock, const struct vq_chain *chain,
			 struct vsock_header *h)
{
	struct iovec copy[VQ_MAX_SIZE], *iov = copy;
	uint64_t room = LM_MIN(chain->writable_len - HEADER_SIZE, VSOCK_PACKET_MAX);
	unsigned count;

	memcpy(copy, chain->iov + chain->readable, chain->writable * sizeof(*copy));
	count = iov_narrow(&iov, chain->writable, HEADER_SIZE, room);
	return vsock->backend->ops->receive(vsock->backend, h, iov, count, (uint32_t)room);
}

static void serve_rx(struct virtio_vsock *vsock)
{
	struct virtio_device *dev = &vsock->virtio;
	struct vq_chain chain;

	while (virtio_pop(dev, QUEUE_RX, &chain) == VQ_CHAIN) {
		struct vsock_header h;

		if (chain.writable_len < HEADER_SIZE) {
			virtio_broken(dev, "gave a buffer too small for a header");
			return;
		}
		if (!receive_into(vsock, &chain, &h)) {
			vq_unpop(&dev->queue[QUEUE_RX], 1);
			break;
		}
		write_header(vsock, &chain, &h);
		virtio_push(dev, QUEUE_RX, &chain, (uint32_t)HEADER_SIZE + h.len);
		vsock->rx_packets++;
	}
	virtio_signal(dev, QUEUE_RX);
}

/* §5.10.6.7. */
static void serve_event(struct virtio_vsock *vsock)
{
	struct virtio_vsock_event event = {.id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)};
	struct vq_chain chain;

	if (!vsock->reset_event || virtio_pop(&vsock->virtio, QUEUE_EVENT, &chain) != VQ_CHAIN)
		return;
	vsock->reset_event = false;
	virtio_push(&vsock->virtio, QUEUE_EVENT, &chain,
		    (uint32_t)vq_chain_write(&chain, 0, &event, sizeof(event)));
	virtio_signal(&vsock->virtio, QUEUE_EVENT);
}

static void on_pending(void *opaque)
{
	struct virtio_vsock *vsock = opaque;

	virtio_run_queue(&vsock->virtio, QUEUE_RX);
}

/* ---- From the guest ---- */

static bool read_header(const struct virtio_vsock *vsock, const struct vq_chain *chain,
			struct vsock_header *h)
{
	struct virtio_vsock_hdr wire;

	if (vq_chain_read(chain, 0, &wire, sizeof(wire)) != sizeof(wire))
		return false;
	*h = (struct vsock_header){
		.host_port = le32toh(wire.dst_port),
		.guest_port = le32toh(wire.src_port),
		.len = le32toh(wire.len),
		.op = le16toh(wire.op),
		.flags = le32toh(wire.flags),
		.buf_alloc = le32toh(wire.buf_alloc),
		.fwd_cnt = le32toh(wire.fwd_cnt),
	};
	return wire.src_cid == vsock->config.guest_cid &&
	       le64toh(wire.dst_cid) == VSOCK_CID_HOST &&
	       le16toh(wire.type) == VIRTIO_VSOCK_TYPE_STREAM && h->len <= VSOCK_PACKET_MAX &&
	       h->len <= chain->readable_len - HEADER_SIZE &&
	       (h->op == VIRTIO_VSOCK_OP_RW || !h->len);
}

static void serve_tx(struct virtio_vsock *vsock)
{
	struct virtio_device *dev = &vsock->virtio;
	struct vq_chain chain;

	while (virtio_pop(dev, QUEUE_TX, &chain) == VQ_CHAIN) {
		struct iovec *iov = vq_readable(&chain);
		struct vsock_header h;
		unsigned count;

		if (read_header(vsock, &chain, &h)) {
			count = iov_narrow(&iov, chain.readable, HEADER_SIZE, h.len);
			vsock->backend->ops->send(vsock->backend, &h, iov, count);
			vsock->tx_packets++;
		} else {
			vsock->tx_invalid++;
		}
		virtio_push(dev, QUEUE_TX, &chain, 0);
	}
	virtio_signal(dev, QUEUE_TX);
}

static void vsock_notify(struct virtio_device *dev, unsigned queue)
{
	struct virtio_vsock *vsock = LM_CONTAINER_OF(dev, struct virtio_vsock, virtio);

	if (queue == QUEUE_TX) {
		serve_tx(vsock);
		on_pending(vsock); /* answers */
	}
	if (queue == QUEUE_RX)
		serve_rx(vsock);
	if (queue == QUEUE_EVENT)
		serve_event(vsock);
}

static void vsock_reset(struct virtio_device *dev)
{
	struct virtio_vsock *vsock = LM_CONTAINER_OF(dev, struct virtio_vsock, virtio);

	vsock->reset_event = false;
	vsock->backend->ops->reset(vsock->backend);
}

/* ---- Saved state: connections do not outlive the process, and the guest is told so ---- */

static const struct field vsock_fields[] = {
	FIELD_STRUCT(struct virtio_vsock, virtio, virtio_device_fields),
	FIELD_NOT_SAVED(struct virtio_vsock, backend, "wiring"),
	FIELD_BYTES(struct virtio_vsock, config),
	FIELD_NOT_SAVED(struct virtio_vsock, reset_event, "set by each load"),
	FIELD_NOT_SAVED(struct virtio_vsock, rx_packets, "statistics"),
	FIELD_NOT_SAVED(struct virtio_vsock, tx_packets, "statistics"),
	FIELD_NOT_SAVED(struct virtio_vsock, tx_invalid, "statistics"),
	FIELD_END,
};

static int vsock_loaded(void *object, struct lm_err *err)
{
	struct virtio_vsock *vsock = object;
	int rc = virtio_loaded(&vsock->virtio, err);

	if (rc < 0)
		return rc;
	vsock->reset_event = true;
	virtio_run_queue(&vsock->virtio, QUEUE_EVENT);
	return 0;
}

const struct fields_section virtio_vsock_section = {
	.name = "virtio-vsock",
	.version = 1,
	.table = vsock_fields,
	.post_load = vsock_loaded,
};

static const struct virtio_ops vsock_ops = {
    .name = "virtio-vsock",
    .id = VIRTIO_ID_VSOCK,
    .class_code = 0x028000,
    .notify = vsock_notify,
    .reset = vsock_reset,
    .section = &virtio_vsock_section,
};

void virtio_vsock_init(struct virtio_vsock *vsock, struct vsockdev *backend, uint64_t cid,
		       struct ram *ram, struct event_loop *loop)
{
	struct virtio_setup setup = {
	    .ops = &vsock_ops,
	    .queues = QUEUES,
	    .queue_size = VSOCK_QUEUE_SIZE,
	    .config = &vsock->config,
	    .config_size = sizeof(vsock->config),
	};

	memset(vsock, 0, sizeof(*vsock));
	vsock->backend = backend;
	vsock->config.guest_cid = htole64(cid);
	virtio_device_init(&vsock->virtio, &setup, ram, loop);
	backend->pending = on_pending;
	backend->opaque = vsock;
}

void virtio_vsock_fini(struct virtio_vsock *vsock)
{
	vsock->backend->pending = NULL;
	virtio_device_fini(&vsock->virtio);
}
