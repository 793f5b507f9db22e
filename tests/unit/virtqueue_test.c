/* Split virtqueues: order of pieces, indirect tables, event index, wrap, and hostile rings. */
#include "virtio_driver.h"

#define SIZE  8
#define WRITE VRING_DESC_F_WRITE
#define NEXT  VRING_DESC_F_NEXT
#define INDIR VRING_DESC_F_INDIRECT

struct fixture {
	struct driver d; /* only its RAM and ring writers are used */
	struct virtqueue vq;
	struct vq_chain chain;
};

static void setup(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	CHECK_EQ(ram_init(&f->d.ram, DRV_RAM, NULL), 0);
	vq_init(&f->vq, &f->d.ram, SIZE);
	f->d.size[0] = SIZE;
	f->vq.desc = DRV_DESC(0);
	f->vq.avail = DRV_AVAIL(0);
	f->vq.used = DRV_USED(0);
	f->vq.indirect = f->vq.event_idx = true;
	CHECK(vq_start(&f->vq));
}

static void teardown(struct fixture *f)
{
	ram_fini(&f->d.ram);
}

/* The outcome of offering head 0. */
static enum vq_result pop0(struct fixture *f)
{
	drv_offer(&f->d, 0, 0);
	return vq_pop(&f->vq, &f->chain);
}

static void test_pieces(void)
{
	struct fixture f;
	char text[8] = {0};
	uint32_t id, len;

	setup(&f);
	CHECK_EQ(vq_pop(&f.vq, &f.chain), VQ_EMPTY);
	memcpy(drv_ptr(&f.d, DRV_DATA), "abc", 3);
	memcpy(drv_ptr(&f.d, DRV_DATA + 0x100), "def", 3);
	drv_desc(&f.d, 0, 3, DRV_DATA, 3, NEXT, 5);
	drv_desc(&f.d, 0, 5, DRV_DATA + 0x100, 3, NEXT, 1);
	drv_desc(&f.d, 0, 1, 0, 0, NEXT, 2); /* zero length: left out */
	drv_desc(&f.d, 0, 2, DRV_DATA + 0x200, 4, WRITE, 0);
	drv_offer(&f.d, 0, 3);
	CHECK_EQ(vq_pop(&f.vq, &f.chain), VQ_CHAIN);
	CHECK_EQ(f.chain.readable, 2);
	CHECK_EQ(f.chain.writable, 1);
	CHECK_EQ(f.chain.readable_len, 6);
	CHECK_EQ(f.chain.writable_len, 4);
	CHECK_EQ(vq_chain_read(&f.chain, 1, text, 8), 5);
	CHECK(!memcmp(text, "bcdef", 5));
	CHECK_EQ(vq_chain_write(&f.chain, 1, "wxyz", 4), 3);
	CHECK(!memcmp(drv_ptr(&f.d, DRV_DATA + 0x201), "wxy", 4));
	vq_push(&f.vq, &f.chain, 4);
	CHECK(drv_used(&f.d, 0, &id, &len));
	CHECK_EQ(id, 3);
	CHECK_EQ(len, 4);
	CHECK_EQ(vq_pop(&f.vq, &f.chain), VQ_EMPTY);
	teardown(&f);
}

/* What the device writes into the rings is marked: migration would lose it else. */
static void test_dirty(void)
{
	uint64_t marks[DRV_RAM / PAGE_SIZE / 64] = {0}, page = DRV_USED(0) >> PAGE_SHIFT;
	struct fixture f;

	setup(&f);
	CHECK_EQ(dirty_start(&f.d.ram.dirty, f.d.ram.size, NULL), 0);
	drv_desc(&f.d, 0, 0, DRV_DATA, 4, WRITE, 0);
	CHECK_EQ(pop0(&f), VQ_CHAIN);
	vq_push(&f.vq, &f.chain, 4);
	dirty_take(&f.d.ram.dirty, marks);
	CHECK(marks[page / 64] >> page % 64 & 1);
	memset(marks, 0, sizeof(marks));
	CHECK_EQ(vq_pop(&f.vq, &f.chain), VQ_EMPTY); /* asks to be notified */
	dirty_take(&f.d.ram.dirty, marks);
	CHECK(marks[page / 64] >> page % 64 & 1);
	teardown(&f);
}

static void test_indirect(void)
{
	struct fixture f;

	setup(&f);
	drv_desc_at(&f.d, 0x300000, 0, DRV_DATA, 16, NEXT, 2);
	drv_desc_at(&f.d, 0x300000, 2, DRV_DATA + 64, 32, WRITE, 0);
	drv_desc(&f.d, 0, 0, 0x300000, 48, INDIR, 0);
	CHECK_EQ(pop0(&f), VQ_CHAIN);
	CHECK_EQ(f.chain.readable_len, 16);
	CHECK_EQ(f.chain.writable_len, 32);
	teardown(&f);
}

/* Each case writes descriptor 0 (and maybe others) and must give a broken queue for good. */
static void expect_broken(struct fixture *f, const char *what)
{
	enum vq_result r = pop0(f);

	if (r != VQ_BROKEN)
		fprintf(stderr, "case: %s\n", what);
	CHECK_EQ(r, VQ_BROKEN);
	CHECK_EQ(vq_pop(&f->vq, &f->chain), VQ_BROKEN);
	teardown(f);
}

static void test_hostile_chains(void)
{
	struct fixture f;

	setup(&f);
	drv_desc(&f.d, 0, 0, DRV_DATA, 8, NEXT, 0);
	expect_broken(&f, "chain that is a loop");
	setup(&f);
	drv_desc(&f.d, 0, 0, 0, 0, NEXT, 1);
	drv_desc(&f.d, 0, 1, 0, 0, NEXT, 0);
	expect_broken(&f, "loop of empty pieces");
	setup(&f);
	drv_desc(&f.d, 0, 0, DRV_DATA, 8, NEXT, SIZE);
	expect_broken(&f, "next outside the table");
	setup(&f);
	drv_desc(&f.d, 0, 0, DRV_RAM - 4, 8, 0, 0);
	expect_broken(&f, "piece over the end of RAM");
	setup(&f);
	drv_desc(&f.d, 0, 0, RAM_HOLE_VGA_START - 4, 8, 0, 0);
	expect_broken(&f, "piece into the VGA hole");
	setup(&f);
	drv_desc(&f.d, 0, 0, UINT64_MAX - 3, 8, 0, 0);
	expect_broken(&f, "piece that wraps");
	setup(&f);
	drv_desc(&f.d, 0, 0, DRV_DATA, 0xffffffff, 0, 0);
	expect_broken(&f, "huge piece");
	setup(&f);
	drv_desc(&f.d, 0, 0, DRV_DATA, 8, WRITE | NEXT, 1);
	drv_desc(&f.d, 0, 1, DRV_DATA, 8, 0, 0);
	expect_broken(&f, "readable after writable");
}

static void test_hostile_indirect(void)
{
	struct fixture f;

	setup(&f);
	drv_desc(&f.d, 0, 0, 0x300000, 16, INDIR, 0);
	drv_desc_at(&f.d, 0x300000, 0, 0x300000, 16, INDIR, 0);
	expect_broken(&f, "indirect in indirect");
	setup(&f);
	drv_desc(&f.d, 0, 0, 0x300000, 17, INDIR, 0);
	expect_broken(&f, "table of a crooked size");
	setup(&f);
	drv_desc(&f.d, 0, 0, 0x300000, 0, INDIR, 0);
	expect_broken(&f, "empty table");
	setup(&f);
	drv_desc(&f.d, 0, 0, 0x300000, 16 * (SIZE + 1), INDIR, 0);
	expect_broken(&f, "table longer than the queue");
	setup(&f);
	drv_desc(&f.d, 0, 0, 0x300000, 16, INDIR | NEXT, 1);
	expect_broken(&f, "indirect with next");
	setup(&f);
	drv_desc(&f.d, 0, 0, DRV_RAM - 16, 32, INDIR, 0);
	expect_broken(&f, "table over the end of RAM");
	setup(&f);
	f.vq.indirect = false;
	drv_desc(&f.d, 0, 0, 0x300000, 16, INDIR, 0);
	expect_broken(&f, "indirect without the feature");
	setup(&f);
	drv_desc_at(&f.d, 0x300000, 0, DRV_DATA, 8, NEXT, 1);
	drv_desc(&f.d, 0, 0, 0x300000, 16, INDIR, 0);
	expect_broken(&f, "next outside the indirect table");
}

static void test_hostile_rings(void)
{
	struct fixture f;

	setup(&f);
	drv_offer(&f.d, 0, SIZE);
	CHECK_EQ(vq_pop(&f.vq, &f.chain), VQ_BROKEN); /* head outside the table */
	teardown(&f);
	setup(&f);
	le_store(drv_ptr(&f.d, DRV_AVAIL(0) + 2), SIZE + 1, 2);
	CHECK_EQ(vq_pop(&f.vq, &f.chain), VQ_BROKEN); /* more available than there are entries */
	teardown(&f);
}

static bool starts(struct fixture *f, uint64_t desc, uint64_t avail, uint64_t used)
{
	vq_reset(&f->vq);
	f->vq.desc = desc;
	f->vq.avail = avail;
	f->vq.used = used;
	return vq_start(&f->vq);
}

static void test_ring_addresses(void)
{
	struct fixture f;

	setup(&f);
	CHECK(starts(&f, 0x100010, 0x200002, 0x300004));
	CHECK(!starts(&f, 0x100008, 0x200000, 0x300000));
	CHECK(!starts(&f, 0x100000, 0x200001, 0x300000));
	CHECK(!starts(&f, 0x100000, 0x200000, 0x300002));
	CHECK(!starts(&f, DRV_RAM - 16 * SIZE + 16, 0x200000, 0x300000));
	CHECK(!starts(&f, 0x100000, DRV_RAM - 20, 0x300000));
	CHECK(!starts(&f, 0x100000, 0x200000, DRV_RAM - 68));
	CHECK(starts(&f, DRV_RAM - 16 * SIZE, 0x200000, 0x300000));
	CHECK(starts(&f, 0x100000, DRV_RAM - 22, 0x300000));
	CHECK(starts(&f, 0x100000, 0x200000, DRV_RAM - 72));
	CHECK(!starts(&f, 0x100000, 0xb0000000, 0x300000));
	CHECK(!starts(&f, 0x100000, 0x200000, 0xb0000000));
	CHECK(!starts(&f, RAM_HOLE_VGA_START, 0x200000, 0x300000));
	CHECK_EQ(vq_pop(&f.vq, &f.chain), VQ_EMPTY); /* not ready */
	teardown(&f);
}

static void test_index_wrap(void)
{
	struct fixture f;
	uint32_t id, len;

	setup(&f);
	drv_desc(&f.d, 0, 0, DRV_DATA, 8, WRITE, 0);
	for (unsigned k = 0; k < 70000; k++) {
		if (pop0(&f) != VQ_CHAIN)
			break;
		vq_push(&f.vq, &f.chain, k);
		if (!drv_used(&f.d, 0, &id, &len) || len != k)
			break;
	}
	CHECK_EQ(f.vq.next_avail, 70000 - 65536);
	CHECK_EQ(f.vq.next_used, 70000 - 65536);
	CHECK_EQ(f.d.seen[0], 70000 - 65536);
	teardown(&f);
}

static void set_used_event(struct fixture *f, uint16_t v)
{
	le_store(drv_ptr(&f->d, DRV_AVAIL(0) + 4 + 2 * SIZE), v, 2);
}

static bool push_one(struct fixture *f)
{
	vq_push(&f->vq, &f->chain, 0);
	return vq_wants_interrupt(&f->vq);
}

static void test_event_index(void)
{
	struct fixture f;

	setup(&f);
	drv_desc(&f.d, 0, 0, DRV_DATA, 8, WRITE, 0);
	CHECK_EQ(pop0(&f), VQ_CHAIN);
	set_used_event(&f, 100);
	CHECK(push_one(&f)); /* the first decision knows no history */
	CHECK(!push_one(&f));
	set_used_event(&f, 2);
	CHECK(push_one(&f));
	CHECK(!push_one(&f));
	CHECK_EQ(vq_pop(&f.vq, &f.chain), VQ_EMPTY);
	CHECK_EQ(le_load(drv_ptr(&f.d, DRV_USED(0) + 4 + 8 * SIZE), 2), 1); /* avail_event */
	teardown(&f);
}

static void test_interrupt_flag(void)
{
	struct fixture f;

	setup(&f);
	f.vq.event_idx = false;
	drv_desc(&f.d, 0, 0, DRV_DATA, 8, WRITE, 0);
	CHECK_EQ(pop0(&f), VQ_CHAIN);
	CHECK(push_one(&f));
	le_store(drv_ptr(&f.d, DRV_AVAIL(0)), VRING_AVAIL_F_NO_INTERRUPT, 2);
	CHECK(!push_one(&f));
	teardown(&f);
}

static void test_narrow(void)
{
	uint8_t buf[30];
	struct iovec v[3] = {{buf, 10}, {buf + 10, 10}, {buf + 20, 10}};
	struct iovec *p = v;

	CHECK_EQ(iov_narrow(&p, 3, 12, 10), 2);
	CHECK(p == &v[1] && p[0].iov_base == buf + 12 && p[0].iov_len == 8);
	CHECK(p[1].iov_base == buf + 20 && p[1].iov_len == 2);
	p = v;
	CHECK_EQ(iov_narrow(&p, 1, 10, 1), 0);
	p = v;
	CHECK_EQ(iov_narrow(&p, 1, 3, 100), 1);
	CHECK_EQ(p[0].iov_len, 7);
}

int main(void)
{
	test_pieces();
	test_dirty();
	test_indirect();
	test_hostile_chains();
	test_hostile_indirect();
	test_hostile_rings();
	test_ring_addresses();
	test_index_wrap();
	test_event_index();
	test_interrupt_flag();
	test_narrow();
	return check_done();
}
