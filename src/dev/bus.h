/*
 * The bus: which device answers at which guest-physical address or I/O port.
 *
 * A region is a range with read and write operations. Devices register regions at start-up; PCI
 * moves BAR regions while the machine runs. Everything runs under the device lock (event/loop.h).
 */
#ifndef LM_DEV_BUS_H
#define LM_DEV_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct bus_ops {
	/* offset is relative to the region's start; size 1, 2, 4 or 8 (ports 1, 2 or 4). */
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
	void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
	/*
	 * The largest access the device takes in one piece; wider ones are split into pieces of
	 * this size, low address first. 0 means 8.
	 */
	unsigned max_size;
};

struct bus_region {
	const char *name;
	uint64_t start, size;
	const struct bus_ops *ops;
	void *opaque;
	bool mapped;
};

#define BUS_MAX_REGIONS 128

struct bus {
	const char *name;                           /* "mmio" or "port", for messages and traces */
	struct bus_region *region[BUS_MAX_REGIONS]; /* sorted by start, none overlap */
	unsigned count;
};

/*
 * Puts a region (owned by the device, must outlive its mapping) on the bus. -EEXIST where it would
 * overlap another, -ENOSPC where the bus is full: for the guest's doing (a BAR moved onto
 * something) the caller leaves the region unmapped.
 */
int bus_map(struct bus *bus, struct bus_region *region);
void bus_unmap(struct bus *bus, struct bus_region *region);

/* Accesses that hit nothing read as all ones and ignore writes. */
uint64_t bus_read(struct bus *bus, uint64_t address, unsigned size);
void bus_write(struct bus *bus, uint64_t address, uint64_t value, unsigned size);

#endif
