/* MSI-X: delivery, the two masks, pending bits, the table's layout. */
#include "dev/msix.h"
#include "check.h"

#define TABLE 0xc0000000u

static unsigned sent;
static uint64_t last_address;
static uint32_t last_data;

static void send(void *opaque, uint64_t address, uint32_t data)
{
	sent++;
	last_address = address;
	last_data = data;
}

struct fixture {
	struct bus mmio, port;
	struct pci_bus bus;
	struct pci_device dev;
	struct msix msix;
};

static void written(struct pci_device *dev, unsigned offset, unsigned size)
{
	msix_config_written(dev->opaque, offset, size);
}

static const struct pci_device_ops ops = {.config_written = written};

static void set_flags(struct fixture *f, uint16_t flags)
{
	pci_config_write(&f->bus, 8, f->msix.cap + PCI_MSIX_FLAGS, flags, 2);
}

static void setup(struct fixture *f)
{
	struct pci_identity id = {.vendor = 1, .device = 2};
	struct irq_line none[PCI_INTX_LINES] = {0};

	*f = (struct fixture){0};
	pci_bus_init(&f->bus, &f->mmio, &f->port, none, (struct msi_sink){send, NULL});
	pci_device_init(&f->dev, "msix", &ops, &id, &f->msix);
	msix_init(&f->msix, &f->dev, 1, 3);
	CHECK_EQ(pci_bus_add(&f->bus, &f->dev, 8, NULL), 0);
	pci_config_write(&f->bus, 8, PCI_BASE_ADDRESS_1, TABLE, 4);
	pci_config_write(&f->bus, 8, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	bus_write(&f->mmio, TABLE + 16, 0xfee01000, 4);
	bus_write(&f->mmio, TABLE + 20, 0, 4);
	bus_write(&f->mmio, TABLE + 24, 0x4041, 4);
	sent = 0;
}

static void test_layout(void)
{
	struct fixture f;

	setup(&f);
	CHECK_EQ(pci_config_read(&f.bus, 8, f.msix.cap + PCI_MSIX_FLAGS, 2), 2);
	CHECK_EQ(bus_read(&f.mmio, TABLE + 16, 4), 0xfee01000);
	CHECK_EQ(bus_read(&f.mmio, TABLE + 24, 8), UINT64_C(0x100004041)); /* masked at reset */
	bus_write(&f.mmio, TABLE + 32, UINT64_C(0x2fee02003), 8);
	CHECK_EQ(bus_read(&f.mmio, TABLE + 32, 8), UINT64_C(0x2fee02000));
	CHECK_EQ(bus_read(&f.mmio, TABLE + 48, 4), 0); /* there is no fourth entry */
	bus_write(&f.mmio, TABLE + 48, 0x55, 4);
	CHECK_EQ(bus_read(&f.mmio, TABLE + 48, 4), 0);
	bus_write(&f.mmio, TABLE + 24, 0x77, 1); /* bytes are not for tables */
	CHECK_EQ(bus_read(&f.mmio, TABLE + 24, 4), 0x4041);
}

static void test_entry_mask(void)
{
	struct fixture f;

	setup(&f);
	msix_send(&f.msix, 1);
	CHECK_EQ(sent, 0); /* MSI-X is off: not even pending */
	CHECK_EQ(bus_read(&f.mmio, TABLE + MSIX_PBA_OFFSET, 8), 0);
	set_flags(&f, PCI_MSIX_FLAGS_ENABLE);
	msix_send(&f.msix, 1);
	CHECK_EQ(sent, 0);
	CHECK_EQ(bus_read(&f.mmio, TABLE + MSIX_PBA_OFFSET, 8), 2);
	bus_write(&f.mmio, TABLE + 28, 0, 4);
	CHECK_EQ(sent, 1);
	CHECK_EQ(last_address, 0xfee01000);
	CHECK_EQ(last_data, 0x4041);
	CHECK_EQ(bus_read(&f.mmio, TABLE + MSIX_PBA_OFFSET, 8), 0);
	msix_send(&f.msix, 1);
	CHECK_EQ(sent, 2);
	msix_send(&f.msix, 3);
	msix_send(&f.msix, 0xffff);
	CHECK_EQ(sent, 2);
}

static void test_function_mask(void)
{
	struct fixture f;

	setup(&f);
	bus_write(&f.mmio, TABLE + 28, 0, 4);
	set_flags(&f, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	msix_send(&f.msix, 1);
	msix_send(&f.msix, 1);
	CHECK_EQ(sent, 0);
	CHECK_EQ(bus_read(&f.mmio, TABLE + MSIX_PBA_OFFSET, 4), 2);
	bus_write(&f.mmio, TABLE + 28, 1, 4);
	set_flags(&f, PCI_MSIX_FLAGS_ENABLE);
	CHECK_EQ(sent, 0); /* still masked by its entry */
	bus_write(&f.mmio, TABLE + 28, 0, 4);
	CHECK_EQ(sent, 1);
}

static void test_reset(void)
{
	struct fixture f;

	setup(&f);
	set_flags(&f, PCI_MSIX_FLAGS_ENABLE);
	msix_send(&f.msix, 1);
	msix_reset(&f.msix);
	bus_write(&f.mmio, TABLE + 28, 0, 4);
	CHECK_EQ(sent, 0);
	CHECK_EQ(bus_read(&f.mmio, TABLE + 16, 8), 0);
}

int main(void)
{
	test_layout();
	test_entry_mask();
	test_function_mask();
	test_reset();
	return check_done();
}
