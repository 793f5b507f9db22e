/* The bus: dispatch, splitting, holes, overlaps. */
#include "dev/bus.h"
#include "check.h"

struct probe {
	uint64_t last_offset, last_value;
	unsigned last_size, accesses;
};

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned size)
{
	struct probe *p = opaque;

	p->last_offset = offset;
	p->last_size = size;
	p->accesses++;
	return 0x1122334455667788;
}

static void probe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct probe *p = opaque;

	p->last_offset = offset;
	p->last_value = value;
	p->last_size = size;
	p->accesses++;
}

static const struct bus_ops wide_ops = { probe_read, probe_write, 8 };
static const struct bus_ops byte_ops = { probe_read, probe_write, 1 };

static void test_dispatch(void)
{
	struct probe a = { 0 }, b = { 0 };
	struct bus bus = { .name = "test" };
	struct bus_region ra = { "a", 0x100, 0x10, &wide_ops, &a, false };
	struct bus_region rb = { "b", 0x110, 0x10, &byte_ops, &b, false };

	CHECK_EQ(bus_map(&bus, &rb), 0);
	CHECK_EQ(bus_map(&bus, &ra), 0);
	CHECK_EQ(bus_read(&bus, 0x104, 4), 0x55667788);
	CHECK_EQ(a.last_offset, 4);
	bus_write(&bus, 0x118, 0xaabb, 2);
	CHECK_EQ(b.accesses, 2);
	CHECK_EQ(b.last_offset, 9);
	CHECK_EQ(b.last_value, 0xaa);
	CHECK_EQ(bus_read(&bus, 0x120, 2), 0xffff);
	CHECK_EQ(bus_read(&bus, 0xff, 2), 0x88ff);
}

static void test_overlap(void)
{
	struct probe p = { 0 };
	struct bus bus = { .name = "test" };
	struct bus_region first = { "first", 0x1000, 0x1000, &wide_ops, &p, false };
	struct bus_region inside = { "inside", 0x1800, 8, &wide_ops, &p, false };
	struct bus_region across = { "across", 0xff8, 0x10, &wide_ops, &p, false };
	struct bus_region wraps = { "wraps", UINT64_MAX - 3, 8, &wide_ops, &p, false };

	CHECK_EQ(bus_map(&bus, &first), 0);
	CHECK(bus_map(&bus, &inside) < 0);
	CHECK(bus_map(&bus, &across) < 0);
	CHECK(bus_map(&bus, &wraps) < 0);
	bus_unmap(&bus, &first);
	CHECK_EQ(bus.count, 0);
	CHECK_EQ(bus_map(&bus, &across), 0);
}

int main(void)
{
	test_dispatch();
	test_overlap();
	return check_done();
}
