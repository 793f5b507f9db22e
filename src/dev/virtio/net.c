#include "dev/virtio/net.h"

#include <errno.h>
#include <string.h>
#include <linux/virtio_ids.h>

/* Chains that one visit of a queue moves, before others get their turn. */
#define NET_VISIT (4 * NET_BATCH)

static unsigned rx_queue(unsigned pair)
{
	return 2 * pair;
}

static unsigned tx_queue(unsigned pair)
{
	return 2 * pair + 1;
}

/* Behind the queues of all pairs that the driver knows of (§5.1.2). */
static unsigned control_queue(const struct virtio_net *net)
{
	return virtio_has(&net->virtio, VIRTIO_NET_F_MQ) ? 2 * net->max_pairs : 2;
}

/* ---- What needs the device lock ---- */

static void want_interrupt(struct virtio_net *net, unsigned queue)
{
	if (vq_wants_interrupt(&net->virtio.queue[queue]))
		net->interrupts |= LM_BIT(queue);
}

static void update_link(struct virtio_net *net, bool up)
{
	uint16_t status = le16toh(net->config.status) & (uint16_t)~VIRTIO_NET_S_LINK_UP;

	net->config.status = htole16(up ? status | VIRTIO_NET_S_LINK_UP : status);
	virtio_config_changed(&net->virtio);
}

/*
 * The last step of each callback on the I/O loop. That loop's lock is given up meanwhile: a reset may
 * come between, after which none of this is wanted any more.
 */
static void deliver(struct virtio_net *net)
{
	struct virtio_device *dev = &net->virtio;
	uint64_t interrupts = net->interrupts;
	bool broken = net->broken, link_news = net->link_news, up = net->backend->link_up;

	if (!interrupts && !broken && !link_news)
		return;
	net->interrupts = 0;
	net->broken = net->link_news = false;
	loop_unlock(dev->io);
	loop_lock(dev->loop);
	for (unsigned k = 0; k < dev->queue_count; k++)
		if (interrupts & LM_BIT(k))
			virtio_interrupt(dev, k);
	if (broken && virtio_is_live(dev))
		virtio_broken(dev, "gave an invalid descriptor chain");
	if (link_news)
		update_link(net, up);
	loop_unlock(dev->loop);
	loop_lock(dev->io);
}

/* ---- Sending ---- */

static bool has_offload(const struct virtio_net *net, uint8_t gso_type)
{
	static const struct {
		uint8_t gso_type, feature;
	} needs[] = {
		{VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_HOST_TSO4},
		{VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_HOST_TSO6},
		{VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_F_HOST_UFO},
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(needs); k++)
		if (needs[k].gso_type == gso_type)
			return virtio_has(&net->virtio, needs[k].feature);
	return false;
}

/* §5.1.6.2: what the driver may say, of a frame of this length. */
static bool header_is_valid(const struct virtio_net *net, const struct virtio_net_hdr *h,
			    uint32_t len)
{
	bool open = h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	uint8_t gso_type = h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	if (open && (!virtio_has(&net->virtio, VIRTIO_NET_F_CSUM) ||
		     (uint32_t)h->csum_start + h->csum_offset + 2 > len))
		return false;
	if (h->gso_type & VIRTIO_NET_HDR_GSO_ECN && !virtio_has(&net->virtio, VIRTIO_NET_F_HOST_ECN))
		return false;
	if (gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return true;
	return open && h->gso_size && has_offload(net, gso_type);
}

static bool make_packet(struct virtio_net *net, struct vq_chain *chain, struct net_packet *p)
{
	struct iovec *iov = vq_readable(chain);
	uint64_t len = chain->readable_len - NET_HEADER_SIZE;
	struct virtio_net_hdr h;

	if (chain->readable_len < NET_HEADER_SIZE + NET_PACKET_MIN || len > NET_PACKET_MAX)
		return false;
	vq_chain_read(chain, 0, &h, sizeof(h));
	p->header = (struct virtio_net_hdr){
		.flags = h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = h.gso_type,
		.hdr_len = le16toh(h.hdr_len),
		.gso_size = le16toh(h.gso_size),
		.csum_start = le16toh(h.csum_start),
		.csum_offset = le16toh(h.csum_offset),
	};
	p->len = (uint32_t)len;
	if (!header_is_valid(net, &p->header, p->len))
		return false;
	p->iov_count = iov_narrow(&iov, chain->readable, NET_HEADER_SIZE, len);
	p->iov = iov;
	return true;
}

static void drop_invalid(struct virtio_net *net, struct virtqueue *vq, const struct vq_chain *chain)
{
	net->count.tx_invalid++;
	vq_push(vq, chain, 0);
}

/*
 * Takes packets from the queue, up to a batch. Only a batch's last chains can be given back to the
 * queue, so an invalid packet ends it, and is dropped when it comes first. *budget counts chains.
 */
static unsigned collect(struct virtio_net *net, struct virtqueue *vq, unsigned *budget)
{
	unsigned n = 0;

	while (n < NET_BATCH && *budget) {
		enum vq_result r = vq_pop(vq, &net->chain[n]);

		net->broken |= r == VQ_BROKEN;
		if (r != VQ_CHAIN)
			break;
		--*budget;
		if (make_packet(net, &net->chain[n], &net->packet[n])) {
			n++;
		} else if (n) {
			vq_unpop(vq, 1);
			break;
		} else {
			drop_invalid(net, vq, &net->chain[0]);
		}
	}
	return n;
}

static unsigned head_of(const struct net_packet *p, uint8_t head[NET_FLOW_HEAD])
{
	unsigned len = 0;

	for (unsigned k = 0; k < p->iov_count && len < NET_FLOW_HEAD; k++) {
		size_t n = LM_MIN(p->iov[k].iov_len, (size_t)NET_FLOW_HEAD - len);

		memcpy(head + len, p->iov[k].iov_base, n);
		len += (unsigned)n;
	}
	__asm__ volatile("" ::: "memory"); /* copied once, then used */
	return len;
}

static void learn_flows(struct virtio_net *net, unsigned pair, unsigned count)
{
	uint8_t head[NET_FLOW_HEAD];

	for (unsigned k = 0; net->pairs > 1 && k < count; k++)
		net->flows.pair[net_flow_of(head, head_of(&net->packet[k], head))] = (uint8_t)pair;
}

static void count_sent(struct virtio_net *net, unsigned count)
{
	net->count.tx_packets += count;
	for (unsigned k = 0; k < count; k++)
		net->count.tx_bytes += net->packet[k].len;
}

/* Sends what a queue has, up to a visit's worth; whether there may be more that can be sent. */
static bool serve_tx(struct virtio_net *net, unsigned pair)
{
	struct virtqueue *vq = &net->virtio.queue[tx_queue(pair)];
	unsigned budget = NET_VISIT, n, taken;

	do {
		n = collect(net, vq, &budget);
		taken = n ? net->backend->ops->send(net->backend, net->packet, n) : 0;
		learn_flows(net, pair, taken);
		count_sent(net, taken);
		for (unsigned k = 0; k < taken; k++)
			vq_fill(vq, k, net->chain[k].head, 0);
		vq_publish(vq, taken);
		vq_unpop(vq, n - taken);
	} while (n && taken == n && budget);
	if (taken < n) {
		net->tx_blocked = true;
		net->count.tx_waits++;
	}
	want_interrupt(net, tx_queue(pair));
	return !budget && !net->tx_blocked;
}

static void serve_all_tx(struct virtio_net *net)
{
	bool more = false;

	for (unsigned pair = 0; pair < net->pairs && net->running && !net->tx_blocked; pair++)
		more |= serve_tx(net, pair);
	if (more)
		waker_wake(&net->kick);
}

static void on_writable(void *opaque)
{
	struct virtio_net *net = opaque;

	net->tx_blocked = false;
	serve_all_tx(net);
	deliver(net);
}

/* ---- Receiving ---- */

/* The guest may have changed its mind since the backend took the packet from the network. */
static bool is_acceptable(const struct virtio_net *net, const struct net_packet *p)
{
	static const struct {
		uint8_t gso_type, feature;
	} needs[] = {
		{VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_GUEST_TSO4},
		{VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_GUEST_TSO6},
		{VIRTIO_NET_HDR_GSO_UDP, VIRTIO_NET_F_GUEST_UFO},
	};
	uint8_t gso_type = p->header.gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	if (p->header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM &&
	    !(net->guest_offloads & LM_BIT(VIRTIO_NET_F_GUEST_CSUM)))
		return false;
	for (unsigned k = 0; k < LM_ARRAY_SIZE(needs); k++)
		if (needs[k].gso_type == gso_type)
			return net->guest_offloads >> needs[k].feature & 1;
	return gso_type == VIRTIO_NET_HDR_GSO_NONE;
}

static bool passes_filter(struct virtio_net *net, const uint8_t *head, unsigned len)
{
	return net_filter_passes(&net->filter, head, len,
				 virtio_has(&net->virtio, VIRTIO_NET_F_CTRL_VLAN));
}

/* Where reading a packet has come to. */
struct cursor {
	const struct iovec *iov;
	unsigned left; /* pieces */
	size_t skip;   /* bytes of the first that are gone */
};

/* Fills [offset, end) of a chain's writable part from the packet; the bytes copied. */
static size_t fill_chain(struct virtio_net *net, struct vq_chain *chain, size_t offset,
			 struct cursor *from, size_t max)
{
	size_t done = 0;
	uint64_t room = chain->writable_len - LM_MIN(chain->writable_len, offset);

	max = (size_t)LM_MIN(max, room);
	while (done < max && from->left) {
		size_t n = LM_MIN(from->iov->iov_len - from->skip, max - done);

		vq_chain_write(chain, offset + done, (const uint8_t *)from->iov->iov_base + from->skip,
			       n);
		done += n;
		from->skip += n;
		if (from->skip == from->iov->iov_len) {
			from->iov++;
			from->left--;
			from->skip = 0;
		}
	}
	for (unsigned k = 0; k < chain->writable; k++)
		ram_note_write(net->virtio.ram, vq_writable(chain)[k].iov_base,
			       vq_writable(chain)[k].iov_len);
	return done;
}

static void write_header(struct virtio_net *net, const struct vq_chain *chain,
			 const struct net_packet *p, uint16_t buffers)
{
	bool checks = net->guest_offloads & LM_BIT(VIRTIO_NET_F_GUEST_CSUM);
	struct virtio_net_hdr_mrg_rxbuf h = {
		.hdr.flags = checks ? p->header.flags : 0,
		.hdr.gso_type = p->header.gso_type,
		.hdr.hdr_len = htole16(p->header.hdr_len),
		.hdr.gso_size = htole16(p->header.gso_size),
		.hdr.csum_start = htole16(p->header.csum_start),
		.hdr.csum_offset = htole16(p->header.csum_offset),
		.num_buffers = htole16(buffers),
	};

	vq_chain_write(chain, 0, &h, sizeof(h));
}

enum rx_result { RX_DONE, RX_NO_ROOM, RX_TOO_LARGE };

/* §5.1.6.4: one chain, or with MRG_RXBUF as many as it takes; all of them or none. */
static enum rx_result receive_into(struct virtio_net *net, struct virtqueue *vq,
				   const struct net_packet *p)
{
	struct vq_chain *first = &net->chain[0], *chain = first;
	struct cursor from = {p->iov, p->iov_count, 0};
	bool merge = virtio_has(&net->virtio, VIRTIO_NET_F_MRG_RXBUF);
	size_t left = p->len, skip = NET_HEADER_SIZE;
	unsigned used = 0;

	do {
		enum vq_result r = vq_pop(vq, chain);
		size_t n;

		net->broken |= r == VQ_BROKEN;
		if (r != VQ_CHAIN) {
			vq_unpop(vq, used);
			return r == VQ_BROKEN ? RX_TOO_LARGE : RX_NO_ROOM;
		}
		if (chain->writable_len <= skip || (!merge && chain->writable_len - skip < left)) {
			vq_unpop(vq, used + 1);
			return RX_TOO_LARGE;
		}
		n = fill_chain(net, chain, skip, &from, left);
		vq_fill(vq, used++, chain->head, (uint32_t)(skip + n));
		left -= n;
		skip = 0;
		chain = &net->chain[1];
	} while (left && used < vq->size);
	if (left) {
		vq_unpop(vq, used);
		return RX_TOO_LARGE;
	}
	write_header(net, first, p, (uint16_t)used);
	vq_publish(vq, used);
	return RX_DONE;
}

/* The flow's own queue, or where that has no room another. */
static enum rx_result receive_on_any(struct virtio_net *net, const struct net_packet *p,
				     unsigned flow)
{
	unsigned first = net->pairs > 1 ? net->flows.pair[flow] : 0;
	enum rx_result r = RX_NO_ROOM;

	for (unsigned k = 0; k < net->pairs && r == RX_NO_ROOM; k++) {
		unsigned queue = rx_queue((first + k) % net->pairs);

		r = receive_into(net, &net->virtio.queue[queue], p);
		if (r == RX_DONE)
			net->interrupts |= LM_BIT(queue); /* asked for in on_received */
	}
	return r;
}

static bool on_receive(void *opaque, const struct net_packet *p)
{
	struct virtio_net *net = opaque;
	uint8_t head[NET_FLOW_HEAD];
	unsigned len;
	enum rx_result r;

	if (!net->running) {
		net->count.rx_dropped++;
		return true;
	}
	len = head_of(p, head);
	if (!passes_filter(net, head, len)) {
		net->count.rx_filtered++;
		return true;
	}
	r = is_acceptable(net, p) ? receive_on_any(net, p, net->pairs > 1 ? net_flow_of(head, len) : 0)
				  : RX_TOO_LARGE;
	net->refused = r == RX_NO_ROOM;
	net->count.rx_waits += r == RX_NO_ROOM;
	net->count.rx_dropped += r == RX_TOO_LARGE;
	net->count.rx_packets += r == RX_DONE;
	net->count.rx_bytes += r == RX_DONE ? p->len : 0;
	return r != RX_NO_ROOM;
}

/* Queues that got packets are marked; of them those are interrupted whose driver wants it. */
static void on_received(void *opaque)
{
	struct virtio_net *net = opaque;
	uint64_t filled = net->interrupts;

	net->interrupts = 0;
	for (unsigned pair = 0; pair < net->max_pairs; pair++)
		if (filled & LM_BIT(rx_queue(pair)))
			want_interrupt(net, rx_queue(pair));
	deliver(net);
}

/* May come from within send: told from a callback of its own. */
static void on_link_changed(void *opaque)
{
	struct virtio_net *net = opaque;

	net->link_news = true;
	waker_wake(&net->kick);
}

static void try_again(struct virtio_net *net)
{
	if (!net->refused)
		return;
	net->refused = false;
	net->backend->ops->resume(net->backend);
}

/* ---- The device ---- */

static void serve(struct virtio_net *net)
{
	serve_all_tx(net);
	try_again(net);
	deliver(net);
}

static void on_kick(void *opaque)
{
	serve(opaque);
}

static void net_notify(struct virtio_device *dev, unsigned queue)
{
	struct virtio_net *net = LM_CONTAINER_OF(dev, struct virtio_net, virtio);

	if (queue != control_queue(net)) {
		if (dev->io == dev->loop)
			serve(net);
		else
			waker_wake(&net->kick);
		return;
	}
	loop_lock(dev->io);
	virtio_net_control(net, queue);
	loop_unlock(dev->io);
}

void virtio_net_apply_offloads(struct virtio_net *net)
{
	static const struct {
		uint8_t feature, offload;
	} map[] = {
		{VIRTIO_NET_F_GUEST_CSUM, NET_CSUM}, {VIRTIO_NET_F_GUEST_TSO4, NET_TSO4},
		{VIRTIO_NET_F_GUEST_TSO6, NET_TSO6}, {VIRTIO_NET_F_GUEST_ECN, NET_ECN},
		{VIRTIO_NET_F_GUEST_UFO, NET_UFO},
	};
	unsigned offloads = 0;

	for (unsigned k = 0; k < LM_ARRAY_SIZE(map); k++)
		if (net->guest_offloads >> map[k].feature & 1)
			offloads |= map[k].offload;
	if (net->backend->ops->set_offloads)
		net->backend->ops->set_offloads(net->backend, offloads);
}

/* After DRIVER_OK, and after a restore. */
static void net_started(struct virtio_device *dev)
{
	struct virtio_net *net = LM_CONTAINER_OF(dev, struct virtio_net, virtio);

	loop_lock(dev->io);
	net->guest_offloads = dev->accepted & NET_GUEST_OFFLOADS;
	virtio_net_apply_offloads(net);
	net->running = true;
	waker_wake(&net->kick);
	loop_unlock(dev->io);
}

/* The virtio layer holds the lock of the I/O loop as well. */
static void net_reset(struct virtio_device *dev)
{
	struct virtio_net *net = LM_CONTAINER_OF(dev, struct virtio_net, virtio);

	net->running = false;
	net->pairs = 1;
	net->guest_offloads = 0;
	net->interrupts = 0;
	net->broken = false;
	net->tx_blocked = false;
	memset(&net->flows, 0, sizeof(net->flows));
	memcpy(net->config.mac, net->backend->mac, sizeof(net->config.mac));
	net->config.status &= htole16((uint16_t)~VIRTIO_NET_S_ANNOUNCE);
	net_filter_reset(&net->filter, net->backend->mac);
	virtio_net_apply_offloads(net);
	try_again(net); /* what waits there is dropped */
}

void virtio_net_announce(struct virtio_net *net)
{
	if (!virtio_has(&net->virtio, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return;
	net->config.status |= htole16(VIRTIO_NET_S_ANNOUNCE);
	virtio_config_changed(&net->virtio);
}

/* Saved state: the I/O thread stands still, and what was popped is pushed. */

static const struct field net_fields[] = {
	FIELD_STRUCT(struct virtio_net, virtio, virtio_device_fields),
	FIELD_NOT_SAVED(struct virtio_net, backend, "wiring"),
	FIELD_NOT_SAVED(struct virtio_net, port, "wiring"),
	FIELD_BYTES(struct virtio_net, config),
	FIELD_NOT_SAVED(struct virtio_net, max_pairs, "configuration"),
	FIELD_NOT_SAVED(struct virtio_net, running, "follows from the status"),
	FIELD(struct virtio_net, pairs, "queue pairs", .max = NET_MAX_PAIRS),
	FIELD(struct virtio_net, guest_offloads, NULL, .max = NET_GUEST_OFFLOADS),
	FIELD_STRUCT(struct virtio_net, filter, net_filter_fields),
	FIELD_NOT_SAVED(struct virtio_net, flows, "learned again"),
	FIELD_NOT_SAVED(struct virtio_net, refused, "the backend's"),
	FIELD_NOT_SAVED(struct virtio_net, tx_blocked, "the backend's"),
	FIELD_NOT_SAVED(struct virtio_net, count, "statistics"),
	FIELD_NOT_SAVED(struct virtio_net, interrupts, "only within a callback"),
	FIELD_NOT_SAVED(struct virtio_net, broken, "only within a callback"),
	FIELD_NOT_SAVED(struct virtio_net, link_news, "told again"),
	FIELD_NOT_SAVED(struct virtio_net, kick, "wiring"),
	FIELD_NOT_SAVED(struct virtio_net, chain, "only within a callback"),
	FIELD_NOT_SAVED(struct virtio_net, packet, "only within a callback"),
	FIELD_END,
};

/*
 * The MAC stays the driver's, which knows no other; the network learns where it is now when the guest
 * announces itself. The backend may be another one, but must do all that the driver counts on.
 */
static int net_loaded(void *object, struct lm_err *err)
{
	struct virtio_net *net = object;
	struct virtio_device *dev = &net->virtio;
	int rc = virtio_loaded(dev, err);

	if (rc < 0)
		return rc;
	if (le16toh(net->config.max_virtqueue_pairs) != net->max_pairs || !net->pairs ||
	    net->pairs > net->max_pairs || net->guest_offloads & ~dev->accepted)
		return lm_err_set(err, -EINVAL, "the network device had other queues or offloads");
	net->running = virtio_is_live(dev);
	net->link_news = true;
	virtio_net_apply_offloads(net);
	if (net->running)
		virtio_net_announce(net);
	waker_wake(&net->kick);
	return 0;
}

const struct fields_section virtio_net_section = {
	.name = "virtio-net",
	.version = 1,
	.table = net_fields,
	.post_load = net_loaded,
};

static const struct virtio_ops net_ops = {
    .name = "virtio-net",
    .id = VIRTIO_ID_NET,
    .class_code = 0x020000,
    .notify = net_notify,
    .started = net_started,
    .reset = net_reset,
    .section = &virtio_net_section,
};

static uint64_t features(const struct netdev *backend, unsigned max_pairs)
{
	static const struct {
		uint8_t offload, feature;
	} map[] = {
		{NET_CSUM, VIRTIO_NET_F_CSUM},	   {NET_TSO4, VIRTIO_NET_F_HOST_TSO4},
		{NET_TSO6, VIRTIO_NET_F_HOST_TSO6}, {NET_ECN, VIRTIO_NET_F_HOST_ECN},
		{NET_UFO, VIRTIO_NET_F_HOST_UFO},
	};
	uint64_t f = NET_GUEST_OFFLOADS | LM_BIT(VIRTIO_NET_F_MAC) | LM_BIT(VIRTIO_NET_F_MTU) |
		     LM_BIT(VIRTIO_NET_F_STATUS) | LM_BIT(VIRTIO_NET_F_MRG_RXBUF) |
		     LM_BIT(VIRTIO_NET_F_CTRL_VQ) | LM_BIT(VIRTIO_NET_F_CTRL_RX) |
		     LM_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | LM_BIT(VIRTIO_NET_F_CTRL_VLAN) |
		     LM_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | LM_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) |
		     LM_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);

	if (max_pairs > 1)
		f |= LM_BIT(VIRTIO_NET_F_MQ);
	for (unsigned k = 0; k < LM_ARRAY_SIZE(map); k++)
		if (backend->offloads & map[k].offload)
			f |= LM_BIT(map[k].feature);
	return f;
}

static void attach(struct virtio_net *net)
{
	net->port = (struct net_port){
	    .receive = on_receive,
	    .received = on_received,
	    .writable = on_writable,
	    .link_changed = on_link_changed,
	    .opaque = net,
	};
	loop_lock(net->virtio.io);
	net->backend->port = &net->port;
	net_reset(&net->virtio);
	loop_unlock(net->virtio.io);
}

int virtio_net_init(struct virtio_net *net, struct netdev *backend, unsigned max_pairs,
		    struct ram *ram, struct event_loop *loop, struct lm_err *err)
{
	struct virtio_setup setup = {
	    .ops = &net_ops,
	    .features = features(backend, max_pairs),
	    .queues = 2 * max_pairs + 1,
	    .queue_size = NET_QUEUE_SIZE,
	    .config = &net->config,
	    .config_size = offsetof(struct virtio_net_config, speed),
	};
	int rc;

	memset(net, 0, sizeof(*net));
	net->backend = backend;
	net->max_pairs = max_pairs;
	net->config.max_virtqueue_pairs = htole16((uint16_t)max_pairs);
	net->config.mtu = htole16((uint16_t)backend->mtu);
	net->config.status = htole16(backend->link_up ? VIRTIO_NET_S_LINK_UP : 0);
	virtio_device_init(&net->virtio, &setup, ram, loop);
	net->virtio.io = backend->loop;
	rc = waker_init(&net->kick, net->virtio.io, on_kick, net, err);
	if (rc < 0)
		return lm_err_wrap(err, "network device"), rc;
	attach(net);
	return 0;
}

void virtio_net_fini(struct virtio_net *net)
{
	net->backend->port = NULL;
	waker_fini(&net->kick);
	virtio_device_fini(&net->virtio);
}
