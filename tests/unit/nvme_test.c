/* NVMe: identification, queues, transfers over lists of pages, what is refused, resets. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "backend/block.h"
#include "check.h"
#include "event/loop.h"
#include "nvme_driver.h"

#define SECTORS 4096

static struct nv n;
static struct event_loop loop;
static struct blockdev *disk;
static char path[] = "/tmp/lamina-nvme-XXXXXX";

static void make_image(void)
{
	int fd = mkstemp(path);

	for (unsigned k = 0; k < SECTORS; k++) {
		uint8_t sector[512];

		memset(sector, (int)(k % 251), sizeof(sector));
		CHECK_EQ(write(fd, sector, sizeof(sector)), 512);
	}
	close(fd);
}

static uint16_t run(unsigned q, struct nvme_command c, uint32_t *result)
{
	uint16_t id, status;

	c.id = (uint16_t)(0x100 + n.tail[q]);
	nv_submit(&n, q, &c);
	disk->ops->drain(disk);
	status = nv_reap(&n, q, &id, result);
	if (status != NVME_PENDING)
		CHECK_EQ(id, c.id);
	return status;
}

static uint16_t io(uint8_t opcode, uint64_t lba, unsigned sectors, uint64_t prp1, uint64_t prp2)
{
	return run(1, (struct nvme_command){.opcode = opcode, .namespace = 1, .prp1 = prp1,
					    .prp2 = prp2, .dw10 = (uint32_t)lba,
					    .dw11 = (uint32_t)(lba >> 32), .dw12 = sectors - 1},
		   NULL);
}

static void start(void)
{
	nv_enable(&n);
	CHECK_EQ(nv_get(&n, 0x1c), 1);
	nv_create_queues(&n);
	CHECK_EQ(nv_reap(&n, 0, NULL, NULL), 0);
	CHECK_EQ(nv_reap(&n, 0, NULL, NULL), 0);
}

static void stop(void)
{
	nv_set(&n, 0x14, NV_CC & ~1u);
	disk->ops->drain(disk);
	CHECK_EQ(nv_get(&n, 0x1c), 0);
}

static void test_identify(void)
{
	struct nvme_command c = {.opcode = 6, .prp1 = NV_DATA, .dw10 = 1};
	uint32_t result;

	start();
	CHECK_EQ(run(0, c, NULL), 0);
	CHECK(!memcmp(nv_ptr(&n, NV_DATA + 4), "lamina-nvme-", 12));
	CHECK_EQ(*nv_ptr(&n, NV_DATA + 512), 0x66);
	c.dw10 = 0;
	CHECK_EQ(run(0, c, NULL), NVME_INVALID_NAMESPACE);
	c.namespace = 1;
	CHECK_EQ(run(0, c, NULL), 0);
	CHECK_EQ(le_load(nv_ptr(&n, NV_DATA), 8), SECTORS);
	c.dw10 = 77;
	CHECK_EQ(run(0, c, NULL), NVME_INVALID_FIELD);
	c = (struct nvme_command){.opcode = 9, .dw10 = 7, .dw11 = 0x00ff00ff};
	CHECK_EQ(run(0, c, &result), 0);
	CHECK_EQ(result, 0x00010001);
	CHECK_EQ(run(0, (struct nvme_command){.opcode = 0x77}, NULL), NVME_INVALID_OPCODE);
	stop();
}

/* One piece, two pages, a list; what arrives is what is on the disk. */
static void test_transfers(void)
{
	start();
	CHECK_EQ(io(2, 7, 1, NV_DATA + 512, 0), 0);
	CHECK_EQ(*nv_ptr(&n, NV_DATA + 512), 7);
	CHECK_EQ(io(2, 8, 16, NV_DATA, NV_DATA + 0x5000), 0);
	CHECK_EQ(*nv_ptr(&n, NV_DATA + 0x5000), 16);
	for (unsigned k = 0; k < 64; k++)
		le_store(nv_ptr(&n, NV_LIST + 8 * k), NV_DATA + 0x2000 * (63 - k), 8);
	CHECK_EQ(io(2, 0, 8 * 65, NV_DATA + 0x100000, NV_LIST), 0);
	CHECK_EQ(*nv_ptr(&n, NV_DATA + 0x2000 * 63), 8);
	CHECK_EQ(*nv_ptr(&n, NV_DATA), 8 * 64 % 251);
	memset(nv_ptr(&n, NV_DATA), 0xaa, 1024);
	CHECK_EQ(io(1, 100, 2, NV_DATA, 0), 0);
	CHECK_EQ(io(0, 0, 1, 0, 0), 0);
	CHECK_EQ(io(2, 101, 1, NV_DATA + 0x3000, 0), 0);
	CHECK_EQ(*nv_ptr(&n, NV_DATA + 0x3000), 0xaa);
	CHECK_EQ(io(8, 101, 1, 0, 0), 0);
	CHECK_EQ(io(2, 101, 1, NV_DATA + 0x3000, 0), 0);
	CHECK_EQ(*nv_ptr(&n, NV_DATA + 0x3000), 0);
	stop();
}

static void test_refused(void)
{
	start();
	CHECK_EQ(io(2, SECTORS, 1, NV_DATA, 0), NVME_LBA_RANGE);
	CHECK_EQ(io(2, SECTORS - 1, 2, NV_DATA, 0), NVME_LBA_RANGE);
	CHECK_EQ(io(2, UINT64_MAX, 1, NV_DATA, 0), NVME_LBA_RANGE);
	CHECK_EQ(io(2, 0, 1, NV_DATA + 1, 0), NVME_INVALID_PRP);
	CHECK_EQ(io(2, 0, 1, NV_RAM, 0), NVME_TRANSFER_ERROR);
	CHECK_EQ(io(2, 0, 16, NV_DATA, NV_DATA + 8), NVME_INVALID_PRP);
	CHECK_EQ(io(2, 0, 32, NV_DATA, NV_LIST + 4), NVME_INVALID_PRP);
	CHECK_EQ(io(2, 0, 2049, NV_DATA, NV_LIST), NVME_INVALID_FIELD);
	CHECK_EQ(run(1, (struct nvme_command){.opcode = 2, .namespace = 2, .prp1 = NV_DATA}, NULL),
		 NVME_INVALID_NAMESPACE);
	CHECK_EQ(run(1, (struct nvme_command){.opcode = 2, .flags = 0x40, .namespace = 1}, NULL),
		 NVME_INVALID_FIELD);
	nv_set(&n, 0x1008, NV_ENTRIES);
	CHECK_EQ(n.nvme.bad_doorbells, 1);
	stop();
}

/* Lists that lead on to themselves end with the request's length. */
static void test_list_loop(void)
{
	start();
	for (unsigned k = 0; k < 512; k++)
		le_store(nv_ptr(&n, NV_LIST + 8 * k), NV_LIST, 8);
	CHECK_EQ(io(2, 0, 2048, NV_DATA, NV_LIST + 4088), 0);
	stop();
}

static void test_queues(void)
{
	struct nvme_command sq = {.opcode = 1, .prp1 = NV_SQ(1), .dw10 = 7 << 16 | 1,
				  .dw11 = 1 << 16 | 1};
	uint32_t result;

	start();
	CHECK_EQ(run(0, sq, NULL), NVME_INVALID_QUEUE);
	sq.dw10 = 7 << 16 | 2;
	sq.dw11 = 2 << 16 | 1;
	CHECK_EQ(run(0, sq, NULL), NVME_INVALID_CQ);
	sq.dw11 = 1 << 16 | 1;
	sq.prp1 = NV_RAM;
	CHECK_EQ(run(0, sq, NULL), NVME_INVALID_FIELD);
	CHECK_EQ(run(0, (struct nvme_command){.opcode = 4, .dw10 = 1}, NULL), NVME_QUEUE_DELETION);
	CHECK_EQ(run(0, (struct nvme_command){.opcode = 0, .dw10 = 1}, NULL), 0);
	CHECK_EQ(run(0, (struct nvme_command){.opcode = 4, .dw10 = 1}, NULL), 0);
	for (unsigned k = 0; k < NVME_MAX_EVENTS; k++)
		CHECK_EQ(run(0, (struct nvme_command){.opcode = 12}, NULL), NVME_PENDING);
	CHECK_EQ(run(0, (struct nvme_command){.opcode = 12}, NULL), NVME_TOO_MANY_EVENTS);
	CHECK_EQ(run(0, (struct nvme_command){.opcode = 8}, &result), 0);
	CHECK_EQ(result, 1);
	stop();
}

/* More completions than the queue has room for come when there is room. */
static void test_full(void)
{
	unsigned done = 0;

	start();
	for (unsigned k = 0; k < 2 * NV_ENTRIES; k++)
		nv_submit(&n, 1, &(struct nvme_command){.opcode = 0, .namespace = 1});
	disk->ops->drain(disk);
	while (nv_reap(&n, 1, NULL, NULL) == 0) {
		done++;
		disk->ops->drain(disk);
	}
	CHECK_EQ(done, 2 * NV_ENTRIES);
	CHECK(n.pin > 0);
	stop();
}

static void test_discard_and_shutdown(void)
{
	start();
	for (unsigned k = 0; k < 3; k++) {
		le_store(nv_ptr(&n, NV_DATA + 16 * k + 4), 8, 4);
		le_store(nv_ptr(&n, NV_DATA + 16 * k + 8), 800 + 16 * k, 8);
	}
	CHECK_EQ(run(1, (struct nvme_command){.opcode = 9, .namespace = 1, .prp1 = NV_DATA,
					      .dw10 = 2, .dw11 = 4}, NULL), 0);
	le_store(nv_ptr(&n, NV_DATA + 8), SECTORS, 8);
	CHECK_EQ(run(1, (struct nvme_command){.opcode = 9, .namespace = 1, .prp1 = NV_DATA,
					      .dw10 = 0, .dw11 = 4}, NULL), NVME_LBA_RANGE);
	nv_set(&n, 0x14, NV_CC | 1 << 14);
	disk->ops->drain(disk);
	CHECK_EQ(nv_get(&n, 0x1c), 1 | 2 << 2);
	stop();
}

/* A reset with requests in flight; settings that cannot be. */
static void test_reset(void)
{
	start();
	for (unsigned k = 0; k < 5; k++)
		nv_submit(&n, 1, &(struct nvme_command){.opcode = 2, .namespace = 1, .prp1 = NV_DATA});
	stop();
	CHECK_EQ(n.nvme.in_flight, 0);
	nv_set(&n, 0x28, NV_RAM);
	nv_set(&n, 0x14, NV_CC);
	CHECK_EQ(nv_get(&n, 0x1c) & 3, 2);
	pci_bus_reset(&n.bus);
	pci_config_write(&n.bus, NV_DEVFN, PCI_BASE_ADDRESS_0, (uint32_t)NV_BAR, 4);
	pci_config_write(&n.bus, NV_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	CHECK_EQ(nv_get(&n, 0x1c), 0);
	start();
	CHECK_EQ(io(2, 9, 1, NV_DATA, 0), 0);
	CHECK_EQ(*nv_ptr(&n, NV_DATA), 9);
	stop();
}

int main(void)
{
	struct block_options o = {.path = path, .format = IMAGE_RAW};

	make_image();
	CHECK_EQ(loop_init(&loop, false, NULL), 0);
	for (unsigned round = 0; round < 2; round++) {
		o.synchronous = round;
		CHECK_EQ(block_open(&disk, &o, &loop, NULL), 0);
		CHECK_EQ(nv_init(&n, disk), 0);
		test_identify();
		test_transfers();
		test_refused();
		test_list_loop();
		test_queues();
		test_full();
		test_discard_and_shutdown();
		test_reset();
		nvme_fini(&n.nvme);
		block_close(disk);
		ram_fini(&n.ram);
		memset(&n, 0, sizeof(n));
	}
	loop_fini(&loop);
	unlink(path);
	return check_done();
}
