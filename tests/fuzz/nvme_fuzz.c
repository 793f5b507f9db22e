/*
 * The NVMe controller under a hostile guest: registers at random, commands and lists of pages that are
 * almost right, media that answer at once, later, or with errors. Data must stay in guest memory and
 * requests within the medium.
 */
#include <errno.h>

#include "base/bug.h"
#include "base/log.h"
#include "fuzz.h"
#include "../unit/nvme_driver.h"

#define MEDIUM (64 * KIB)

static struct {
	struct nv n;
	struct blockdev disk;
	struct block_request *waiting[NVME_REQUESTS + 1];
	unsigned count;
	uint8_t mood;
} t;

static bool in_ram(const struct iovec *iov)
{
	const uint8_t *p = iov->iov_base;

	return p >= t.n.ram.base && p + iov->iov_len <= t.n.ram.base + t.n.ram.size;
}

static void finish(struct block_request *req)
{
	for (unsigned k = 0; k < req->iov_count && req->op == BLOCK_READ; k++)
		memset(req->iov[k].iov_base, 0x5a, req->iov[k].iov_len);
	req->done(req, t.mood & 2 ? -EIO : 0);
}

static void submit(struct blockdev *dev, struct block_request *req)
{
	uint64_t len = 0;

	LM_BUG_ON(req->offset > dev->size || req->len > dev->size - req->offset);
	LM_BUG_ON(req->op != BLOCK_READ && req->op != BLOCK_FLUSH && dev->read_only);
	for (unsigned k = 0; req->op <= BLOCK_WRITE && k < req->iov_count; k++) {
		LM_BUG_ON(!in_ram(&req->iov[k]));
		len += req->iov[k].iov_len;
	}
	LM_BUG_ON(req->op <= BLOCK_WRITE && len != req->len);
	if (!(t.mood & 1)) {
		finish(req);
		return;
	}
	LM_BUG_ON(t.count == LM_ARRAY_SIZE(t.waiting));
	t.waiting[t.count++] = req;
}

static void drain(struct blockdev *dev)
{
	while (t.count)
		finish(t.waiting[--t.count]);
}

static const struct blockdev_ops ops = {.submit = submit, .drain = drain};

static uint64_t address(struct fuzz_input *in)
{
	unsigned kind = (unsigned)fuzz_take(in, 1);
	uint64_t low = fuzz_take(in, 2);

	if (kind < 100)
		return NV_DATA + (low & 0xf000);
	if (kind < 140)
		return NV_LIST + (low & 0x1ff8);
	if (kind < 180)
		return NV_DATA + low * 4;
	if (kind < 210)
		return NV_SQ(0) + (low & 0x3fff);
	if (kind < 230)
		return NV_RAM - (low & 0x1fff);
	return fuzz_take(in, 8);
}

static void command(struct fuzz_input *in)
{
	unsigned q = (unsigned)fuzz_take(in, 1) & 1;
	struct nvme_command c = {
	    .opcode = (uint8_t)(fuzz_take(in, 1) % 14),
	    .flags = fuzz_take(in, 1) < 250 ? 0 : (uint8_t)fuzz_take(in, 1),
	    .id = (uint16_t)fuzz_take(in, 2),
	    .namespace = fuzz_take(in, 1) < 230 ? 1 : (uint32_t)fuzz_take(in, 4),
	    .prp1 = address(in),
	    .prp2 = address(in),
	    .dw10 = (uint32_t)fuzz_take(in, 1),
	    .dw11 = fuzz_take(in, 1) < 200 ? (uint32_t)fuzz_take(in, 1) & 7 : 0,
	    .dw12 = (uint32_t)fuzz_take(in, 1),
	};

	if (!q && c.opcode < 6) { /* queues */
		c.dw10 = (uint32_t)fuzz_take(in, 1) % 4 | (uint32_t)fuzz_take(in, 1) << 16;
		c.dw11 = (uint32_t)fuzz_take(in, 1) % 4 << 16 | 3;
	}
	if (fuzz_take(in, 1) < 20)
		c.dw10 = (uint32_t)fuzz_take(in, 4);
	nv_submit(&t.n, q, &c);
}

static void list_entry(struct fuzz_input *in)
{
	uint64_t at = NV_LIST + (fuzz_take(in, 2) & 0x1ff8);

	le_store(nv_ptr(&t.n, at), address(in), 8);
}

static void configure(struct fuzz_input *in)
{
	unsigned offset = (unsigned)fuzz_take(in, 1) & 0xfc;

	pci_config_write(&t.n.bus, NV_DEVFN, offset, (uint32_t)fuzz_take(in, 4), 4);
	pci_config_write(&t.n.bus, NV_DEVFN, PCI_BASE_ADDRESS_0, (uint32_t)NV_BAR, 4);
	pci_config_write(&t.n.bus, NV_DEVFN, PCI_BASE_ADDRESS_1, 0, 4);
	pci_config_write(&t.n.bus, NV_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
}

static void step(struct fuzz_input *in)
{
	static const uint8_t regs[] = {0x0c, 0x10, 0x14, 0x14, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x1c};
	unsigned q = (unsigned)fuzz_take(in, 1) & 1;

	switch (fuzz_take(in, 1) % 16) {
	case 0:
		nv_set(&t.n, regs[fuzz_take(in, 1) % sizeof(regs)], (uint32_t)fuzz_take(in, 4));
		break;
	case 1:
		nv_set(&t.n, 0x14, NV_CC & ~1u);
		drain(&t.disk);
		nv_enable(&t.n);
		nv_create_queues(&t.n);
		break;
	case 2:
		nv_set(&t.n, 0x1000 + (fuzz_take(in, 1) & 0x7c), (uint32_t)fuzz_take(in, 1) % 16);
		break;
	case 3:
		bus_read(&t.n.mmio, NV_BAR + (fuzz_take(in, 2) & 0x3ff8), 8);
		break;
	case 4:
		configure(in);
		break;
	case 5:
		t.mood = (uint8_t)fuzz_take(in, 1) & 3;
		break;
	case 6:
		drain(&t.disk);
		break;
	case 7:
	case 8:
		list_entry(in);
		break;
	case 9:
	case 10:
		nv_reap(&t.n, q, NULL, NULL);
		break;
	default:
		command(in);
	}
}

static void fuzz_one(struct fuzz_input *in)
{
	unsigned free_requests = 0;

	if (!t.disk.ops) {
		log_level = LOG_ERROR;
		t.disk = (struct blockdev){.ops = &ops, .size = MEDIUM, .id = "fuzz"};
		LM_BUG_ON(nv_init(&t.n, &t.disk));
	}
	t.disk.read_only = fuzz_take(in, 1) < 20;
	nv_enable(&t.n);
	nv_create_queues(&t.n);
	while (in->p < in->end)
		step(in);
	pci_bus_reset(&t.n.bus);
	configure(in);
	for (const struct nvme_request *r = t.n.nvme.free; r; r = r->next)
		free_requests++;
	LM_BUG_ON(free_requests != NVME_REQUESTS || t.n.nvme.in_flight || t.n.nvme.csts);
}
