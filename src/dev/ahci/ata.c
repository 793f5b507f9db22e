/* Commands of disks (ATA8-ACS §7). */
#include "base/bits.h"
#include "dev/ahci/ahci.h"

#define DEVICE_LBA   0x40
#define POWER_ACTIVE 0xff

#define SECTOR	     BLOCK_SECTOR_SIZE

static void abort_command(struct ahci_port *p)
{
	ahci_done(p, ATA_GOOD | ATA_ERR, ATA_ABRT);
}

void ata_medium_error(struct ahci_port *p)
{
	ahci_done(p, ATA_GOOD | ATA_ERR, p->block.op == BLOCK_READ ? ATA_UNC : ATA_ABRT);
}

static void good(struct ahci_port *p)
{
	ahci_done(p, ATA_GOOD, 0);
}

static void identify(struct ahci_port *p)
{
	uint8_t id[ATA_IDENTIFY_SIZE];

	ata_identify(p, id);
	ahci_reply(p, id, sizeof(id));
}

/* Where and how much: 28-bit commands have the highest bits in the device register. 0 means all. */
static uint64_t first_sector(const struct ahci_port *p, bool extended)
{
	return extended ? p->c.lba : (p->c.lba & 0xffffff) | (uint64_t)(p->c.device & 15) << 24;
}

static uint64_t sectors(const struct ahci_port *p, bool extended)
{
	if (extended)
		return p->c.count ? p->c.count : 0x10000;
	return p->c.count & 0xff ? p->c.count & 0xff : 0x100;
}

static void transfer(struct ahci_port *p, enum block_op op, bool extended)
{
	if (!(p->c.device & DEVICE_LBA))
		abort_command(p); /* cylinders and heads went with the last century */
	else
		ahci_transfer(p, op, first_sector(p, extended) * SECTOR, sectors(p, extended) * SECTOR);
}

static void read_short(struct ahci_port *p)
{
	transfer(p, BLOCK_READ, false);
}

static void read_extended(struct ahci_port *p)
{
	transfer(p, BLOCK_READ, true);
}

static void write_short(struct ahci_port *p)
{
	if (p->backend->read_only)
		abort_command(p);
	else
		transfer(p, BLOCK_WRITE, false);
}

static void write_extended(struct ahci_port *p)
{
	if (p->backend->read_only)
		abort_command(p);
	else
		transfer(p, BLOCK_WRITE, true);
}

static void check_power(struct ahci_port *p)
{
	p->c.count = POWER_ACTIVE;
	good(p);
}

/* Transfer modes and caches: whatever is chosen, it works the same. */
static void set_features(struct ahci_port *p)
{
	switch (p->c.features & 0xff) {
	case 0x02: /* write cache on, off */
	case 0x82:
	case 0x03: /* transfer mode */
	case 0xaa: /* read look-ahead on, off */
	case 0x55:
	case 0x66: /* defaults kept, restored at reset */
	case 0xcc:
		good(p);
		break;
	default:
		abort_command(p);
		break;
	}
}

static const struct {
	uint8_t command;
	void (*execute)(struct ahci_port *p);
} commands[] = {
	{ 0x10, good }, /* RECALIBRATE */
	{ 0x20, read_short }, /* READ SECTORS, ... EXT; WRITE SECTORS, ... EXT */
	{ 0x24, read_extended },
	{ 0x30, write_short },
	{ 0x34, write_extended },
	{ 0x40, good }, /* READ VERIFY SECTORS, ... EXT */
	{ 0x42, good },
	{ 0x91, good }, /* INITIALIZE DEVICE PARAMETERS */
	{ 0xc6, good }, /* SET MULTIPLE MODE */
	{ 0xc4, read_short }, /* READ MULTIPLE, ... EXT; WRITE MULTIPLE, ... EXT */
	{ 0x29, read_extended },
	{ 0xc5, write_short },
	{ 0x39, write_extended },
	{ 0xc8, read_short }, /* READ DMA, ... EXT; WRITE DMA, ... EXT */
	{ 0x25, read_extended },
	{ 0xca, write_short },
	{ 0x35, write_extended },
	{ 0xe0, good }, /* STANDBY IMMEDIATE, IDLE IMMEDIATE, STANDBY, IDLE, SLEEP */
	{ 0xe1, good },
	{ 0xe2, good },
	{ 0xe3, good },
	{ 0xe6, good },
	{ 0xe5, check_power },
	{ 0xe7, ahci_flush }, /* FLUSH CACHE, ... EXT */
	{ 0xea, ahci_flush },
	{ 0xec, identify },
	{ 0xef, set_features },
};

void ata_execute(struct ahci_port *p)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(commands); k++) {
		if (commands[k].command == p->c.command) {
			commands[k].execute(p);
			return;
		}
	}
	abort_command(p);
}
