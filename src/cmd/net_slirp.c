/* lamina net-slirp MTU [tcp|udp/ADDRESS/PORT/GUESTPORT]...: the helper behind `--net user` (hidden). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backend/net_slirp.h"
#include "base/child.h"
#include "cmd/options.h"
#include "cmd/values.h"
#include "cmd/verb.h"

static int parse_word(const char *word, struct net_published *p, struct lm_err *err)
{
	char protocol[4], address[46] = "";
	unsigned host, guest;
	bool any = sscanf(word, "%3[a-z]//%u/%u", protocol, &host, &guest) == 3;

	if (!any && sscanf(word, "%3[a-z]/%45[0-9a-f.:]/%u/%u", protocol, address, &host, &guest) != 4)
		return lm_err_set(err, -EINVAL, "\"%s\": not a published port", word);
	*p = (struct net_published){.host_port = (uint16_t)host, .guest_port = (uint16_t)guest,
				    .udp = !strcmp(protocol, "udp")};
	memcpy(p->address, address, sizeof(p->address));
	return 0;
}

static int net_slirp_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct net_published published[NET_MAX_PUBLISHED];
	unsigned count = 0;
	uint64_t mtu;
	int rc;

	if (argc < 2 || argc - 2 > NET_MAX_PUBLISHED)
		return lm_err_set(err, -EINVAL, "net-slirp is for lamina itself");
	rc = value_number(argv[1], NET_MTU_MIN, NET_MTU_MAX, "bytes of MTU", &mtu, err);
	for (; rc == 0 && argv[2 + count]; count++)
		rc = parse_word(argv[2 + count], &published[count], err);
	return rc < 0 ? rc
		      : net_slirp_serve(CHILD_SOCKET_FD, (unsigned)mtu, published, count, err);
}

const struct verb net_slirp_verb = {
    .name = "net-slirp",
    .summary = "run a user network in a confined process",
    .hidden = true,
    .run = net_slirp_main,
};
