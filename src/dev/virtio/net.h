/*
 * virtio-net (virtio 1.2 §5.1) on a struct netdev: several queue pairs, checksum and segmentation
 * offloads both ways, mergeable receive buffers, the control queue, announcements.
 *
 * Packets are moved on the netdev's loop, which may have a thread of its own: a notification only
 * wakes it. Queues, filter and offloads are under that loop's lock; status and configuration space
 * are under the device lock, and interrupts are raised under it (event/io_thread.h has the order of
 * the two).
 *
 * Nothing is queued: what the backend does not take stays in the guest's ring, what the guest has no
 * buffer for stays with the backend.
 */
#ifndef LM_DEV_VIRTIO_NET_H
#define LM_DEV_VIRTIO_NET_H

#include <linux/virtio_net.h>

#include "base/fields.h"
#include "dev/netdev.h"
#include "dev/virtio/net_filter.h"
#include "dev/virtio/net_flow.h"
#include "dev/virtio/virtio.h"
#include "event/waker.h"

#define NET_MAX_PAIRS  16
#define NET_QUEUE_SIZE 256
#define NET_BATCH      32 /* packets that go to the backend at once */

/* The features that are offloads which the guest can turn off and on again (§5.1.6.5.6). */
#define NET_GUEST_OFFLOADS                                                                         \
	(LM_BIT(VIRTIO_NET_F_GUEST_CSUM) | LM_BIT(VIRTIO_NET_F_GUEST_TSO4) |                       \
	 LM_BIT(VIRTIO_NET_F_GUEST_TSO6) | LM_BIT(VIRTIO_NET_F_GUEST_ECN) |                        \
	 LM_BIT(VIRTIO_NET_F_GUEST_UFO))

struct net_counters {
	uint64_t rx_packets, rx_bytes;
	uint64_t rx_dropped;  /* no driver, or no buffer of the guest's can hold it */
	uint64_t rx_filtered; /* not for this guest */
	uint64_t rx_waits;    /* times the backend was told to wait for buffers */
	uint64_t tx_packets, tx_bytes;
	uint64_t tx_invalid; /* dropped for their header or size */
	uint64_t tx_waits;   /* times the backend took less than there was */
};

struct virtio_net {
	struct virtio_device virtio;
	struct netdev *backend; /* not owned */
	struct net_port port;
	struct virtio_net_config config;
	unsigned max_pairs;

	/* Under the lock of virtio.io. */
	bool running; /* from DRIVER_OK to reset */
	uint16_t pairs;
	uint64_t guest_offloads; /* VIRTIO_NET_F_GUEST_ bits in force */
	struct net_filter filter;
	struct net_flows flows;
	bool refused;	 /* a packet waits in the backend for buffers */
	bool tx_blocked; /* until writable */
	struct net_counters count;

	/* For the device lock: queues to interrupt, whether a driver broke a rule, the link changed. */
	uint64_t interrupts;
	bool broken, link_news;

	struct waker kick; /* of the I/O loop */

	/* Scratch of one batch. */
	struct vq_chain chain[NET_BATCH];
	struct net_packet packet[NET_BATCH];
};

extern const struct fields_section virtio_net_section;

/* max_pairs: 1 to NET_MAX_PAIRS. */
int virtio_net_init(struct virtio_net *net, struct netdev *backend, unsigned max_pairs,
		    struct ram *ram, struct event_loop *loop, struct lm_err *err);
/* The I/O thread has ended. */
void virtio_net_fini(struct virtio_net *net);
/* The guest is asked to tell the network where it is now: after a restore. Under the device lock. */
void virtio_net_announce(struct virtio_net *net);

/* net_control.c: the control queue, under both locks. */
void virtio_net_control(struct virtio_net *net, unsigned queue);
/* Tells the backend what the guest takes now. */
void virtio_net_apply_offloads(struct virtio_net *net);

#endif
