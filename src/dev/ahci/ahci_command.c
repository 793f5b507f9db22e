/* Command lists (AHCI 1.3.1 §4 and §5.5). */
#include <string.h>

#include "base/bits.h"
#include "dev/ahci/ahci.h"

#define HEADER_SIZE   32
#define HEADER_BYTES  4 /* where the number of transferred bytes goes */
#define TABLE_SIZE    0x80
#define TABLE_PACKET  0x40
#define SEGMENT_SIZE  16
#define SEGMENT_BYTES 0x3fffffu /* less one */

/* Received FISes (§4.2.1). */
#define RX_PIO	      0x20
#define RX_D2H	      0x40
#define FIS_H2D	      0x27
#define FIS_D2H	      0x34
#define FIS_PIO	      0x5f
#define FIS_SIZE      20
#define FIS_INTERRUPT 0x40

#define CONTROL_SRST  0x04

#define SIG_ATA	      0x00000101u
#define SIG_ATAPI     0xeb140101u

/* ---- Telling the guest ---- */

static void receive_fis(struct ahci_port *p, unsigned at, const uint8_t fis[FIS_SIZE])
{
	if (p->cmd & PORT_CMD_FRE)
		ram_write(p->ahci->ram, GPA(p->fis + at), fis, FIS_SIZE);
}

static void send_d2h(struct ahci_port *p, uint8_t status, uint8_t error, bool interrupt)
{
	uint8_t fis[FIS_SIZE] = { FIS_D2H, interrupt ? FIS_INTERRUPT : 0, status, error };

	le_store(fis + 4, p->c.lba & 0xffffff, 3);
	fis[7] = p->c.device;
	le_store(fis + 8, p->c.lba >> 24, 3);
	le_store(fis + 12, p->c.count, 2);
	receive_fis(p, RX_D2H, fis);
	p->tfd = (uint32_t)error << 8 | status;
	if (interrupt)
		p->is |= PORT_IS_D2H;
}

static void send_pio_setup(struct ahci_port *p, uint32_t len)
{
	uint8_t fis[FIS_SIZE] = { FIS_PIO, FIS_INTERRUPT | 0x20, ATA_GOOD | ATA_DRQ, 0 };

	fis[15] = ATA_GOOD;
	le_store(fis + 16, len, 2);
	receive_fis(p, RX_PIO, fis);
	p->is |= PORT_IS_PIO;
}

/* ATA8-ACS table 206: count 1, LBA 1 or the packet signature. */
void ahci_send_signature(struct ahci_port *p)
{
	p->sig = p->cdrom ? SIG_ATAPI : SIG_ATA;
	p->c = (struct ahci_command){ .count = 1, .lba = p->sig >> 8 };
	p->tfd = 0x0100 | (p->cdrom ? 0 : ATA_GOOD);
	p->signature_waits = !(p->cmd & PORT_CMD_FRE);
	if (!p->signature_waits)
		send_d2h(p, p->cdrom ? 0 : ATA_GOOD, 1, false);
}

/* An error leaves the command in the list and stops the port until ST is cleared (§6.2.2). */
void ahci_done(struct ahci_port *p, uint8_t status, uint8_t error)
{
	uint8_t slot = p->slot;

	p->slot = AHCI_NO_SLOT;
	send_d2h(p, status, error, true);
	if (status & ATA_ERR) {
		p->is |= PORT_IS_TFES;
		p->stopped = true;
		p->errors++;
	} else {
		p->ci &= ~(1u << slot);
	}
	ahci_update_irq(p->ahci);
	ahci_port_run(p);
}

/* Addresses that lead nowhere (§6.1.2). */
static void bus_error(struct ahci_port *p)
{
	p->slot = AHCI_NO_SLOT;
	p->is |= PORT_IS_HBFS;
	p->stopped = true;
	p->errors++;
	ahci_update_irq(p->ahci);
}

/* ---- The guest's memory ---- */

/* The first `len` bytes of the command's segments, into p->iov; how many there are. */
static uint64_t map_segments(struct ahci_port *p, uint64_t len)
{
	uint64_t have = 0;

	p->iov_count = 0;
	for (uint32_t k = 0; k < p->c.segments && k < AHCI_SEGMENTS && have < len; k++) {
		uint8_t raw[SEGMENT_SIZE];
		uint64_t bytes;
		uint8_t *at;

		if (!ram_read(p->ahci->ram, GPA(p->c.prdt + k * SEGMENT_SIZE), raw, sizeof(raw)))
			break;
		bytes = LM_MIN((le_load(raw + 12, 4) & SEGMENT_BYTES) + 1, len - have);
		at = ram_ptr(p->ahci->ram, GPA(le_load(raw, 8)), bytes);
		if (!at)
			break;
		p->iov[p->iov_count++] = (struct iovec){ at, bytes };
		have += bytes;
	}
	return have;
}

static void note_written(struct ahci_port *p)
{
	for (unsigned k = 0; k < p->iov_count; k++)
		ram_note_write(p->ahci->ram, p->iov[k].iov_base, p->iov[k].iov_len);
}

static void tell_bytes(struct ahci_port *p, uint64_t bytes)
{
	uint8_t raw[4];

	le_store(raw, bytes, sizeof(raw));
	ram_write(p->ahci->ram, GPA(p->c.header + HEADER_BYTES), raw, sizeof(raw));
}

void ahci_reply(struct ahci_port *p, const void *bytes, uint32_t len)
{
	const uint8_t *from = bytes;
	uint64_t have = map_segments(p, len);

	for (unsigned k = 0; k < p->iov_count; k++) {
		memcpy(p->iov[k].iov_base, from, p->iov[k].iov_len);
		from += p->iov[k].iov_len;
	}
	note_written(p);
	tell_bytes(p, have);
	send_pio_setup(p, (uint32_t)have);
	ahci_done(p, ATA_GOOD, 0);
}

/* ---- The medium ---- */

static void medium_done(struct block_request *req, int result)
{
	struct ahci_port *p = LM_CONTAINER_OF(req, struct ahci_port, block);

	if (result < 0) {
		if (p->cdrom)
			atapi_medium_error(p);
		else
			ata_medium_error(p);
		return;
	}
	if (req->op == BLOCK_READ)
		note_written(p);
	tell_bytes(p, req->len);
	ahci_done(p, ATA_GOOD, 0);
}

static void submit(struct ahci_port *p, enum block_op op, uint64_t offset, uint64_t len)
{
	p->block = (struct block_request){
		.op = op,
		.offset = offset,
		.len = len,
		.iov = p->iov,
		.iov_count = p->iov_count,
		.done = medium_done,
	};
	p->backend->ops->submit(p->backend, &p->block);
	blockdev_commit(p->backend);
}

void ahci_transfer(struct ahci_port *p, enum block_op op, uint64_t offset, uint64_t len)
{
	uint64_t size = p->backend->size;

	if (!len || offset > size || len > size - offset) {
		ahci_done(p, ATA_GOOD | ATA_ERR, ATA_IDNF);
		return;
	}
	if (map_segments(p, len) < len) {
		bus_error(p);
		return;
	}
	submit(p, op, offset, len);
}

void ahci_flush(struct ahci_port *p)
{
	p->iov_count = 0;
	submit(p, BLOCK_FLUSH, 0, 0);
}

/* ---- Commands ---- */

/* A write to the control register: a reset by software has two of them. */
static void control(struct ahci_port *p)
{
	bool reset = p->c.control & CONTROL_SRST, was = p->soft_reset;
	uint8_t slot = p->slot;

	p->soft_reset = reset;
	p->slot = AHCI_NO_SLOT;
	p->ci &= ~(1u << slot);
	if (was && !reset)
		ahci_send_signature(p);
}

static bool fetch(struct ahci_port *p, unsigned slot)
{
	struct ahci_command *c = &p->c;
	uint8_t header[HEADER_SIZE], table[TABLE_SIZE];
	uint64_t at;

	c->header = p->list + slot * HEADER_SIZE;
	if (!ram_read(p->ahci->ram, GPA(c->header), header, sizeof(header)))
		return false;
	at = le_load(header + 8, 8) & ~UINT64_C(0x7f);
	if (!ram_read(p->ahci->ram, GPA(at), table, sizeof(table)) || table[0] != FIS_H2D)
		return false;
	c->segments = (uint32_t)le_load(header + 2, 2);
	c->prdt = at + TABLE_SIZE;
	c->is_command = table[1] & 0x80;
	c->command = table[2];
	c->features = (uint16_t)(table[3] | table[11] << 8);
	c->lba = le_load(table + 4, 3) | le_load(table + 8, 3) << 24;
	c->device = table[7];
	c->count = (uint16_t)le_load(table + 12, 2);
	c->control = table[15];
	memcpy(c->packet, table + TABLE_PACKET, sizeof(c->packet));
	return true;
}

static void start(struct ahci_port *p, unsigned slot)
{
	p->slot = (uint8_t)slot;
	p->requests++;
	if (!fetch(p, slot))
		bus_error(p);
	else if (!p->c.is_command)
		control(p);
	else if (p->cdrom)
		atapi_execute(p);
	else
		ata_execute(p);
}

/* Commands that end at once come back here through ahci_done: not deeper, but by the loop. */
void ahci_port_run(struct ahci_port *p)
{
	if (p->running || !p->backend)
		return;
	p->running = true;
	while (p->cmd & PORT_CMD_ST && !p->stopped && p->slot == AHCI_NO_SLOT && p->ci)
		start(p, (unsigned)__builtin_ctz(p->ci));
	p->running = false;
}
