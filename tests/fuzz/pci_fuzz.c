/* Random accesses to configuration space, ports, ECAM and BARs; the buses must stay consistent. */
#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "dev/msix.h"
#include "dev/pci_host.h"
#include "fuzz.h"

#define DEVICES 4
#define ECAM	UINT64_C(0xe0000000)

struct target {
	struct bus mmio, port;
	struct pci_host host;
	struct pci_device dev[DEVICES];
	struct msix msix[DEVICES];
	bool level[PCI_INTX_LINES];
};

static struct target t;

static void require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

static void set_line(void *opaque, unsigned number, bool level)
{
	require(t.level[number] != level, "a line was set to what it was");
	t.level[number] = level;
}

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
	return offset;
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	pci_intx_set(opaque, value & 1);
	msix_send(&t.msix[((struct pci_device *)opaque)->devfn / 8 - 1], (unsigned)value >> 1 & 15);
}

static void written(struct pci_device *dev, unsigned offset, unsigned size)
{
	msix_config_written(&t.msix[dev->devfn / 8 - 1], offset, size);
}

static void send(void *opaque, uint64_t address, uint32_t data)
{
}

static const struct bus_ops bar_ops = {bar_read, bar_write, 8};
static const struct pci_device_ops ops = {.config_written = written};

static void add(unsigned k)
{
	struct pci_identity id = {.vendor = 0x1af4, .device = 1, .interrupt_pin = k % 4 + 1};
	struct pci_bar_spec mem64 = {"mem64", 0x1000u << (4 * k), false,    true,
				     k & 1,   &bar_ops,		  &t.dev[k]};
	struct pci_bar_spec mem32 = {"mem32", 16, false, false, false, &bar_ops, &t.dev[k]};
	struct pci_bar_spec io = {"io", 4u << k, true, false, false, &bar_ops, &t.dev[k]};

	pci_device_init(&t.dev[k], "fuzz", &ops, &id, NULL);
	msix_init(&t.msix[k], &t.dev[k], 3, 8);
	pci_add_bar(&t.dev[k], 0, &io);
	pci_add_bar(&t.dev[k], 1, &mem32);
	pci_add_bar(&t.dev[k], 4, &mem64);
	require(pci_bus_add(&t.host.bus, &t.dev[k], PCI_DEVFN_OF(k + 1, 0), NULL) == 0, "add");
}

static void set_up(void)
{
	struct irq_line line[PCI_INTX_LINES];

	for (unsigned k = 0; k < PCI_INTX_LINES; k++)
		line[k] = (struct irq_line){set_line, NULL, k};
	require(pci_host_init(&t.host, &t.mmio, &t.port, line, (struct msi_sink){send, NULL}, ECAM,
			      NULL) == 0,
		"init");
	for (unsigned k = 0; k < DEVICES; k++)
		add(k);
}

static void check_bus(const struct bus *bus)
{
	for (unsigned k = 0; k < bus->count; k++) {
		const struct bus_region *r = bus->region[k];

		require(r->mapped, "a region on the bus that thinks it is not");
		require(k + 1 == bus->count || bus->region[k + 1]->start - r->start >= r->size,
			"regions overlap");
	}
}

static void check(void)
{
	check_bus(&t.mmio);
	check_bus(&t.port);
	for (unsigned k = 0; k < PCI_INTX_LINES; k++) {
		require(t.host.bus.line_users[k] <= DEVICES, "line users");
		require(t.level[k] == (t.host.bus.line_users[k] != 0), "line level");
	}
	for (unsigned k = 0; k < DEVICES; k++)
		require(pci_get(&t.dev[k], PCI_VENDOR_ID, 4) == 0x11af4, "identity changed");
}

/* Few distinct addresses, so that BARs collide. */
static uint32_t address(struct fuzz_input *in)
{
	uint8_t kind = (uint8_t)fuzz_take(in, 1);

	if (kind < 100)
		return 0xc0000000u + (uint32_t)(fuzz_take(in, 1) & 7) * 0x1000;
	if (kind < 160)
		return (uint32_t)(fuzz_take(in, 1) & 3) * 4 + 0xc000;
	if (kind < 180)
		return 0xffffffff;
	if (kind < 200)
		return 0xe0000000 + (kind & 1);
	return (uint32_t)fuzz_take(in, 4);
}

static void one(struct fuzz_input *in)
{
	uint32_t slot = (uint32_t)fuzz_take(in, 1) % (DEVICES + 2);
	uint32_t reg = (uint32_t)fuzz_take(in, 1);
	unsigned size = 1u << (fuzz_take(in, 1) & 3);

	switch (fuzz_take(in, 1) % 8) {
	case 0:
		bus_write(&t.port, 0xcf8, 0x80000000 | slot << 11 | (reg & 0xfc), 4);
		bus_write(&t.port, 0xcfc, address(in), size > 4 ? 4 : size);
		break;
	case 1:
		bus_write(&t.port, 0xcf8 + (reg & 7), address(in), size > 4 ? 4 : size);
		bus_read(&t.port, 0xcf8 + (reg & 7), size > 4 ? 4 : size);
		break;
	case 2:
		bus_write(&t.mmio, ECAM + slot * 0x8000 + reg, fuzz_take(in, 8), size);
		bus_read(&t.mmio, ECAM + slot * 0x8000 + reg, size);
		break;
	case 3:
	case 4:
		pci_config_write(&t.host.bus, (uint8_t)(slot << 3), 16 + (reg % 6) * 4, address(in),
				 4);
		break;
	case 5:
		pci_config_write(&t.host.bus, (uint8_t)(slot << 3), 4, reg & 0x403, 2);
		break;
	case 6:
		bus_write(&t.mmio, address(in), fuzz_take(in, 8), size);
		bus_read(&t.mmio, address(in), size);
		break;
	case 7:
		if (reg < 8)
			pci_host_reset(&t.host);
		else
			bus_write(&t.port, address(in) & 0xffff, fuzz_take(in, 4),
				  size > 4 ? 4 : size);
		break;
	}
	check();
}

static void fuzz_one(struct fuzz_input *in)
{
	if (!t.host.bus.device[0])
		set_up();
	pci_host_reset(&t.host);
	for (unsigned k = 0; k < DEVICES; k++)
		msix_reset(&t.msix[k]);
	while (in->p < in->end)
		one(in);
}
