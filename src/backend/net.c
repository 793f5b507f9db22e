#include "backend/net.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "backend/net_impl.h"
#include "base/bits.h"

/* First byte of a MAC: bit 1 says locally administered, bit 0 a group (IEEE 802 §8.2). */
#define MAC_LOCAL 0x02

/* Machines on one link must differ. */
static void make_mac(uint8_t mac[6])
{
	if (getrandom(mac, 6, 0) != 6)
		memset(mac, 0, 6);
	mac[0] = MAC_LOCAL;
}

int net_open(struct netdev **out, const struct net_options *options, struct event_loop *loop,
	     struct lm_err *err)
{
	static int (*const openers[])(struct net_backend **, const struct net_options *,
				      struct event_loop *, struct lm_err *) = {
		[NET_USER] = net_user_open,
		[NET_SOCKET] = net_socket_open,
		[NET_TAP] = net_tap_open,
	};
	static const uint8_t none[6];
	struct net_options full = *options;
	struct net_backend *net;
	int rc;

	*out = NULL;
	if (!memcmp(full.mac, none, sizeof(none)))
		make_mac(full.mac);
	rc = openers[options->kind](&net, &full, loop, err);
	if (rc < 0)
		return rc;
	memcpy(net->dev.mac, full.mac, sizeof(full.mac));
	*out = &net->dev;
	return 0;
}

void net_close(struct netdev *dev)
{
	struct net_backend *net;

	if (!dev)
		return;
	net = LM_CONTAINER_OF(dev, struct net_backend, dev);
	net->close(net);
}

const char *net_backend_name(const struct netdev *dev)
{
	return LM_CONTAINER_OF(dev, struct net_backend, dev)->name;
}
