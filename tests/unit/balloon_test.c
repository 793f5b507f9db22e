/* virtio-balloon: memory that is given back is zero and not the host's any more; statistics. */
#include "dev/virtio/balloon.h"
#include "virtio_driver.h"

#define DATA   DRV_DATA
#define VICTIM 0x300000u /* pages that are given back */
#define PAGE   4096u

static struct driver d;
static struct virtio_balloon b;

static void begin(void)
{
	drv_init(&d, true);
	virtio_balloon_init(&b, &d.ram, &d.loop);
	drv_attach(&d, &b.virtio);
	drv_start(&d, LM_BIT(VIRTIO_BALLOON_F_STATS_VQ) | LM_BIT(VIRTIO_BALLOON_F_REPORTING),
		  BALLOON_QUEUES, 16);
	memset(drv_ptr(&d, VICTIM), 0x55, 16 * PAGE);
}

static void end(void)
{
	virtio_balloon_fini(&b);
	loop_fini(&d.loop);
	ram_fini(&d.ram);
}

static bool is_zero(unsigned page)
{
	const uint8_t *p = drv_ptr(&d, VICTIM + page * PAGE);

	for (unsigned k = 0; k < PAGE; k++)
		if (p[k])
			return false;
	return true;
}

static void test_inflate(void)
{
	static const unsigned pages[] = {3, 4, 5, 9, 8, 0};
	uint64_t before;

	begin();
	for (unsigned k = 0; k < LM_ARRAY_SIZE(pages); k++)
		le_store(drv_ptr(&d, DATA + 4 * k), VICTIM / PAGE + pages[k], 4);
	/* Not RAM: the hole, the device's own registers, beyond the end. */
	le_store(drv_ptr(&d, DATA + 24), RAM_HOLE_VGA_START / PAGE, 4);
	le_store(drv_ptr(&d, DATA + 28), DRV_BAR / PAGE, 4);
	le_store(drv_ptr(&d, DATA + 32), UINT32_MAX, 4);
	before = ram_resident(&d.ram);
	CHECK_EQ(drv_one(&d, BALLOON_INFLATE, DATA, 36, 0), 0);
	if (before) /* before they are looked at, which brings them back */
		CHECK_EQ(before - ram_resident(&d.ram), 6 * PAGE);
	for (unsigned k = 0; k < 12; k++)
		CHECK_EQ(is_zero(k), k == 0 || k == 3 || k == 4 || k == 5 || k == 8 || k == 9);
	CHECK_EQ(drv_one(&d, BALLOON_DEFLATE, DATA, 24, 0), 0);
	/* An odd number of bytes: what is whole counts. */
	CHECK_EQ(drv_one(&d, BALLOON_INFLATE, DATA, 3, 0), 0);
	end();
}

static void test_report(void)
{
	begin();
	CHECK_EQ(drv_one(&d, BALLOON_REPORT, VICTIM + 100, 3 * PAGE, VRING_DESC_F_WRITE), 0);
	CHECK(!is_zero(0) && is_zero(1) && is_zero(2) && !is_zero(3));
	CHECK_EQ(drv_one(&d, BALLOON_REPORT, VICTIM + 5 * PAGE, PAGE, VRING_DESC_F_WRITE), 0);
	CHECK(is_zero(5) && !is_zero(6));
	/* What the device may only read is not given back. */
	CHECK_EQ(drv_one(&d, BALLOON_REPORT, VICTIM + 7 * PAGE, PAGE, 0), 0);
	CHECK(!is_zero(7));
	end();
}

static void put_stat(unsigned n, unsigned tag, uint64_t value)
{
	le_store(drv_ptr(&d, DATA + 10 * n), tag, 2);
	le_store(drv_ptr(&d, DATA + 10 * n + 2), value, 8);
}

static void test_stats(void)
{
	uint64_t value;
	uint32_t id, len;

	begin();
	CHECK(!virtio_balloon_stat(&b, VIRTIO_BALLOON_S_MEMFREE, &value));
	put_stat(0, VIRTIO_BALLOON_S_MEMFREE, 12345);
	put_stat(1, 0xffff, 7); /* of a later time */
	CHECK_EQ(drv_one(&d, BALLOON_STATS, DATA, 20, 0), -1); /* stays with the device */
	CHECK(virtio_balloon_stat(&b, VIRTIO_BALLOON_S_MEMFREE, &value) && value == 12345);
	CHECK(!virtio_balloon_stat(&b, VIRTIO_BALLOON_S_MEMTOT, &value));
	d.loop.clock.virtual_ns += INT64_C(6000000000);
	loop_run_timers(&d.loop);
	CHECK(drv_used(&d, BALLOON_STATS, &id, &len)); /* newer ones, please */
	/* Two at once: one comes back. */
	drv_offer(&d, BALLOON_STATS, 0);
	drv_offer(&d, BALLOON_STATS, 0);
	drv_kick(&d, BALLOON_STATS);
	CHECK(drv_used(&d, BALLOON_STATS, &id, &len));
	CHECK(!drv_used(&d, BALLOON_STATS, &id, &len));
	end();
}

static void test_target(void)
{
	begin();
	virtio_balloon_set_target(&b, MIB);
	CHECK_EQ(bus_read(&d.mmio, DRV_CONFIG, 4), MIB / PAGE);
	bus_write(&d.mmio, DRV_CONFIG + 4, 100, 4);
	CHECK_EQ(virtio_balloon_actual(&b), 100 * PAGE);
	bus_write(&d.mmio, DRV_CONFIG, 7, 4); /* not the driver's */
	CHECK_EQ(virtio_balloon_target(&b), MIB);
	bus_write(&d.mmio, DRV_CONFIG + 4, UINT32_MAX, 4);
	CHECK_EQ(virtio_balloon_actual(&b), DRV_RAM); /* it cannot have left more than it has */
	end();
}

int main(void)
{
	test_inflate();
	test_report();
	test_stats();
	test_target();
	return check_done();
}
