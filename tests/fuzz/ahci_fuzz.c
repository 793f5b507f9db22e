/*
 * The SATA controller under a hostile guest: registers at random, command lists and tables that are
 * almost right, media that answer at once, later, or with errors. Data must stay in guest memory and
 * requests within the medium.
 */
#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"
#include "dev/ahci/ahci.h"
#include "dev/pci_host.h"
#include "fuzz.h"

#define BAR	  UINT64_C(0xc0000000)
#define SLOT	  8
#define MEDIUM	  (64 * KIB)
#define QUEUE_MAX AHCI_PORTS

static struct {
	struct bus mmio, port;
	struct ram ram;
	struct pci_host host;
	struct ahci ahci;
	struct blockdev disk, cd;
	struct block_request *waiting[QUEUE_MAX];
	unsigned count;
	uint8_t mood;
} t;

static void no_line(void *opaque, unsigned number, bool level)
{
}

static bool in_ram(const struct iovec *iov)
{
	const uint8_t *p = iov->iov_base;

	return p >= t.ram.base && p + iov->iov_len <= t.ram.base + t.ram.size;
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
	LM_BUG_ON(req->op == BLOCK_WRITE && dev->read_only);
	for (unsigned k = 0; k < req->iov_count; k++) {
		LM_BUG_ON(!in_ram(&req->iov[k]));
		len += req->iov[k].iov_len;
	}
	LM_BUG_ON(len != req->len);
	if (!(t.mood & 1)) {
		finish(req);
		return;
	}
	LM_BUG_ON(t.count == QUEUE_MAX);
	t.waiting[t.count++] = req;
}

static void drain(struct blockdev *dev)
{
	while (t.count)
		finish(t.waiting[--t.count]);
}

static const struct blockdev_ops ops = { submit, drain };

static void set_up(void)
{
	struct irq_line line[PCI_INTX_LINES];
	int rc = 0;

	for (unsigned k = 0; k < PCI_INTX_LINES; k++)
		line[k] = (struct irq_line){ no_line, NULL, k };
	t.disk = (struct blockdev){ &ops, MEDIUM, false, "disk" };
	t.cd = (struct blockdev){ &ops, MEDIUM + 512, true, "cd" };
	rc |= ram_init(&t.ram, RAM_MIN, NULL);
	rc |= pci_host_init(&t.host, &t.mmio, &t.port, line, (struct msi_sink){ 0 }, 0xb0000000,
			    NULL);
	rc |= ahci_init(&t.ahci, &t.host.bus, SLOT, &t.ram, NULL);
	LM_BUG_ON(rc);
	ahci_connect(&t.ahci, 0, &t.disk, false);
	ahci_connect(&t.ahci, 1, &t.cd, true);
}

static void put(uint64_t gpa, uint64_t v, unsigned size)
{
	ram_write(&t.ram, GPA(gpa), &v, size);
}

static uint64_t address(struct fuzz_input *in)
{
	uint8_t kind = (uint8_t)fuzz_take(in, 1);

	if (kind < 230)
		return 0x1000u * (kind & 31) + (kind & 64 ? fuzz_take(in, 1) : 0);
	return kind < 240 ? RAM_MIN - 100 : fuzz_take(in, 8);
}

/* A command that may be right. */
static void issue(struct fuzz_input *in, unsigned n)
{
	static const uint8_t likely[] = { 0xa0, 0xa1, 0xec, 0x25, 0x35, 0xc8, 0xca, 0xea, 0xef, 0x08, 0xe5 };
	static const uint8_t packets[] = { 0x00, 0x03, 0x12, 0x25, 0x28, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xbd, 0xbe };
	uint64_t list = t.ahci.port[n].list, table = address(in) & ~UINT64_C(0x7f);
	unsigned slot = fuzz_take(in, 1) & 31, segments = fuzz_take(in, 1) & 7;
	uint8_t fis[0x80];

	for (unsigned k = 0; k < sizeof(fis); k++)
		fis[k] = (uint8_t)(k < 16 || (k >= 0x40 && k < 0x4c) ? fuzz_take(in, 1) : 0);
	fis[0] = fis[0] < 250 ? 0x27 : fis[0];
	fis[1] |= fis[1] & 1 ? 0x80 : 0;
	fis[2] = fis[2] & 1 ? likely[fis[2] % sizeof(likely)] : fis[2];
	fis[0x40] = fis[0x40] & 1 ? packets[fis[0x40] % sizeof(packets)] : fis[0x40];
	if (fis[15] & 0x10) /* a small address */
		memset(fis + 8, 0, 3), fis[5] = fis[6] = fis[13] = 0, memset(fis + 0x42, 0, 3);
	ram_write(&t.ram, GPA(table), fis, sizeof(fis));
	for (unsigned k = 0; k < segments; k++) {
		put(table + 0x80 + 16 * k, address(in), 8);
		put(table + 0x88 + 16 * k, fuzz_take(in, 2) << 32, 8);
	}
	put(list + 32 * slot, 5 | (fuzz_take(in, 1) > 250 ? 0xffffu : segments) << 16, 4);
	put(list + 32 * slot + 8, table, 8);
	bus_write(&t.mmio, BAR + 0x100 + 0x80 * n + 0x38, 1u << slot, 4);
}

static void start_port(struct fuzz_input *in, unsigned n)
{
	uint64_t base = BAR + 0x100 + 0x80 * n;

	bus_write(&t.mmio, base + 0x18, 0x10, 4);
	bus_write(&t.mmio, base, address(in), 4);
	bus_write(&t.mmio, base + 8, address(in), 4);
	bus_write(&t.mmio, base + 0x14, 0xffffffff, 4);
	bus_write(&t.mmio, base + 0x18, 0x11, 4);
}

static void one(struct fuzz_input *in)
{
	unsigned what = (unsigned)fuzz_take(in, 1), n = what >> 4 & 1;
	uint32_t v;

	switch (what % 10) {
	case 0:
	case 1:
		v = (uint32_t)fuzz_take(in, 4);
		bus_write(&t.mmio, BAR + (fuzz_take(in, 2) & 0x5fc), v, 4);
		break;
	case 2:
		bus_read(&t.mmio, BAR + (fuzz_take(in, 2) & 0xfff), 1u << (what >> 6));
		break;
	case 3:
		start_port(in, n);
		break;
	case 4:
		t.mood = (uint8_t)fuzz_take(in, 1);
		if (!(t.mood & 1))
			drain(NULL);
		break;
	case 5:
		if (t.count)
			finish(t.waiting[--t.count]);
		break;
	default:
		issue(in, n);
		break;
	}
}

static void fuzz_one(struct fuzz_input *in)
{
	if (!t.host.bus.device[0])
		set_up();
	t.mood = 0;
	pci_host_reset(&t.host);
	LM_BUG_ON(t.count);
	pci_config_write(&t.host.bus, SLOT, PCI_BASE_ADDRESS_5, BAR, 4);
	pci_config_write(&t.host.bus, SLOT, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	start_port(in, 0);
	start_port(in, 1);
	while (in->p < in->end)
		one(in);
}
