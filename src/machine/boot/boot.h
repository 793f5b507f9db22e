/*
 * Boot protocols: put a kernel into guest memory and the boot vCPU at its entry.
 *
 * bzImage (Linux Documentation/x86/boot.rst, 32-bit entry), PVH ELF (Xen docs/misc/pvh.pandoc) and
 * multiboot 1 (GNU multiboot 0.6.96). The protocol is found from the file itself.
 */
#ifndef LM_MACHINE_BOOT_H
#define LM_MACHINE_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "isa/x86/state.h"
#include "mem/ram.h"

/* Where boot data goes in low memory; free on a PC without firmware. */
#define BOOT_GDT         UINT64_C(0x1000)
#define BOOT_START_INFO  UINT64_C(0x2000) /* PVH hvm_start_info, multiboot info */
#define BOOT_MEMMAP      UINT64_C(0x3000)
#define BOOT_PARAMS      UINT64_C(0x7000) /* Linux' zero page */
#define BOOT_CMDLINE     UINT64_C(0x20000)
#define BOOT_CMDLINE_MAX 4096u /* with the terminating NUL */
#define BOOT_LOW_END     UINT64_C(0x9fc00) /* above: the extended BIOS data area */

/* A range of the memory map in e820's terms. */
enum boot_range_type { BOOT_RAM = 1, BOOT_RESERVED = 2 };

struct boot_range {
	uint64_t start, size;
	uint32_t type;
};

#define BOOT_MAX_RANGES 8

struct boot_map {
	struct boot_range range[BOOT_MAX_RANGES];
	unsigned count;
};

/* A whole file in memory (heap). */
struct boot_file {
	const char *path;
	uint8_t *data;
	size_t size;
};

struct boot_config {
	struct ram *ram;
	const char *kernel, *initrd, *append; /* initrd and append may be NULL */
	uint64_t rsdp;                        /* ACPI root pointer */
};

/* The kernel's and the boot vCPU's view while a protocol does its work. */
struct boot {
	const struct boot_config *config;
	struct boot_file kernel, initrd;
	struct boot_map map;
	uint64_t initrd_gpa;
	struct x86_state *bsp;
};

/* Loads everything and sets bsp (already reset) to the entry. May be called again for a reboot. */
int boot_load(const struct boot_config *config, struct x86_state *bsp, struct lm_err *err);

/* ---- For the protocols ---- */

/* 1 when the file is of this protocol, 0 when not, negative with err when it is but is bad. */
int boot_bzimage(struct boot *b, struct lm_err *err);
int boot_pvh(struct boot *b, struct lm_err *err);
int boot_multiboot(struct boot *b, struct lm_err *err);

/* Copies into guest memory; an error names what did not fit where. */
int boot_put(struct boot *b, const char *what, uint64_t gpa, const void *data, size_t len,
	     struct lm_err *err);

/* Loads the ELF segments of b->kernel by their physical addresses; *entry is e_entry. */
int boot_load_elf(struct boot *b, uint64_t *entry, uint64_t *end, struct lm_err *err);

/* Puts the initrd as high as it may be below `limit`, above `floor`; sets b->initrd_gpa. */
int boot_put_initrd(struct boot *b, uint64_t floor, uint64_t limit, struct lm_err *err);
/* The kernel command line at BOOT_CMDLINE. */
int boot_put_cmdline(struct boot *b, size_t max, struct lm_err *err);

/* 32-bit protected mode without paging, flat segments through a GDT at BOOT_GDT. */
int boot_enter_protected(struct boot *b, uint32_t entry, struct lm_err *err);

#endif
