/* Putting a device of fixed address on its bus when the board is built. */
#ifndef LM_DEV_CHIPSET_MAP_H
#define LM_DEV_CHIPSET_MAP_H

#include "base/err.h"
#include "dev/bus.h"

static inline int chipset_map(struct bus *bus, struct bus_region *region, struct lm_err *err)
{
	int rc = bus_map(bus, region);

	if (rc < 0)
		return lm_err_errno(err, rc, "%s: cannot put it at %s 0x%llx", region->name,
				    bus->name, (unsigned long long)region->start);
	return 0;
}

#endif
