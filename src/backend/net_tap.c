/*
 * `--net tap=NAME`: an interface of the host's kernel. A frame a system call, but frames of up to 64
 * KiB: checksums and segmentation go both ways as virtio headers (linux/if_tun.h, IFF_VNET_HDR).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/net_impl.h"
#include "base/bits.h"

#define READS_AT_ONCE 64 /* before others get their turn */
#define PIECES_MAX    257

struct net_tap {
	struct net_backend net;
	int fd;
	struct event_fd watch;
	bool port_waits, paused;
	size_t held; /* bytes in `frame` that the port had no room for */
	struct virtio_net_hdr_mrg_rxbuf header;
	uint8_t frame[NET_PACKET_MAX];
};

static void update_events(struct net_tap *t)
{
	event_fd_update(&t->watch, (t->paused ? 0 : EPOLLIN) | (t->port_waits ? EPOLLOUT : 0));
}

/* Headers on the descriptor are little-endian as the guest's (TUNSETVNETLE). */
static struct virtio_net_hdr_mrg_rxbuf to_wire(const struct virtio_net_hdr *h)
{
	return (struct virtio_net_hdr_mrg_rxbuf){
		.hdr.flags = h->flags,
		.hdr.gso_type = h->gso_type,
		.hdr.hdr_len = htole16(h->hdr_len),
		.hdr.gso_size = htole16(h->gso_size),
		.hdr.csum_start = htole16(h->csum_start),
		.hdr.csum_offset = htole16(h->csum_offset),
	};
}

static struct virtio_net_hdr from_wire(const struct virtio_net_hdr *h)
{
	return (struct virtio_net_hdr){
		.flags = h->flags,
		.gso_type = h->gso_type,
		.hdr_len = le16toh(h->hdr_len),
		.gso_size = le16toh(h->gso_size),
		.csum_start = le16toh(h->csum_start),
		.csum_offset = le16toh(h->csum_offset),
	};
}

/* False: no room now. What the kernel does not want at all (EINVAL, EIO) is dropped. */
static bool send_one(struct net_tap *t, const struct net_packet *p)
{
	struct virtio_net_hdr_mrg_rxbuf header = to_wire(&p->header);
	struct iovec iov[PIECES_MAX] = {{&header, sizeof(header)}};
	ssize_t n;

	memcpy(&iov[1], p->iov, p->iov_count * sizeof(*iov));
	do
		n = writev(t->fd, iov, (int)p->iov_count + 1);
	while (n < 0 && errno == EINTR);
	return n >= 0 || (errno != EAGAIN && errno != ENOBUFS);
}

static unsigned tap_send(struct netdev *dev, const struct net_packet *packets, unsigned count)
{
	struct net_tap *t = LM_CONTAINER_OF(dev, struct net_tap, net.dev);
	unsigned done = 0;

	while (done < count && send_one(t, &packets[done]))
		done++;
	if (done < count) {
		t->port_waits = true;
		update_events(t);
	}
	return done;
}

static bool give_held(struct net_tap *t)
{
	const struct net_port *port = t->net.dev.port;
	struct iovec iov = {t->frame, t->held};
	struct net_packet p = {.header = from_wire(&t->header.hdr), .len = (uint32_t)t->held,
			       .iov_count = 1, .iov = &iov};

	if (t->held >= NET_PACKET_MIN && port && !port->receive(port->opaque, &p))
		return false;
	t->held = 0;
	return true;
}

static bool read_one(struct net_tap *t)
{
	struct iovec iov[] = {{&t->header, sizeof(t->header)}, {t->frame, sizeof(t->frame)}};
	ssize_t n = readv(t->fd, iov, 2);

	if (n < (ssize_t)sizeof(t->header))
		return false;
	t->held = (size_t)n - sizeof(t->header);
	return true;
}

static void receive_all(struct net_tap *t)
{
	bool was_paused = t->paused;

	t->paused = t->held && !give_held(t);
	for (unsigned k = 0; !t->paused && k < READS_AT_ONCE && read_one(t); k++)
		t->paused = !give_held(t);
	if (t->paused != was_paused)
		update_events(t);
	if (t->net.dev.port)
		t->net.dev.port->received(t->net.dev.port->opaque);
}

static void tap_resume(struct netdev *dev)
{
	struct net_tap *t = LM_CONTAINER_OF(dev, struct net_tap, net.dev);

	if (t->paused)
		receive_all(t);
}

static void tap_set_offloads(struct netdev *dev, unsigned offloads)
{
	static const struct {
		unsigned offload, tun;
	} map[] = {{NET_CSUM, TUN_F_CSUM}, {NET_TSO4, TUN_F_TSO4}, {NET_TSO6, TUN_F_TSO6},
		   {NET_ECN, TUN_F_TSO_ECN}, {NET_UFO, TUN_F_UFO}};
	struct net_tap *t = LM_CONTAINER_OF(dev, struct net_tap, net.dev);
	unsigned tun = 0;

	for (unsigned k = 0; k < LM_ARRAY_SIZE(map); k++)
		if (offloads & map[k].offload)
			tun |= map[k].tun;
	/* Kernels refuse what they do not know as a whole: then without UFO, then without all. */
	if (ioctl(t->fd, TUNSETOFFLOAD, tun) < 0 && ioctl(t->fd, TUNSETOFFLOAD, tun & ~TUN_F_UFO) < 0)
		ioctl(t->fd, TUNSETOFFLOAD, 0);
}

static const struct netdev_ops tap_ops = {
    .send = tap_send,
    .resume = tap_resume,
    .set_offloads = tap_set_offloads,
};

static void ready(void *opaque, uint32_t events)
{
	struct net_tap *t = opaque;

	if (events & EPOLLOUT && t->port_waits) {
		t->port_waits = false;
		if (t->net.dev.port)
			t->net.dev.port->writable(t->net.dev.port->opaque);
		update_events(t);
	}
	if (events & EPOLLIN && !t->paused)
		receive_all(t);
}

/* ---- Opening ---- */

static int open_error(const char *name, int code, struct lm_err *err)
{
	if (code == EPERM)
		return lm_err_set(err, -code,
				  "tap %s: not allowed; let root make it for you: ip tuntap add dev %s "
				  "mode tap user $USER", name, name);
	if (code == EBUSY)
		return lm_err_set(err, -code, "tap %s: in use by another program", name);
	return lm_err_errno(err, -code, "tap %s", name);
}

static int open_tap(struct net_tap *t, const char *name, struct lm_err *err)
{
	struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int size = (int)NET_HEADER_SIZE, little = 1;

	if (!*name || strlen(name) >= sizeof(r.ifr_name))
		return lm_err_set(err, -EINVAL, "the name of an interface has 1 to %zu characters",
				  sizeof(r.ifr_name) - 1);
	t->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (t->fd < 0)
		return lm_err_errno(err, -errno, "tap %s: cannot open /dev/net/tun", name);
	memcpy(r.ifr_name, name, strlen(name));
	if (ioctl(t->fd, TUNSETIFF, &r) < 0)
		return open_error(name, errno, err);
	if (ioctl(t->fd, TUNSETVNETHDRSZ, &size) < 0 || ioctl(t->fd, TUNSETVNETLE, &little) < 0)
		return lm_err_errno(err, -errno, "tap %s: no offloads", name);
	return 0;
}

/* The interface's own MTU, which frames from it and to it must not exceed. */
static uint32_t interface_mtu(const char *name)
{
	struct ifreq r = {0};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc;

	memcpy(r.ifr_name, name, strlen(name));
	rc = fd < 0 ? -1 : ioctl(fd, SIOCGIFMTU, &r);
	if (fd >= 0)
		close(fd);
	return rc < 0 || r.ifr_mtu < (int)NET_MTU_MIN ? NET_MTU_ETHERNET
						      : LM_MIN((uint32_t)r.ifr_mtu, NET_MTU_MAX);
}

static void tap_close(struct net_backend *net)
{
	struct net_tap *t = LM_CONTAINER_OF(net, struct net_tap, net);

	event_fd_fini(&t->watch);
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}

int net_tap_open(struct net_backend **out, const struct net_options *options,
		 struct event_loop *loop, struct lm_err *err)
{
	struct net_tap *t = calloc(1, sizeof(*t));
	int rc;

	if (!t)
		return lm_err_set(err, -ENOMEM, "no memory for a network");
	t->fd = -1;
	rc = open_tap(t, options->name, err);
	if (rc == 0)
		rc = event_fd_init(&t->watch, loop, t->fd, EPOLLIN, ready, t, err);
	if (rc < 0) {
		tap_close(&t->net);
		return rc;
	}
	t->net.name = "tap";
	t->net.close = tap_close;
	t->net.dev.ops = &tap_ops;
	t->net.dev.loop = loop;
	t->net.dev.offloads = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_UFO;
	t->net.dev.mtu = options->mtu ? options->mtu : interface_mtu(options->name);
	t->net.dev.link_up = true;
	*out = &t->net;
	return 0;
}
