#include "dev/chipset/pvpanic.h"

#include "dev/chipset/layout.h"
#include "dev/chipset/map.h"

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	return PVPANIC_EVENTS;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pvpanic *pv = opaque;
	uint8_t events = value & PVPANIC_EVENTS;

	if (events && pv->event)
		pv->event(pv->opaque, events);
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 1};

int pvpanic_init(struct pvpanic *pv, struct bus *port, void (*event)(void *, uint8_t), void *opaque,
		 struct lm_err *err)
{
	*pv = (struct pvpanic){.event = event, .opaque = opaque};
	pv->ports = (struct bus_region){"pvpanic", PC_PORT_PVPANIC, 1, &ports_ops, pv, false};
	return chipset_map(port, &pv->ports, err);
}
