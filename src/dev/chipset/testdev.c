#include "dev/chipset/testdev.h"

#include <string.h>

#include "base/bits.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/map.h"

static uint64_t read_zero(void *opaque, uint64_t offset, unsigned size)
{
	return 0;
}

static void exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct testdev *dev = opaque;

	if (dev->ops.exit)
		dev->ops.exit(dev->ops.opaque, (uint32_t)value << 1 | 1);
}

static uint64_t ioport_read(void *opaque, uint64_t offset, unsigned size)
{
	struct testdev *dev = opaque;

	return dev->data >> (8 * offset);
}

static void ioport_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct testdev *dev = opaque;
	uint32_t mask = (uint32_t)mask_bytes(size) << (8 * offset);

	dev->data = (dev->data & ~mask) | ((uint32_t)value << (8 * offset) & mask);
}

/* The page at `value` loses its host mapping for a moment in QEMU; ours are never cached. */
static void flush_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
}

static void irq_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct testdev *dev = opaque;

	irq_set(&dev->ops.irq[offset], value != 0);
}

static uint64_t iomem_read(void *opaque, uint64_t offset, unsigned size)
{
	struct testdev *dev = opaque;

	return le_load(dev->iomem + offset, size);
}

static void iomem_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct testdev *dev = opaque;

	le_store(dev->iomem + offset, value, size);
}

static const struct bus_ops exit_ops = {read_zero, exit_write, 4};
static const struct bus_ops ioport_ops = {ioport_read, ioport_write, 4};
static const struct bus_ops bytes_ops = {ioport_read, ioport_write, 1};
static const struct bus_ops flush_ops = {read_zero, flush_write, 4};
static const struct bus_ops irq_ops = {read_zero, irq_write, 1};
static const struct bus_ops iomem_ops = {iomem_read, iomem_write, 8};

void testdev_reset(struct testdev *dev)
{
	dev->data = 0;
	memset(dev->iomem, 0, sizeof(dev->iomem));
}

int testdev_init(struct testdev *dev, struct bus *mmio, struct bus *port,
		 const struct testdev_ops *ops, bool with_byte_port, struct lm_err *err)
{
	struct bus_region *ports[] = {&dev->exit, &dev->ioport, &dev->flush, &dev->irq,
				      &dev->bytes};
	unsigned count = with_byte_port ? 5 : 4;
	int rc = 0;

	memset(dev, 0, sizeof(*dev));
	dev->ops = *ops;
	dev->exit = (struct bus_region){"debug-exit", PC_PORT_DEBUG_EXIT, 4, &exit_ops, dev, false};
	dev->ioport = (struct bus_region){"testdev", PC_PORT_TEST_DATA, 4, &ioport_ops, dev, false};
	dev->flush =
	    (struct bus_region){"testdev-flush", PC_PORT_TEST_FLUSH, 4, &flush_ops, dev, false};
	dev->irq = (struct bus_region){"testdev-irq", PC_PORT_TEST_IRQ, TESTDEV_IRQS, &irq_ops, dev,
				       false};
	dev->bytes =
	    (struct bus_region){"testdev-bytes", PC_PORT_TEST_BYTES, 4, &bytes_ops, dev, false};
	dev->mmio = (struct bus_region){
	    "testdev-iomem", PC_TESTDEV_IOMEM_BASE, TESTDEV_IOMEM_SIZE, &iomem_ops, dev, false};
	for (unsigned k = 0; k < count && !rc; k++)
		rc = chipset_map(port, ports[k], err);
	return rc ? rc : chipset_map(mmio, &dev->mmio, err);
}

/* ---- Saved state ---- */

static const struct field testdev_fields[] = {
	FIELD(struct testdev, data, NULL),
	FIELD_BYTES(struct testdev, iomem),
	FIELD_NOT_SAVED(struct testdev, ops, "wiring"),
	FIELD_NOT_SAVED(struct testdev, exit, "wiring"),
	FIELD_NOT_SAVED(struct testdev, ioport, "wiring"),
	FIELD_NOT_SAVED(struct testdev, flush, "wiring"),
	FIELD_NOT_SAVED(struct testdev, bytes, "wiring"),
	FIELD_NOT_SAVED(struct testdev, irq, "wiring"),
	FIELD_NOT_SAVED(struct testdev, mmio, "wiring"),
	FIELD_END,
};

const struct fields_section testdev_section = {
	.name = "testdev",
	.version = 1,
	.table = testdev_fields,
};
