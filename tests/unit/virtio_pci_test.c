/* The virtio-pci transport and its model device, the random number generator. */
#include "dev/virtio/rng.h"
#include "virtio_driver.h"

#define WRITE VRING_DESC_F_WRITE

struct fixture {
	struct driver d;
	struct virtio_rng rng;
};

static void setup(struct fixture *f, uint64_t seed)
{
	drv_init(&f->d, true);
	virtio_rng_init(&f->rng, &f->d.ram, &f->d.loop, seed);
	drv_attach(&f->d, &f->rng.virtio);
}

static unsigned find_cap(struct fixture *f, uint8_t type)
{
	unsigned at = pci_config_read(&f->d.bus, DRV_DEVFN, PCI_CAPABILITY_LIST, 1);

	while (at) {
		uint32_t head = pci_config_read(&f->d.bus, DRV_DEVFN, at, 4);

		if ((head & 0xff) == PCI_CAP_ID_VNDR && head >> 24 == type)
			return at;
		at = head >> 8 & 0xff;
	}
	return 0;
}

static void test_identity(void)
{
	struct fixture f;

	setup(&f, 1);
	CHECK_EQ(pci_config_read(&f.d.bus, DRV_DEVFN, 0, 4), 0x10441af4);
	CHECK(find_cap(&f, VIRTIO_PCI_CAP_COMMON_CFG));
	CHECK(find_cap(&f, VIRTIO_PCI_CAP_NOTIFY_CFG));
	CHECK(find_cap(&f, VIRTIO_PCI_CAP_ISR_CFG));
	CHECK(find_cap(&f, VIRTIO_PCI_CAP_PCI_CFG));
	CHECK(!find_cap(&f, VIRTIO_PCI_CAP_DEVICE_CFG)); /* rng has none */
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_NUMQ, 2), 1);
	drv_fini(&f.d);
}

static void test_negotiation(void)
{
	struct fixture f;

	setup(&f, 1);
	CHECK(drv_offered(&f.d) & DRV_VERSION_1);
	CHECK(!drv_negotiate(&f.d, 0));				/* legacy drivers are refused */
	CHECK(!drv_negotiate(&f.d, DRV_VERSION_1 | LM_BIT(5))); /* never offered */
	drv_ok(&f.d);
	CHECK(!(drv_status(&f.d) & VIRTIO_CONFIG_S_DRIVER_OK));
	CHECK(drv_negotiate(&f.d, DRV_VERSION_1));
	drv_set(&f.d, VIRTIO_PCI_COMMON_GF, 0, 4); /* too late */
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_GF, 4), 1);
	drv_set(&f.d, VIRTIO_PCI_COMMON_STATUS, 1, 1); /* bits are not taken back */
	CHECK_EQ(drv_status(&f.d), 11);
	drv_set(&f.d, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	CHECK_EQ(drv_status(&f.d), 0);
	drv_set(&f.d, VIRTIO_PCI_COMMON_DFSELECT, 2, 4);
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_DF, 4), 0);
	drv_fini(&f.d);
}

static void test_queue_registers(void)
{
	struct fixture f;

	setup(&f, 1);
	CHECK(drv_negotiate(&f.d, DRV_VERSION_1));
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	drv_set(&f.d, VIRTIO_PCI_COMMON_Q_SIZE, 3, 2);
	drv_set(&f.d, VIRTIO_PCI_COMMON_Q_SIZE, 128, 2);
	drv_set(&f.d, VIRTIO_PCI_COMMON_Q_SIZE, 0, 2);
	drv_set(&f.d, VIRTIO_PCI_COMMON_Q_SIZE, 16, 1); /* wrong width */
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	drv_set(&f.d, VIRTIO_PCI_COMMON_Q_MSIX, 7, 2); /* there are two vectors */
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_Q_MSIX, 2), VQ_NO_VECTOR);
	drv_queue(&f.d, 0, 32);
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_Q_USEDLO, 4), DRV_USED(0));
	drv_set(&f.d, VIRTIO_PCI_COMMON_Q_SIZE, 64, 2); /* after enabling: ignored */
	drv_set(&f.d, VIRTIO_PCI_COMMON_Q_DESCLO, 0x1000, 4);
	drv_set(&f.d, VIRTIO_PCI_COMMON_Q_ENABLE, 0, 2);
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 32);
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_Q_DESCLO, 4), DRV_DESC(0));
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	drv_set(&f.d, VIRTIO_PCI_COMMON_Q_SELECT, 1, 2); /* no such queue */
	CHECK_EQ(drv_get(&f.d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	drv_set(&f.d, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	CHECK_EQ(drv_get(&f.d, 62, 4), 0); /* past the structure */
	drv_fini(&f.d);
}

static void test_unusable_queue(void)
{
	struct fixture f;

	setup(&f, 1);
	CHECK(drv_negotiate(&f.d, DRV_VERSION_1));
	drv_queue_at(&f.d, 0, 16, DRV_BAR, DRV_AVAIL(0), DRV_USED(0)); /* rings in a BAR */
	CHECK(drv_needs_reset(&f.d));
	CHECK_EQ(f.rng.virtio.broken_count, 1);
	drv_start(&f.d, 0, 1, 16); /* and a reset heals */
	CHECK_EQ(drv_one(&f.d, 0, DRV_DATA, 16, WRITE), 16);
	drv_fini(&f.d);
}

static void test_rng(void)
{
	struct fixture f;
	uint8_t zero[64] = {0};

	setup(&f, 0);
	drv_start(&f.d, 0, 1, 16);
	CHECK_EQ(drv_one(&f.d, 0, DRV_DATA, 64, WRITE), 64);
	CHECK(memcmp(drv_ptr(&f.d, DRV_DATA), zero, 64) != 0);
	CHECK_EQ(f.d.interrupts, 1);
	CHECK_EQ(bus_read(&f.d.mmio, DRV_ISR, 1), 1);
	CHECK_EQ(bus_read(&f.d.mmio, DRV_ISR, 1), 0);
	CHECK_EQ(drv_one(&f.d, 0, DRV_DATA, 0x100000, WRITE), 4096); /* bounded */
	CHECK_EQ(drv_one(&f.d, 0, DRV_DATA, 64, 0), 0);		     /* nothing to write to */
	CHECK_EQ(drv_one(&f.d, 0, DRV_RAM, 64, WRITE), -1);
	CHECK(drv_needs_reset(&f.d));
	CHECK_EQ(bus_read(&f.d.mmio, DRV_ISR, 1), 3);
	CHECK_EQ(drv_one(&f.d, 0, DRV_DATA, 64, WRITE), -1); /* dead until reset */
	drv_fini(&f.d);
}

static void test_seeded(void)
{
	struct fixture a, b;

	setup(&a, 42);
	setup(&b, 42);
	drv_start(&a.d, 0, 1, 16);
	drv_start(&b.d, 0, 1, 16);
	CHECK_EQ(drv_one(&a.d, 0, DRV_DATA, 64, WRITE), 64);
	CHECK_EQ(drv_one(&b.d, 0, DRV_DATA, 64, WRITE), 64);
	CHECK(!memcmp(drv_ptr(&a.d, DRV_DATA), drv_ptr(&b.d, DRV_DATA), 64));
	drv_fini(&a.d);
	drv_fini(&b.d);
}

static void test_before_driver_ok(void)
{
	struct fixture f;

	setup(&f, 1);
	CHECK(drv_negotiate(&f.d, DRV_VERSION_1));
	drv_queue(&f.d, 0, 16);
	CHECK_EQ(drv_one(&f.d, 0, DRV_DATA, 64, WRITE), -1);
	bus_write(&f.d.mmio, DRV_NOTIFY + 0xffc, 1, 4); /* a queue that is none */
	drv_ok(&f.d);
	drv_kick(&f.d, 0);
	CHECK_EQ(f.rng.bytes, 64);
	drv_fini(&f.d);
}

static void test_msix(void)
{
	struct fixture f;

	setup(&f, 1);
	for (unsigned v = 0; v < 2; v++) {
		bus_write(&f.d.mmio, DRV_MSIX + 16 * v, 0xfee00000, 8);
		bus_write(&f.d.mmio, DRV_MSIX + 16 * v + 8, 0x30 + v, 8);
	}
	pci_config_write(&f.d.bus, DRV_DEVFN, f.d.vp.msix.cap + PCI_MSIX_FLAGS,
			 PCI_MSIX_FLAGS_ENABLE, 2);
	CHECK(drv_negotiate(&f.d, DRV_VERSION_1));
	drv_set(&f.d, VIRTIO_PCI_COMMON_MSIX, 0, 2);
	drv_queue(&f.d, 0, 16);
	drv_ok(&f.d);
	CHECK_EQ(drv_one(&f.d, 0, DRV_DATA, 64, WRITE), 64);
	CHECK_EQ(f.d.last_msi, 0x31);
	CHECK_EQ(bus_read(&f.d.mmio, DRV_ISR, 1), 0); /* not used with MSI-X */
	CHECK_EQ(drv_one(&f.d, 0, DRV_RAM, 64, WRITE), -1);
	CHECK_EQ(f.d.last_msi, 0x30);
	CHECK_EQ(f.d.interrupts, 2);
	drv_fini(&f.d);
}

/* More chains than one notification may take: the event loop serves the rest. */
static void test_budget(void)
{
	struct fixture f;

	setup(&f, 1);
	drv_start(&f.d, 0, 1, 16);
	drv_desc(&f.d, 0, 0, DRV_DATA, 1, WRITE, 0);
	for (unsigned k = 0; k < 16; k++)
		drv_offer(&f.d, 0, 0);
	drv_kick(&f.d, 0);
	CHECK_EQ(f.rng.bytes, 16);
	CHECK(f.rng.virtio.continue_timer.armed);
	drv_offer(&f.d, 0, 0);
	loop_run_timers(&f.d.loop);
	CHECK_EQ(f.rng.bytes, 17);
	drv_fini(&f.d);
}

static void set_window(struct fixture *f, unsigned cap, uint8_t bar, uint32_t offset, uint32_t len)
{
	pci_config_write(&f->d.bus, DRV_DEVFN, cap + 4, bar, 1);
	pci_config_write(&f->d.bus, DRV_DEVFN, cap + 8, offset, 4);
	pci_config_write(&f->d.bus, DRV_DEVFN, cap + 12, len, 4);
}

static void test_config_window(void)
{
	struct fixture f;
	unsigned cap;

	setup(&f, 1);
	cap = find_cap(&f, VIRTIO_PCI_CAP_PCI_CFG);
	set_window(&f, cap, 4, VIRTIO_PCI_COMMON_STATUS, 1);
	pci_config_write(&f.d.bus, DRV_DEVFN, cap + 16, 1, 1);
	CHECK_EQ(drv_status(&f.d), 1);
	pci_config_write(&f.d.bus, DRV_DEVFN, cap + 16, 3, 1);
	CHECK_EQ(pci_config_read(&f.d.bus, DRV_DEVFN, cap + 16, 1), 3);
	set_window(&f, cap, 4, VIRTIO_PCI_COMMON_STATUS + 1, 4); /* crooked: no access */
	pci_config_write(&f.d.bus, DRV_DEVFN, cap + 16, 0x12345678, 4);
	CHECK_EQ(pci_config_read(&f.d.bus, DRV_DEVFN, cap + 16, 4), 0x12345678);
	set_window(&f, cap, 4, 0x4000, 4);
	pci_config_write(&f.d.bus, DRV_DEVFN, cap + 16, 0, 4); /* past the BAR */
	set_window(&f, cap, 4, 0, 0);
	pci_config_write(&f.d.bus, DRV_DEVFN, cap + 16, 0, 4);
	set_window(&f, cap, 9, VIRTIO_PCI_COMMON_STATUS, 1);
	pci_config_write(&f.d.bus, DRV_DEVFN, cap + 16, 0, 1);
	CHECK_EQ(drv_status(&f.d), 3);
	drv_fini(&f.d);
}

static void test_bus_reset(void)
{
	struct fixture f;

	setup(&f, 1);
	drv_start(&f.d, 0, 1, 16);
	CHECK_EQ(drv_one(&f.d, 0, DRV_DATA, 64, WRITE), 64);
	pci_bus_reset(&f.d.bus);
	CHECK_EQ(f.rng.virtio.status, 0);
	CHECK(!f.rng.virtio.queue[0].ready);
	CHECK_EQ(f.d.vp.isr, 0);
	CHECK_EQ(drv_get(&f.d, 0, 4), 0xffffffff); /* the BAR is gone */
	drv_fini(&f.d);
}

int main(void)
{
	test_identity();
	test_negotiation();
	test_queue_registers();
	test_unusable_queue();
	test_rng();
	test_seeded();
	test_before_driver_ok();
	test_msix();
	test_budget();
	test_config_window();
	test_bus_reset();
	return check_done();
}
