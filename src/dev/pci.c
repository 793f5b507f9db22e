#include "dev/pci.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"

#define BAR_REG(index)	 (PCI_BASE_ADDRESS_0 + 4 * (index))
#define CAPS_START	 0x40
#define PORT_SPACE_LIMIT UINT64_C(0x10000)

/* COMMAND bits that a function without special cycles and VGA implements. */
#define COMMAND_WRITABLE                                                                           \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |           \
	 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)
#define STATUS_WRITE_CLEAR                                                                         \
	(PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |           \
	 PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY)

void pci_set(struct pci_device *dev, unsigned offset, uint32_t value, unsigned size)
{
	LM_BUG_ON(offset + size > PCI_CONFIG_SIZE);
	le_store(dev->config + offset, value, size);
}

uint32_t pci_get(const struct pci_device *dev, unsigned offset, unsigned size)
{
	LM_BUG_ON(offset + size > PCI_CONFIG_SIZE);
	return (uint32_t)le_load(dev->config + offset, size);
}

void pci_set_writable(struct pci_device *dev, unsigned offset, uint32_t mask, unsigned size)
{
	LM_BUG_ON(offset + size > PCI_CONFIG_SIZE);
	le_store(dev->writable + offset, mask, size);
}

/* Building a device. */

void pci_device_init(struct pci_device *dev, const char *name, const struct pci_device_ops *ops,
		     const struct pci_identity *id, void *opaque)
{
	memset(dev, 0, sizeof(*dev));
	dev->name = name;
	dev->ops = ops;
	dev->opaque = opaque;
	dev->next_free = CAPS_START;
	pci_set(dev, PCI_VENDOR_ID, id->vendor, 2);
	pci_set(dev, PCI_DEVICE_ID, id->device, 2);
	pci_set(dev, PCI_CLASS_REVISION, id->class_code << 8 | id->revision, 4);
	pci_set(dev, PCI_SUBSYSTEM_VENDOR_ID, id->subsystem_vendor, 2);
	pci_set(dev, PCI_SUBSYSTEM_ID, id->subsystem, 2);
	pci_set(dev, PCI_INTERRUPT_PIN, id->interrupt_pin, 1);
	pci_set_writable(dev, PCI_COMMAND, COMMAND_WRITABLE, 2);
	pci_set_writable(dev, PCI_CACHE_LINE_SIZE, 0xff, 1);
	pci_set_writable(dev, PCI_LATENCY_TIMER, 0xff, 1);
	pci_set_writable(dev, PCI_INTERRUPT_LINE, 0xff, 1);
	le_store(dev->write_clear + PCI_STATUS, STATUS_WRITE_CLEAR, 2);
}

void pci_add_bar(struct pci_device *dev, unsigned index, const struct pci_bar_spec *spec)
{
	struct pci_bar *bar = &dev->bar[index];
	uint64_t mask = ~(spec->size - 1);
	uint32_t type = spec->io ? PCI_BASE_ADDRESS_SPACE_IO : 0;

	LM_BUG_ON(index + spec->is_64bit >= PCI_BARS || bar->region.size);
	LM_BUG_ON(!is_pow2(spec->size) || spec->size < (spec->io ? 4 : 16));
	bar->io = spec->io;
	bar->is_64bit = spec->is_64bit;
	bar->prefetchable = spec->prefetchable;
	bar->region = (struct bus_region){
	    .name = spec->name,
	    .size = spec->size,
	    .ops = spec->ops,
	    .opaque = spec->opaque,
	};
	if (spec->is_64bit)
		type |= PCI_BASE_ADDRESS_MEM_TYPE_64;
	if (spec->prefetchable)
		type |= PCI_BASE_ADDRESS_MEM_PREFETCH;
	pci_set(dev, BAR_REG(index), type, 4);
	pci_set_writable(dev, BAR_REG(index), (uint32_t)mask, 4);
	if (spec->is_64bit)
		pci_set_writable(dev, BAR_REG(index + 1), (uint32_t)(mask >> 32), 4);
}

uint8_t pci_add_capability(struct pci_device *dev, uint8_t id, uint8_t size)
{
	uint8_t at = dev->next_free;

	LM_BUG_ON(at + size > PCI_CONFIG_SIZE);
	pci_set(dev, at, id, 1);
	pci_set(dev, dev->last_cap ? dev->last_cap + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST, at,
		1);
	pci_set(dev, PCI_STATUS, pci_get(dev, PCI_STATUS, 2) | PCI_STATUS_CAP_LIST, 2);
	dev->last_cap = at;
	dev->next_free = (uint8_t)align_up(at + size, 4);
	return at;
}

/* The bus. */

void pci_bus_init(struct pci_bus *bus, struct bus *mmio, struct bus *port,
		  const struct irq_line line[PCI_INTX_LINES], struct msi_sink msi)
{
	memset(bus, 0, sizeof(*bus));
	bus->mmio = mmio;
	bus->port = port;
	bus->msi = msi;
	memcpy(bus->line, line, sizeof(bus->line));
}

/* Bit 7 of the header type of function 0 says whether the others are worth looking at. */
static void mark_multifunction(struct pci_bus *bus, unsigned slot)
{
	struct pci_device *first = bus->device[PCI_DEVFN_OF(slot, 0)];
	bool more = false;

	for (unsigned f = 1; f < 8; f++)
		more |= bus->device[PCI_DEVFN_OF(slot, f)] != NULL;
	if (first)
		pci_set(first, PCI_HEADER_TYPE,
			(pci_get(first, PCI_HEADER_TYPE, 1) & 0x7f) | (more ? 0x80 : 0), 1);
}

int pci_bus_add(struct pci_bus *bus, struct pci_device *dev, uint8_t devfn, struct lm_err *err)
{
	if (bus->device[devfn])
		return lm_err_set(err, -EEXIST, "PCI slot %u.%u is taken by %s, %s cannot have it",
				  devfn >> 3, devfn & 7u, bus->device[devfn]->name, dev->name);
	dev->bus = bus;
	dev->devfn = devfn;
	bus->device[devfn] = dev;
	mark_multifunction(bus, devfn >> 3);
	return 0;
}

int pci_bus_free_slot(const struct pci_bus *bus, unsigned from)
{
	for (unsigned slot = from; slot < PCI_MAX_FUNCTIONS / 8; slot++) {
		bool used = false;

		for (unsigned f = 0; f < 8; f++)
			used |= bus->device[PCI_DEVFN_OF(slot, f)] != NULL;
		if (!used)
			return (int)slot;
	}
	return -1;
}

/* BARs. */

static uint64_t bar_address(const struct pci_device *dev, unsigned index)
{
	const struct pci_bar *bar = &dev->bar[index];
	uint64_t low = pci_get(dev, BAR_REG(index), 4);

	if (bar->io)
		return low & (uint32_t)PCI_BASE_ADDRESS_IO_MASK;
	low &= (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
	if (bar->is_64bit)
		low |= (uint64_t)pci_get(dev, BAR_REG(index + 1), 4) << 32;
	return low;
}

static bool bar_enabled(const struct pci_device *dev, const struct pci_bar *bar)
{
	uint16_t command = (uint16_t)pci_get(dev, PCI_COMMAND, 2);

	return command & (bar->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
}

/* Address 0 is an unassigned BAR; ports end at 64 Ki. */
static bool bar_placeable(const struct pci_bar *bar, uint64_t address)
{
	return address && (!bar->io || address + bar->region.size <= PORT_SPACE_LIMIT);
}

static void tell_moved(struct pci_device *dev, unsigned index)
{
	if (dev->ops && dev->ops->bar_moved)
		dev->ops->bar_moved(dev, index);
}

static void unmap_moved(struct pci_device *dev)
{
	for (unsigned k = 0; k < PCI_BARS; k++) {
		struct pci_bar *bar = &dev->bar[k];

		if (bar->region.mapped &&
		    (!bar_enabled(dev, bar) || bar->region.start != bar_address(dev, k))) {
			bus_unmap(bar->io ? dev->bus->port : dev->bus->mmio, &bar->region);
			tell_moved(dev, k);
		}
	}
}

/*
 * Where the guest has put a BAR onto something else, bus_map refuses and the BAR stays invisible
 * until one of the two moves: so every change looks at every device.
 */
static void map_enabled(struct pci_device *dev)
{
	for (unsigned k = 0; k < PCI_BARS; k++) {
		struct pci_bar *bar = &dev->bar[k];
		uint64_t address = bar_address(dev, k);

		if (!bar->region.size || bar->region.mapped || !bar_enabled(dev, bar) ||
		    !bar_placeable(bar, address))
			continue;
		bar->region.start = address;
		if (!bus_map(bar->io ? dev->bus->port : dev->bus->mmio, &bar->region))
			tell_moved(dev, k);
	}
}

static void update_mappings(struct pci_device *dev)
{
	unmap_moved(dev);
	for (unsigned k = 0; k < PCI_MAX_FUNCTIONS; k++)
		if (dev->bus->device[k])
			map_enabled(dev->bus->device[k]);
}

/* Interrupt pins. */

static void update_intx(struct pci_device *dev)
{
	uint16_t status = (uint16_t)pci_get(dev, PCI_STATUS, 2) & ~PCI_STATUS_INTERRUPT;
	bool disabled = pci_get(dev, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE;
	bool wired = dev->intx_level && !disabled;
	struct pci_bus *bus = dev->bus;
	unsigned line;

	pci_set(dev, PCI_STATUS, status | (dev->intx_level ? PCI_STATUS_INTERRUPT : 0), 2);
	if (wired == dev->intx_wired)
		return;
	dev->intx_wired = wired;
	line = pci_intx_line(dev->devfn >> 3, pci_get(dev, PCI_INTERRUPT_PIN, 1));
	bus->line_users[line] += wired ? 1 : -1u;
	if (bus->line_users[line] == (wired ? 1 : 0))
		irq_set(&bus->line[line], wired);
}

void pci_intx_set(struct pci_device *dev, bool level)
{
	LM_BUG_ON(!pci_get(dev, PCI_INTERRUPT_PIN, 1));
	if (dev->intx_level == level)
		return;
	dev->intx_level = level;
	update_intx(dev);
}

/* The guest's accesses. */

static bool touches(unsigned offset, unsigned size, unsigned start, unsigned end)
{
	return offset < end && offset + size > start;
}

uint32_t pci_config_read(struct pci_bus *bus, uint8_t devfn, unsigned offset, unsigned size)
{
	struct pci_device *dev = bus->device[devfn];

	if (!dev || offset + size > PCI_CONFIG_SIZE)
		return (uint32_t)mask_bytes(size);
	if (dev->ops && dev->ops->config_reading)
		dev->ops->config_reading(dev, offset, size);
	return pci_get(dev, offset, size);
}

void pci_config_write(struct pci_bus *bus, uint8_t devfn, unsigned offset, uint32_t value,
		      unsigned size)
{
	struct pci_device *dev = bus->device[devfn];

	if (!dev || offset + size > PCI_CONFIG_SIZE)
		return;
	for (unsigned k = 0; k < size; k++) {
		uint8_t byte = (uint8_t)(value >> (8 * k));
		uint8_t *reg = &dev->config[offset + k];
		uint8_t mask = dev->writable[offset + k];

		*reg = (uint8_t)((*reg & ~mask) | (byte & mask));
		*reg &= (uint8_t) ~(byte & dev->write_clear[offset + k]);
	}
	if (touches(offset, size, PCI_COMMAND, PCI_COMMAND + 2) ||
	    touches(offset, size, PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_5 + 4))
		update_mappings(dev);
	if (touches(offset, size, PCI_COMMAND, PCI_COMMAND + 2))
		update_intx(dev);
	if (dev->ops && dev->ops->config_written)
		dev->ops->config_written(dev, offset, size);
}

/* Every bit that the guest can change goes to zero, as after RST#. */
static void reset_device(struct pci_device *dev)
{
	for (unsigned k = 0; k < PCI_CONFIG_SIZE; k++)
		dev->config[k] &= (uint8_t) ~(dev->writable[k] | dev->write_clear[k]);
	unmap_moved(dev);
	dev->intx_level = false;
	update_intx(dev);
	if (dev->ops && dev->ops->reset)
		dev->ops->reset(dev);
}

void pci_bus_reset(struct pci_bus *bus)
{
	for (unsigned k = 0; k < PCI_MAX_FUNCTIONS; k++)
		if (bus->device[k])
			reset_device(bus->device[k]);
}

/* Saved state. */

const struct field pci_device_fields[] = {
	FIELD_BYTES(struct pci_device, loaded),
	FIELD(struct pci_device, intx_level, NULL),
	FIELD_NOT_SAVED(struct pci_device, config, "as `loaded`, checked"),
	FIELD_NOT_SAVED(struct pci_device, intx_wired, "from intx_level and config"),
	FIELD_NOT_SAVED(struct pci_device, name, "configuration"),
	FIELD_NOT_SAVED(struct pci_device, ops, "wiring"),
	FIELD_NOT_SAVED(struct pci_device, bus, "wiring"),
	FIELD_NOT_SAVED(struct pci_device, opaque, "wiring"),
	FIELD_NOT_SAVED(struct pci_device, devfn, "configuration"),
	FIELD_NOT_SAVED(struct pci_device, last_cap, "configuration"),
	FIELD_NOT_SAVED(struct pci_device, next_free, "configuration"),
	FIELD_NOT_SAVED(struct pci_device, writable, "configuration"),
	FIELD_NOT_SAVED(struct pci_device, write_clear, "configuration"),
	FIELD_NOT_SAVED(struct pci_device, bar, "from config"),
	FIELD_END,
};

void pci_pre_save(struct pci_device *dev)
{
	memcpy(dev->loaded, dev->config, PCI_CONFIG_SIZE);
}

/* The interrupt status bit is the device's, and follows from intx_level. */
static uint8_t guest_bits(const struct pci_device *dev, unsigned k)
{
	return dev->writable[k] | dev->write_clear[k] |
	       (k == PCI_STATUS ? PCI_STATUS_INTERRUPT : 0);
}

int pci_loaded(struct pci_device *dev, struct lm_err *err)
{
	for (unsigned k = 0; k < PCI_CONFIG_SIZE; k++) {
		uint8_t mask = guest_bits(dev, k);

		if ((dev->loaded[k] ^ dev->config[k]) & ~mask)
			return lm_err_set(err, -EINVAL,
					  "%s: byte 0x%02x of the configuration space is 0x%02x, "
					  "this machine's is 0x%02x", dev->name, k, dev->loaded[k],
					  dev->config[k]);
		dev->config[k] = dev->loaded[k];
	}
	if (dev->intx_level && !pci_get(dev, PCI_INTERRUPT_PIN, 1))
		return lm_err_set(err, -EINVAL, "%s has no interrupt pin to drive", dev->name);
	update_mappings(dev);
	update_intx(dev);
	return 0;
}
