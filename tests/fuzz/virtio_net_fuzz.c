/* The hostile driver against virtio-net, with a backend that is slow and sends anything. */
#include "dev/virtio/net.h"
#include "virtio_fuzz.h"

#define PAIRS	 2
#define CONTROL	 (2 * PAIRS)

struct target {
	struct virtio_fuzz f;
	struct virtio_net net;
	struct netdev dev;
	unsigned room;
	uint8_t packet[NET_PACKET_MAX];
};

static struct target target;

static unsigned backend_send(struct netdev *dev, const struct net_packet *packets, unsigned count)
{
	unsigned n = LM_MIN(count, target.room);

	for (unsigned k = 0; k < n; k++) {
		const struct net_packet *p = &packets[k];
		uint64_t len = 0;

		for (unsigned i = 0; i < p->iov_count; i++) {
			(void)*(const volatile uint8_t *)p->iov[i].iov_base;
			len += p->iov[i].iov_len;
		}
		fuzz_require(len == p->len && len >= NET_PACKET_MIN && len <= NET_PACKET_MAX,
			     "a packet's length is not that of its pieces");
		fuzz_require(!(p->header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) ||
				 p->header.csum_start + p->header.csum_offset + 2u <= p->len,
			     "a checksum outside of the packet");
	}
	target.room -= n;
	return n;
}

static void backend_resume(struct netdev *dev)
{
}

static const struct netdev_ops ops = {.send = backend_send, .resume = backend_resume};

static void receive(struct fuzz_input *in)
{
	const struct net_port *port = target.dev.port;
	uint32_t len = NET_PACKET_MIN + (uint32_t)fuzz_take(in, 2) % (NET_PACKET_MAX - NET_PACKET_MIN);
	uint32_t cut = (uint32_t)fuzz_take(in, 2) % len;
	struct iovec iov[2] = {{target.packet, cut}, {target.packet + cut, len - cut}};
	struct net_packet p = {.len = len, .iov_count = 2, .iov = iov};

	p.header.flags = (uint8_t)fuzz_take(in, 1) & 3;
	p.header.gso_type = (uint8_t)fuzz_take(in, 1);
	for (unsigned k = 0; k < 40; k++)
		target.packet[k] = (uint8_t)fuzz_take(in, 1);
	if (!(target.packet[6] & 3))
		memcpy(target.packet, target.net.filter.own.byte, 6);
	port->receive(port->opaque, &p);
	port->received(port->opaque);
}

/* A command that is well-formed but for its contents. */
static void control(struct fuzz_input *in)
{
	uint8_t *head = drv_ptr(&target.f.d, DRV_DATA);
	unsigned len = 2 + (unsigned)fuzz_take(in, 1) % 64;

	for (unsigned k = 0; k < len; k++)
		head[k] = (uint8_t)(fuzz_take(in, 1) & (k < 2 ? 7 : k < 6 ? 3 : 255));
	drv_desc(&target.f.d, CONTROL, 0, DRV_DATA, len, VRING_DESC_F_NEXT, 1);
	drv_desc(&target.f.d, CONTROL, 1, DRV_DATA + 0x100, 1, VRING_DESC_F_WRITE, 0);
	drv_offer(&target.f.d, CONTROL, 0);
	drv_kick(&target.f.d, CONTROL);
}

/* A frame with a header that may be right. */
static void transmit(struct fuzz_input *in)
{
	unsigned queue = 1 + 2 * (unsigned)(fuzz_take(in, 1) % PAIRS);
	struct virtio_net_hdr_mrg_rxbuf h = {
		.hdr.flags = (uint8_t)fuzz_take(in, 1) & 1,
		.hdr.gso_type = (uint8_t)fuzz_take(in, 1) & 7,
		.hdr.gso_size = (uint16_t)fuzz_take(in, 1),
		.hdr.csum_start = (uint16_t)fuzz_take(in, 1),
		.hdr.csum_offset = (uint16_t)fuzz_take(in, 1) & 31,
	};

	memcpy(drv_ptr(&target.f.d, DRV_DATA), &h, sizeof(h));
	drv_desc(&target.f.d, queue, 0, DRV_DATA, sizeof(h), VRING_DESC_F_NEXT, 1);
	drv_desc(&target.f.d, queue, 1, DRV_DATA + 0x1000, (uint32_t)fuzz_take(in, 2), 0, 0);
	drv_offer(&target.f.d, queue, 0);
	drv_kick(&target.f.d, queue);
}

static void buffer(struct fuzz_input *in)
{
	unsigned queue = 2 * (unsigned)(fuzz_take(in, 1) % PAIRS);
	unsigned n = (unsigned)fuzz_take(in, 1) % FUZZ_QUEUE_SIZE;

	drv_desc(&target.f.d, queue, n, DRV_DATA + 0x1000, (uint32_t)fuzz_take(in, 2),
		 VRING_DESC_F_WRITE, 0);
	drv_offer(&target.f.d, queue, (uint16_t)n);
	drv_kick(&target.f.d, queue);
}

static void event(void *opaque, struct fuzz_input *in)
{
	switch (fuzz_take(in, 1) % 8) {
	case 0:
		target.room = (unsigned)fuzz_take(in, 1);
		target.dev.port->writable(target.dev.port->opaque);
		break;
	case 1:
		netdev_set_link(&target.dev, fuzz_take(in, 1) & 1);
		break;
	case 2:
		virtio_net_announce(&target.net);
		break;
	case 3:
		control(in);
		break;
	case 4:
		transmit(in);
		break;
	case 5:
	case 6:
		buffer(in);
		break;
	default:
		receive(in);
	}
}

static void check(void *opaque)
{
	fuzz_require(target.net.pairs >= 1 && target.net.pairs <= PAIRS, "queue pairs out of range");
	fuzz_require(target.net.filter.unicast.count <= NET_FILTER_MACS, "table out of range");
	target.room = 1000;
}

static void fuzz_one(struct fuzz_input *in)
{
	if (!target.f.queues) {
		drv_init(&target.f.d, true);
		target.dev = (struct netdev){
			.ops = &ops, .loop = &target.f.d.loop, .mtu = 1500, .link_up = true,
			.offloads = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_UFO,
		};
		virtio_net_init(&target.net, &target.dev, PAIRS, &target.f.d.ram, &target.f.d.loop, NULL);
		fuzz_attach(&target.f, &target.net.virtio);
		target.f.event = event;
		target.f.check = check;
		target.room = 1000;
	}
	fuzz_drive(&target.f, in);
}
