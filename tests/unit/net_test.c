/* virtio-net over a backend in memory: headers, offloads, merging, waiting, filters, commands. */
#include "dev/virtio/net.h"
#include "virtio_driver.h"

#define WRITE	 VRING_DESC_F_WRITE
#define NEXT	 VRING_DESC_F_NEXT
#define RX	 0
#define TX	 1
#define SENT_MAX 64
#define HEADER	 (DRV_DATA)
#define FRAME	 (DRV_DATA + 0x1000)
#define BUFFERS	 (DRV_DATA + 0x20000)
#define FRAME_LEN 60

static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 9};

struct fixture {
	struct driver d;
	struct virtio_net net;
	struct netdev dev;
	unsigned room; /* packets that the backend takes */
	unsigned sent, resumed, offloads;
	struct net_packet last;
	uint8_t bytes[NET_PACKET_MAX];
};

static unsigned test_send(struct netdev *dev, const struct net_packet *p, unsigned count)
{
	struct fixture *f = LM_CONTAINER_OF(dev, struct fixture, dev);
	unsigned n = LM_MIN(count, f->room);
	size_t len = 0;

	for (unsigned k = 0; n && k < p[n - 1].iov_count; k++) {
		memcpy(f->bytes + len, p[n - 1].iov[k].iov_base, p[n - 1].iov[k].iov_len);
		len += p[n - 1].iov[k].iov_len;
	}
	if (n) {
		f->last = p[n - 1];
		CHECK_EQ(len, f->last.len);
	}
	f->room -= n;
	f->sent += n;
	return n;
}

static void test_resume(struct netdev *dev)
{
	LM_CONTAINER_OF(dev, struct fixture, dev)->resumed++;
}

static void test_offloads(struct netdev *dev, unsigned offloads)
{
	LM_CONTAINER_OF(dev, struct fixture, dev)->offloads = offloads;
}

static const struct netdev_ops ops = {test_send, test_resume, test_offloads};

static void setup(struct fixture *f, unsigned pairs)
{
	memset(f, 0, sizeof(*f));
	drv_init(&f->d, true);
	f->dev = (struct netdev){.ops = &ops, .loop = &f->d.loop, .mtu = 1500, .link_up = true,
				 .offloads = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_UFO};
	memcpy(f->dev.mac, own_mac, 6);
	f->room = SENT_MAX;
	CHECK_EQ(virtio_net_init(&f->net, &f->dev, pairs, &f->d.ram, &f->d.loop, NULL), 0);
	drv_attach(&f->d, &f->net.virtio);
}

static void teardown(struct fixture *f)
{
	virtio_net_fini(&f->net);
	loop_fini(&f->d.loop);
	ram_fini(&f->d.ram);
}

static void start(struct fixture *f, uint64_t features, unsigned queues)
{
	drv_start(&f->d, features, queues, 16);
}

/* Offers header and frame as two descriptors; whether the chain came back. */
static bool send_frame(struct fixture *f, const struct virtio_net_hdr *h, uint32_t len)
{
	struct virtio_net_hdr_mrg_rxbuf full = {.hdr = *h};
	uint32_t id, used;

	memcpy(drv_ptr(&f->d, HEADER), &full, sizeof(full));
	drv_desc(&f->d, TX, 0, HEADER, sizeof(full), NEXT, 1);
	drv_desc(&f->d, TX, 1, FRAME, len, 0, 0);
	drv_offer(&f->d, TX, 0);
	drv_kick(&f->d, TX);
	return drv_used(&f->d, TX, &id, &used);
}

static void test_sending(void)
{
	struct virtio_net_hdr none = {0};
	struct virtio_net_hdr tso = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				     .gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .hdr_len = 54,
				     .gso_size = 1448, .csum_start = 34, .csum_offset = 16};
	static struct fixture f;

	setup(&f, 1);
	start(&f, LM_BIT(VIRTIO_NET_F_CSUM) | LM_BIT(VIRTIO_NET_F_HOST_TSO4), 2);
	memset(drv_ptr(&f.d, FRAME), 0x5a, 9000);
	CHECK(send_frame(&f, &none, FRAME_LEN));
	CHECK_EQ(f.sent, 1);
	CHECK_EQ(f.last.len, FRAME_LEN);
	CHECK_EQ(f.bytes[FRAME_LEN - 1], 0x5a);
	CHECK(send_frame(&f, &tso, 9000));
	CHECK_EQ(f.sent, 2);
	CHECK_EQ(f.last.header.gso_size, 1448);
	/* Dropped, and given back: too short, checksum outside, what was not negotiated, no size. */
	CHECK(send_frame(&f, &none, 13));
	tso.csum_start = 8990;
	CHECK(send_frame(&f, &tso, 9000));
	tso.csum_start = 34;
	tso.gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
	CHECK(send_frame(&f, &tso, 9000));
	tso.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	tso.gso_size = 0;
	CHECK(send_frame(&f, &tso, 9000));
	CHECK_EQ(f.sent, 2);
	CHECK_EQ(f.net.count.tx_invalid, 4);
	CHECK(!drv_needs_reset(&f.d));
	teardown(&f);
}

/* What the backend does not take stays in the ring, in order, and goes when it is writable. */
static void test_waiting_to_send(void)
{
	static struct fixture f;
	uint32_t id, used;

	setup(&f, 1);
	start(&f, 0, 2);
	f.room = 2;
	for (unsigned k = 0; k < 5; k++) {
		drv_desc(&f.d, TX, k, HEADER, NET_HEADER_SIZE + 20 + k, 0, 0);
		drv_offer(&f.d, TX, (uint16_t)k);
	}
	drv_kick(&f.d, TX);
	CHECK_EQ(f.sent, 2);
	CHECK_EQ(f.net.count.tx_waits, 1);
	drv_kick(&f.d, TX);
	CHECK_EQ(f.sent, 2);
	f.room = 10;
	f.dev.port->writable(f.dev.port->opaque);
	CHECK_EQ(f.sent, 5);
	CHECK_EQ(f.last.len, 24);
	for (unsigned k = 0; k < 5; k++) {
		CHECK(drv_used(&f.d, TX, &id, &used));
		CHECK_EQ(id, k);
	}
	teardown(&f);
}

static void offer_buffers(struct fixture *f, unsigned queue, unsigned count, uint32_t size)
{
	for (unsigned k = 0; k < count; k++) {
		drv_desc(&f->d, queue, k, BUFFERS + 0x1000 * k, size, WRITE, 0);
		drv_offer(&f->d, queue, (uint16_t)k);
	}
	drv_kick(&f->d, queue);
}

static bool deliver_frame(struct fixture *f, uint8_t *frame, uint32_t len,
			  struct virtio_net_hdr header)
{
	struct iovec iov[2] = {{frame, 10}, {frame + 10, len - 10}};
	struct net_packet p = {.header = header, .len = len, .iov_count = 2, .iov = iov};
	bool taken = f->dev.port->receive(f->dev.port->opaque, &p);

	f->dev.port->received(f->dev.port->opaque);
	return taken;
}

static uint8_t *frame_to(const uint8_t mac[6])
{
	static uint8_t frame[NET_PACKET_MAX];

	for (unsigned k = 0; k < sizeof(frame); k++)
		frame[k] = (uint8_t)(k * 7);
	memcpy(frame, mac, 6);
	frame[12] = 8;
	frame[13] = 0;
	return frame;
}

static void test_receiving(void)
{
	struct virtio_net_hdr none = {0}, open = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
						  .csum_start = 34, .csum_offset = 16};
	uint8_t *frame = frame_to(own_mac);
	static struct fixture f;
	uint32_t id, used;

	setup(&f, 1);
	CHECK(deliver_frame(&f, frame, FRAME_LEN, none)); /* dropped: no driver */
	CHECK_EQ(f.net.count.rx_dropped, 1);
	start(&f, 0, 2);
	CHECK(!deliver_frame(&f, frame, FRAME_LEN, none)); /* no buffer: waits */
	offer_buffers(&f, RX, 2, 2000);
	CHECK_EQ(f.resumed, 1);
	CHECK(deliver_frame(&f, frame, FRAME_LEN, none));
	CHECK(drv_used(&f.d, RX, &id, &used));
	CHECK_EQ(used, FRAME_LEN + NET_HEADER_SIZE);
	CHECK(!memcmp(drv_ptr(&f.d, BUFFERS + NET_HEADER_SIZE), frame, FRAME_LEN));
	CHECK(f.d.interrupts > 0);
	/* One buffer each: what is larger is dropped, and the buffer stays. */
	CHECK(deliver_frame(&f, frame, 3000, none));
	CHECK(deliver_frame(&f, frame, FRAME_LEN, open)); /* not negotiated */
	CHECK_EQ(f.net.count.rx_dropped, 3);
	CHECK(!drv_used(&f.d, RX, &id, &used));
	CHECK(deliver_frame(&f, frame, 1500, none));
	CHECK(drv_used(&f.d, RX, &id, &used));
	teardown(&f);
}

static void test_merging(void)
{
	struct virtio_net_hdr none = {0};
	uint8_t *frame = frame_to(own_mac);
	static struct fixture f;
	uint32_t id, used, sum = 0;

	setup(&f, 1);
	start(&f, LM_BIT(VIRTIO_NET_F_MRG_RXBUF), 2);
	offer_buffers(&f, RX, 3, 1000);
	CHECK(!deliver_frame(&f, frame, 5000, none)); /* needs six: none is used up */
	CHECK(!drv_used(&f.d, RX, &id, &used));
	CHECK(deliver_frame(&f, frame, 2500, none));
	CHECK_EQ(le_load(drv_ptr(&f.d, BUFFERS + 10), 2), 3);
	for (unsigned k = 0; k < 3; k++) {
		CHECK(drv_used(&f.d, RX, &id, &used));
		CHECK_EQ(id, k);
		sum += used;
	}
	CHECK_EQ(sum, 2500 + NET_HEADER_SIZE);
	CHECK(!memcmp(drv_ptr(&f.d, BUFFERS + 0x1000), frame + 988, 1000));
	CHECK(!memcmp(drv_ptr(&f.d, BUFFERS + 0x2000), frame + 1988, 512));
	teardown(&f);
}

/* Buffers too small for any frame: all of the ring would not do. */
static void test_tiny_buffers(void)
{
	struct virtio_net_hdr none = {0};
	static struct fixture f;

	setup(&f, 1);
	start(&f, LM_BIT(VIRTIO_NET_F_MRG_RXBUF), 2);
	offer_buffers(&f, RX, 16, 13);
	CHECK(deliver_frame(&f, frame_to(own_mac), 1000, none));
	CHECK_EQ(f.net.count.rx_dropped, 1);
	CHECK(!drv_needs_reset(&f.d));
	teardown(&f);
}

static uint8_t command(struct fixture *f, unsigned queue, uint8_t class, uint8_t number,
		       const void *data, uint32_t len)
{
	uint8_t *head = drv_ptr(&f->d, HEADER), *answer = drv_ptr(&f->d, HEADER + 0x800);

	head[0] = class;
	head[1] = number;
	memcpy(head + 2, data, len);
	*answer = 0xee;
	drv_desc(&f->d, queue, 0, HEADER, 2 + len, NEXT, 1);
	drv_desc(&f->d, queue, 1, HEADER + 0x800, 1, WRITE, 0);
	drv_offer(&f->d, queue, 0);
	drv_kick(&f->d, queue);
	return *answer;
}

static uint64_t control_features(void)
{
	return LM_BIT(VIRTIO_NET_F_CTRL_VQ) | LM_BIT(VIRTIO_NET_F_CTRL_RX) |
	       LM_BIT(VIRTIO_NET_F_CTRL_VLAN) | LM_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |
	       LM_BIT(VIRTIO_NET_F_GUEST_CSUM) | LM_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |
	       LM_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | LM_BIT(VIRTIO_NET_F_STATUS);
}

static bool passes(struct fixture *f, const uint8_t mac[6], uint16_t vlan)
{
	struct virtio_net_hdr none = {0};
	uint64_t before = f->net.count.rx_filtered;
	uint8_t *frame = frame_to(mac);

	if (vlan) {
		frame[12] = 0x81;
		frame[14] = (uint8_t)(vlan >> 8);
		frame[15] = (uint8_t)vlan;
	}
	deliver_frame(f, frame, FRAME_LEN, none);
	return f->net.count.rx_filtered == before;
}

static void test_filters(void)
{
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 7}, group[6] = {1, 0, 0x5e, 0, 0, 1},
			     all[6] = {255, 255, 255, 255, 255, 255};
	const uint8_t off = 0;
	const uint16_t vlan = 5;
	uint8_t tables[4 + 6 + 4 + 6] = {1};
	static struct fixture f;

	setup(&f, 1);
	start(&f, control_features(), 3);
	CHECK(passes(&f, other, 0));
	CHECK_EQ(command(&f, 2, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &off, 1), 0);
	CHECK(!passes(&f, other, 0) && !passes(&f, group, 0));
	CHECK(passes(&f, own_mac, 0) && passes(&f, all, 0));
	memcpy(tables + 4, other, 6);
	tables[10] = 1;
	memcpy(tables + 14, group, 6);
	CHECK_EQ(command(&f, 2, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, 20), 0);
	CHECK(passes(&f, other, 0) && passes(&f, group, 0));
	CHECK_EQ(command(&f, 2, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, 19), 1);
	tables[0] = 255;
	tables[1] = 255;
	CHECK_EQ(command(&f, 2, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, 20), 1);
	CHECK_EQ(command(&f, 2, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, group, 6), 0);
	CHECK_EQ(bus_read(&f.d.mmio, DRV_CONFIG, 1), 1);
	CHECK(!passes(&f, own_mac, 0));
	CHECK(!passes(&f, all, 5));
	CHECK_EQ(command(&f, 2, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2), 0);
	CHECK(passes(&f, all, 5));
	CHECK(!passes(&f, all, 6));
	teardown(&f);
}

static void test_commands(void)
{
	uint64_t offloads = LM_BIT(VIRTIO_NET_F_GUEST_CSUM);
	static struct fixture f;

	setup(&f, 4);
	start(&f, control_features() | LM_BIT(VIRTIO_NET_F_MQ), 9);
	CHECK_EQ(f.offloads, NET_CSUM);
	CHECK_EQ(command(&f, 8, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){4}, 2), 0);
	CHECK_EQ(f.net.pairs, 4);
	CHECK_EQ(command(&f, 8, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){5}, 2), 1);
	CHECK_EQ(command(&f, 8, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){0}, 2), 1);
	CHECK_EQ(command(&f, 8, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &(uint64_t){0}, 8), 0);
	CHECK_EQ(f.offloads, 0);
	CHECK_EQ(command(&f, 8, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &offloads, 8), 0);
	offloads |= LM_BIT(VIRTIO_NET_F_MQ);
	CHECK_EQ(command(&f, 8, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &offloads, 8), 1);
	CHECK_EQ(command(&f, 8, 77, 0, &offloads, 8), 1);
	virtio_net_announce(&f.net);
	CHECK_EQ(bus_read(&f.d.mmio, DRV_CONFIG + 6, 2), 3);
	CHECK_EQ(command(&f, 8, VIRTIO_NET_CTRL_ANNOUNCE, 0, "", 0), 0);
	CHECK_EQ(bus_read(&f.d.mmio, DRV_CONFIG + 6, 2), 1);
	teardown(&f);
}

/* An answer of a flow comes on the pair that sent; where that has no buffers, on another. */
static void test_pairs(void)
{
	struct virtio_net_hdr none = {0};
	uint8_t *frame = frame_to(own_mac);
	static struct fixture f;
	uint32_t id, used;

	setup(&f, 2);
	start(&f, control_features() | LM_BIT(VIRTIO_NET_F_MQ), 5);
	CHECK_EQ(command(&f, 4, VIRTIO_NET_CTRL_MQ, 0, &(uint16_t){2}, 2), 0);
	memset(drv_ptr(&f.d, HEADER), 0, NET_HEADER_SIZE);
	memcpy(drv_ptr(&f.d, HEADER + NET_HEADER_SIZE), frame, FRAME_LEN);
	drv_desc(&f.d, 3, 0, HEADER, NET_HEADER_SIZE + FRAME_LEN, 0, 0);
	drv_offer(&f.d, 3, 0);
	drv_kick(&f.d, 3);
	CHECK_EQ(f.sent, 1);
	offer_buffers(&f, 0, 1, 2000);
	offer_buffers(&f, 2, 1, 2000);
	CHECK(deliver_frame(&f, frame, FRAME_LEN, none));
	CHECK(drv_used(&f.d, 2, &id, &used) && !drv_used(&f.d, 0, &id, &used));
	CHECK(deliver_frame(&f, frame, FRAME_LEN, none));
	CHECK(drv_used(&f.d, 0, &id, &used));
	CHECK(!deliver_frame(&f, frame, FRAME_LEN, none));
	teardown(&f);
}

static void test_reset(void)
{
	struct virtio_net_hdr none = {0};
	static struct fixture f;

	setup(&f, 1);
	start(&f, control_features(), 3);
	CHECK(!deliver_frame(&f, frame_to(own_mac), FRAME_LEN, none));
	drv_set(&f.d, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	CHECK_EQ(f.resumed, 1);
	CHECK(deliver_frame(&f, frame_to(own_mac), FRAME_LEN, none));
	CHECK_EQ(f.offloads, 0);
	teardown(&f);
}

int main(void)
{
	test_sending();
	test_waiting_to_send();
	test_receiving();
	test_merging();
	test_tiny_buffers();
	test_filters();
	test_commands();
	test_pairs();
	test_reset();
	return check_done();
}
