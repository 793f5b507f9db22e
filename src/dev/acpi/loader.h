/*
 * The ACPI tables for firmware as QEMU hands them over (hw/acpi/bios-linker-loader.c): fw_cfg files
 * with the tables, whose pointers are offsets, and a script that places them in memory. SeaBIOS and
 * OVMF run it.
 */
#ifndef LM_DEV_ACPI_LOADER_H
#define LM_DEV_ACPI_LOADER_H

#include "dev/acpi/tables.h"
#include "dev/chipset/fw_cfg.h"

#define ACPI_FILE_RSDP	 "etc/acpi/rsdp"
#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_LOADER "etc/table-loader"

/* One command of the script: 128 bytes, little endian, file names with their NUL. */
#define ACPI_LOADER_ENTRY 128

enum acpi_loader_command {
	ACPI_LOADER_ALLOCATE = 1,     /* file, align (4 bytes), zone (1): place it in memory */
	ACPI_LOADER_ADD_POINTER = 2,  /* file, file pointed to, offset (4), size (1): add its address */
	ACPI_LOADER_ADD_CHECKSUM = 3, /* file, offset, start, length (4 each): make the sum zero */
};

enum acpi_loader_zone {
	ACPI_LOADER_HIGH = 1, /* anywhere below 4 GiB */
	ACPI_LOADER_FSEG = 2, /* 0xe0000 to 0xfffff, where systems look for the RSDP */
};

/* Adds the three files. 0, or what acpi_build or fw_cfg_add_file return. */
int acpi_loader_add(struct fw_cfg *fw, const struct acpi_config *config, struct lm_err *err);

#endif
