/*
 * The control queue (virtio 1.2 §5.1.6.5): each command is a class, a number and data, answered by one
 * byte.
 */
#include <string.h>

#include "dev/virtio/net.h"

#define MAC_SIZE sizeof(struct net_mac)

/* A command: its data begin behind the header of two bytes. */
struct command {
	struct virtio_net *net;
	struct vq_chain *chain;
	uint64_t len; /* of the data */
};

static bool take(const struct command *c, uint64_t offset, void *buf, size_t len)
{
	return offset <= c->len && len <= c->len - offset &&
	       vq_chain_read(c->chain, sizeof(struct virtio_net_ctrl_hdr) + offset, buf, len) == len;
}

static bool set_flag(const struct command *c, bool *flag)
{
	uint8_t on;

	if (!take(c, 0, &on, 1))
		return false;
	*flag = on;
	return true;
}

static bool set_promiscuous(const struct command *c)
{
	return set_flag(c, &c->net->filter.promiscuous);
}

static bool set_all_multicast(const struct command *c)
{
	return set_flag(c, &c->net->filter.all_multicast);
}

static bool set_all_unicast(const struct command *c)
{
	return set_flag(c, &c->net->filter.all_unicast);
}

static bool set_no_multicast(const struct command *c)
{
	return set_flag(c, &c->net->filter.no_multicast);
}

static bool set_no_unicast(const struct command *c)
{
	return set_flag(c, &c->net->filter.no_unicast);
}

static bool set_no_broadcast(const struct command *c)
{
	return set_flag(c, &c->net->filter.no_broadcast);
}

/* A count and that many addresses at *offset, which moves past them. */
static bool read_table(const struct command *c, uint64_t *offset, struct net_mac_table *t)
{
	uint32_t entries;

	if (!take(c, *offset, &entries, sizeof(entries)))
		return false;
	entries = le32toh(entries);
	*offset += sizeof(entries);
	if (entries > (c->len - *offset) / MAC_SIZE)
		return false;
	t->overflow = entries > NET_FILTER_MACS;
	t->count = t->overflow ? 0 : entries;
	if (!take(c, *offset, t->mac, t->count * MAC_SIZE))
		return false;
	*offset += entries * MAC_SIZE;
	return true;
}

static bool set_mac_tables(const struct command *c)
{
	struct net_mac_table unicast = {0}, multicast = {0};
	uint64_t offset = 0;

	if (!read_table(c, &offset, &unicast) || !read_table(c, &offset, &multicast) ||
	    offset != c->len)
		return false;
	c->net->filter.unicast = unicast;
	c->net->filter.multicast = multicast;
	return true;
}

static bool set_mac(const struct command *c)
{
	struct net_mac mac;

	if (c->len != MAC_SIZE || !take(c, 0, &mac, MAC_SIZE))
		return false;
	c->net->filter.own = mac;
	memcpy(c->net->config.mac, mac.byte, MAC_SIZE);
	return true;
}

static bool set_vlan(const struct command *c, bool pass)
{
	uint16_t vlan;

	if (!take(c, 0, &vlan, sizeof(vlan)) || le16toh(vlan) >= NET_FILTER_VLANS)
		return false;
	net_filter_set_vlan(&c->net->filter, le16toh(vlan), pass);
	return true;
}

static bool add_vlan(const struct command *c)
{
	return set_vlan(c, true);
}

static bool remove_vlan(const struct command *c)
{
	return set_vlan(c, false);
}

static bool acknowledge_announce(const struct command *c)
{
	c->net->config.status &= htole16((uint16_t)~VIRTIO_NET_S_ANNOUNCE);
	return true;
}

static bool set_pairs(const struct command *c)
{
	uint16_t pairs;

	if (!take(c, 0, &pairs, sizeof(pairs)))
		return false;
	pairs = le16toh(pairs);
	if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > c->net->max_pairs)
		return false;
	c->net->pairs = pairs;
	memset(&c->net->flows, 0, sizeof(c->net->flows));
	return true;
}

static bool set_offloads(const struct command *c)
{
	uint64_t offloads;

	if (!take(c, 0, &offloads, sizeof(offloads)))
		return false;
	offloads = le64toh(offloads);
	if (offloads & ~(c->net->virtio.accepted & NET_GUEST_OFFLOADS))
		return false;
	c->net->guest_offloads = offloads;
	virtio_net_apply_offloads(c->net);
	return true;
}

static const struct {
	uint8_t class, number;
	uint8_t feature; /* without which the command does not exist */
	bool (*run)(const struct command *c);
} commands[] = {
	{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, VIRTIO_NET_F_CTRL_RX, set_promiscuous},
	{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, VIRTIO_NET_F_CTRL_RX, set_all_multicast},
	{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLUNI, VIRTIO_NET_F_CTRL_RX_EXTRA, set_all_unicast},
	{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOMULTI, VIRTIO_NET_F_CTRL_RX_EXTRA, set_no_multicast},
	{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, VIRTIO_NET_F_CTRL_RX_EXTRA, set_no_unicast},
	{VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, VIRTIO_NET_F_CTRL_RX_EXTRA, set_no_broadcast},
	{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, VIRTIO_NET_F_CTRL_RX, set_mac_tables},
	{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, VIRTIO_NET_F_CTRL_MAC_ADDR, set_mac},
	{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, VIRTIO_NET_F_CTRL_VLAN, add_vlan},
	{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, VIRTIO_NET_F_CTRL_VLAN, remove_vlan},
	{VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, VIRTIO_NET_F_GUEST_ANNOUNCE,
	 acknowledge_announce},
	{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_F_MQ, set_pairs},
	{VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
	 VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, set_offloads},
};

static bool execute(const struct command *c)
{
	struct virtio_net_ctrl_hdr header;

	vq_chain_read(c->chain, 0, &header, sizeof(header));
	for (unsigned k = 0; k < LM_ARRAY_SIZE(commands); k++)
		if (commands[k].class == header.class && commands[k].number == header.cmd)
			return virtio_has(&c->net->virtio, commands[k].feature) &&
			       commands[k].run(c);
	return false;
}

void virtio_net_control(struct virtio_net *net, unsigned queue)
{
	struct virtio_device *dev = &net->virtio;
	struct vq_chain chain;

	while (virtio_pop(dev, queue, &chain) == VQ_CHAIN) {
		struct command c = {net, &chain, chain.readable_len - sizeof(struct virtio_net_ctrl_hdr)};
		uint8_t answer;

		if (chain.readable_len < sizeof(struct virtio_net_ctrl_hdr) || !chain.writable_len) {
			virtio_broken(dev, "gave a control command without header or answer");
			return;
		}
		answer = execute(&c) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		vq_chain_write(&chain, 0, &answer, sizeof(answer));
		virtio_push(dev, queue, &chain, sizeof(answer));
	}
	virtio_signal(dev, queue);
}
