/*
 * Debug console on port 0xe9, as Bochs and QEMU have it, or on 0x402, where SeaBIOS and OVMF write: bytes written go to the character stream,
 * reads give 0xe9 so that software can tell that it is there. Never blocks the guest: what the
 * stream does not take is lost.
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_DEBUGCON_H
#define LM_DEV_CHIPSET_DEBUGCON_H

#include "dev/bus.h"
#include "dev/chardev.h"

struct debugcon {
	struct chardev *chr; /* not owned; may be NULL */
	struct bus_region ports;
};

int debugcon_init(struct debugcon *con, struct bus *port, uint16_t number, struct chardev *chr,
		  struct lm_err *err);

#endif
