/* Dirty tracking: what marks a page, and that no shortcut for writes outlives the mark. */
#include "x86_box.h"
#include "check.h"
#include "isa/x86/mmu.h"

#define PTE_A	0x20u
#define PTE_D	0x40u
#define TABLE	0x40000u /* a page table of its own, for 2 MiB to 4 MiB */
#define DATA	0x200000u

static struct x86_box box;
static struct x86_cpu *c;
static uint64_t marks[16];

static bool dirty(uint64_t gpa)
{
	uint64_t page = gpa >> PAGE_SHIFT;

	return marks[page / 64] >> page % 64 & 1;
}

static unsigned take(void)
{
	unsigned count = 0;

	memset(marks, 0, sizeof(marks));
	dirty_take(&box.ram.dirty, marks);
	mmu_flush_all(c);
	for (unsigned k = 0; k < 16; k++)
		count += (unsigned)__builtin_popcountll(marks[k]);
	return count;
}

static void start(void)
{
	box_init(&box, 1);
	c = box.sys.cpu[0];
	box_long(&box, c);
	for (unsigned k = 0; k < 512; k++)
		box_put(&box, TABLE + 8 * k, (DATA + PAGE_SIZE * k) | 7, 8);
	box_put(&box, BOX_PML4 + 0x2000 + 8, TABLE | 7, 8);
	CHECK_EQ(dirty_start(&box.ram.dirty, box.ram.size, NULL), 0);
	CHECK_EQ(dirty_word_count(&box.ram.dirty), 16);
	mmu_flush_all(c);
}

static void test_writes(void)
{
	start();
	lin_read(c, GVA(DATA), 8);
	take(); /* A bits of all levels */
	lin_read(c, GVA(DATA + 8), 8);
	CHECK_EQ(take(), 0);
	lin_write(c, GVA(DATA + 16), 1, 8);
	CHECK_EQ(take(), 2); /* the page, and D in its table */
	CHECK(dirty(DATA) && dirty(TABLE));
	CHECK_EQ(box_get(&box, TABLE, 8) & (PTE_A | PTE_D), PTE_A | PTE_D);
	lin_write(c, GVA(DATA + 24), 1, 8);
	lin_write(c, GVA(DATA + 32), 1, 8);
	CHECK_EQ(take(), 1);
	/* Not by a shortcut that a read makes to a page that is writable and has D set. */
	lin_read(c, GVA(DATA), 8);
	lin_write(c, GVA(DATA), 1, 8);
	CHECK_EQ(take(), 1);
	lin_write(c, GVA(DATA + 2 * PAGE_SIZE - 4), 1, 8);
	take();
	CHECK(dirty(DATA + PAGE_SIZE) && dirty(DATA + 2 * PAGE_SIZE));
	CHECK(lin_cas(c, GVA(DATA + PAGE_SIZE), 0, 1, 8));
	CHECK_EQ(take(), 1);
	box_fini(&box);
}

static void test_accessed(void)
{
	start();
	take();
	lin_read(c, GVA(DATA + 5 * PAGE_SIZE), 8);
	take();
	CHECK(dirty(TABLE) && !dirty(DATA + 5 * PAGE_SIZE));
	CHECK_EQ(box_get(&box, TABLE + 40, 8) & (PTE_A | PTE_D), PTE_A);
	box_fini(&box);
}

static void test_devices(void)
{
	uint8_t byte = 1;

	start();
	take();
	CHECK(ram_write(&box.ram, GPA(0x5fff), (uint8_t[]){ 1, 2 }, 2));
	CHECK_EQ(take(), 2);
	CHECK(dirty(0x5000) && dirty(0x6000));
	ram_note_write(&box.ram, ram_ptr(&box.ram, GPA(0x7000), 1), 1);
	CHECK_EQ(take(), 1);
	ram_note_write(&box.ram, &byte, 1); /* not RAM */
	ram_mark_dirty(&box.ram, box.ram.base + box.ram.size, 1);
	ram_mark_dirty(&box.ram, box.ram.base, 0);
	CHECK_EQ(take(), 0);
	dirty_stop(&box.ram.dirty);
	ram_write(&box.ram, GPA(0x5000), &byte, 1);
	lin_write(c, GVA(DATA), 1, 8);
	CHECK_EQ(take(), 0);
	box_fini(&box);
}

int main(void)
{
	test_writes();
	test_accessed();
	test_devices();
	return check_done();
}
