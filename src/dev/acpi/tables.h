/*
 * The ACPI tables of the PC board (ACPI 6.4 §5.2): RSDP, RSDT, XSDT, FADT, FACS, MADT, MCFG,
 * DSDT and, for a watchdog, WDAT. Ports, interrupts and fixed addresses are those of dev/chipset/layout.h.
 */
#ifndef LM_DEV_ACPI_TABLES_H
#define LM_DEV_ACPI_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ACPI_MAX_CPUS	   1024
#define ACPI_MAX_POINTERS  16
#define ACPI_MAX_CHECKSUMS 12
#define ACPI_RSDP_SIZE	   36
#define ACPI_FIRST_TABLE   64 /* offset of what follows the RSDP */

/* Window ends are exclusive; start == end is no window. */
struct acpi_config {
	unsigned cpus; /* 1 to ACPI_MAX_CPUS; APIC IDs are 0, 1, … */
	uint64_t pci32_start, pci32_end;
	uint64_t pci64_start, pci64_end;
	uint64_t ecam_base; /* PC_ECAM_SIZE bytes */
	unsigned uarts;	    /* COM1 to COM<uarts>, at most 4 */
	bool keyboard, mouse, pvpanic, fw_cfg, watchdog;
	uint64_t vmgenid; /* guest-physical address of the generation ID, 0 for none */
};

/*
 * Writes the tables for guest-physical address gpa (a multiple of 64, below 4 GiB; the RSDP comes
 * first, so 16-byte aligned within the BIOS area is where systems scan for it). Returns the bytes
 * used, -ENOSPC where size is too small, or -EINVAL for a configuration that ACPI cannot tell.
 */
int acpi_build(const struct acpi_config *config, uint64_t gpa, uint8_t *buf, size_t size,
	       struct lm_err *err);

/*
 * What depends on where the tables lie, by offset from the RSDP: little-endian addresses, and bytes
 * that make a range's sum zero, in the order in which they have to be made.
 */
struct acpi_fixups {
	struct {
		uint32_t at;
		uint8_t size;
	} pointer[ACPI_MAX_POINTERS];
	struct {
		uint32_t at, start, length;
	} checksum[ACPI_MAX_CHECKSUMS];
	unsigned pointers, checksums;
};

/* The same for whoever moves them: built for address 0, with what moving changes. */
int acpi_build_movable(const struct acpi_config *config, uint8_t *buf, size_t size,
		       struct acpi_fixups *fixups, struct lm_err *err);

#endif
