/*
 * The Linux/x86 boot protocol, 32-bit entry (Documentation/x86/boot.rst): the real-mode setup code
 * is skipped, its header goes into the zero page, and the protected-mode part starts at its load
 * address with ESI pointing to the zero page.
 */
#include <errno.h>

#include "base/bits.h"
#include "machine/boot/boot.h"

/* Offsets in the first sectors of the file, which are those of the zero page as well. */
#define SETUP_SECTS       0x1f1
#define SYSSIZE           0x1f4 /* of what follows the setup code, in units of 16 bytes */
#define BOOT_FLAG         0x1fe
#define HEADER_JUMP       0x200
#define HEADER_MAGIC      0x202
#define PROTOCOL_VERSION  0x206
#define TYPE_OF_LOADER    0x210
#define LOADFLAGS         0x211
#define CODE32_START      0x214
#define RAMDISK_IMAGE     0x218
#define RAMDISK_SIZE      0x21c
#define HEAP_END_PTR      0x224
#define CMD_LINE_PTR      0x228
#define INITRD_ADDR_MAX   0x22c
#define CMDLINE_SIZE      0x238
#define PREF_ADDRESS      0x258
#define INIT_SIZE         0x260
#define HEADER_START      0x1f1

/* Offsets in the zero page only. */
#define ACPI_RSDP_ADDR    0x070
#define E820_ENTRIES      0x1e8
#define E820_TABLE        0x2d0

#define MAGIC_HDRS        0x53726448
#define LOADER_UNDEFINED  0xff
#define LOADED_HIGH       0x01
#define CAN_USE_HEAP      0x80
#define MIN_PROTOCOL      0x0204 /* Linux 2.6.14: bzImage with initrd and command line pointer */
#define ZERO_PAGE_SIZE    4096

static int bad(const struct boot *b, const char *why, struct lm_err *err)
{
	return lm_err_set(err, -ENOEXEC, "%s: damaged bzImage: %s", b->kernel.path, why);
}

static unsigned protocol(const struct boot *b)
{
	return (unsigned)le_load(b->kernel.data + PROTOCOL_VERSION, 2);
}

static uint64_t field(const struct boot *b, unsigned offset, unsigned size, unsigned since,
		      uint64_t otherwise)
{
	return protocol(b) >= since ? le_load(b->kernel.data + offset, size) : otherwise;
}

static size_t setup_size(const struct boot *b)
{
	unsigned sectors = b->kernel.data[SETUP_SECTS];

	return 512u * ((sectors ? sectors : 4) + 1);
}

static void fill_e820(const struct boot_map *map, uint8_t *zero)
{
	zero[E820_ENTRIES] = (uint8_t)map->count;
	for (unsigned k = 0; k < map->count; k++) {
		uint8_t *e = zero + E820_TABLE + 20 * k;

		le_store(e, map->range[k].start, 8);
		le_store(e + 8, map->range[k].size, 8);
		le_store(e + 16, map->range[k].type, 4);
	}
}

static int put_zero_page(struct boot *b, uint64_t load, struct lm_err *err)
{
	uint8_t zero[ZERO_PAGE_SIZE] = { 0 };
	size_t header_end = HEADER_MAGIC + b->kernel.data[HEADER_JUMP + 1];

	memcpy(zero + HEADER_START, b->kernel.data + HEADER_START, header_end - HEADER_START);
	zero[TYPE_OF_LOADER] = LOADER_UNDEFINED;
	zero[LOADFLAGS] |= CAN_USE_HEAP;
	le_store(zero + HEAP_END_PTR, 0xfe00, 2);
	le_store(zero + CODE32_START, load, 4);
	le_store(zero + CMD_LINE_PTR, BOOT_CMDLINE, 4);
	le_store(zero + RAMDISK_IMAGE, b->initrd_gpa, 4);
	le_store(zero + RAMDISK_SIZE, b->initrd.size, 4);
	le_store(zero + ACPI_RSDP_ADDR, b->config->rsdp, 8);
	fill_e820(&b->map, zero);
	return boot_put(b, "boot data", BOOT_PARAMS, zero, sizeof(zero), err);
}

static bool is_bzimage(const struct boot_file *f)
{
	return f->size >= 0x268 && le_load(f->data + HEADER_MAGIC, 4) == MAGIC_HDRS &&
	       le_load(f->data + BOOT_FLAG, 2) == 0xaa55;
}

static int check(const struct boot *b, struct lm_err *err)
{
	if (protocol(b) < MIN_PROTOCOL)
		return bad(b, "its boot protocol is older than 2.04", err);
	if (!(b->kernel.data[LOADFLAGS] & LOADED_HIGH))
		return bad(b, "a zImage, which loads below 1 MiB", err);
	if (setup_size(b) >= b->kernel.size)
		return bad(b, "cut off inside its setup code", err);
	if (b->kernel.size - setup_size(b) < 16 * le_load(b->kernel.data + SYSSIZE, 4))
		return bad(b, "cut off: its header tells of more", err);
	return 0;
}

int boot_bzimage(struct boot *b, struct lm_err *err)
{
	uint64_t load, room, initrd_max;
	size_t setup, size;
	int rc;

	if (!is_bzimage(&b->kernel))
		return 0;
	rc = check(b, err);
	if (rc < 0)
		return rc;
	setup = setup_size(b);
	size = b->kernel.size - setup;
	load = field(b, PREF_ADDRESS, 8, 0x020a, MIB);
	room = LM_MAX(field(b, INIT_SIZE, 4, 0x020a, 0), size);
	initrd_max = field(b, INITRD_ADDR_MAX, 4, 0x0203, 0x37ffffff) + 1;
	rc = boot_put(b, "the kernel", load, b->kernel.data + setup, size, err);
	if (!rc)
		rc = boot_put_initrd(b, align_up(load + room, PAGE_SIZE), initrd_max, err);
	if (!rc)
		rc = boot_put_cmdline(b, field(b, CMDLINE_SIZE, 4, 0x0206, 255) + 1, err);
	if (!rc)
		rc = put_zero_page(b, load, err);
	if (!rc)
		rc = boot_enter_protected(b, (uint32_t)load, err);
	if (rc < 0)
		return rc;
	b->bsp->gpr[RSI] = BOOT_PARAMS;
	return 1;
}
