/*
 * To which receive queue a packet goes when a virtio-net device has several (virtio 1.2
 * §5.1.5.1.6.1, automatic receive steering): to the one paired with the queue that last sent a
 * packet of its flow, so that both are of the same vCPU.
 */
#ifndef LM_DEV_VIRTIO_NET_FLOW_H
#define LM_DEV_VIRTIO_NET_FLOW_H

#include <stdint.h>

#define NET_FLOWS     256
#define NET_FLOW_HEAD 64 /* bytes of a frame that are looked at */

struct net_flows {
	uint8_t pair[NET_FLOWS];
};

/* The same for both directions of a flow; 0 for what has none. */
unsigned net_flow_of(const uint8_t *head, unsigned len);

#endif
