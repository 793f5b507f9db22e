#include "cmd/net_values.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "cmd/values.h"
#include "dev/vsockdev.h"

#define QUEUES_MAX 16 /* NET_MAX_PAIRS of the device */

static int parse_mac(struct net_options *net, const char *value, struct lm_err *err)
{
	unsigned byte[6];
	char end;

	if (strlen(value) != 17 || sscanf(value, "%2x:%2x:%2x:%2x:%2x:%2x%c", &byte[0], &byte[1],
					  &byte[2], &byte[3], &byte[4], &byte[5], &end) != 6)
		return lm_err_set(err, -EINVAL, "mac=: an address looks like 52:54:00:12:34:56");
	for (unsigned k = 0; k < 6; k++)
		net->mac[k] = (uint8_t)byte[k];
	if (net->mac[0] & 1)
		return lm_err_set(err, -EINVAL, "mac=: that is a group's address; the first byte of a "
						"machine's is even");
	return 0;
}

static int parse_mtu(struct net_options *net, const char *value, struct lm_err *err)
{
	uint64_t n;
	int rc = value_number(value, NET_MTU_MIN, NET_MTU_MAX, "bytes of mtu=", &n, err);

	net->mtu = (unsigned)n;
	return rc;
}

static int parse_queues(struct net_options *net, const char *value, struct lm_err *err)
{
	uint64_t n;
	int rc = value_number(value, 1, QUEUES_MAX, "queue pairs", &n, err);

	net->queues = (unsigned)n;
	return rc;
}

static int parse_backend(struct net_options *net, const char *value, struct lm_err *err)
{
	if (net->kind != NET_USER)
		return lm_err_set(err, -EINVAL, "backend= is for user");
	if (!strcmp(value, "passt"))
		net->user = NET_USER_PASST;
	else if (!strcmp(value, "slirp"))
		net->user = NET_USER_SLIRP;
	else
		return lm_err_set(err, -EINVAL, "backend=: the choices are passt and slirp");
	return 0;
}

static const struct {
	const char *name;
	int (*parse)(struct net_options *net, const char *value, struct lm_err *err);
} parameters[] = {
	{"mac", parse_mac}, {"mtu", parse_mtu}, {"queues", parse_queues}, {"backend", parse_backend},
};

static int parse_parameter(struct net_options *net, char *word, struct lm_err *err)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = 0;
	for (unsigned k = 0; k < LM_ARRAY_SIZE(parameters); k++)
		if (!strcmp(parameters[k].name, word))
			return value ? parameters[k].parse(net, value, err)
				     : lm_err_set(err, -EINVAL, "%s= needs a value", word);
	return lm_err_set(err, -EINVAL, "unknown \"%s\"; there are mac=, mtu=, queues= and backend=",
			  word);
}

static const struct {
	const char *name;
	enum net_kind kind;
	bool takes_value;
} kinds[] = {
	{"user", NET_USER, false}, {"tap", NET_TAP, true}, {"socket", NET_SOCKET, true},
};

static int parse_kind(struct net_options *net, char *word, struct lm_err *err)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = 0;
	for (unsigned k = 0; k < LM_ARRAY_SIZE(kinds); k++) {
		if (strcmp(kinds[k].name, word))
			continue;
		if (kinds[k].takes_value != (value && *value))
			return lm_err_set(err, -EINVAL,
					  kinds[k].takes_value ? "%s needs a value: %s=..."
							       : "%s takes no value: %s", word, word);
		net->kind = kinds[k].kind;
		net->name = value;
		return 0;
	}
	return lm_err_set(err, -EINVAL, "the choices are none, user, tap=NAME and socket=PATH");
}

int value_net(const char *text, struct net_options *net, char **backing, struct lm_err *err)
{
	char *save, *word;
	int rc;

	*net = (struct net_options){0};
	*backing = strdup(text);
	if (!*backing)
		return lm_err_set(err, -ENOMEM, "out of memory");
	word = strtok_r(*backing, ",", &save);
	rc = parse_kind(net, word ? word : *backing, err);
	while (rc == 0 && (word = strtok_r(NULL, ",", &save)))
		rc = parse_parameter(net, word, err);
	return rc;
}

static int parse_port(const char *text, uint16_t *port, struct lm_err *err)
{
	uint64_t n;
	int rc = value_number(text, 1, 65535, "a port", &n, err);

	*port = (uint16_t)n;
	return rc < 0 ? lm_err_set(err, rc, "a port is a number from 1 to 65535, in " PUBLISH_SYNTAX)
		      : 0;
}

/* "IP:" in front, an IPv6 address in brackets; moves *text behind it. */
static int parse_address(char **text, struct net_published *p, struct lm_err *err)
{
	char *first = *text, *colon = strrchr(first, ':'), *end;
	uint8_t binary[16];

	if (*first == '[') {
		first++;
		end = strstr(first, "]:");
		*text = end ? end + 2 : NULL;
	} else {
		*colon = 0;
		end = strrchr(first, ':');
		*colon = ':';
		*text = end ? end + 1 : first;
	}
	if (*text == first)
		return 0;
	if (!end || (size_t)(end - first) >= sizeof(p->address))
		return lm_err_set(err, -EINVAL, "it is written as " PUBLISH_SYNTAX);
	memcpy(p->address, first, (size_t)(end - first));
	if (inet_pton(AF_INET, p->address, binary) != 1 && inet_pton(AF_INET6, p->address, binary) != 1)
		return lm_err_set(err, -EINVAL, "\"%s\" is no IP address; IPv6 goes in brackets",
				  p->address);
	return 0;
}

static int parse_published(char *text, struct net_published *p, struct lm_err *err)
{
	char *protocol = strchr(text, '/'), *colon;
	int rc;

	if (protocol)
		*protocol++ = 0;
	if (protocol && strcmp(protocol, "udp") && strcmp(protocol, "tcp"))
		return lm_err_set(err, -EINVAL, "the protocol is tcp or udp");
	p->udp = protocol && !strcmp(protocol, "udp");
	if (!strchr(text, ':'))
		return lm_err_set(err, -EINVAL, "it is written as " PUBLISH_SYNTAX);
	rc = parse_address(&text, p, err);
	if (rc < 0)
		return rc;
	colon = strchr(text, ':');
	if (!colon)
		return lm_err_set(err, -EINVAL, "it is written as " PUBLISH_SYNTAX);
	*colon++ = 0;
	rc = parse_port(text, &p->host_port, err);
	return rc < 0 ? rc : parse_port(colon, &p->guest_port, err);
}

int value_published(const char *text, struct net_published *published, struct lm_err *err)
{
	char *copy = strdup(text);
	int rc;

	*published = (struct net_published){0};
	rc = copy ? parse_published(copy, published, err) : lm_err_set(err, -ENOMEM, "out of memory");
	free(copy);
	return rc;
}

int value_vsock(const char *text, uint64_t *cid, const char **path, struct lm_err *err)
{
	const char *comma = strchr(text, ',');
	char number[24];
	int rc;

	if (strncmp(text, "cid=", 4) || !comma || strncmp(comma, ",uds=", 5) || !comma[5] ||
	    (size_t)(comma - text - 4) >= sizeof(number))
		return lm_err_set(err, -EINVAL, "it is written as " VSOCK_SYNTAX);
	memcpy(number, text + 4, (size_t)(comma - text - 4));
	number[comma - text - 4] = 0;
	rc = value_number(number, VSOCK_CID_FIRST, UINT32_MAX - 1, "cid=", cid, err);
	*path = comma + 5;
	return rc < 0 ? lm_err_set(err, rc, "cid= is a number from 3 to 4294967294") : 0;
}
