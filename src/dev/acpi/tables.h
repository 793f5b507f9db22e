/*
 * The ACPI tables of the PC board (ACPI 6.4 §5.2): RSDP, RSDT, XSDT, FADT, FACS, MADT, MCFG and
 * DSDT. Ports, interrupts and fixed addresses are those of dev/chipset/layout.h.
 */
#ifndef LM_DEV_ACPI_TABLES_H
#define LM_DEV_ACPI_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ACPI_MAX_CPUS 1024

/* Window ends are exclusive; start == end is no window. */
struct acpi_config {
	unsigned cpus; /* 1 to ACPI_MAX_CPUS; APIC IDs are 0, 1, … */
	uint64_t pci32_start, pci32_end;
	uint64_t pci64_start, pci64_end;
	uint64_t ecam_base; /* PC_ECAM_SIZE bytes */
	unsigned uarts;	    /* COM1 to COM<uarts>, at most 4 */
	bool keyboard, pvpanic, fw_cfg;
	uint64_t vmgenid; /* guest-physical address of the generation ID, 0 for none */
};

/*
 * Writes the tables for guest-physical address gpa (a multiple of 64, below 4 GiB; the RSDP comes
 * first, so 16-byte aligned within the BIOS area is where systems scan for it). Returns the bytes
 * used, -ENOSPC where size is too small, or -EINVAL for a configuration that ACPI cannot tell.
 */
int acpi_build(const struct acpi_config *config, uint64_t gpa, uint8_t *buf, size_t size,
	       struct lm_err *err);

#endif
