/* Resource assignment at power-on, in place of firmware. */
#include "dev/pci.h"

#include <errno.h>

#include "base/bits.h"

struct window {
	uint64_t next, end;
};

/* The address of `size` bytes, naturally aligned; 0 where the window is full. */
static uint64_t take(struct window *w, uint64_t size)
{
	uint64_t at = align_up(w->next, size);

	if (at < w->next || at > w->end || size > w->end - at)
		return 0;
	w->next = at + size;
	return at;
}

struct assignment {
	struct window io, mem32, mem64;
};

static int assign_bar(struct assignment *a, struct pci_device *dev, unsigned index,
		      struct lm_err *err)
{
	struct pci_bar *bar = &dev->bar[index];
	uint64_t size = bar->region.size;
	uint64_t at = take(bar->io ? &a->io : &a->mem32, size);
	unsigned reg = PCI_BASE_ADDRESS_0 + 4 * index;

	if (!at && bar->is_64bit)
		at = take(&a->mem64, size);
	if (!at)
		return lm_err_set(err, -ENOSPC, "no room for BAR %u of %s (%llu bytes)", index,
				  dev->name, (unsigned long long)size);
	pci_config_write(dev->bus, dev->devfn, reg, (uint32_t)at, 4);
	if (bar->is_64bit)
		pci_config_write(dev->bus, dev->devfn, reg + 4, (uint32_t)(at >> 32), 4);
	return 0;
}

static int assign_bars_of_size(struct assignment *a, struct pci_bus *bus, uint64_t size,
			       struct lm_err *err)
{
	for (unsigned fn = 0; fn < PCI_MAX_FUNCTIONS; fn++) {
		struct pci_device *dev = bus->device[fn];

		for (unsigned k = 0; dev && k < PCI_BARS; k++) {
			int rc;

			if (dev->bar[k].region.size != size)
				continue;
			rc = assign_bar(a, dev, k, err);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

static void enable(struct pci_device *dev, const uint8_t irq[PCI_INTX_LINES])
{
	unsigned pin = pci_get(dev, PCI_INTERRUPT_PIN, 1);

	pci_config_write(dev->bus, dev->devfn, PCI_COMMAND,
			 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	if (pin)
		pci_config_write(dev->bus, dev->devfn, PCI_INTERRUPT_LINE,
				 irq[pci_intx_line(dev->devfn >> 3, pin)], 1);
}

int pci_assign(struct pci_bus *bus, const struct pci_windows *windows, struct lm_err *err)
{
	struct assignment a = {
	    .io = {windows->io_start, windows->io_end},
	    .mem32 = {windows->mem32_start, windows->mem32_end},
	    .mem64 = {windows->mem64_start, windows->mem64_end},
	};

	for (unsigned shift = 63; shift >= 2; shift--) {
		int rc = assign_bars_of_size(&a, bus, LM_BIT(shift), err);

		if (rc < 0)
			return rc;
	}
	for (unsigned fn = 0; fn < PCI_MAX_FUNCTIONS; fn++)
		if (bus->device[fn])
			enable(bus->device[fn], windows->irq);
	return 0;
}
