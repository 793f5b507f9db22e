/* CD-ROM drives: packet commands (MMC-6, SPC-4), read-only media with one data track. */
#include <string.h>

#include "base/bits.h"
#include "dev/ahci/ahci.h"

#define CD_SECTOR	   2048u
#define CMD_PACKET	   0xa0
#define CMD_IDENTIFY	   0xa1
#define CMD_DEVICE_RESET   0x08
#define CMD_SET_FEATURES   0xef
#define CMD_NOP_GOOD	   0xe0 /* STANDBY IMMEDIATE; 0xe1 IDLE IMMEDIATE */

/* Sense keys and additional codes (SPC-4 §4.5.6). */
#define KEY_NONE	   0
#define KEY_MEDIUM	   3
#define KEY_ILLEGAL	   5
#define ASC_UNRECOVERED	   0x11
#define ASC_INVALID_OPCODE 0x20
#define ASC_LBA_RANGE	   0x21
#define ASC_INVALID_FIELD  0x24

#define LEAD_OUT	   0xaa

static uint64_t be(const uint8_t *p, unsigned size)
{
	uint64_t v = 0;

	while (size--)
		v = v << 8 | *p++;
	return v;
}

static void put_be(uint8_t *p, uint64_t v, unsigned size)
{
	while (size--) {
		p[size] = (uint8_t)v;
		v >>= 8;
	}
}

static uint64_t blocks(const struct ahci_port *p)
{
	return p->backend->size / CD_SECTOR;
}

/* ---- Ends ---- */

static void fail(struct ahci_port *p, uint8_t key, uint8_t code)
{
	p->sense_key = key;
	p->sense_code = code;
	p->sense_qualifier = 0;
	ahci_done(p, ATA_GOOD | ATA_ERR, (uint8_t)(key << 4));
}

void atapi_medium_error(struct ahci_port *p)
{
	fail(p, KEY_MEDIUM, ASC_UNRECOVERED);
}

/* Interrupt reason, in the count register: command done, to the host. */
static void good(struct ahci_port *p)
{
	p->sense_key = p->sense_code = p->sense_qualifier = 0;
	p->c.count = 3;
	ahci_done(p, ATA_GOOD, 0);
}

/* An answer, cut at what the guest allocated for it. */
static void answer(struct ahci_port *p, const uint8_t *bytes, uint32_t len, uint32_t allocated)
{
	p->sense_key = p->sense_code = p->sense_qualifier = 0;
	p->c.count = 3;
	len = LM_MIN(len, allocated);
	if (len)
		ahci_reply(p, bytes, len);
	else
		good(p);
}

/* ---- Packet commands ---- */

static void request_sense(struct ahci_port *p)
{
	uint8_t sense[18] = { 0x70, 0, p->sense_key, 0, 0, 0, 0, 10 };

	sense[12] = p->sense_code;
	sense[13] = p->sense_qualifier;
	answer(p, sense, sizeof(sense), p->c.packet[4]);
}

static void inquiry(struct ahci_port *p)
{
	uint8_t data[36] = { 0x05, 0x80, 0x05, 0x32, 31 };

	if (p->c.packet[1] & 1) { /* vital product data: none */
		fail(p, KEY_ILLEGAL, ASC_INVALID_FIELD);
		return;
	}
	memcpy(data + 8, "lamina  CD-ROM          1.0 ", 28);
	answer(p, data, sizeof(data), (uint32_t)be(p->c.packet + 3, 2));
}

static void prevent_removal(struct ahci_port *p)
{
	p->medium_locked = p->c.packet[4] & 1;
	good(p);
}

static void read_capacity(struct ahci_port *p)
{
	uint8_t data[8];

	put_be(data, LM_MIN(blocks(p) - 1, (uint64_t)UINT32_MAX), 4);
	put_be(data + 4, CD_SECTOR, 4);
	answer(p, data, sizeof(data), sizeof(data));
}

static void read_blocks(struct ahci_port *p, uint64_t first, uint64_t count)
{
	if (first > blocks(p) || count > blocks(p) - first) {
		fail(p, KEY_ILLEGAL, ASC_LBA_RANGE);
		return;
	}
	p->c.count = 3;
	if (count)
		ahci_transfer(p, BLOCK_READ, first * CD_SECTOR, count * CD_SECTOR);
	else
		good(p);
}

static void read_10(struct ahci_port *p)
{
	read_blocks(p, be(p->c.packet + 2, 4), be(p->c.packet + 7, 2));
}

static void read_12(struct ahci_port *p)
{
	read_blocks(p, be(p->c.packet + 2, 4), be(p->c.packet + 6, 4));
}

/* User data of mode 1 sectors is all that there is. */
static void read_cd(struct ahci_port *p)
{
	uint8_t wanted = p->c.packet[9] & 0xf8;

	if (!wanted)
		good(p);
	else if (wanted != 0x10)
		fail(p, KEY_ILLEGAL, ASC_INVALID_FIELD);
	else
		read_blocks(p, be(p->c.packet + 2, 4), be(p->c.packet + 6, 3));
}

/* Minutes, seconds and frames of a block; the first is at 00:02:00. */
static void put_address(uint8_t *to, uint64_t block, bool msf)
{
	uint64_t frames = block + 150;

	if (!msf) {
		put_be(to, block, 4);
		return;
	}
	to[0] = 0;
	to[1] = (uint8_t)LM_MIN(frames / 75 / 60, UINT64_C(255));
	to[2] = (uint8_t)(frames / 75 % 60);
	to[3] = (uint8_t)(frames % 75);
}

static uint8_t *toc_track(uint8_t *to, uint8_t track, uint64_t block, bool msf)
{
	to[1] = 0x14; /* a data track */
	to[2] = track;
	put_address(to + 4, block, msf);
	return to + 8;
}

/* Format 0: tracks; 1: sessions, of which there is one. */
static void read_toc(struct ahci_port *p)
{
	uint8_t data[20] = { 0, 0, 1, 1 }, *end = data + 4;
	uint8_t format = p->c.packet[2] & 15, from = p->c.packet[6];
	bool msf = p->c.packet[1] & 2;

	if (!format)
		format = p->c.packet[9] >> 6;
	if (format > 1 || (format == 0 && from > 1 && from != LEAD_OUT)) {
		fail(p, KEY_ILLEGAL, ASC_INVALID_FIELD);
		return;
	}
	if (from <= 1 || format == 1)
		end = toc_track(end, 1, 0, msf);
	if (format == 0)
		end = toc_track(end, LEAD_OUT, blocks(p), msf);
	put_be(data, (uint64_t)(end - data) - 2, 2);
	answer(p, data, (uint32_t)(end - data), (uint32_t)be(p->c.packet + 7, 2));
}

/* Profile CD-ROM, or DVD-ROM for what is larger than any CD. */
static void get_configuration(struct ahci_port *p)
{
	uint8_t data[20] = { 0 };
	uint16_t profile = blocks(p) > 450000 ? 0x0010 : 0x0008;

	put_be(data, sizeof(data) - 4, 4);
	put_be(data + 6, profile, 2);
	data[10] = 0x03; /* feature 0, profile list: current, persistent */
	data[11] = 8;
	put_be(data + 12, 0x0010, 2);
	data[14] = profile == 0x0010;
	put_be(data + 16, 0x0008, 2);
	data[18] = profile == 0x0008;
	answer(p, data, sizeof(data), (uint32_t)be(p->c.packet + 7, 2));
}

static void event_status(struct ahci_port *p)
{
	uint8_t data[8] = { 0, 6, 4, 0x10, 0, 2 }; /* media: no change, present */

	if (!(p->c.packet[1] & 1)) { /* asynchronous */
		fail(p, KEY_ILLEGAL, ASC_INVALID_FIELD);
		return;
	}
	if (!(p->c.packet[4] & 0x10)) {
		data[1] = 2;
		data[2] = 0x80;
	}
	answer(p, data, data[1] + 2u, (uint32_t)be(p->c.packet + 7, 2));
}

static void read_disc_information(struct ahci_port *p)
{
	uint8_t data[34] = { 0, 32, 0x0e, 1, 1, 1, 1, 0x20 }; /* complete, one session and track */

	answer(p, data, sizeof(data), (uint32_t)be(p->c.packet + 7, 2));
}

/* Page 2ah, capabilities (MMC-3 §5.5.10): reads CDs and DVDs, tray, may be locked. */
static uint32_t capabilities(const struct ahci_port *p, uint8_t *page)
{
	memset(page, 0, 20);
	page[0] = 0x2a;
	page[1] = 18;
	page[2] = 0x3b;
	page[4] = 0x70;
	page[6] = 0x29 | (p->medium_locked ? 2 : 0);
	put_be(page + 8, 706, 2); /* KB/s */
	put_be(page + 12, 512, 2);
	put_be(page + 14, 706, 2);
	return 20;
}

static void mode_sense(struct ahci_port *p)
{
	uint8_t data[8 + 20] = { 0 }, page = p->c.packet[2] & 0x3f;
	uint32_t len = 8;

	if (page == 0x2a || page == 0x3f)
		len += capabilities(p, data + 8);
	else if (page != 0x01 && page != 0x0e) {
		fail(p, KEY_ILLEGAL, ASC_INVALID_FIELD);
		return;
	}
	put_be(data, len - 2, 2);
	data[2] = 0x01; /* a data disc */
	answer(p, data, len, (uint32_t)be(p->c.packet + 7, 2));
}

static void mechanism_status(struct ahci_port *p)
{
	uint8_t data[8] = { 0 };

	data[5] = 1;
	answer(p, data, sizeof(data), (uint32_t)be(p->c.packet + 8, 2));
}

static const struct {
	uint8_t opcode;
	void (*execute)(struct ahci_port *p);
} packets[] = {
	{ 0x00, good }, /* TEST UNIT READY */
	{ 0x03, request_sense },
	{ 0x12, inquiry },
	{ 0x1b, good }, /* START STOP UNIT: the disc stays in */
	{ 0x1e, prevent_removal },
	{ 0x25, read_capacity },
	{ 0x28, read_10 },
	{ 0x2b, good }, /* SEEK */
	{ 0x35, good }, /* SYNCHRONIZE CACHE */
	{ 0x43, read_toc },
	{ 0x46, get_configuration },
	{ 0x4a, event_status },
	{ 0x51, read_disc_information },
	{ 0x5a, mode_sense },
	{ 0xa8, read_12 },
	{ 0xbb, good }, /* SET CD SPEED */
	{ 0xbd, mechanism_status },
	{ 0xbe, read_cd },
};

static void packet(struct ahci_port *p)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(packets); k++) {
		if (packets[k].opcode == p->c.packet[0]) {
			packets[k].execute(p);
			return;
		}
	}
	fail(p, KEY_ILLEGAL, ASC_INVALID_OPCODE);
}

static void identify(struct ahci_port *p)
{
	uint8_t id[ATA_IDENTIFY_SIZE];

	atapi_identify(p, id);
	ahci_reply(p, id, sizeof(id));
}

static void device_reset(struct ahci_port *p)
{
	p->ci &= ~(1u << p->slot);
	p->slot = AHCI_NO_SLOT;
	ahci_send_signature(p);
}

/* IDENTIFY DEVICE is refused, so that nobody takes the drive for a disk. */
void atapi_execute(struct ahci_port *p)
{
	switch (p->c.command) {
	case CMD_PACKET:
		packet(p);
		break;
	case CMD_IDENTIFY:
		identify(p);
		break;
	case CMD_DEVICE_RESET:
		device_reset(p);
		break;
	case CMD_SET_FEATURES:
	case CMD_NOP_GOOD:
	case CMD_NOP_GOOD + 1:
		good(p);
		break;
	default:
		ahci_done(p, ATA_GOOD | ATA_ERR, ATA_ABRT);
		break;
	}
}
