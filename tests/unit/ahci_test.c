/* AHCI: identification, reads and writes, packets, errors and their recovery, bad addresses, resets. */
#include "dev/ahci/ahci.h"

#include <errno.h>
#include <string.h>

#include "base/bits.h"
#include "check.h"
#include "dev/pci_host.h"

#define BAR	 UINT64_C(0xc0000000)
#define LIST	 UINT64_C(0x10000)
#define FIS	 UINT64_C(0x11000)
#define TABLE	 UINT64_C(0x12000)
#define BUFFER	 UINT64_C(0x20000)
#define DISK	 (1024 * 512)
#define ST_FRE	 0x11u
#define TFES	 0x40000000u
#define HBFS	 0x20000000u

static struct bus mmio, port;
static struct ram ram;
static struct pci_host host;
static struct ahci ahci;
static uint8_t media[2][DISK];
static bool irq, media_fails, later;
static struct block_request *waiting;

static void set_line(void *opaque, unsigned number, bool level)
{
	irq |= level;
}

static void carry_out(struct blockdev *dev, struct block_request *req)
{
	uint8_t *at = media[dev->read_only] + req->offset;

	for (unsigned k = 0; k < req->iov_count && !media_fails; k++) {
		if (req->op == BLOCK_READ)
			memcpy(req->iov[k].iov_base, at, req->iov[k].iov_len);
		else
			memcpy(at, req->iov[k].iov_base, req->iov[k].iov_len);
		at += req->iov[k].iov_len;
	}
	req->done(req, media_fails ? -EIO : 0);
}

static void submit(struct blockdev *dev, struct block_request *req)
{
	CHECK(req->offset + req->len <= DISK);
	if (later)
		waiting = req;
	else
		carry_out(dev, req);
}

static void drain(struct blockdev *dev)
{
	struct block_request *req = waiting;

	waiting = NULL;
	if (req)
		carry_out(dev, req);
}

static const struct blockdev_ops ops = { submit, drain };
static struct blockdev disk = { &ops, DISK, false, "serial" };
static struct blockdev cd = { &ops, DISK, true, "" };

static uint32_t hba(unsigned reg)
{
	return (uint32_t)bus_read(&mmio, BAR + reg, 4);
}

static uint32_t get(unsigned n, unsigned reg)
{
	return hba(0x100 + 0x80 * n + reg);
}

static void put(unsigned n, unsigned reg, uint32_t v)
{
	bus_write(&mmio, BAR + 0x100 + 0x80 * n + reg, v, 4);
}

static void start_port(unsigned n)
{
	put(n, 0x00, LIST);
	put(n, 0x08, FIS);
	put(n, 0x14, 0xffffffff);
	put(n, 0x30, 0xffffffff);
	put(n, 0x10, 0xffffffff);
	put(n, 0x18, ST_FRE);
}

static void set_up(void)
{
	struct irq_line line[PCI_INTX_LINES];

	for (unsigned k = 0; k < PCI_INTX_LINES; k++)
		line[k] = (struct irq_line){ set_line, NULL, k };
	memset(&mmio, 0, sizeof(mmio));
	memset(&port, 0, sizeof(port));
	media_fails = later = false;
	CHECK_EQ(ram_init(&ram, 4 * MIB, NULL), 0);
	pci_host_init(&host, &mmio, &port, line, (struct msi_sink){ 0 }, 0xb0000000, NULL);
	CHECK_EQ(ahci_init(&ahci, &host.bus, 8, &ram, NULL), 0);
	ahci_connect(&ahci, 0, &disk, false);
	ahci_connect(&ahci, 1, &cd, true);
	pci_config_write(&host.bus, 8, PCI_BASE_ADDRESS_5, BAR, 4);
	pci_config_write(&host.bus, 8, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	bus_write(&mmio, BAR + 4, 0x80000002, 4);
	start_port(0);
	start_port(1);
	irq = false;
}

static void put_ram(uint64_t gpa, uint64_t v, unsigned size)
{
	CHECK(ram_write(&ram, GPA(gpa), &v, size));
}

static uint8_t ram_byte(uint64_t gpa)
{
	return *ram_ptr(&ram, GPA(gpa), 1);
}

/* A command in slot 3 with one segment; its packet is 12 bytes, or NULL. */
static void command(unsigned n, uint8_t cmd, uint64_t lba, uint16_t count, uint32_t len,
		    const uint8_t *packet)
{
	uint8_t table[0x80] = { 0x27, 0x80, cmd, 0 };

	le_store(table + 4, lba & 0xffffff, 3);
	table[7] = 0x40;
	le_store(table + 8, lba >> 24, 3);
	le_store(table + 12, count, 2);
	if (packet)
		memcpy(table + 0x40, packet, 12);
	CHECK(ram_write(&ram, GPA(TABLE), table, sizeof(table)));
	put_ram(TABLE + 0x80, BUFFER, 8);
	put_ram(TABLE + 0x88, (uint64_t)(len - 1) << 32, 8);
	put_ram(LIST + 3 * 32, 5 | 1u << 16, 4);
	put_ram(LIST + 3 * 32 + 4, 0, 4);
	put_ram(LIST + 3 * 32 + 8, TABLE, 8);
	put(n, 0x38, 1u << 3);
}

static void packet(uint8_t opcode, uint32_t at, uint16_t count, uint32_t len)
{
	uint8_t p[12] = { opcode };

	for (unsigned k = 0; k < 4; k++)
		p[2 + k] = (uint8_t)(at >> (24 - 8 * k));
	p[7] = (uint8_t)(count >> 8);
	p[8] = (uint8_t)count;
	if (opcode == 0x03 || opcode == 0x12)
		p[4] = (uint8_t)len;
	command(1, 0xa0, 0, 0, len, p);
}

static void recover(unsigned n)
{
	put(n, 0x18, 0x10);
	put(n, 0x10, 0xffffffff);
	put(n, 0x18, ST_FRE);
}

static void test_presence(void)
{
	set_up();
	CHECK_EQ(hba(0x10), 0x00010300);
	CHECK_EQ(get(0, 0x24), 0x101);
	CHECK_EQ(get(1, 0x24), 0xeb140101);
	CHECK_EQ(get(0, 0x28), 0x113);
	CHECK_EQ(get(2, 0x28), 0);
	CHECK_EQ(get(0, 0x20) & 0xff, 0x50);
	CHECK_EQ(ram_byte(FIS + 0x40), 0x34); /* the drives' first FIS */
	ram_fini(&ram);
}

static void test_identify(void)
{
	set_up();
	command(0, 0xec, 0, 0, 512, NULL);
	CHECK_EQ(get(0, 0x38), 0);
	CHECK_EQ(get(0, 0x20) & 0xff, 0x50);
	CHECK(irq);
	CHECK_EQ(hba(0x08), 1);
	CHECK_EQ(ram_byte(BUFFER + 20 + 1), 's');
	CHECK_EQ(ram_byte(BUFFER + 120) | ram_byte(BUFFER + 121) << 8, 1024);
	CHECK_EQ(ram_byte(LIST + 3 * 32 + 5), 2); /* 512 bytes */
	command(1, 0xec, 0, 0, 512, NULL); /* not a disk */
	CHECK_EQ(get(1, 0x20), 0x0451);
	recover(1);
	command(1, 0xa1, 0, 0, 512, NULL);
	CHECK_EQ(ram_byte(BUFFER + 1), 0x85);
	ram_fini(&ram);
}

static void test_disk(void)
{
	set_up();
	memset(media[0], 7, DISK);
	command(0, 0x25, 1023, 1, 512, NULL);
	CHECK_EQ(get(0, 0x20) & 0xff, 0x50);
	CHECK_EQ(ram_byte(BUFFER + 511), 7);
	put_ram(BUFFER, 0x1122334455667788, 8);
	command(0, 0xca, 2, 1, 512, NULL);
	CHECK_EQ(media[0][1024], 0x88);
	CHECK_EQ(media[0][1023], 7);
	command(0, 0xea, 0, 0, 512, NULL);
	CHECK_EQ(get(0, 0x38), 0);
	command(0, 0x25, 1024, 1, 512, NULL); /* beyond the end */
	CHECK_EQ(get(0, 0x20), 0x1051);
	CHECK(get(0, 0x10) & TFES);
	CHECK_EQ(get(0, 0x38), 1u << 3); /* stays until ST is cleared */
	recover(0);
	CHECK_EQ(get(0, 0x38), 0);
	command(0, 0x25, 0xffffffffffff, 0, 512, NULL);
	CHECK_EQ(get(0, 0x20), 0x1051);
	recover(0);
	media_fails = true;
	command(0, 0x25, 0, 1, 512, NULL);
	CHECK_EQ(get(0, 0x20), 0x4051);
	ram_fini(&ram);
}

static void test_bad_memory(void)
{
	set_up();
	command(0, 0x25, 0, 2, 512, NULL); /* more than its segment holds */
	CHECK(get(0, 0x10) & HBFS);
	recover(0);
	put_ram(TABLE + 0x80, 0xffff0000, 8);
	put_ram(LIST + 3 * 32 + 8, TABLE, 8);
	put(0, 0x38, 1u << 3);
	CHECK(get(0, 0x10) & HBFS);
	recover(0);
	put_ram(LIST + 3 * 32 + 8, UINT64_C(0xffffffffffffff80), 8);
	put(0, 0x38, 1u << 3);
	CHECK(get(0, 0x10) & HBFS);
	recover(0);
	put(0, 0x04, 0xffffffff); /* the list itself */
	put(0, 0x38, 1);
	CHECK(get(0, 0x10) & HBFS);
	ram_fini(&ram);
}

static void test_cdrom(void)
{
	set_up();
	memset(media[1], 9, DISK);
	packet(0x25, 0, 0, 8);
	CHECK_EQ(ram_byte(BUFFER + 3), DISK / 2048 - 1);
	CHECK_EQ(ram_byte(BUFFER + 6), 8);
	packet(0x28, 255, 1, 2048);
	CHECK_EQ(get(1, 0x20) & 0xff, 0x50);
	CHECK_EQ(ram_byte(BUFFER + 2047), 9);
	packet(0x28, 255, 2, 4096);
	CHECK_EQ(get(1, 0x20), 0x5051); /* illegal request */
	recover(1);
	packet(0x03, 0, 0, 18);
	CHECK_EQ(ram_byte(BUFFER + 2), 5);
	CHECK_EQ(ram_byte(BUFFER + 12), 0x21);
	packet(0xff, 0, 0, 8);
	CHECK_EQ(get(1, 0x20), 0x5051);
	recover(1);
	packet(0x43, 0, 20, 20);
	CHECK_EQ(ram_byte(BUFFER + 1), 18);
	CHECK_EQ(ram_byte(BUFFER + 14), 0xaa);
	media_fails = true;
	packet(0x28, 0, 1, 2048);
	CHECK_EQ(get(1, 0x20), 0x3051);
	ram_fini(&ram);
}

/* Clearing ST or resetting the link waits for what is in flight; more commands do not overtake. */
static void test_in_flight(void)
{
	set_up();
	later = true;
	command(0, 0x25, 0, 1, 512, NULL);
	CHECK_EQ(get(0, 0x38), 8);
	CHECK_EQ(get(0, 0x18) >> 8 & 31, 3);
	put(0, 0x38, 1);
	CHECK_EQ(get(0, 0x38), 9);
	put(0, 0x18, 0x10);
	CHECK(!waiting);
	CHECK_EQ(get(0, 0x38), 0);
	put(0, 0x18, ST_FRE);
	command(0, 0x25, 0, 1, 512, NULL);
	CHECK(waiting != NULL);
	put(0, 0x2c, 0x301);
	CHECK(!waiting);
	CHECK_EQ(get(0, 0x28), 0);
	put(0, 0x2c, 0x300);
	CHECK_EQ(get(0, 0x28), 0x113);
	start_port(0);
	command(0, 0x25, 0, 1, 512, NULL);
	ahci_drain(&ahci);
	CHECK_EQ(get(0, 0x38), 0);
	command(0, 0x25, 0, 1, 512, NULL);
	pci_host_reset(&host);
	CHECK(!waiting);
	CHECK_EQ(ahci.port[0].ci, 0);
	ram_fini(&ram);
}

/* Two writes to the control register, as Linux resets drives. */
static void test_soft_reset(void)
{
	set_up();
	command(0, 0, 0, 0, 512, NULL);
	recover(0);
	for (unsigned srst = 1; srst <= 1; srst--) {
		uint8_t table[0x80] = { 0x27, 0 };

		table[15] = srst ? 4 : 0;
		CHECK(ram_write(&ram, GPA(TABLE), table, sizeof(table)));
		put_ram(FIS + 0x40, 0, 1);
		put(0, 0x38, 8);
		CHECK_EQ(get(0, 0x38), 0);
		CHECK_EQ(ram_byte(FIS + 0x40), srst ? 0 : 0x34);
	}
	CHECK_EQ(get(0, 0x20), 0x0150);
	ram_fini(&ram);
}

int main(void)
{
	test_presence();
	test_identify();
	test_disk();
	test_bad_memory();
	test_cdrom();
	test_in_flight();
	test_soft_reset();
	return check_done();
}
