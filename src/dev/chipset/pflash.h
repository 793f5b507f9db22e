/*
 * Parallel NOR flash with Intel's command set, one byte wide, in blocks of 4 KiB: where UEFI firmware
 * keeps its variables.
 *
 * References: Intel/Numonyx P30 datasheet, "Command Set"; JEDEC JESD68.01 (CFI). OVMF looks for it
 * with Clear Status, Read Status and Read Array (QemuFlashFvbServicesRuntimeDxe).
 *
 * The array's bytes are the caller's, of a file that is mapped. Under the device lock. Owned by the
 * board.
 */
#ifndef LM_DEV_CHIPSET_PFLASH_H
#define LM_DEV_CHIPSET_PFLASH_H

#include "base/err.h"
#include "base/fields.h"
#include "dev/bus.h"

#define PFLASH_BLOCK  4096u
#define PFLASH_BUFFER 256u /* bytes of a buffered program */
#define PFLASH_MAX    (16u << 20)

enum pflash_mode {
	PFLASH_ARRAY,
	PFLASH_STATUS,
	PFLASH_ID,
	PFLASH_CFI,
	PFLASH_PROGRAM,        /* a byte to program follows */
	PFLASH_ERASE,          /* the confirmation follows */
	PFLASH_LOCK,           /* a lock command follows; locks have no effect */
	PFLASH_BUFFER_COUNT,   /* a buffered program's count follows */
	PFLASH_BUFFER_DATA,
	PFLASH_BUFFER_CONFIRM,
};

struct pflash {
	uint8_t *data; /* not owned */
	uint32_t size;
	uint8_t mode; /* enum pflash_mode */
	uint8_t status;
	/* A buffered program: bytes where they shall go, at any place in the block of the first. */
	uint32_t buffer_block;
	uint32_t buffer_left;
	uint32_t buffer_used;
	uint16_t buffer_offset[PFLASH_BUFFER];
	uint8_t buffer[PFLASH_BUFFER];
	struct bus_region region;
};

/* The array itself is the board's to save. */
extern const struct fields_section pflash_section;

/* size: a multiple of PFLASH_BLOCK, at most PFLASH_MAX. */
int pflash_init(struct pflash *f, struct bus *mmio, uint64_t gpa, uint8_t *data, uint32_t size,
		struct lm_err *err);
void pflash_reset(struct pflash *f);

#endif
