#include "dev/virtio/net_filter.h"

#include <arpa/inet.h>
#include <net/ethernet.h>
#include <string.h>

#include "base/bits.h"

#define VLAN_HEADER 18 /* an Ethernet header with its tag (IEEE 802.1Q) */
#define VLAN_ID	    0xfff

static const struct field mac_fields[] = {
	FIELD_BYTES(struct net_mac, byte),
	FIELD_END
};

static const struct field table_fields[] = {
	FIELD(struct net_mac_table, overflow, NULL),
	FIELD_STRUCTS(struct net_mac_table, mac, mac_fields, FIELD_COUNTER(struct net_mac_table, count)),
	FIELD_END
};

const struct field net_filter_fields[] = {
	FIELD(struct net_filter, promiscuous, NULL),
	FIELD(struct net_filter, all_multicast, NULL),
	FIELD(struct net_filter, all_unicast, NULL),
	FIELD(struct net_filter, no_multicast, NULL),
	FIELD(struct net_filter, no_unicast, NULL),
	FIELD(struct net_filter, no_broadcast, NULL),
	FIELD_STRUCT(struct net_filter, own, mac_fields),
	FIELD_STRUCT(struct net_filter, unicast, table_fields),
	FIELD_STRUCT(struct net_filter, multicast, table_fields),
	FIELD_ARRAY(struct net_filter, vlan, NULL),
	FIELD_END
};

void net_filter_reset(struct net_filter *f, const uint8_t mac[6])
{
	*f = (struct net_filter){.promiscuous = true};
	memcpy(f->own.byte, mac, sizeof(f->own.byte));
}

void net_filter_set_vlan(struct net_filter *f, unsigned vlan, bool pass)
{
	uint64_t bit = LM_BIT(vlan % 64);

	if (pass)
		f->vlan[vlan / 64] |= bit;
	else
		f->vlan[vlan / 64] &= ~bit;
}

static bool in_table(const struct net_mac_table *t, const uint8_t *mac)
{
	for (unsigned k = 0; k < t->count; k++)
		if (!memcmp(t->mac[k].byte, mac, ETH_ALEN))
			return true;
	return t->overflow;
}

static bool vlan_passes(const struct net_filter *f, const uint8_t *head, unsigned len)
{
	unsigned type = (unsigned)head[12] << 8 | head[13];
	unsigned id;

	if (type != ETHERTYPE_VLAN)
		return true;
	if (len < VLAN_HEADER)
		return false;
	id = ((unsigned)head[14] << 8 | head[15]) & VLAN_ID;
	return f->vlan[id / 64] >> (id % 64) & 1;
}

bool net_filter_passes(const struct net_filter *f, const uint8_t *head, unsigned len, bool vlans)
{
	static const uint8_t broadcast[ETH_ALEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (vlans && !vlan_passes(f, head, len))
		return false;
	if (f->promiscuous)
		return true;
	if (!memcmp(head, broadcast, ETH_ALEN))
		return !f->no_broadcast;
	if (head[0] & 1)
		return !f->no_multicast && (f->all_multicast || in_table(&f->multicast, head));
	if (f->no_unicast)
		return false;
	return f->all_unicast || !memcmp(head, f->own.byte, ETH_ALEN) || in_table(&f->unicast, head);
}
