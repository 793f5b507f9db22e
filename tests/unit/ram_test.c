/* Guest memory: layout, holes, copies across ranges, absurd sizes. */
#include "mem/ram.h"
#include "check.h"

static void test_layout(void)
{
	struct ram ram;

	CHECK_EQ(ram_init(&ram, 4 * GIB, NULL), 0);
	CHECK_EQ(ram_low_top(&ram), RAM_LOW_MAX);
	CHECK_EQ(ram_high_size(&ram), 4 * GIB - RAM_LOW_MAX);
	CHECK(ram_ptr(&ram, GPA(0x9fff8), 8) != NULL);
	CHECK(ram_ptr(&ram, GPA(0x9fff9), 8) == NULL);
	CHECK(ram_ptr(&ram, GPA(RAM_HOLE_VGA_START), 1) == NULL);
	CHECK(ram_ptr(&ram, GPA(RAM_HOLE_VGA_END), 1) != NULL);
	CHECK(ram_ptr(&ram, GPA(RAM_LOW_MAX), 1) == NULL);
	CHECK(ram_ptr(&ram, GPA(8 * GIB - RAM_LOW_MAX - 1), 1) != NULL);
	CHECK(ram_ptr(&ram, GPA(8 * GIB - RAM_LOW_MAX), 1) == NULL);
	CHECK(ram_ptr(&ram, GPA(UINT64_MAX), 2) == NULL);
	ram_fini(&ram);
}

static void test_copies(void)
{
	struct ram ram;
	uint64_t in = 0x0123456789abcdef, out = 0;

	CHECK_EQ(ram_init(&ram, 4 * MIB, NULL), 0);
	CHECK(ram_write(&ram, GPA(0x1ffc), &in, 8));
	CHECK(ram_read(&ram, GPA(0x1ffc), &out, 8));
	CHECK_EQ(out, in);
	CHECK(!ram_write(&ram, GPA(4 * MIB - 4), &in, 8));
	CHECK(!ram_read(&ram, GPA(RAM_HOLE_VGA_START - 4), &out, 8));
	ram_fini(&ram);
}

static void test_windows(void)
{
	struct ram ram;
	struct ram_window *rom;
	uint8_t *p;

	CHECK_EQ(ram_init(&ram, 4 * MIB, NULL), 0);
	rom = ram_add_window(&ram, 5000, true, NULL);
	CHECK(rom != NULL);
	CHECK_EQ(rom->size, 2 * PAGE_SIZE);
	for (uint64_t gpa = 0; gpa < 2 * GIB; gpa += MIB)
		CHECK(!ram_window_at(&ram, GPA(gpa), &p));
	ram_window_move(rom, 0xffffe000);
	CHECK(ram_window_at(&ram, GPA(0xffffffff), &p) == rom && p == rom->hva + 8191);
	CHECK(!ram_window_at(&ram, GPA(0xffffdfff), &p));
	CHECK(!ram_window_at(&ram, GPA(0x100000000), &p));
	CHECK(ram_ptr(&ram, GPA(0xffffe000), 1) == NULL); /* no DMA */
	ram_fini(&ram);
}

static void test_bad_sizes(void)
{
	struct ram ram;
	struct lm_err err = { 0 };

	CHECK(ram_init(&ram, 0, &err) < 0);
	CHECK(err.text[0] != 0);
	CHECK(ram_init(&ram, 4 * MIB + 1, &err) < 0);
	CHECK(ram_init(&ram, UINT64_MAX, &err) < 0);
}

int main(void)
{
	test_layout();
	test_copies();
	test_windows();
	test_bad_sizes();
	return check_done();
}
