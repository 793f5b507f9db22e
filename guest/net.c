/*
 * lamina-net INTERFACE METRIC: configures one network interface of the default guest and keeps it so.
 *
 * IPv4 by DHCP (RFC 2131, 2132): address, mask, router, name servers, MTU. IPv6 is the kernel's
 * (router advertisements); name servers come from those (RFC 8106) where DHCP gave none. Starts over
 * when the lease is half over, when the link comes back and when the machine was moved. Writes one
 * byte to standard output when IPv4 works.
 *
 * What comes from the network is not trusted: sizes are checked, nothing else is believed than that
 * the server may configure us.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <netpacket/packet.h>
/* Behind the C library's, some of whose types they would define again. */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define RESOLV_CONF   "/etc/resolv.conf"
#define TRIES	      5
#define FIRST_WAIT_MS 500 /* doubled for each further try */
#define RETRY_S	      30
#define NAME_SERVERS  3 /* MAXNS of the C library */

static const char *name;
static int metric, ifindex, control; /* control: a socket for ioctl */
static uint8_t mac[ETH_ALEN];

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct ifreq request(void)
{
	struct ifreq r = {0};

	snprintf(r.ifr_name, sizeof r.ifr_name, "%s", name);
	return r;
}

static void set_sysctl(const char *what, const char *value)
{
	char path[128];

	snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", name, what);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		write(fd, value, strlen(value));
		close(fd);
	}
}

static int link_up(void)
{
	struct ifreq r = request();

	/* The only neighbours are virtual: no waiting for routers to calm down and addresses to be taken. */
	set_sysctl("router_solicitation_delay", "0");
	set_sysctl("accept_dad", "0");
	if (ioctl(control, SIOCGIFFLAGS, &r) < 0)
		return -1;
	r.ifr_flags |= IFF_UP;
	if (ioctl(control, SIOCSIFFLAGS, &r) < 0 || ioctl(control, SIOCGIFHWADDR, &r) < 0)
		return -1;
	memcpy(mac, r.ifr_hwaddr.sa_data, sizeof mac);
	return 0;
}

/* ---- name servers ---- */

static void write_resolv_conf(const char *lines)
{
	int fd = open(RESOLV_CONF ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return;
	write(fd, lines, strlen(lines));
	close(fd);
	rename(RESOLV_CONF ".new", RESOLV_CONF);
}

static int has_name_server(void)
{
	char text[1024] = "";
	int fd = open(RESOLV_CONF, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	ssize_t len = read(fd, text, sizeof text - 1);
	close(fd);
	return len > 0 && strstr(text, "nameserver");
}

static void add_name_server(char *lines, size_t size, int family, const void *address)
{
	char text[INET6_ADDRSTRLEN];
	size_t len = strlen(lines);

	if (!inet_ntop(family, address, text, sizeof text))
		return;
	/* A link-local server is reached through this link. */
	if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)address))
		snprintf(lines + len, size - len, "nameserver %s%%%s\n", text, name);
	else
		snprintf(lines + len, size - len, "nameserver %s\n", text);
}

/* ---- DHCP: the messages ---- */

enum { DISCOVER = 1, OFFER = 2, REQUEST = 3, ACK = 5, NAK = 6 };
enum {
	OPT_MASK = 1, OPT_ROUTER = 3, OPT_DNS = 6, OPT_MTU = 26, OPT_ADDRESS = 50, OPT_LEASE = 51,
	OPT_TYPE = 53, OPT_SERVER = 54, OPT_WANTED = 55, OPT_END = 255,
};

struct message {
	uint8_t op, htype, hlen, hops;
	uint32_t xid;
	uint16_t secs, flags;
	uint32_t ciaddr, yiaddr, siaddr, giaddr;
	uint8_t chaddr[16], sname[64], file[128];
	uint8_t cookie[4];
	uint8_t options[312];
};

struct packet {
	struct iphdr ip;
	struct udphdr udp;
	struct message m;
} __attribute__((packed));

struct lease {
	uint32_t address, mask, router, server, seconds;
	uint16_t mtu;
	unsigned servers;
	uint32_t dns[NAME_SERVERS];
};

static const uint8_t cookie[4] = {99, 130, 83, 99};

static uint16_t ip_checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static uint8_t *put_option(uint8_t *at, uint8_t code, const void *data, uint8_t len)
{
	*at++ = code;
	*at++ = len;
	memcpy(at, data, len);
	return at + len;
}

static void send_message(int fd, uint8_t type, uint32_t xid, const struct lease *l)
{
	static const uint8_t wanted[] = {OPT_MASK, OPT_ROUTER, OPT_DNS, OPT_MTU, OPT_LEASE};
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
				 .sll_ifindex = ifindex, .sll_halen = ETH_ALEN};
	struct packet p = {
		.ip = {.version = 4, .ihl = 5, .tot_len = htons(sizeof p), .ttl = 64,
		       .protocol = IPPROTO_UDP, .daddr = INADDR_BROADCAST},
		.udp = {.source = htons(68), .dest = htons(67), .len = htons(sizeof p - sizeof p.ip)},
		.m = {.op = 1, .htype = 1, .hlen = ETH_ALEN, .xid = xid, .flags = htons(0x8000)},
	};
	uint8_t *at = p.m.options;

	memset(to.sll_addr, 0xff, ETH_ALEN);
	p.ip.check = ip_checksum(&p.ip, sizeof p.ip);
	memcpy(p.m.chaddr, mac, sizeof mac);
	memcpy(p.m.cookie, cookie, sizeof cookie);
	at = put_option(at, OPT_TYPE, &type, 1);
	at = put_option(at, OPT_WANTED, wanted, sizeof wanted);
	if (type == REQUEST) {
		at = put_option(at, OPT_ADDRESS, &l->address, 4);
		at = put_option(at, OPT_SERVER, &l->server, 4);
	}
	*at = OPT_END;
	sendto(fd, &p, sizeof p, 0, (struct sockaddr *)&to, sizeof to);
}

static void take_option(struct lease *l, uint8_t *type, uint8_t code, const uint8_t *v, uint8_t len)
{
	uint32_t word = 0;
	uint16_t half = 0;

	if (len >= 4)
		memcpy(&word, v, 4);
	if (len >= 2)
		memcpy(&half, v, 2);
	if (code == OPT_TYPE && len == 1)
		*type = *v;
	else if (code == OPT_MTU && len == 2)
		l->mtu = ntohs(half);
	else if (code == OPT_MASK && len == 4)
		l->mask = word;
	else if (code == OPT_ROUTER && len >= 4)
		l->router = word;
	else if (code == OPT_SERVER && len == 4)
		l->server = word;
	else if (code == OPT_LEASE && len == 4)
		l->seconds = ntohl(word);
	else if (code == OPT_DNS)
		for (; len >= 4 && l->servers < NAME_SERVERS; len -= 4, v += 4)
			memcpy(&l->dns[l->servers++], v, 4);
}

/* The type of a reply to XID in these bytes, and what it says; 0 if it is none. */
static uint8_t parse_reply(const uint8_t *data, size_t len, uint32_t xid, struct lease *l)
{
	const size_t fixed = offsetof(struct message, options);
	struct message m;
	struct udphdr udp;
	uint8_t type = 0;
	size_t header = len ? (data[0] & 15u) * 4u : 0;

	if (header < sizeof(struct iphdr) || len < header + sizeof udp + fixed ||
	    data[9] != IPPROTO_UDP)
		return 0;
	memcpy(&udp, data + header, sizeof udp);
	data += header + sizeof udp;
	len -= header + sizeof udp;
	memcpy(&m, data, fixed);
	if (udp.dest != htons(68) || m.op != 2 || m.xid != xid || memcmp(m.chaddr, mac, sizeof mac) ||
	    memcmp(m.cookie, cookie, sizeof cookie))
		return 0;
	*l = (struct lease){.address = m.yiaddr, .server = m.siaddr};
	for (size_t at = fixed; at < len && data[at] != OPT_END;) {
		if (data[at] == 0) {
			at++;
			continue;
		}
		if (at + 2 > len || at + 2 + data[at + 1] > len)
			break;
		take_option(l, &type, data[at], data + at + 2, data[at + 1]);
		at += 2u + data[at + 1];
	}
	return type;
}

/* ---- DHCP: the exchange ---- */

static int open_packets(void)
{
	struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP),
				   .sll_ifindex = ifindex};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_IP));

	if (fd >= 0 && bind(fd, (struct sockaddr *)&here, sizeof here) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static uint8_t await_reply(int fd, uint32_t xid, struct lease *l, long wait_ms)
{
	long end = now_ms() + wait_ms, left;
	uint8_t data[1600];

	while ((left = end - now_ms()) > 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, (int)left) <= 0)
			continue;
		ssize_t len = recv(fd, data, sizeof data, 0);
		uint8_t type = len > 0 ? parse_reply(data, (size_t)len, xid, l) : 0;
		if (type)
			return type;
	}
	return 0;
}

static int exchange(int fd, struct lease *lease)
{
	long wait = FIRST_WAIT_MS;
	struct lease offer;
	uint32_t xid;

	getrandom(&xid, sizeof xid, GRND_NONBLOCK);
	for (int i = 0; i < TRIES; i++, wait *= 2, xid++) {
		send_message(fd, DISCOVER, xid, NULL);
		if (await_reply(fd, xid, &offer, wait) != OFFER)
			continue;
		send_message(fd, REQUEST, xid, &offer);
		if (await_reply(fd, xid, lease, wait) == ACK)
			return 0;
	}
	return -1;
}

/* ---- applying a lease ---- */

static struct sockaddr ipv4(uint32_t address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = address};
	struct sockaddr out;

	memcpy(&out, &in, sizeof out);
	return out;
}

static void set_address(unsigned long what, uint32_t address)
{
	struct ifreq r = request();

	r.ifr_addr = ipv4(address);
	if (ioctl(control, what, &r) < 0)
		dprintf(2, "lamina-net: %s: cannot set the address: %s\n", name, strerror(errno));
}

static void add_route(uint32_t to, uint32_t mask, uint32_t gateway, int flags)
{
	struct rtentry route = {
		.rt_dst = ipv4(to), .rt_genmask = ipv4(mask), .rt_gateway = ipv4(gateway),
		.rt_flags = (unsigned short)(RTF_UP | flags), .rt_metric = (short)(metric + 1),
		.rt_dev = (char *)name,
	};

	if (ioctl(control, SIOCADDRT, &route) < 0 && errno != EEXIST)
		dprintf(2, "lamina-net: %s: cannot add a route: %s\n", name, strerror(errno));
}

static void apply(const struct lease *l)
{
	struct ifreq r = request();
	char lines[256] = "";

	r.ifr_mtu = l->mtu;
	if (l->mtu >= 576)
		ioctl(control, SIOCSIFMTU, &r);
	set_address(SIOCSIFADDR, l->address);
	if (l->mask)
		set_address(SIOCSIFNETMASK, l->mask);
	if (l->router) {
		if ((l->router ^ l->address) & l->mask || !l->mask)
			add_route(l->router, INADDR_BROADCAST, 0, RTF_HOST);
		add_route(0, 0, l->router, RTF_GATEWAY);
	}
	for (unsigned i = 0; i < l->servers; i++)
		add_name_server(lines, sizeof lines, AF_INET, &l->dns[i]);
	if (*lines && metric == 0)
		write_resolv_conf(lines);
}

/* ---- what the kernel tells ---- */

static int open_netlink(void)
{
	struct sockaddr_nl here = {.nl_family = AF_NETLINK,
				   .nl_groups = RTMGRP_LINK | 1u << (RTNLGRP_ND_USEROPT - 1)};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd >= 0)
		bind(fd, (struct sockaddr *)&here, sizeof here);
	return fd;
}

static int was_running = 1;

/* Whether the link has come back or the machine was moved. */
static int link_is_new(struct nlmsghdr *h)
{
	struct ifinfomsg *info = NLMSG_DATA(h);
	int left = (int)IFLA_PAYLOAD(h), running = (info->ifi_flags & IFF_RUNNING) != 0, moved = 0;

	if (info->ifi_index != ifindex)
		return 0;
	for (struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == IFLA_EVENT && *(uint32_t *)RTA_DATA(a) == IFLA_EVENT_NOTIFY_PEERS)
			moved = 1;
	int back = running && !was_running;
	was_running = running;
	return back || (running && moved);
}

/* The option of RFC 8106 §5.1: type, length in 8 bytes, reserved, lifetime, addresses. */
static void take_user_option(struct nlmsghdr *h)
{
	struct nduseroptmsg *msg = NLMSG_DATA(h);
	const uint8_t *option = (const uint8_t *)(msg + 1);
	char lines[256] = "";

	if (h->nlmsg_len < NLMSG_LENGTH(sizeof *msg + 8) || msg->nduseropt_ifindex != ifindex ||
	    msg->nduseropt_opts_len > h->nlmsg_len - NLMSG_LENGTH(sizeof *msg) || option[0] != 25 ||
	    option[1] * 8u > msg->nduseropt_opts_len || has_name_server() || metric)
		return;
	for (unsigned at = 8; at + 16 <= option[1] * 8u && at < 8 + 16 * NAME_SERVERS; at += 16)
		add_name_server(lines, sizeof lines, AF_INET6, option + at);
	write_resolv_conf(lines);
}

/* Returns when it is time to ask again: after WAIT_MS (-1: never), or because of the link. */
static void follow(int netlink, long wait_ms)
{
	long end = now_ms() + wait_ms;
	char buf[8192] __attribute__((aligned(8)));

	for (;;) {
		struct pollfd p = {.fd = netlink, .events = POLLIN};
		long left = wait_ms < 0 ? -1 : end - now_ms();
		if (wait_ms >= 0 && left <= 0)
			return;
		if (poll(&p, 1, left > 1000000000 ? 1000000000 : (int)left) <= 0)
			continue;
		ssize_t len = recv(netlink, buf, sizeof buf, 0);
		int again = 0;
		for (struct nlmsghdr *h = (void *)buf; len > 0 && NLMSG_OK(h, (size_t)len);
		     h = NLMSG_NEXT(h, len)) {
			if (h->nlmsg_type == RTM_NEWLINK)
				again |= link_is_new(h);
			else if (h->nlmsg_type == RTM_NEWNDUSEROPT)
				take_user_option(h);
		}
		if (again)
			return;
	}
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	name = argv[1];
	metric = atoi(argv[2]);
	ifindex = (int)if_nametoindex(name);
	control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int netlink = open_netlink();
	if (!ifindex || control < 0 || netlink < 0 || link_up() < 0) {
		dprintf(2, "lamina-net: %s: %s\n", name, strerror(errno));
		return 1;
	}
	for (int first = 1;;) {
		struct lease lease;
		int packets = open_packets();
		int rc = packets < 0 ? -1 : exchange(packets, &lease);
		if (packets >= 0)
			close(packets);
		if (rc == 0)
			apply(&lease);
		if (rc == 0 && first) {
			write(1, "\n", 1);
			close(1);
			first = 0;
		}
		/* 0xffffffff is for ever (RFC 2131 §3.3). */
		long wait_s = rc < 0 ? RETRY_S : lease.seconds == UINT32_MAX || !lease.seconds ? -1 :
			      lease.seconds / 2 < RETRY_S ? RETRY_S : (long)(lease.seconds / 2);
		follow(netlink, wait_s < 0 ? -1 : wait_s * 1000);
	}
}
