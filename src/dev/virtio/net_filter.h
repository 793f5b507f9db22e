/*
 * Which received frames a virtio-net device passes on (virtio 1.2 §5.1.6.5.1 to .3): unicast and
 * multicast tables, the modes that widen or narrow them, VLANs.
 *
 * After a reset everything passes: only a driver that has CTRL_RX can say otherwise.
 */
#ifndef LM_DEV_VIRTIO_NET_FILTER_H
#define LM_DEV_VIRTIO_NET_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fields.h"

#define NET_FILTER_MACS	 64
#define NET_FILTER_VLANS 4096

struct net_mac {
	uint8_t byte[6];
};

/* More addresses than there is room for: all of that kind pass, as §5.1.6.5.2 allows. */
struct net_mac_table {
	uint32_t count;
	bool overflow;
	struct net_mac mac[NET_FILTER_MACS];
};

struct net_filter {
	bool promiscuous, all_multicast, all_unicast;
	bool no_multicast, no_unicast, no_broadcast;
	struct net_mac own;
	struct net_mac_table unicast, multicast;
	uint64_t vlan[NET_FILTER_VLANS / 64]; /* a bit each */
};

extern const struct field net_filter_fields[];

void net_filter_reset(struct net_filter *f, const uint8_t mac[6]);
void net_filter_set_vlan(struct net_filter *f, unsigned vlan, bool pass);
/*
 * Whether a frame passes that begins with these bytes: the Ethernet header, and with a VLAN tag four
 * more.
 */
bool net_filter_passes(const struct net_filter *f, const uint8_t *head, unsigned len, bool vlans);

#endif
