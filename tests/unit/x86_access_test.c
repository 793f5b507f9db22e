/* Locked accesses across two pages: their result, and that no fault leaves the lock taken. */
#include "x86_box.h"
#include "check.h"

#define PAGE_2M  UINT64_C(0x200000)
#define RAM_PAIR (PAGE_2M - 4)     /* 4 bytes in each of two RAM pages */
#define RAM_END  (2 * PAGE_2M - 4) /* 4 bytes of RAM, then 4 of a device */

static struct x86_box box;
static struct x86_cpu *c;
static uint64_t device_value;

static void start(void)
{
	box_init(&box, 1);
	c = box.sys.cpu[0];
	box_long(&box, c);
}

static uint64_t pde(uint64_t gva)
{
	return BOX_PML4 + 0x2000 + 8 * (gva / PAGE_2M);
}

static bool lock_is_free(void)
{
	bool is_free = !pthread_mutex_trylock(&box.sys.split_lock);

	if (is_free)
		pthread_mutex_unlock(&box.sys.split_lock);
	return is_free;
}

static void test_cas(void)
{
	uint64_t old = 0x1122334455667788, new = 0x99aabbccddeeff00;

	start();
	box_put(&box, RAM_PAIR, old, 8);
	CHECK(!lin_cas(c, GVA(RAM_PAIR), old ^ UINT64_C(1) << 63, new, 8));
	CHECK(!lin_cas(c, GVA(RAM_PAIR), old ^ 1, new, 8));
	CHECK_EQ(box_get(&box, RAM_PAIR, 8), old);
	CHECK(lin_cas(c, GVA(RAM_PAIR), old, new, 8));
	CHECK_EQ(box_get(&box, RAM_PAIR, 8), new);
	CHECK(lin_cas(c, GVA(RAM_PAIR + 3), 0xbbccdd, 0x123456, 2));
	CHECK_EQ(box_get(&box, RAM_PAIR, 8), 0x99aabb3456eeff00);
	CHECK(lock_is_free());
	box_fini(&box);
}

static void test_fault(void)
{
	start();
	box_put(&box, pde(PAGE_2M), 0, 8);
	CHECK_EQ(BOX_FAULT(c, lin_cas(c, GVA(RAM_PAIR), 0, 1, 8)), VEC_PF);
	CHECK_EQ(c->fault.address, PAGE_2M);
	CHECK_EQ(box_get(&box, RAM_PAIR, 4), 0);
	CHECK(lock_is_free());
	box_fini(&box);
}

/* Devices stand in for the other vCPU that takes a page away while the access is under way. */
static uint64_t unmapping_read(void *opaque, gpa_t gpa, unsigned size)
{
	box_put(&box, pde(2 * PAGE_2M), 0, 8);
	return mask_bytes(size);
}

static void unmapping_write(void *opaque, gpa_t gpa, uint64_t value, unsigned size)
{
	box_put(&box, pde(2 * PAGE_2M), 0, 8);
	device_value = value;
}

static void test_page_taken_away(void)
{
	uint64_t expected = UINT64_C(0xffffffff) << 32, new = 0x5555666677778888;

	start();
	box.io.mmio_read = unmapping_read;
	box.io.mmio_write = unmapping_write;
	CHECK_EQ(BOX_FAULT(c, CHECK(lin_cas(c, GVA(RAM_END), expected, new, 8))), -1);
	CHECK_EQ(box_get(&box, RAM_END, 4), 0x77778888);
	CHECK_EQ(device_value, 0x55556666);
	CHECK(lock_is_free());
	box_fini(&box);
}

int main(void)
{
	test_cas();
	test_fault();
	test_page_taken_away();
	return check_done();
}
