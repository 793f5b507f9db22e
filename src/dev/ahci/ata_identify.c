/* IDENTIFY DEVICE (ATA8-ACS §7.16) and IDENTIFY PACKET DEVICE (§7.17): words, little endian. */
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "dev/ahci/ahci.h"

/* Of a file's name at most; the host's CHS for systems that insist on one. */
#define HEADS	     16
#define TRACK	     63
#define CYLINDERS    16383
#define LBA28_MAX    0x0fffffffu

static void word(uint8_t *id, unsigned n, uint16_t v)
{
	le_store(id + 2 * n, v, 2);
}

/* Text has its bytes swapped in words, and is filled with spaces. */
static void text(uint8_t *id, unsigned first, unsigned words, const char *s)
{
	size_t len = strlen(s);

	for (unsigned k = 0; k < 2 * words; k++)
		id[(2 * first + k) ^ 1] = k < len ? (uint8_t)s[k] : ' ';
}

static void common(const struct ahci_port *p, uint8_t *id, const char *model)
{
	memset(id, 0, ATA_IDENTIFY_SIZE);
	text(id, 10, 10, p->backend->id);
	text(id, 23, 4, LAMINA_VERSION);
	text(id, 27, 20, model);
	word(id, 48, 1);
	word(id, 49, 0x0f00); /* IORDY, LBA, DMA */
	word(id, 53, 0x0006); /* words 64 to 70 and 88 are valid */
	word(id, 63, 0x0007); /* multiword DMA 0 to 2 */
	word(id, 64, 0x0003); /* PIO 3 and 4 */
	for (unsigned k = 65; k <= 68; k++)
		word(id, k, 120); /* cycle times, ns */
	word(id, 76, 0x0002); /* SATA generation 1 */
	word(id, 80, 0x01f0); /* ATA/ATAPI-4 to ATA8-ACS */
	word(id, 88, 0x203f); /* ultra DMA 0 to 5, 5 is chosen */
	word(id, 93, 0);
}

void ata_identify(const struct ahci_port *p, uint8_t id[ATA_IDENTIFY_SIZE])
{
	uint64_t sectors = p->backend->size / BLOCK_SECTOR_SIZE;
	uint64_t cylinders = LM_MIN(sectors / (HEADS * TRACK), (uint64_t)CYLINDERS);

	common(p, id, "lamina disk");
	word(id, 0, 0x0040); /* a fixed disk */
	word(id, 1, (uint16_t)cylinders);
	word(id, 3, HEADS);
	word(id, 6, TRACK);
	word(id, 47, 0x8010); /* READ MULTIPLE of 16 sectors */
	word(id, 59, 0x0110);
	le_store(id + 120, LM_MIN(sectors, (uint64_t)LBA28_MAX), 4);
	word(id, 82, 0x4020); /* NOP, write cache */
	word(id, 83, 0x7400); /* FLUSH CACHE, ... EXT, 48-bit addresses */
	word(id, 84, 0x4000);
	word(id, 85, 0x4020);
	word(id, 86, 0x3400);
	word(id, 87, 0x4000);
	le_store(id + 200, sectors, 8);
	word(id, 217, 1); /* nothing rotates */
}

void atapi_identify(const struct ahci_port *p, uint8_t id[ATA_IDENTIFY_SIZE])
{
	common(p, id, "lamina CD-ROM");
	word(id, 0, 0x85c0); /* packet device, CD-ROM, removable, DRQ at once, 12-byte packets */
	word(id, 82, 0x4210);
	word(id, 83, 0x4000);
	word(id, 85, 0x4210);
	word(id, 125, 0);
}
