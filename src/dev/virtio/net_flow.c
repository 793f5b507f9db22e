#include "dev/virtio/net_flow.h"

#include <net/ethernet.h>
#include <netinet/in.h>

#include "base/bits.h"
#include "dev/netdev.h"

/* Words are XORed in pairs of source and destination, which makes the hash symmetric. */
static uint32_t mix_words(uint32_t hash, const uint8_t *p, unsigned bytes)
{
	for (unsigned k = 0; k < bytes; k += 2)
		hash ^= (uint32_t)le_load(p + k, 2);
	return hash;
}

static uint32_t mix_ports(uint32_t hash, unsigned protocol, const uint8_t *p, unsigned len)
{
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || len < 4)
		return hash;
	return mix_words(hash, p, 4) ^ protocol;
}

static uint32_t hash_ipv4(const uint8_t *ip, unsigned len)
{
	unsigned header;

	if (len < 20)
		return 0;
	header = 4u * (ip[0] & 15);
	return mix_ports(mix_words(0, ip + 12, 8), ip[9], ip + header,
			 len > header ? len - header : 0);
}

static uint32_t hash_ipv6(const uint8_t *ip, unsigned len)
{
	if (len < 40)
		return 0;
	return mix_ports(mix_words(0, ip + 8, 32), ip[6], ip + 40, len - 40);
}

unsigned net_flow_of(const uint8_t *head, unsigned len)
{
	unsigned type;
	uint32_t hash = 0;

	if (len < NET_ETHERNET_HEADER)
		return 0;
	type = (unsigned)head[12] << 8 | head[13];
	if (type == ETHERTYPE_IP)
		hash = hash_ipv4(head + NET_ETHERNET_HEADER, len - NET_ETHERNET_HEADER);
	else if (type == ETHERTYPE_IPV6)
		hash = hash_ipv6(head + NET_ETHERNET_HEADER, len - NET_ETHERNET_HEADER);
	return (hash * UINT32_C(0x9e3779b1)) >> 24; /* Fibonacci hashing to NET_FLOWS */
}
