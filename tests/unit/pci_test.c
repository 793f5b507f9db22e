/* PCI: both configuration mechanisms, BAR sizing and moves, interrupt pins, assignment. */
#include "dev/pci_host.h"
#include "base/bits.h"
#include "check.h"

#define ECAM UINT64_C(0xe0000000)

static bool level[PCI_INTX_LINES];
static unsigned resets;

static void set_line(void *opaque, unsigned number, bool on)
{
	level[number] = on;
}

static void count_reset(void *opaque, uint8_t value)
{
	resets += value == 6;
}

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned size)
{
	return *(uint8_t *)opaque;
}

static void probe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
}

static const struct bus_ops probe_ops = {probe_read, probe_write, 4};

struct fixture {
	struct bus mmio, port;
	struct pci_host host;
	struct pci_device a, b;
	uint8_t id_a, id_b;
};

static const struct pci_identity identity = {
    .vendor = 0x1af4,
    .device = 0x1234,
    .class_code = 0xff0000,
    .revision = 1,
    .interrupt_pin = 1,
};

static void add_device(struct fixture *f, struct pci_device *dev, uint8_t *id, uint8_t devfn)
{
	struct pci_bar_spec mem = {"mem", 0x4000, false, true, false, &probe_ops, id};
	struct pci_bar_spec io = {"io", 0x20, true, false, false, &probe_ops, id};

	pci_device_init(dev, "probe", NULL, &identity, NULL);
	pci_add_bar(dev, 0, &mem);
	pci_add_bar(dev, 2, &io);
	CHECK_EQ(pci_bus_add(&f->host.bus, dev, devfn, NULL), 0);
}

static void setup(struct fixture *f)
{
	struct irq_line line[PCI_INTX_LINES];

	*f = (struct fixture){.id_a = 0xaa, .id_b = 0xbb};
	for (unsigned k = 0; k < PCI_INTX_LINES; k++)
		line[k] = (struct irq_line){set_line, NULL, k};
	CHECK_EQ(
	    pci_host_init(&f->host, &f->mmio, &f->port, line, (struct msi_sink){0}, ECAM, NULL), 0);
	f->host.reset_written = count_reset;
	add_device(f, &f->a, &f->id_a, PCI_DEVFN_OF(2, 0));
	add_device(f, &f->b, &f->id_b, PCI_DEVFN_OF(3, 0));
}

static uint64_t cfg(struct fixture *f, unsigned slot, unsigned reg, unsigned size)
{
	return bus_read(&f->mmio, ECAM + slot * 0x8000 + reg, size);
}

static void set_cfg(struct fixture *f, unsigned slot, unsigned reg, uint32_t v, unsigned size)
{
	bus_write(&f->mmio, ECAM + slot * 0x8000 + reg, v, size);
}

static void test_config_ports(void)
{
	struct fixture f;

	setup(&f);
	CHECK_EQ(bus_read(&f.port, 0xcfc, 4), 0xffffffff); /* not enabled */
	bus_write(&f.port, 0xcf8, 0x80000000, 4);
	CHECK_EQ(bus_read(&f.port, 0xcf8, 4), 0x80000000);
	CHECK_EQ(bus_read(&f.port, 0xcfc, 4), 0x29c08086);
	CHECK_EQ(bus_read(&f.port, 0xcfe, 2), 0x29c0);
	CHECK_EQ(bus_read(&f.port, 0xcff, 1), 0x29);
	bus_write(&f.port, 0xcf8, 0x80001000 | PCI_INTERRUPT_LINE, 4);
	bus_write(&f.port, 0xcfc, 0x5a, 1);
	CHECK_EQ(bus_read(&f.port, 0xcfc, 2), 0x015a);
	bus_write(&f.port, 0xcf8, 0x80010000, 4); /* bus 1 */
	CHECK_EQ(bus_read(&f.port, 0xcfc, 4), 0xffffffff);
	bus_write(&f.port, 0xcf8, 0x80002100, 4); /* no function 1 in slot 4 */
	CHECK_EQ(bus_read(&f.port, 0xcfc, 4), 0xffffffff);
	bus_write(&f.port, 0xcf8, 0x12, 1); /* bytes do not reach the address register */
	CHECK_EQ(bus_read(&f.port, 0xcf8, 4), 0x80002100);
	bus_write(&f.port, 0xcf9, 6, 1);
	CHECK_EQ(resets, 1);
	CHECK_EQ(bus_read(&f.port, 0xcf8, 4), 0x80002100);
}

static void test_config_space(void)
{
	struct fixture f;

	setup(&f);
	CHECK_EQ(cfg(&f, 2, PCI_VENDOR_ID, 4), 0x12341af4);
	set_cfg(&f, 2, PCI_VENDOR_ID, 0, 4);
	CHECK_EQ(cfg(&f, 2, PCI_VENDOR_ID, 4), 0x12341af4);
	CHECK_EQ(cfg(&f, 2, PCI_CLASS_REVISION, 4), 0xff000001);
	set_cfg(&f, 2, PCI_COMMAND, 0xffff, 2);
	CHECK_EQ(cfg(&f, 2, PCI_COMMAND, 2), 0x547);
	CHECK_EQ(cfg(&f, 5, PCI_VENDOR_ID, 4), 0xffffffff);
	CHECK_EQ(cfg(&f, 2, 0x100, 4), 0xffffffff);
	CHECK_EQ(bus_read(&f.mmio, ECAM + 0x100000, 4), 0xffffffff); /* bus 1 */
	CHECK_EQ(bus_read(&f.mmio, ECAM + 0x8000 * 2, 8), 0x12341af4u | cfg(&f, 2, PCI_COMMAND, 4)
									    << 32);
	CHECK_EQ(bus_read(&f.mmio, ECAM + PCI_ECAM_SIZE - 2, 4), 0xffffffff);
}

static void test_capabilities(void)
{
	struct pci_device dev;

	pci_device_init(&dev, "caps", NULL, &identity, NULL);
	CHECK_EQ(pci_get(&dev, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	CHECK_EQ(pci_add_capability(&dev, PCI_CAP_ID_VNDR, 13), 0x40);
	CHECK_EQ(pci_add_capability(&dev, PCI_CAP_ID_MSIX, 12), 0x50);
	CHECK_EQ(pci_get(&dev, PCI_CAPABILITY_LIST, 1), 0x40);
	CHECK_EQ(pci_get(&dev, 0x40, 2), 0x5009);
	CHECK_EQ(pci_get(&dev, 0x50, 2), 0x0011);
	CHECK_EQ(pci_get(&dev, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, PCI_STATUS_CAP_LIST);
}

static void test_bar_sizing(void)
{
	struct fixture f;

	setup(&f);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_1, 0xffffffff, 4);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_2, 0xffffffff, 4);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_3, 0xffffffff, 4);
	CHECK_EQ(cfg(&f, 2, PCI_BASE_ADDRESS_0, 4), 0xffffc004);
	CHECK_EQ(cfg(&f, 2, PCI_BASE_ADDRESS_1, 4), 0xffffffff);
	CHECK_EQ(cfg(&f, 2, PCI_BASE_ADDRESS_2, 4), 0xffffffe1);
	CHECK_EQ(cfg(&f, 2, PCI_BASE_ADDRESS_3, 4), 0);
	set_cfg(&f, 2, PCI_COMMAND, 3, 2); /* neither place is possible: nothing is mapped */
	CHECK(!f.a.bar[2].region.mapped);
}

static void test_bar_moves(void)
{
	struct fixture f;

	setup(&f);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_0, 0xc0000000, 4);
	CHECK_EQ(bus_read(&f.mmio, 0xc0000000, 1), 0xff);
	set_cfg(&f, 2, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	CHECK_EQ(bus_read(&f.mmio, 0xc0000000, 1), 0xaa);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_1, 0x8, 4);
	CHECK_EQ(bus_read(&f.mmio, 0xc0000000, 1), 0xff);
	CHECK_EQ(bus_read(&f.mmio, 0x8c0000000, 1), 0xaa);
	set_cfg(&f, 2, PCI_COMMAND, 0, 2);
	CHECK_EQ(bus_read(&f.mmio, 0x8c0000000, 1), 0xff);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_2, 0xc000, 4);
	set_cfg(&f, 2, PCI_COMMAND, PCI_COMMAND_IO, 2);
	CHECK_EQ(bus_read(&f.port, 0xc01f, 1), 0xaa);
	CHECK_EQ(bus_read(&f.port, 0xc020, 1), 0xff);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_2, 0x1c000, 4); /* beyond the ports */
	CHECK(!f.a.bar[2].region.mapped);
}

static void test_bar_overlap(void)
{
	struct fixture f;

	setup(&f);
	set_cfg(&f, 2, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	set_cfg(&f, 3, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_0, 0xc0000000, 4);
	set_cfg(&f, 3, PCI_BASE_ADDRESS_0, 0xc0000000, 4);
	CHECK_EQ(bus_read(&f.mmio, 0xc0000000, 1), 0xaa);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_0, 0xd0000000, 4); /* uncovers b */
	CHECK_EQ(bus_read(&f.mmio, 0xc0000000, 1), 0xbb);
	CHECK_EQ(bus_read(&f.mmio, 0xd0000000, 1), 0xaa);
	set_cfg(&f, 2, PCI_BASE_ADDRESS_0, (uint32_t)ECAM, 4); /* onto ECAM itself */
	CHECK_EQ(cfg(&f, 2, PCI_VENDOR_ID, 4), 0x12341af4);
	CHECK(!f.a.bar[0].region.mapped);
}

static void test_ecam_moves(void)
{
	struct fixture f;

	setup(&f);
	set_cfg(&f, 0, 0x60, 0xb0000001, 4);
	CHECK_EQ(bus_read(&f.mmio, ECAM, 4), 0xffffffff);
	CHECK_EQ(bus_read(&f.mmio, 0xb0000000, 4), 0x29c08086);
	pci_host_reset(&f.host);
	CHECK_EQ(bus_read(&f.mmio, ECAM, 4), 0x29c08086);
	CHECK_EQ(bus_read(&f.mmio, 0xb0000000, 4), 0xffffffff);
}

static void test_intx(void)
{
	struct fixture f;

	setup(&f);
	pci_intx_set(&f.a, true); /* slot 2 pin A: line 2 */
	CHECK(level[2]);
	CHECK_EQ(cfg(&f, 2, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	set_cfg(&f, 2, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
	CHECK(!level[2]);
	CHECK_EQ(cfg(&f, 2, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, PCI_STATUS_INTERRUPT);
	set_cfg(&f, 2, PCI_COMMAND, 0, 2);
	CHECK(level[2]);
	pci_intx_set(&f.b, true);
	CHECK(level[3]);
	CHECK_EQ(pci_intx_line(6, 1), 2);
	pci_host_reset(&f.host);
	CHECK(!level[2] && !level[3]);
}

static void test_shared_line(void)
{
	struct fixture f;
	struct pci_device c;
	uint8_t id = 0xcc;

	setup(&f);
	add_device(&f, &c, &id, PCI_DEVFN_OF(6, 0));
	pci_intx_set(&f.a, true);
	pci_intx_set(&c, true);
	pci_intx_set(&f.a, false);
	CHECK(level[2]);
	pci_intx_set(&c, false);
	CHECK(!level[2]);
}

static void test_multifunction(void)
{
	struct fixture f;
	struct pci_device c;
	uint8_t id = 0xcc;
	struct lm_err err = {0};

	setup(&f);
	CHECK_EQ(cfg(&f, 2, PCI_HEADER_TYPE, 1), 0);
	add_device(&f, &c, &id, PCI_DEVFN_OF(2, 3));
	CHECK_EQ(cfg(&f, 2, PCI_HEADER_TYPE, 1), 0x80);
	CHECK(pci_bus_add(&f.host.bus, &c, PCI_DEVFN_OF(2, 3), &err) < 0);
	CHECK(err.text[0] != 0);
	CHECK_EQ(pci_bus_free_slot(&f.host.bus, 0), 1);
	CHECK_EQ(pci_bus_free_slot(&f.host.bus, 2), 4);
}

static void test_assign(void)
{
	struct pci_windows w = {
	    .mem32_start = 0xc0000000,
	    .mem32_end = 0xc0006000, /* room for one of the two */
	    .mem64_start = 0x800000000,
	    .mem64_end = 0x900000000,
	    .io_start = 0xc010,
	    .io_end = 0xd000,
	    .irq = {10, 11, 12, 13},
	};
	struct fixture f;
	struct lm_err err = {0};

	setup(&f);
	CHECK_EQ(pci_assign(&f.host.bus, &w, NULL), 0);
	CHECK_EQ(bus_read(&f.mmio, 0xc0000000, 1), 0xaa);
	CHECK_EQ(bus_read(&f.mmio, 0x800000000, 1), 0xbb);
	CHECK_EQ(bus_read(&f.port, 0xc020, 1), 0xaa);
	CHECK_EQ(bus_read(&f.port, 0xc040, 1), 0xbb);
	CHECK_EQ(cfg(&f, 2, PCI_INTERRUPT_LINE, 1), 12);
	CHECK_EQ(cfg(&f, 2, PCI_COMMAND, 2), 7);
	pci_host_reset(&f.host);
	CHECK_EQ(bus_read(&f.mmio, 0xc0000000, 1), 0xff);
	w.mem64_end = w.mem64_start;
	CHECK(pci_assign(&f.host.bus, &w, &err) < 0);
	CHECK(err.text[0] != 0);
}

int main(void)
{
	test_config_ports();
	test_config_space();
	test_capabilities();
	test_bar_sizing();
	test_bar_moves();
	test_bar_overlap();
	test_ecam_moves();
	test_intx();
	test_shared_line();
	test_multifunction();
	test_assign();
	return check_done();
}
