/*
 * What test kernels expect of a machine, as QEMU's isa-debug-exit and pc-testdev: a port that ends
 * the machine with a status, interrupt lines that software drives, and ports and memory that keep
 * what was written. For kvm-unit-tests and our own; a board for real guests does not have it.
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_TESTDEV_H
#define LM_DEV_CHIPSET_TESTDEV_H

#include "base/fields.h"
#include "dev/bus.h"
#include "dev/irq.h"

#define TESTDEV_IRQS	   24
#define TESTDEV_IOMEM_SIZE 0x10000

struct testdev_ops {
	/* A write of v to port 0xf4: the machine ends with status v << 1 | 1. */
	void (*exit)(void *opaque, uint32_t status);
	void *opaque;
	struct irq_line irq[TESTDEV_IRQS]; /* what port 0x2000 + n drives */
};

struct testdev {
	struct testdev_ops ops;
	uint32_t data; /* ports 0xe0 and 0xe8 */
	uint8_t iomem[TESTDEV_IOMEM_SIZE];
	struct bus_region exit, ioport, flush, bytes, irq, mmio;
};

/*
 * with_byte_port: also the port at 0xe8 that takes bytes only, which covers the debug console's
 * 0xe9; a board has one or the other.
 */
int testdev_init(struct testdev *dev, struct bus *mmio, struct bus *port,
		 const struct testdev_ops *ops, bool with_byte_port, struct lm_err *err);
void testdev_reset(struct testdev *dev);

/* What a snapshot holds of it. */
extern const struct fields_section testdev_section;

#endif
