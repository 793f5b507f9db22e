/*
 * An Ethernet as a network device sees it: packets go out, packets come in. The backends are in
 * src/backend (net.h).
 *
 * Everything runs under the lock of netdev.loop, on that loop's thread or a caller that holds the
 * lock. The device's side of it is struct net_port, which the device fills in before it sends.
 */
#ifndef LM_DEV_NETDEV_H
#define LM_DEV_NETDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <linux/virtio_net.h>

#include "event/loop.h"

#define NET_ETHERNET_HEADER 14
#define NET_PACKET_MIN	    NET_ETHERNET_HEADER
/* Frames with segmentation left to do: an IP packet of 65535 bytes, Ethernet header and a VLAN tag. */
#define NET_PACKET_MAX	    65553u
#define NET_HEADER_SIZE	    sizeof(struct virtio_net_hdr_mrg_rxbuf)
#define NET_MTU_MIN	    68u /* RFC 791 */
#define NET_MTU_MAX	    65520u
#define NET_MTU_ETHERNET    1500u

/*
 * A frame in pieces, with what is left to do to it (virtio 1.2 §5.1.6): checksum, segmentation.
 * The header's numbers are in host byte order and checked against len; pieces may be guest memory.
 */
struct net_packet {
	struct virtio_net_hdr header;
	uint32_t len; /* bytes in iov, NET_PACKET_MIN to NET_PACKET_MAX */
	unsigned iov_count;
	const struct iovec *iov;
};

/* What a side takes in a packet's header. */
enum net_offload {
	NET_CSUM = 1 << 0, /* checksums left open */
	NET_TSO4 = 1 << 1,
	NET_TSO6 = 1 << 2,
	NET_ECN = 1 << 3,
	NET_UFO = 1 << 4,
};

struct netdev;

struct netdev_ops {
	/*
	 * Sends packets, in order; returns how many were taken, whose memory is then the caller's
	 * again. After fewer than all, the port's writable is called when there is room.
	 */
	unsigned (*send)(struct netdev *dev, const struct net_packet *packets, unsigned count);
	/* The port has room again after it refused a packet. */
	void (*resume)(struct netdev *dev);
	/* What the port takes, a set of enum net_offload. May be NULL: it is sent nothing open. */
	void (*set_offloads)(struct netdev *dev, unsigned offloads);
};

/* The device's end. */
struct net_port {
	/* False: no room; the backend keeps the packet and stops until resume. */
	bool (*receive)(void *opaque, const struct net_packet *packet);
	/* After one or more packets: the last step of a callback, for it may give up the lock. */
	void (*received)(void *opaque);
	void (*writable)(void *opaque);
	void (*link_changed)(void *opaque);
	void *opaque;
};

struct netdev {
	const struct netdev_ops *ops;
	struct event_loop *loop;
	const struct net_port *port; /* NULL until a device has attached itself */
	unsigned offloads;	     /* what send takes, a set of enum net_offload */
	uint32_t mtu;		     /* of the network, for the guest */
	bool link_up;
	uint8_t mac[6]; /* the guest's */
};

static inline void netdev_set_link(struct netdev *dev, bool up)
{
	if (dev->link_up == up)
		return;
	dev->link_up = up;
	if (dev->port)
		dev->port->link_changed(dev->port->opaque);
}

#endif
