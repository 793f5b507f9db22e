/* virtio-blk over raw images: requests, ranges, ephemeral mode, locks, hosts that fail. */
#include <errno.h>
#include <stdlib.h>
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
#include <sys/stat.h>

#include "backend/block.h"
#include "backend/block_overlay.h"
#include "dev/virtio/blk.h"
#include "virtio_driver.h"

#define WRITE	VRING_DESC_F_WRITE
#define NEXT	VRING_DESC_F_NEXT
#define SECTORS 64
#define HEADER	DRV_DATA
#define STATUS	(DRV_DATA + 0x800)
#define DATA	(DRV_DATA + 0x1000)

static char dir[] = "/tmp/lamina-blk-XXXXXX";
static char image[64];

struct fixture {
	struct driver d;
	struct virtio_blk blk;
	struct blockdev *disk;
};

/* Sector k holds bytes of value k + 1. */
static void make_image(void)
{
	int fd = open(image, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	for (unsigned k = 0; k < SECTORS; k++) {
		uint8_t sector[512];

		memset(sector, (int)k + 1, sizeof(sector));
		CHECK_EQ(write(fd, sector, sizeof(sector)), 512);
	}
	close(fd);
}

static uint8_t file_byte(uint64_t offset)
{
	int fd = open(image, O_RDONLY);
	uint8_t b = 0;

	CHECK_EQ(pread(fd, &b, 1, (off_t)offset), 1);
	close(fd);
	return b;
}

static void setup(struct fixture *f, struct block_options o, uint64_t features)
{
	o.path = image;
	drv_init(&f->d, o.synchronous);
	CHECK_EQ(block_open(&f->disk, &o, &f->d.loop, NULL), 0);
	virtio_blk_init(&f->blk, f->disk, 2, &f->d.ram, &f->d.loop);
	drv_attach(&f->d, &f->blk.virtio);
	drv_start(&f->d, features, 1, BLK_QUEUE_SIZE);
}

static void teardown(struct fixture *f)
{
	drv_fini(&f->d);
	block_close(f->disk);
}

static const struct block_options plain = {.synchronous = true};
static const struct block_options ephemeral = {.synchronous = true, .ephemeral = true};

static void put_header(struct fixture *f, uint32_t type, uint64_t sector)
{
	struct virtio_blk_outhdr h = {type, 0, sector};

	memcpy(drv_ptr(&f->d, HEADER), &h, sizeof(h));
	*drv_ptr(&f->d, STATUS) = 0xee;
}

/* A request with data at DATA; the status byte, or 0xee where the request did not come back. */
static uint8_t request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len,
		       bool to_guest)
{
	uint32_t id, used;

	put_header(f, type, sector);
	drv_desc(&f->d, 0, 0, HEADER, 16, NEXT, len ? 1 : 2);
	drv_desc(&f->d, 0, 1, DATA, len, NEXT | (to_guest ? WRITE : 0), 2);
	drv_desc(&f->d, 0, 2, STATUS, 1, WRITE, 0);
	drv_offer(&f->d, 0, 0);
	drv_kick(&f->d, 0);
	f->disk->ops->drain(f->disk);
	if (drv_used(&f->d, 0, &id, &used) && to_guest)
		CHECK(used == len + 1 || *drv_ptr(&f->d, STATUS) != 0);
	return *drv_ptr(&f->d, STATUS);
}

static uint8_t read_sector(struct fixture *f, uint64_t sector)
{
	return request(f, VIRTIO_BLK_T_IN, sector, 512, true) == VIRTIO_BLK_S_OK
		   ? *drv_ptr(&f->d, DATA)
		   : 0xee;
}

static void test_requests(struct block_options o)
{
	struct fixture f;

	make_image();
	setup(&f, o, LM_BIT(VIRTIO_BLK_F_FLUSH));
	CHECK_EQ(bus_read(&f.d.mmio, DRV_CONFIG, 8), SECTORS);
	CHECK_EQ(read_sector(&f, 0), 1);
	CHECK_EQ(read_sector(&f, SECTORS - 1), SECTORS);
	memset(drv_ptr(&f.d, DATA), 0xaa, 1024);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_OUT, 3, 1024, false), VIRTIO_BLK_S_OK);
	CHECK_EQ(read_sector(&f, 2), 3);
	CHECK_EQ(read_sector(&f, 3), 0xaa);
	CHECK_EQ(read_sector(&f, 4), 0xaa);
	CHECK_EQ(read_sector(&f, 5), 6);
	CHECK_EQ(file_byte(3 * 512), o.ephemeral ? 4 : 0xaa);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	CHECK(!memcmp(drv_ptr(&f.d, DATA), "disk.img\0", 9));
	CHECK(f.d.interrupts > 0);
	teardown(&f);
}

static unsigned submitted;

static void count_submit(struct blockdev *disk, struct block_request *req)
{
	submitted++;
	req->done(req, 0);
}

static void count_drain(struct blockdev *disk)
{
}

/* What is refused does not reach the backend. */
static void test_ranges(void)
{
	static const struct blockdev_ops counting = {.submit = count_submit, .drain = count_drain};
	const struct blockdev_ops *ops;
	struct fixture f;

	make_image();
	setup(&f, plain, 0);
	ops = f.disk->ops;
	f.disk->ops = &counting;
	CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, SECTORS, 512, true), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, SECTORS - 1, 1024, true), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, UINT64_MAX, 512, true), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_OUT, UINT64_MAX / 512, 1024, false), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 0, 511, true), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(&f, 77, 0, 512, true), VIRTIO_BLK_S_UNSUPP);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 16, false), VIRTIO_BLK_S_UNSUPP);
	CHECK_EQ(f.blk.errors, 7);
	CHECK_EQ(submitted, 0);
	f.disk->ops = ops;
	CHECK(!drv_needs_reset(&f.d));
	teardown(&f);
}

static uint8_t erase(struct fixture *f, uint32_t type, uint64_t sector, uint32_t count,
		     uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes seg = {sector, count, flags};

	memcpy(drv_ptr(&f->d, DATA), &seg, sizeof(seg));
	return request(f, type, 0, sizeof(seg), false);
}

static void test_erase(struct block_options o)
{
	struct fixture f;

	make_image();
	setup(&f, o, LM_BIT(VIRTIO_BLK_F_DISCARD) | LM_BIT(VIRTIO_BLK_F_WRITE_ZEROES));
	CHECK_EQ(erase(&f, VIRTIO_BLK_T_WRITE_ZEROES, 3, 10, 0), VIRTIO_BLK_S_OK);
	CHECK_EQ(read_sector(&f, 2), 3);
	CHECK_EQ(read_sector(&f, 3), 0);
	CHECK_EQ(read_sector(&f, 12), 0);
	CHECK_EQ(read_sector(&f, 13), 14);
	CHECK_EQ(erase(&f, VIRTIO_BLK_T_WRITE_ZEROES, 14, 1, 1), VIRTIO_BLK_S_OK);
	CHECK_EQ(read_sector(&f, 14), 0);
	CHECK_EQ(erase(&f, VIRTIO_BLK_T_DISCARD, 16, 8, 0), VIRTIO_BLK_S_OK);
	CHECK_EQ(read_sector(&f, 24), 25);
	CHECK_EQ(erase(&f, VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	CHECK_EQ(erase(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	CHECK_EQ(erase(&f, VIRTIO_BLK_T_DISCARD, 60, 8, 0), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(erase(&f, VIRTIO_BLK_T_DISCARD, 0, 0xffffffff, 0), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_DISCARD, 0, 32, false), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(file_byte(3 * 512), o.ephemeral ? 4 : 0);
	teardown(&f);
}

static void test_hostile(void)
{
	struct fixture f;

	make_image();
	setup(&f, plain, 0);
	CHECK_EQ(drv_one(&f.d, 0, HEADER, 16, 0), -1); /* no status */
	CHECK(drv_needs_reset(&f.d));
	drv_start(&f.d, 0, 1, BLK_QUEUE_SIZE);
	CHECK_EQ(drv_one(&f.d, 0, STATUS, 1, WRITE), -1); /* no header */
	CHECK(drv_needs_reset(&f.d));
	drv_start(&f.d, 0, 1, BLK_QUEUE_SIZE);
	put_header(&f, VIRTIO_BLK_T_IN, 0);
	drv_desc(&f.d, 0, 0, HEADER, 15, NEXT, 1); /* short header */
	drv_desc(&f.d, 0, 1, STATUS, 1, WRITE, 0);
	drv_offer(&f.d, 0, 0);
	drv_kick(&f.d, 0);
	CHECK(drv_needs_reset(&f.d));
	drv_start(&f.d, 0, 1, BLK_QUEUE_SIZE);
	CHECK_EQ(read_sector(&f, 7), 8);
	teardown(&f);
}

/* The status shares its piece with the data, the header comes in two. */
static void test_odd_pieces(void)
{
	struct fixture f;
	uint32_t id, len;

	make_image();
	setup(&f, plain, 0);
	put_header(&f, VIRTIO_BLK_T_IN, 9);
	drv_desc(&f.d, 0, 0, HEADER, 5, NEXT, 1);
	drv_desc(&f.d, 0, 1, HEADER + 5, 11, NEXT, 2);
	drv_desc(&f.d, 0, 2, DATA, 100, WRITE | NEXT, 3);
	drv_desc(&f.d, 0, 3, DATA + 100, 413, WRITE, 0);
	drv_offer(&f.d, 0, 0);
	drv_kick(&f.d, 0);
	CHECK(drv_used(&f.d, 0, &id, &len));
	CHECK_EQ(len, 513);
	CHECK_EQ(*drv_ptr(&f.d, DATA), 10);
	CHECK_EQ(*drv_ptr(&f.d, DATA + 511), 10);
	CHECK_EQ(*drv_ptr(&f.d, DATA + 512), VIRTIO_BLK_S_OK);
	teardown(&f);
}

static void test_read_only(void)
{
	struct fixture f;
	struct block_options o = {.synchronous = true, .read_only = true};

	make_image();
	setup(&f, o, LM_BIT(VIRTIO_BLK_F_RO));
	CHECK(!(drv_offered(&f.d) & LM_BIT(VIRTIO_BLK_F_DISCARD)));
	CHECK_EQ(read_sector(&f, 1), 2);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	CHECK_EQ(file_byte(0), 1);
	teardown(&f);
}

/* The image shrinks while the machine runs. */
static void test_truncated(void)
{
	struct fixture f;

	make_image();
	setup(&f, plain, 0);
	CHECK_EQ(truncate(image, 1024), 0);
	CHECK_EQ(read_sector(&f, 1), 2);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 2, 512, true), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 1, 1024, true), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(unlink(image), 0);
	CHECK_EQ(read_sector(&f, 0), 1);
	teardown(&f);
}

/* Many requests at once on the workers, then a reset with some in flight. */
static void test_workers(void)
{
	struct fixture f;
	struct block_options o = {0};

	make_image();
	setup(&f, o, 0);
	put_header(&f, VIRTIO_BLK_T_IN, 5);
	drv_desc(&f.d, 0, 0, HEADER, 16, NEXT, 1);
	drv_desc(&f.d, 0, 1, DATA, 512, NEXT | WRITE, 2);
	drv_desc(&f.d, 0, 2, STATUS, 1, WRITE, 0);
	for (unsigned k = 0; k < BLK_QUEUE_SIZE; k++)
		drv_offer(&f.d, 0, 0);
	drv_kick(&f.d, 0);
	CHECK_EQ(f.blk.virtio.in_flight, BLK_QUEUE_SIZE); /* done only by the loop or drain */
	drv_set(&f.d, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	CHECK(drv_status(&f.d) != 0);
	f.disk->ops->drain(f.disk);
	CHECK_EQ(drv_status(&f.d), 0);
	CHECK_EQ(f.blk.virtio.in_flight, 0);
	CHECK_EQ(f.blk.requests, BLK_QUEUE_SIZE);
	drv_start(&f.d, 0, 1, BLK_QUEUE_SIZE);
	CHECK_EQ(read_sector(&f, 5), 6);
	pci_bus_reset(&f.d.bus);
	teardown(&f);
}

static void stop_loop(void *opaque)
{
	loop_stop(opaque);
}

static void test_loop_completes(void)
{
	struct fixture f;
	struct block_options o = {0};
	struct timer t;
	uint32_t id, len;

	make_image();
	setup(&f, o, 0);
	put_header(&f, VIRTIO_BLK_T_IN, 6);
	drv_desc(&f.d, 0, 0, HEADER, 16, NEXT, 1);
	drv_desc(&f.d, 0, 1, DATA, 512, NEXT | WRITE, 2);
	drv_desc(&f.d, 0, 2, STATUS, 1, WRITE, 0);
	drv_offer(&f.d, 0, 0);
	drv_kick(&f.d, 0);
	timer_init(&t, &f.d.loop, stop_loop, &f.d.loop);
	for (unsigned k = 0; k < 1000 && f.blk.virtio.in_flight; k++) {
		f.d.loop.stopping = false;
		timer_arm(&t, clock_now(&f.d.loop.clock) + 10000000);
		loop_run(&f.d.loop);
	}
	CHECK(drv_used(&f.d, 0, &id, &len));
	CHECK_EQ(len, 513);
	CHECK_EQ(*drv_ptr(&f.d, DATA), 7);
	teardown(&f);
}

/* A vCPU and the loop on threads of their own; neighbouring sectors written at the same time. */
#define SLOTS 40

static void *loop_thread(void *opaque)
{
	loop_run(opaque);
	return NULL;
}

static void offer_slot(struct fixture *f, unsigned slot, uint32_t type, uint8_t fill)
{
	uint64_t base = DRV_DATA + 0x400 * slot;
	struct virtio_blk_outhdr h = {type, 0, slot};
	uint16_t way = type == VIRTIO_BLK_T_IN ? WRITE : 0;

	memcpy(drv_ptr(&f->d, base), &h, sizeof(h));
	memset(drv_ptr(&f->d, base + 0x200), fill, 512);
	*drv_ptr(&f->d, base + 0x100) = 0xee;
	drv_desc(&f->d, 0, 3 * slot, base, 16, NEXT, (uint16_t)(3 * slot + 1));
	drv_desc(&f->d, 0, 3 * slot + 1, base + 0x200, 512, NEXT | way, (uint16_t)(3 * slot + 2));
	drv_desc(&f->d, 0, 3 * slot + 2, base + 0x100, 1, WRITE, 0);
	drv_offer(&f->d, 0, (uint16_t)(3 * slot));
}

/* Offers a request on every slot, and waits for all of them. */
static void run_slots(struct fixture *f, uint32_t type, uint8_t fill)
{
	unsigned done = 0;

	loop_lock(&f->d.loop);
	for (unsigned slot = 0; slot < SLOTS; slot++)
		offer_slot(f, slot, type, (uint8_t)(fill + slot));
	drv_kick(&f->d, 0);
	loop_unlock(&f->d.loop);
	while (done < SLOTS) {
		uint32_t id, len;

		loop_lock(&f->d.loop);
		while (drv_used(&f->d, 0, &id, &len))
			done++;
		loop_unlock(&f->d.loop);
		sched_yield();
	}
}

static unsigned wrong_slots(struct fixture *f, uint8_t fill)
{
	unsigned wrong = 0;

	for (unsigned slot = 0; slot < SLOTS; slot++) {
		const uint8_t *base = drv_ptr(&f->d, DRV_DATA + 0x400 * slot);

		wrong += base[0x100] != VIRTIO_BLK_S_OK || base[0x200] != (uint8_t)(fill + slot) ||
			 base[0x3ff] != (uint8_t)(fill + slot);
	}
	return wrong;
}

static void test_threads(struct block_options o)
{
	struct fixture f;
	pthread_t thread;
	unsigned wrong = 0;

	for (unsigned round = 0; round < 20; round++) {
		make_image();
		setup(&f, o, LM_BIT(VIRTIO_BLK_F_FLUSH));
		CHECK_EQ(pthread_create(&thread, NULL, loop_thread, &f.d.loop), 0);
		run_slots(&f, VIRTIO_BLK_T_OUT, (uint8_t)(round * 7));
		run_slots(&f, VIRTIO_BLK_T_IN, 0xff);
		wrong += wrong_slots(&f, (uint8_t)(round * 7));
		loop_stop(&f.d.loop);
		pthread_join(thread, NULL);
		teardown(&f);
	}
	CHECK_EQ(wrong, 0);
}

/* Two writers meet in every block of an overlay when it is first written. */
#define RACE_BLOCKS 2000

struct racer {
	struct image *o;
	unsigned sector; /* of each block */
	unsigned *turn;	 /* both racers' steps so far */
	unsigned failed;
};

static uint64_t sector_at(unsigned block, unsigned sector)
{
	return (uint64_t)block * OVERLAY_BLOCK + sector * 512;
}

static void *race(void *opaque)
{
	struct racer *r = opaque;
	uint8_t buf[512];

	memset(buf, (int)r->sector + 1, sizeof(buf));
	for (unsigned k = 0; k < RACE_BLOCKS; k++) {
		__atomic_fetch_add(r->turn, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(r->turn, __ATOMIC_SEQ_CST) < 2 * (k + 1))
			sched_yield();
		r->failed += image_write(r->o, buf, sector_at(k, r->sector), 512) != 0;
	}
	return NULL;
}

static void test_overlay_race(void)
{
	struct image_options how = {.path = image};
	unsigned turn = 0, wrong = 0;
	struct racer r[2];
	struct image *base, *o;
	pthread_t thread;

	make_image();
	CHECK_EQ(truncate(image, RACE_BLOCKS * OVERLAY_BLOCK), 0);
	CHECK_EQ(image_open(&base, &how, NULL), 0);
	CHECK_EQ(overlay_open(&o, base, NULL), 0);
	for (unsigned k = 0; k < 2; k++)
		r[k] = (struct racer){o, 3 * k, &turn, 0};
	CHECK_EQ(pthread_create(&thread, NULL, race, &r[1]), 0);
	race(&r[0]);
	pthread_join(thread, NULL);
	for (unsigned k = 0; k < 2 * RACE_BLOCKS; k++) {
		uint8_t buf[512] = {0};

		wrong += image_read(o, buf, sector_at(k / 2, r[k % 2].sector), 512) != 0;
		wrong += buf[511] != r[k % 2].sector + 1;
	}
	CHECK_EQ(r[0].failed + r[1].failed, 0);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(image_close(o), 0);
}

static int open_error(const char *path, struct block_options o, struct lm_err *err)
{
	struct event_loop loop;
	struct blockdev *disk;
	int rc;

	o.path = path;
	CHECK_EQ(loop_init(&loop, false, NULL), 0);
	rc = block_open(&disk, &o, &loop, err);
	CHECK((rc < 0) == !disk);
	block_close(disk);
	loop_fini(&loop);
	return rc;
}

static void test_open_errors(void)
{
	struct lm_err err = {0};
	char path[96];

	CHECK_EQ(open_error(dir, plain, &err), -EISDIR);
	CHECK_EQ(open_error(dir, ephemeral, &err), -EISDIR);
	CHECK_EQ(open_error("/nonexistent/disk", plain, &err), -ENOENT);
	CHECK(strstr(err.text, "/nonexistent/disk") && strstr(err.text, "No such file"));
	CHECK_EQ(open_error("/dev/null", plain, &err), -EINVAL);
	make_image();
	CHECK_EQ(truncate(image, 1000), 0);
	CHECK_EQ(open_error(image, plain, &err), -EINVAL);
	CHECK(strstr(err.text, "1000 bytes"));
	CHECK_EQ(truncate(image, 0), 0);
	CHECK_EQ(open_error(image, plain, &err), -EINVAL);
	snprintf(path, sizeof(path), "%s/pipe", dir);
	CHECK_EQ(mkfifo(path, 0600), 0);
	CHECK_EQ(open_error(path, plain, &err), -EINVAL);
	unlink(path);
}

/* What an ephemeral disk was given, in an image of its own over the base. */
static void test_save_overlay(void)
{
	struct image_options how = {.allow_backing = true};
	struct lm_err err = {0};
	struct image *saved;
	struct fixture f;
	char path[96];
	uint8_t b;

	snprintf(path, sizeof(path), "%s/saved.qcow2", dir);
	how.path = path;
	make_image();
	setup(&f, ephemeral, LM_BIT(VIRTIO_BLK_F_WRITE_ZEROES));
	memset(drv_ptr(&f.d, DATA), 0xaa, 512);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_OUT, 9, 512, false), VIRTIO_BLK_S_OK);
	CHECK_EQ(erase(&f, VIRTIO_BLK_T_WRITE_ZEROES, 32, 8, 0), VIRTIO_BLK_S_OK);
	CHECK_EQ(block_quiesce(f.disk, &err), 0);
	CHECK_EQ(block_save_overlay(f.disk, path, &err), 0);
	CHECK_EQ(block_save_overlay(f.disk, path, &err), -EEXIST);
	teardown(&f);
	CHECK_EQ(image_open(&saved, &how, &err), 0);
	CHECK(saved && saved->backing && saved->size == SECTORS * 512);
	for (unsigned k = 0; saved && k < SECTORS; k++) {
		CHECK_EQ(image_read(saved, &b, k * 512 + 7, 1), 0);
		CHECK_EQ(b, k == 9 ? 0xaa : k >= 32 && k < 40 ? 0 : k + 1);
	}
	image_close(saved);
	unlink(path);
	setup(&f, plain, 0);
	CHECK_EQ(block_save_overlay(f.disk, path, &err), -EINVAL);
	teardown(&f);
}

/* An error stops; requests wait until they can be served, or are given up. */
static unsigned stops;

static void on_stop(void *opaque, struct blockdev *dev, int error)
{
	stops++;
	CHECK_EQ(error, -EIO);
	CHECK(block_is_stopped(dev));
}

static void test_stop(bool synchronous)
{
	struct block_options o = {.synchronous = synchronous, .on_error = BLOCK_STOP, .stop = on_stop};
	struct lm_err err = {0};
	struct fixture f;

	stops = 0;
	make_image();
	setup(&f, o, 0);
	CHECK_EQ(truncate(image, 1024), 0);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 5, 512, true), 0xee);
	CHECK_EQ(stops, 1);
	CHECK_EQ(block_quiesce(f.disk, &err), -EBUSY);
	block_resume(f.disk); /* in vain */
	f.disk->ops->drain(f.disk);
	CHECK_EQ(stops, 2);
	make_image();
	block_resume(f.disk);
	f.disk->ops->drain(f.disk);
	CHECK_EQ(*drv_ptr(&f.d, STATUS), VIRTIO_BLK_S_OK);
	CHECK_EQ(*drv_ptr(&f.d, DATA), 6);
	CHECK(!block_is_stopped(f.disk));
	CHECK_EQ(truncate(image, 1024), 0);
	drv_start(&f.d, 0, 1, BLK_QUEUE_SIZE);
	CHECK_EQ(request(&f, VIRTIO_BLK_T_IN, 5, 512, true), 0xee);
	pci_bus_reset(&f.d.bus); /* gives up */
	CHECK_EQ(f.blk.virtio.in_flight, 0);
	CHECK(!block_is_stopped(f.disk));
	teardown(&f);
}

static void test_locks(void)
{
	struct block_options ro = {.synchronous = true, .read_only = true, .path = image};
	struct block_options rw = {.synchronous = true, .path = image};
	struct event_loop loop;
	struct blockdev *disk;

	make_image();
	CHECK_EQ(loop_init(&loop, false, NULL), 0);
	CHECK_EQ(block_open(&disk, &rw, &loop, NULL), 0);
	CHECK_EQ(open_error(image, rw, NULL), -EBUSY);
	CHECK_EQ(open_error(image, ro, NULL), -EBUSY);
	CHECK_EQ(open_error(image, ephemeral, NULL), -EBUSY);
	block_close(disk);
	CHECK_EQ(block_open(&disk, &ro, &loop, NULL), 0);
	CHECK_EQ(open_error(image, rw, NULL), -EBUSY);
	CHECK_EQ(open_error(image, ephemeral, NULL), 0);
	block_close(disk);
	CHECK_EQ(open_error(image, rw, NULL), 0);
	loop_fini(&loop);
}

int main(void)
{
	struct block_options workers = {0};

	if (!mkdtemp(dir))
		return 1;
	snprintf(image, sizeof(image), "%s/disk.img", dir);
	test_requests(plain);
	test_requests(ephemeral);
	test_requests(workers);
	test_requests((struct block_options){.no_uring = true});
	test_requests((struct block_options){.cache = BLOCK_CACHE_HOST});
	test_save_overlay();
	test_stop(false);
	test_stop(true);
	test_ranges();
	test_erase(plain);
	test_erase(ephemeral);
	test_hostile();
	test_odd_pieces();
	test_read_only();
	test_truncated();
	test_workers();
	test_loop_completes();
	test_threads(workers);
	test_threads((struct block_options){.no_uring = true});
	test_threads((struct block_options){.ephemeral = true});
	test_overlay_race();
	test_open_errors();
	test_locks();
	unlink(image);
	rmdir(dir);
	return check_done();
}
