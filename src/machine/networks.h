/*
 * The machine's networks: each has a backend and an I/O thread, on which its device moves packets
 * while the guest runs.
 */
#ifndef LM_MACHINE_NETWORKS_H
#define LM_MACHINE_NETWORKS_H

#include "event/io_thread.h"
#include "machine/machine.h"
#include "machine/pc.h"

struct network {
	struct io_thread io;
	struct netdev *dev;
	unsigned pairs;
};

struct networks {
	struct network *network; /* heap: they are watched by address */
	unsigned count;
};

int networks_open(struct networks *n, const struct net_options *options, unsigned count,
		  struct lm_err *err);
/* Fills in the board's. */
void networks_describe(const struct networks *n, struct pc_config *board);
/* Packets move, or stand still: nothing is in flight then. Not under the device lock. */
void networks_start(struct networks *n);
void networks_stop(struct networks *n);
/* After the devices are gone. */
void networks_close(struct networks *n);

#endif
