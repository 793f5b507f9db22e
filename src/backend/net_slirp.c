#include "backend/net_slirp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "backend/net_confine.h"
#include "backend/net_stream.h"
#include "base/bits.h"
#include "dev/virtio/queue.h"

#define NS_PER_S   INT64_C(1000000000)
#define NS_PER_MS  INT64_C(1000000)
#define MAX_TIMERS 8
#define MAX_POLLED 4096
#define INPUT_SIZE (256 * 1024)

/* The guest's network, as QEMU's users know it. */
#define NETWORK	    "10.0.2.0"
#define NETMASK	    "255.255.255.0"
#define HOST	    "10.0.2.2"
#define NAME_SERVER "10.0.2.3"
#define FIRST_GUEST "10.0.2.15"
#define PREFIX6	    "fd00:10:0:2::"
#define HOST6	    "fd00:10:0:2::2"
#define NAME_SERVER6 "fd00:10:0:2::3"

struct slirp_timer {
	SlirpTimerId id;
	void *opaque;
	int64_t at_ms; /* -1: not armed */
	bool used;
};

struct server {
	Slirp *slirp;
	int fd;
	bool gone;
	struct slirp_timer timer[MAX_TIMERS];
	struct pollfd polled[MAX_POLLED];
	unsigned polled_count;
	size_t have;
	uint8_t in[INPUT_SIZE];
};

/* ---- What libslirp asks of us ---- */

/* Blocks while the machine takes nothing: guests' connections wait, as they should. */
static bool write_all(struct server *s, struct iovec *iov, unsigned count)
{
	while (count) {
		struct msghdr m = {.msg_iov = iov, .msg_iovlen = count};
		ssize_t n = sendmsg(s->fd, &m, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		count = iov_narrow(&iov, count, (uint64_t)n, UINT64_MAX);
	}
	return true;
}

static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct server *s = opaque;
	uint32_t length = htonl((uint32_t)len);
	struct iovec iov[] = {{&length, sizeof(length)}, {(void *)buf, len}};

	if (!s->gone && !write_all(s, iov, LM_ARRAY_SIZE(iov)))
		s->gone = true;
	return (ssize_t)len;
}

static void guest_error(const char *message, void *opaque)
{
}

static int64_t clock_ns(void *opaque)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static void *timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct server *s = opaque;

	for (unsigned k = 0; k < MAX_TIMERS; k++) {
		if (s->timer[k].used)
			continue;
		s->timer[k] = (struct slirp_timer){id, cb_opaque, -1, true};
		return &s->timer[k];
	}
	return NULL;
}

static void timer_free(void *timer, void *opaque)
{
	if (timer)
		((struct slirp_timer *)timer)->used = false;
}

static void timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	if (timer)
		((struct slirp_timer *)timer)->at_ms = expire_ms;
}

static void ignore_fd(int fd, void *opaque)
{
}

static void ignore_notify(void *opaque)
{
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_ns,
	.timer_new_opaque = timer_new,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = ignore_fd,
	.unregister_poll_fd = ignore_fd,
	.notify = ignore_notify,
};

/* ---- Frames from the machine ---- */

static void take_frames(struct server *s)
{
	size_t at = 0;

	while (s->have - at >= NET_LENGTH_SIZE) {
		uint32_t len;

		memcpy(&len, s->in + at, sizeof(len));
		len = ntohl(len);
		if (len > NET_PACKET_MAX)
			s->gone = true;
		if (s->gone || s->have - at - NET_LENGTH_SIZE < len)
			break;
		slirp_input(s->slirp, s->in + at + NET_LENGTH_SIZE, (int)len);
		at += NET_LENGTH_SIZE + len;
	}
	s->have -= at;
	memmove(s->in, s->in + at, s->have);
}

static void read_frames(struct server *s)
{
	ssize_t n = recv(s->fd, s->in + s->have, sizeof(s->in) - s->have, MSG_DONTWAIT);

	if (n > 0) {
		s->have += (size_t)n;
		take_frames(s);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		s->gone = true;
	}
}

/* ---- The loop ---- */

static const struct {
	int slirp;
	short poll;
} event_map[] = {
	{SLIRP_POLL_IN, POLLIN}, {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
	{SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

static int add_poll(int fd, int events, void *opaque)
{
	struct server *s = opaque;
	struct pollfd *p = &s->polled[s->polled_count];

	if (s->polled_count == MAX_POLLED)
		return -1;
	*p = (struct pollfd){.fd = fd};
	for (unsigned k = 0; k < LM_ARRAY_SIZE(event_map); k++)
		if (events & event_map[k].slirp)
			p->events |= event_map[k].poll;
	return (int)s->polled_count++;
}

static int get_revents(int index, void *opaque)
{
	const struct server *s = opaque;
	int events = 0;

	for (unsigned k = 0; index >= 0 && k < LM_ARRAY_SIZE(event_map); k++)
		if (s->polled[index].revents & event_map[k].poll)
			events |= event_map[k].slirp;
	return events;
}

/* Fires what is due; the ms until the next, at most wait. */
static uint32_t run_timers(struct server *s, uint32_t wait)
{
	int64_t now = clock_ns(NULL) / NS_PER_MS;

	for (unsigned k = 0; k < MAX_TIMERS; k++) {
		struct slirp_timer *t = &s->timer[k];

		if (!t->used || t->at_ms < 0)
			continue;
		if (t->at_ms <= now) {
			t->at_ms = -1;
			slirp_handle_timer(s->slirp, t->id, t->opaque);
		} else {
			wait = (uint32_t)LM_MIN((int64_t)wait, t->at_ms - now);
		}
	}
	return wait;
}

static void serve(struct server *s)
{
	while (!s->gone) {
		uint32_t wait = 1000;
		int n;

		s->polled[0] = (struct pollfd){.fd = s->fd, .events = POLLIN};
		s->polled_count = 1;
		slirp_pollfds_fill(s->slirp, &wait, add_poll, s);
		n = poll(s->polled, s->polled_count, (int)run_timers(s, wait));
		slirp_pollfds_poll(s->slirp, n < 0, get_revents, s);
		if (n > 0 && s->polled[0].revents)
			read_frames(s);
	}
}

/* ---- Start-up ---- */

/* An address of the guest's must not lead nowhere: IPv6 is offered where the host can reach it. */
static bool host_has_ipv6(void)
{
	struct sockaddr_in6 far = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok;

	inet_pton(AF_INET6, "2001:4860::1", &far.sin6_addr); /* nothing is sent */
	ok = fd >= 0 && connect(fd, (struct sockaddr *)&far, sizeof(far)) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

static Slirp *create(struct server *s, unsigned mtu)
{
	SlirpConfig config = {
		.version = 4,
		.in_enabled = true,
		.in6_enabled = host_has_ipv6(),
		.vprefix_len = 64,
		.vhostname = "lamina",
		.if_mtu = mtu,
		.if_mru = mtu,
	};

	inet_pton(AF_INET, NETWORK, &config.vnetwork);
	inet_pton(AF_INET, NETMASK, &config.vnetmask);
	inet_pton(AF_INET, HOST, &config.vhost);
	inet_pton(AF_INET, NAME_SERVER, &config.vnameserver);
	inet_pton(AF_INET, FIRST_GUEST, &config.vdhcp_start);
	inet_pton(AF_INET6, PREFIX6, &config.vprefix_addr6);
	inet_pton(AF_INET6, HOST6, &config.vhost6);
	inet_pton(AF_INET6, NAME_SERVER6, &config.vnameserver6);
	return slirp_new(&config, &callbacks, s);
}

static int publish(struct server *s, const struct net_published *p, struct lm_err *err)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(p->host_port)};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(p->host_port)};
	struct sockaddr_in guest = {.sin_family = AF_INET, .sin_port = htons(p->guest_port)};
	bool is_v6 = inet_pton(AF_INET6, p->address, &v6.sin6_addr) == 1;

	inet_pton(AF_INET, FIRST_GUEST, &guest.sin_addr);
	if (!is_v6 && *p->address)
		inet_pton(AF_INET, p->address, &v4.sin_addr);
	/* Both families lead to the guest's IPv4 address: libslirp keeps families apart otherwise. */
	if (is_v6)
		return lm_err_set(err, -ENOTSUP, "libslirp publishes ports on IPv4 addresses only");
	if (slirp_add_hostxfwd(s->slirp, (struct sockaddr *)&v4, sizeof(v4),
			       (struct sockaddr *)&guest, sizeof(guest),
			       p->udp ? SLIRP_HOSTFWD_UDP : 0) < 0)
		return lm_err_errno(err, -errno, "cannot listen on port %u of the host", p->host_port);
	return 0;
}

/*
 * libslirp reads /etc/resolv.conf when the guest first asks for a name, and files are out of reach
 * then. So this is a first question, for the root's name servers; its answer finds no one.
 */
static void learn_name_server(struct server *s)
{
	static const uint8_t frame[] = {
		0x52, 0x55, 10, 0, 2, 3, 2, 0, 0, 0, 0, 1, 8, 0,
		/* IPv4: 45 bytes, UDP, 10.0.2.15 to 10.0.2.3 */
		0x45, 0, 0, 45, 0, 0, 0, 0, 64, 17, 0x62, 0xaf, 10, 0, 2, 15, 10, 0, 2, 3,
		/* UDP without checksum: port 53 */
		0xd4, 0x31, 0, 53, 0, 25, 0, 0,
		/* DNS: one question, "." IN NS, recursion desired */
		0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1,
	};

	slirp_input(s->slirp, frame, sizeof(frame));
}

int net_slirp_serve(int fd, unsigned mtu, const struct net_published *published, unsigned count,
		    struct lm_err *err)
{
	struct server *s = calloc(1, sizeof(*s));
	int rc = 0;

	if (!s)
		return lm_err_set(err, -ENOMEM, "no memory for libslirp");
	s->fd = fd;
	s->slirp = create(s, mtu);
	if (!s->slirp)
		rc = lm_err_set(err, -EIO, "libslirp does not start");
	for (unsigned k = 0; rc == 0 && k < count; k++)
		rc = publish(s, &published[k], err);
	if (rc == 0) {
		learn_name_server(s);
		rc = net_confine(err);
	}
	if (rc == 0)
		serve(s);
	if (s->slirp)
		slirp_cleanup(s->slirp);
	free(s);
	return rc;
}
