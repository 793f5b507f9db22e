#include "machine/networks.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"

int networks_open(struct networks *n, const struct net_options *options, unsigned count,
		  struct lm_err *err)
{
	int rc = 0;

	if (!count)
		return 0;
	n->network = calloc(count, sizeof(*n->network));
	if (!n->network)
		return lm_err_set(err, -ENOMEM, "no memory for networks");
	for (unsigned k = 0; rc == 0 && k < count; k++) {
		struct network *net = &n->network[k];

		rc = io_thread_init(&net->io, err);
		if (rc < 0)
			return rc;
		n->count++;
		net->pairs = options[k].queues;
		rc = net_open(&net->dev, &options[k], &net->io.loop, err);
	}
	return rc;
}

void networks_describe(const struct networks *n, struct pc_config *board)
{
	board->nets = n->count;
	for (unsigned k = 0; k < n->count; k++) {
		board->net[k] = n->network[k].dev;
		board->net_pairs[k] = n->network[k].pairs;
	}
}

void networks_start(struct networks *n)
{
	struct lm_err err = {0};

	for (unsigned k = 0; k < n->count; k++)
		if (!n->network[k].io.started && io_thread_start(&n->network[k].io, &err) < 0)
			log_line(LOG_WARN, "network: %s; no packets move", err.text);
}

void networks_stop(struct networks *n)
{
	for (unsigned k = 0; k < n->count; k++)
		io_thread_stop(&n->network[k].io);
}

void networks_close(struct networks *n)
{
	for (unsigned k = 0; k < n->count; k++) {
		net_close(n->network[k].dev);
		io_thread_fini(&n->network[k].io);
	}
	free(n->network);
	*n = (struct networks){0};
}
