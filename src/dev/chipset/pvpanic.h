/*
 * Panic notification on ISA port 0x505, as QEMU has it (docs/specs/pvpanic.rst). Linux, Windows and
 * the BSDs have drivers that find it by its ACPI device QEMU0001.
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_PVPANIC_H
#define LM_DEV_CHIPSET_PVPANIC_H

#include "dev/bus.h"

#define PVPANIC_PANICKED    0x01 /* the guest is dead: the host decides what comes */
#define PVPANIC_CRASHLOADED 0x02 /* the guest handles its panic (kdump): only report it */
#define PVPANIC_SHUTDOWN    0x04 /* a regular shutdown */
#define PVPANIC_EVENTS	    (PVPANIC_PANICKED | PVPANIC_CRASHLOADED | PVPANIC_SHUTDOWN)

struct pvpanic {
	/* events is a set of the above, not empty. Under the device lock, inside the access. */
	void (*event)(void *opaque, uint8_t events);
	void *opaque;
	struct bus_region ports;
};

int pvpanic_init(struct pvpanic *pv, struct bus *port, void (*event)(void *, uint8_t), void *opaque,
		 struct lm_err *err);

#endif
