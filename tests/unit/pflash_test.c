/* Flash: commands, programming and erasing, what a mistaken command does. */
#include "dev/chipset/pflash.h"

#include <string.h>

#include "base/bits.h"
#include "check.h"

#define BASE UINT64_C(0xffc00000)
#define SIZE (16 * PFLASH_BLOCK)

static uint8_t array[SIZE];
static struct bus mmio;
static struct pflash flash;

static uint8_t get(uint32_t offset)
{
	return (uint8_t)bus_read(&mmio, BASE + offset, 1);
}

static void put(uint32_t offset, uint8_t v)
{
	bus_write(&mmio, BASE + offset, v, 1);
}

static void set_up(void)
{
	memset(array, 0xff, SIZE);
	memset(&mmio, 0, sizeof(mmio));
	CHECK_EQ(pflash_init(&flash, &mmio, BASE, array, SIZE, NULL), 0);
}

/* What OVMF does to tell flash from RAM and ROM. */
static void test_detection(void)
{
	set_up();
	array[5] = 0x12;
	CHECK_EQ(get(5), 0x12);
	put(5, 0x50);
	CHECK_EQ(get(5), 0x12);
	put(5, 0x70);
	CHECK_EQ(get(5), 0x00);
	put(5, 0xff);
	CHECK_EQ(get(5), 0x12);
}

static void test_program(void)
{
	set_up();
	put(100, 0x10);
	put(100, 0x5a);
	CHECK_EQ(get(100), 0x80);
	put(100, 0xff);
	CHECK_EQ(get(100), 0x5a);
	put(100, 0x40);
	put(100, 0xf0);
	CHECK_EQ(array[100], 0x50); /* ones do not come back ... */
	put(PFLASH_BLOCK - 1, 0x20);
	put(PFLASH_BLOCK - 1, 0xd0);
	CHECK_EQ(array[100], 0xff); /* ... but by erasing */
}

static void test_erase_is_one_block(void)
{
	set_up();
	memset(array, 0, SIZE);
	put(3 * PFLASH_BLOCK + 7, 0x20);
	put(3 * PFLASH_BLOCK + 7, 0xd0);
	CHECK_EQ(array[3 * PFLASH_BLOCK - 1], 0);
	CHECK_EQ(array[3 * PFLASH_BLOCK], 0xff);
	CHECK_EQ(array[4 * PFLASH_BLOCK - 1], 0xff);
	CHECK_EQ(array[4 * PFLASH_BLOCK], 0);
	put(0, 0x20);
	put(0, 0xff); /* no confirmation */
	CHECK_EQ(get(0) & 0x30, 0x30);
	CHECK_EQ(array[0], 0);
}

static void test_buffer(void)
{
	set_up();
	put(0x1000, 0xe8);
	CHECK_EQ(get(0x1000), 0x80);
	put(0x1000, 2);
	put(0x1000, 1);
	put(0x1001, 2);
	put(0x1002, 3);
	CHECK_EQ(array[0x1001], 0xff);
	put(0x1000, 0xd0);
	CHECK_EQ(array[0x1000], 1);
	CHECK_EQ(array[0x1002], 3);
	put(0x2000, 0xe8);
	put(0x2000, 1);
	put(0x2000, 1);
	put(0x3000, 2); /* another block */
	put(0x2000, 0xd0);
	CHECK_EQ(get(0) & 0x10, 0x10);
	CHECK_EQ(array[0x2000], 0xff);
}

static void test_identity(void)
{
	set_up();
	put(0, 0x98);
	CHECK_EQ(get(0x10), 'Q');
	CHECK_EQ(get(0x12), 'Y');
	CHECK_EQ(get(0x27), 16); /* 64 KiB */
	CHECK_EQ(get(0x2d), 15); /* blocks, less one */
	put(0, 0x90);
	CHECK_EQ(get(0), 0x89);
	pflash_reset(&flash);
	CHECK_EQ(get(0), 0xff);
}

static void test_bad_sizes(void)
{
	CHECK(pflash_init(&flash, &mmio, BASE, array, 0, NULL) < 0);
	CHECK(pflash_init(&flash, &mmio, BASE, array, 4097, NULL) < 0);
	CHECK(pflash_init(&flash, &mmio, BASE, array, PFLASH_MAX * 2, NULL) < 0);
}

int main(void)
{
	test_detection();
	test_program();
	test_erase_is_one_block();
	test_buffer();
	test_identity();
	test_bad_sizes();
	return check_done();
}
