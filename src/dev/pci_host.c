#include "dev/pci_host.h"

#include <string.h>

#include "base/bits.h"

/* PCI Local Bus 3.0 §3.2.2.3.2: the address register. */
#define ADDRESS_ENABLE	 0x80000000u
#define ADDRESS_WRITABLE 0x80fffffcu
#define PORT_ADDRESS	 0 /* offsets in the region */
#define PORT_RESET	 1
#define PORT_DATA	 4

/* Intel 3 Series Express Chipset Family datasheet §5.1: registers of the DRAM controller. */
#define Q35_PCIEXBAR	   0x60
#define PCIEXBAR_ENABLE	   1u
#define PCIEXBAR_LENGTH(v) (((v) >> 1) & 3) /* 0: 256 MiB; the others are not offered */
#define PCIEXBAR_BASE	   UINT64_C(0xff0000000)
#define Q35_PAM0	   0x90
#define Q35_PAM_COUNT	   7
#define Q35_SMRAM	   0x9d
#define Q35_ESMRAMC	   0x9e

/* PCI Express base specification §7.2.2: ECAM addresses. */
#define ECAM_BUS(offset)   ((offset) >> 20)
#define ECAM_DEVFN(offset) ((uint8_t)((offset) >> 12))
#define ECAM_REG(offset)   ((unsigned)(offset)&0xfff)

static uint32_t data_read(struct pci_host *host, unsigned lane, unsigned size)
{
	uint32_t a = host->address;

	if (!(a & ADDRESS_ENABLE) || (a >> 16 & 0xff) != 0)
		return (uint32_t)mask_bytes(size);
	return pci_config_read(&host->bus, (uint8_t)(a >> 8), (a & 0xfc) + lane, size);
}

static void data_write(struct pci_host *host, unsigned lane, uint32_t value, unsigned size)
{
	uint32_t a = host->address;

	if (!(a & ADDRESS_ENABLE) || (a >> 16 & 0xff) != 0)
		return;
	pci_config_write(&host->bus, (uint8_t)(a >> 8), (a & 0xfc) + lane, value, size);
}

/* The address register answers to dwords only; bytes there belong to other devices (0xcf9). */
static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pci_host *host = opaque;

	if (offset == PORT_ADDRESS && size == 4)
		return host->address;
	if (offset >= PORT_DATA && (offset & 3) + size <= 4)
		return data_read(host, offset & 3, size);
	if (offset == PORT_RESET && size == 1)
		return host->reset_control;
	return mask_bytes(size);
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_host *host = opaque;

	if (offset == PORT_ADDRESS && size == 4)
		host->address = (uint32_t)value & ADDRESS_WRITABLE;
	else if (offset >= PORT_DATA && (offset & 3) + size <= 4)
		data_write(host, offset & 3, (uint32_t)value, size);
	else if (offset == PORT_RESET && size == 1) {
		host->reset_control = (uint8_t)value & 0xe;
		if (host->reset_written)
			host->reset_written(host->reset_opaque, (uint8_t)value);
	}
}

/* Extended configuration space (from 256) reads as ones: these are conventional functions. */
static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pci_host *host = opaque;

	if (ECAM_BUS(offset) != 0 || (offset & 3) + size > 4)
		return mask_bytes(size);
	return pci_config_read(&host->bus, ECAM_DEVFN(offset), ECAM_REG(offset), size);
}

static void ecam_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_host *host = opaque;

	if (ECAM_BUS(offset) == 0 && (offset & 3) + size <= 4)
		pci_config_write(&host->bus, ECAM_DEVFN(offset), ECAM_REG(offset), (uint32_t)value,
				 size);
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 4};
static const struct bus_ops ecam_ops = {ecam_read, ecam_write, 4};

/* PCIEXBAR moves or hides ECAM; a length that we do not have hides it too. */
static void place_ecam(struct pci_host *host)
{
	uint64_t bar = le_load(host->bridge.config + Q35_PCIEXBAR, 8);

	bus_unmap(host->bus.mmio, &host->ecam);
	if (!(bar & PCIEXBAR_ENABLE) || PCIEXBAR_LENGTH(bar) != 0)
		return;
	host->ecam.start = bar & PCIEXBAR_BASE;
	bus_map(host->bus.mmio, &host->ecam);
}

static void bridge_config_written(struct pci_device *dev, unsigned offset, unsigned size)
{
	if (offset < Q35_PCIEXBAR + 8 && offset + size > Q35_PCIEXBAR)
		place_ecam(dev->opaque);
}

static void bridge_reset(struct pci_device *dev)
{
	struct pci_host *host = dev->opaque;

	le_store(dev->config + Q35_PCIEXBAR, host->ecam_base | PCIEXBAR_ENABLE, 8);
	place_ecam(host);
}

static const struct pci_device_ops bridge_ops = {
    .config_written = bridge_config_written,
    .reset = bridge_reset,
};

static void bridge_init(struct pci_host *host)
{
	static const struct pci_identity id = {
	    .vendor = 0x8086,
	    .device = 0x29c0,
	    .subsystem_vendor = 0x1af4,
	    .subsystem = 0x1100,
	    .class_code = 0x060000, /* host bridge */
	    .revision = 0,
	};
	struct pci_device *dev = &host->bridge;

	pci_device_init(dev, "host bridge", &bridge_ops, &id, host);
	pci_set_writable(dev, Q35_PCIEXBAR, 0xf0000007, 4);
	pci_set_writable(dev, Q35_PCIEXBAR + 4, 0xf, 4);
	for (unsigned k = 0; k < Q35_PAM_COUNT; k++)
		pci_set_writable(dev, Q35_PAM0 + k, 0x33, 1);
	pci_set_writable(dev, Q35_SMRAM, 0x58, 1);
	pci_set_writable(dev, Q35_ESMRAMC, 0x87, 1);
}

int pci_host_init(struct pci_host *host, struct bus *mmio, struct bus *port,
		  const struct irq_line line[PCI_INTX_LINES], struct msi_sink msi,
		  uint64_t ecam_base, struct lm_err *err)
{
	int rc;

	memset(host, 0, sizeof(*host));
	pci_bus_init(&host->bus, mmio, port, line, msi);
	host->ecam_base = ecam_base;
	host->ports = (struct bus_region){
	    "PCI configuration ports", PCI_CONFIG_PORT, 8, &ports_ops, host, false,
	};
	host->ecam = (struct bus_region){"ECAM", ecam_base, PCI_ECAM_SIZE, &ecam_ops, host, false};
	bridge_init(host);
	rc = pci_bus_add(&host->bus, &host->bridge, 0, err);
	if (rc < 0)
		return rc;
	rc = bus_map(port, &host->ports);
	if (rc < 0)
		return lm_err_errno(err, rc, "cannot map the PCI configuration ports");
	bridge_reset(&host->bridge);
	return 0;
}

void pci_host_reset(struct pci_host *host)
{
	host->address = 0;
	host->reset_control = 0;
	pci_bus_reset(&host->bus);
}

/* Saved state. */

static const struct field bus_fields[] = {
	FIELD_NOT_SAVED(struct pci_bus, mmio, "wiring"),
	FIELD_NOT_SAVED(struct pci_bus, port, "wiring"),
	FIELD_NOT_SAVED(struct pci_bus, line, "wiring"),
	FIELD_NOT_SAVED(struct pci_bus, msi, "wiring"),
	FIELD_NOT_SAVED(struct pci_bus, line_users, "from the functions' pins"),
	FIELD_NOT_SAVED(struct pci_bus, device, "functions have sections of their own"),
	FIELD_END,
};

static const struct field host_fields[] = {
	FIELD_STRUCT(struct pci_host, bus, bus_fields),
	FIELD_STRUCT(struct pci_host, bridge, pci_device_fields),
	FIELD(struct pci_host, address, NULL, .max = ADDRESS_WRITABLE),
	FIELD(struct pci_host, reset_control, NULL, .max = 0xe),
	FIELD_NOT_SAVED(struct pci_host, ports, "wiring"),
	FIELD_NOT_SAVED(struct pci_host, ecam, "from the bridge's PCIEXBAR"),
	FIELD_NOT_SAVED(struct pci_host, ecam_base, "configuration"),
	FIELD_NOT_SAVED(struct pci_host, reset_written, "wiring"),
	FIELD_NOT_SAVED(struct pci_host, reset_opaque, "wiring"),
	FIELD_END,
};

static void host_pre_save(void *object)
{
	struct pci_host *host = object;

	pci_pre_save(&host->bridge);
}

static int host_loaded(void *object, struct lm_err *err)
{
	struct pci_host *host = object;
	int rc = pci_loaded(&host->bridge, err);

	if (rc < 0)
		return rc;
	place_ecam(host);
	return 0;
}

const struct fields_section pci_host_section = {
	.name = "pci-host",
	.version = 1,
	.table = host_fields,
	.pre_save = host_pre_save,
	.post_load = host_loaded,
};
