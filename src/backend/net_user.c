/*
 * `--net user`: a process of its own between the guest and the host's sockets, behind a net_stream.
 *
 * passt first: it looks at no checksum of the guest's, takes segments and datagrams of any size as one,
 * and sends right ones: so the guest leaves checksums open, sends up to 64 KiB at once and checks
 * nothing. libslirp does look, and gets checksums filled in.
 *
 * Both end with us, since their socket closes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backend/net_stream.h"
#include "base/bits.h"
#include "base/child.h"
#include "base/log.h"

#define ANSWER_WAIT_MS 10000 /* a loaded host starts a program slowly */
#define ARGS_MAX       (32 + 2 * NET_MAX_PUBLISHED)
#define WORD_SIZE      80

struct net_user {
	struct net_stream stream;
	struct child child;
};

/* Words of a command line, with room for those that are made up. */
struct command {
	char *argv[ARGS_MAX];
	unsigned argc, words;
	char word[2 * NET_MAX_PUBLISHED + 8][WORD_SIZE];
};

static void add_word(struct command *c, const char *word)
{
	c->argv[c->argc++] = (char *)word;
}

static char *new_word(struct command *c)
{
	char *word = c->word[c->words++];

	add_word(c, word);
	return word;
}

static void passt_command(struct command *c, const struct net_options *o, unsigned mtu)
{
	static const char *const fixed[] = {"passt", "--foreground", "--quiet", "--fd", "3", "--mtu"};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(fixed); k++)
		add_word(c, fixed[k]);
	snprintf(new_word(c), WORD_SIZE, "%u", mtu);
	for (unsigned k = 0; k < o->published_count; k++) {
		const struct net_published *p = &o->published[k];

		add_word(c, p->udp ? "--udp-ports" : "--tcp-ports");
		snprintf(new_word(c), WORD_SIZE, "%s%s%u:%u", p->address, *p->address ? "/" : "",
			 p->host_port, p->guest_port);
	}
}

/* The hidden verb of this program that runs libslirp (net_slirp.h). */
static void slirp_command(struct command *c, const struct net_options *o, unsigned mtu)
{
	add_word(c, "/proc/self/exe");
	add_word(c, "net-slirp");
	snprintf(new_word(c), WORD_SIZE, "%u", mtu);
	for (unsigned k = 0; k < o->published_count; k++) {
		const struct net_published *p = &o->published[k];

		snprintf(new_word(c), WORD_SIZE, "%s/%s/%u/%u", p->udp ? "udp" : "tcp", p->address,
			 p->host_port, p->guest_port);
	}
}

static const struct user_program {
	const char *name;
	enum net_user_kind kind;
	void (*command)(struct command *c, const struct net_options *o, unsigned mtu);
	unsigned offloads;
	bool wants_checksums, sends_valid;
} programs[] = {
	{"passt", NET_USER_PASST, passt_command, NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN | NET_UFO,
	 false, true},
	{"libslirp", NET_USER_SLIRP, slirp_command, NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN, true,
	 true},
};

/* ---- Does it answer? ---- */

/* With their length in front. IPv4: who has 10.0.2.2? passt says so of every address but the guest's. */
static const uint8_t arp_question[] = {
	0, 0, 0, 42,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6,
	0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2,
};

/* IPv6, for hosts that have no IPv4: fe80::1 looks for its neighbour fe80::2 (RFC 4861 §4.3). */
static const uint8_t neighbour_question[] = {
	0, 0, 0, 78,
	0x33, 0x33, 0xff, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd,
	0x60, 0, 0, 0, 0, 24, 58, 255,
	0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
	0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2,
	135, 0, 0x7d, 0xa1, 0, 0, 0, 0,
	0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
};

static bool ask(const struct child *c, const uint8_t *question, size_t len)
{
	return send(c->socket, question, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* Whether it runs: the first byte that it sends us is an answer. Nothing is read. */
static bool answers(const struct child *c)
{
	struct pollfd p = {.fd = c->socket, .events = POLLIN};
	char byte;

	return ask(c, arp_question, sizeof(arp_question)) &&
	       ask(c, neighbour_question, sizeof(neighbour_question)) &&
	       poll(&p, 1, ANSWER_WAIT_MS) == 1 &&
	       recv(c->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static int start_program(struct net_user *u, const struct user_program *program,
			 const struct net_options *o, struct lm_err *err)
{
	struct command *command = calloc(1, sizeof(*command));
	char words[160];
	int rc;

	if (!command)
		return lm_err_set(err, -ENOMEM, "no memory for %s", program->name);
	program->command(command, o, u->stream.net.dev.mtu);
	rc = child_start(&u->child, command->argv, err);
	free(command);
	if (rc < 0 || answers(&u->child))
		return rc;
	child_last_words(&u->child, words, sizeof(words));
	close(u->child.socket);
	child_stop(&u->child);
	return lm_err_set(err, -EIO, "%s does not work here: %s", program->name,
			  *words ? words : "no answer");
}

static void adopt(struct net_user *u, const struct user_program *program)
{
	u->stream.net.name = program->name;
	u->stream.net.dev.offloads = program->offloads;
	u->stream.wants_checksums = program->wants_checksums;
	u->stream.sends_valid = program->sends_valid;
}

/* The first that works of those that may be taken; *err tells of the last. */
static int start_any(struct net_user *u, const struct net_options *o, struct lm_err *err)
{
	int rc = -ENOENT;

	for (unsigned k = 0; k < LM_ARRAY_SIZE(programs) && rc < 0; k++) {
		if (o->user != NET_USER_AUTO && o->user != programs[k].kind)
			continue;
		rc = start_program(u, &programs[k], o, err);
		if (rc < 0 && o->user == NET_USER_AUTO && k + 1 < LM_ARRAY_SIZE(programs))
			log_line(LOG_INFO, "network: %s; libslirp instead", err ? err->text : "no passt");
		if (rc == 0)
			adopt(u, &programs[k]);
	}
	return rc;
}

/* ---- Published ports ---- */

struct host_address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};
	socklen_t len;
};

static bool parse_address(const struct net_published *p, struct host_address *a)
{
	memset(a, 0, sizeof(*a));
	if (!*p->address || inet_pton(AF_INET, p->address, &a->v4.sin_addr) == 1) {
		a->v4.sin_family = AF_INET;
		a->v4.sin_port = htons(p->host_port);
		a->len = sizeof(a->v4);
		return true;
	}
	a->v6.sin6_family = AF_INET6;
	a->v6.sin6_port = htons(p->host_port);
	a->len = sizeof(a->v6);
	return inet_pton(AF_INET6, p->address, &a->v6.sin6_addr) == 1;
}

/* The programs would only say that a port cannot be had where nobody reads it. */
static int check_published(const struct net_published *p, struct lm_err *err)
{
	struct host_address a;
	int fd, one = 1, rc = 0;

	if (!parse_address(p, &a))
		return lm_err_set(err, -EINVAL, "\"%s\" is no IP address", p->address);
	fd = socket(a.any.sa_family, (p->udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot create a socket");
	if (!p->udp)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, &a.any, a.len) < 0 || (!p->udp && listen(fd, 1) < 0))
		rc = lm_err_errno(err, -errno, "cannot listen on %s%sport %u of the host",
				  p->address, *p->address ? " " : "", p->host_port);
	close(fd);
	return rc;
}

/* ---- Life ---- */

static void user_gone(struct net_stream *s)
{
	log_line(LOG_WARN, "network: %s ended; the guest's link is down", s->net.name);
	netdev_set_link(&s->net.dev, false);
}

static void user_close(struct net_backend *net)
{
	struct net_user *u = LM_CONTAINER_OF(net, struct net_user, stream.net);

	net_stream_disconnect(&u->stream);
	child_stop(&u->child);
	free(u);
}

static int start(struct net_user *u, const struct net_options *o, struct lm_err *err)
{
	int rc = 0;

	for (unsigned k = 0; rc == 0 && k < o->published_count; k++)
		rc = check_published(&o->published[k], err);
	if (rc == 0)
		rc = start_any(u, o, err);
	return rc < 0 ? rc : net_stream_connect(&u->stream, u->child.socket, err);
}

int net_user_open(struct net_backend **out, const struct net_options *options,
		  struct event_loop *loop, struct lm_err *err)
{
	struct net_user *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return lm_err_set(err, -ENOMEM, "no memory for a network");
	net_stream_init(&u->stream, loop);
	u->stream.gone = user_gone;
	u->stream.net.close = user_close;
	u->stream.net.dev.mtu = options->mtu ? options->mtu : NET_MTU_MAX;
	u->stream.net.dev.link_up = true;
	u->child = (struct child){.socket = -1, .errors = -1};
	rc = start(u, options, err);
	if (rc < 0) {
		user_close(&u->stream.net);
		return rc;
	}
	*out = &u->stream.net;
	return 0;
}
