/*
 * A watchdog that guests find by the ACPI table WDAT ("Hardware Watchdog Timers Design Specification",
 * Microsoft 2006), so that stock kernels need no driver for its chip: Linux has wdat_wdt, also where
 * drivers of the usual chips (i6300ESB, iTCO) are left out, as in Debian's cloud kernel; so has Windows.
 *
 * It counts down while it runs, in units of WATCHDOG_PERIOD_MS; at zero the board is told, once.
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_WATCHDOG_H
#define LM_DEV_CHIPSET_WATCHDOG_H

#include "base/fields.h"
#include "dev/bus.h"
#include "event/loop.h"

#define WATCHDOG_PERIOD_MS 100
#define WATCHDOG_MIN_COUNT 1
#define WATCHDOG_MAX_COUNT 0xffff

/* Registers, from PC_PORT_WATCHDOG on. Reserved ones read as 0. */
enum watchdog_register {
	WATCHDOG_COUNT = 0,	/* 4 bytes: where counting down starts */
	WATCHDOG_CURRENT = 4,	/* 4 bytes, read only: what is left */
	WATCHDOG_CONTROL = 8,	/* 1 byte: 1 runs, 0 stands */
	WATCHDOG_RESTART = 9,	/* 1 byte: any write starts over */
	WATCHDOG_STATUS = 10,	/* 1 byte: 1 after it has run out; writing 1 clears it */
	WATCHDOG_PORTS = 12,
};

struct watchdog {
	struct event_loop *loop;
	void (*expired)(void *opaque);
	void *opaque;
	struct timer timer;
	struct bus_region ports;
	uint32_t count;
	int64_t started; /* clock ns */
	bool running;
	bool ran_out; /* survives the machine's reset, as the guest asks for it at its next boot */
};

int watchdog_init(struct watchdog *w, struct event_loop *loop, struct bus *port,
		  void (*expired)(void *opaque), void *opaque, struct lm_err *err);
void watchdog_reset(struct watchdog *w);
void watchdog_fini(struct watchdog *w);

extern const struct fields_section watchdog_section;

#endif
