/*
 * Firmware in guest memory: a read-only image that ends at 4 GiB, where the first instruction is
 * fetched, its last 128 KiB copied below 1 MiB as a PC's chipset shows them, and for UEFI a flash chip
 * with variables below the image.
 */
#ifndef LM_MACHINE_FIRMWARE_H
#define LM_MACHINE_FIRMWARE_H

#include "base/err.h"
#include "dev/bus.h"
#include "dev/chipset/pflash.h"
#include "mem/ram.h"

/* Paths; borrowed. */
struct firmware_files {
	const char *code;          /* NULL: no firmware */
	const char *vars;          /* variables, kept; made from the template where it is not there yet */
	const char *vars_template; /* NULL: no flash chip */
	const char *vga;           /* VGA BIOS; NULL where the firmware has its own driver */
};

struct firmware {
	struct ram_window *code;
	struct pflash flash;
	uint8_t *vars; /* NULL: none */
	size_t vars_size;
	int vars_fd;
	uint8_t *vga; /* VGA BIOS, NULL: none */
	size_t vga_size;
};

/* Reads the files; maps code and flash. On failure too, firmware_unload is to be called. */
int firmware_load(struct firmware *f, const struct firmware_files *files, struct ram *ram,
		  struct bus *mmio, struct lm_err *err);
/* Power-on and reset: the copy below 1 MiB is the image's again. */
void firmware_power_on(struct firmware *f, struct ram *ram);
void firmware_unload(struct firmware *f);

#endif
