#include "dev/chipset/debugcon.h"

#include "dev/chipset/map.h"

#define PRESENT 0xe9 /* what reads give, on any port */

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	return PRESENT;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct debugcon *con = opaque;
	uint8_t c = (uint8_t)value;

	chardev_write(con->chr, &c, 1);
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 1};

int debugcon_init(struct debugcon *con, struct bus *port, uint16_t number, struct chardev *chr,
		  struct lm_err *err)
{
	static const struct chardev_user output_only = {0};

	*con = (struct debugcon){.chr = chr};
	con->ports = (struct bus_region){"debugcon", number, 1, &ports_ops, con, false};
	chardev_attach(chr, &output_only, con);
	return chipset_map(port, &con->ports, err);
}
