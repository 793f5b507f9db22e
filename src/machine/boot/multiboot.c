/* Multiboot 1 (GNU multiboot specification 0.6.96): kernels that say where they want to be. */
#include <errno.h>
#include <stdio.h>

#include "base/bits.h"
#include "machine/boot/elf.h"

#define HEADER_MAGIC     0x1badb002
#define BOOT_MAGIC       0x2badb002
#define SEARCH_BYTES     8192

/* Header flags. */
#define WANTS_VIDEO      0x00000004
#define HAS_ADDRESSES    0x00010000
#define UNKNOWN_REQUIRED 0x0000fff8 /* bits 3-15: must be understood, and we do not */

/* Information flags (§3.3). */
#define INFO_MEMORY      0x001
#define INFO_CMDLINE     0x004
#define INFO_MODULES     0x008
#define INFO_MMAP        0x040
#define INFO_LOADER      0x200

struct mb_header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct mb_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
};

struct mb_module {
	uint32_t start, end, string, reserved;
};

struct mb_mmap {
	uint32_t size;
	uint64_t addr, len;
	uint32_t type;
} __attribute__((packed));

static const char loader_name[] = "lamina";

#define INFO_MODULE (BOOT_START_INFO + 0x100)
#define INFO_NAME   (BOOT_START_INFO + 0x200)

/* GRUB and QEMU put the image's name in front of the arguments; kernels skip the first word. */
static int put_cmdline(struct boot *b, struct lm_err *err)
{
	const char *append = b->config->append ? b->config->append : "";
	char line[BOOT_CMDLINE_MAX];
	int len = snprintf(line, sizeof(line), "%s%s%s", b->kernel.path, *append ? " " : "", append);

	if (len >= (int)sizeof(line))
		return lm_err_set(err, -E2BIG, "the kernel command line is longer than %zu bytes",
				  sizeof(line) - 1);
	return boot_put(b, "the kernel command line", BOOT_CMDLINE, line, (size_t)len + 1, err);
}

static bool find_header(const struct boot_file *f, struct mb_header *h, size_t *at)
{
	size_t end = LM_MIN(f->size, SEARCH_BYTES);

	for (*at = 0; *at + 12 <= end; *at += 4) {
		memset(h, 0, sizeof(*h));
		memcpy(h, f->data + *at, LM_MIN(sizeof(*h), f->size - *at));
		if (h->magic == HEADER_MAGIC && h->magic + h->flags + h->checksum == 0)
			return true;
	}
	return false;
}

/* The a.out kludge (§3.1.3): addresses in the header instead of ELF headers. */
static int load_by_addresses(struct boot *b, const struct mb_header *h, size_t at, uint64_t *entry,
			     uint64_t *end, struct lm_err *err)
{
	const struct boot_file *f = &b->kernel;
	uint64_t back = h->header_addr - (uint64_t)h->load_addr, size;

	if (h->load_addr > h->header_addr || back > at)
		return lm_err_set(err, -ENOEXEC, "%s: multiboot header loads before the file",
				  f->path);
	size = f->size - (at - back);
	if (h->load_end_addr) {
		if (h->load_end_addr < h->load_addr || h->load_end_addr - h->load_addr > size)
			return lm_err_set(err, -ENOEXEC,
					  "%s: multiboot header loads beyond the file", f->path);
		size = h->load_end_addr - h->load_addr;
	}
	*entry = h->entry_addr;
	*end = LM_MAX(h->load_addr + size, (uint64_t)h->bss_end_addr);
	return boot_put(b, "the kernel", h->load_addr, f->data + (at - back), size, err);
}

static int put_map(struct boot *b, struct mb_info *info, struct lm_err *err)
{
	struct mb_mmap map[BOOT_MAX_RANGES];

	for (unsigned k = 0; k < b->map.count; k++)
		map[k] = (struct mb_mmap){ sizeof(map[k]) - 4, b->map.range[k].start,
					   b->map.range[k].size, b->map.range[k].type };
	info->mmap_addr = BOOT_MEMMAP;
	info->mmap_length = (uint32_t)(b->map.count * sizeof(map[0]));
	return boot_put(b, "boot data", BOOT_MEMMAP, map, info->mmap_length, err);
}

static int put_info(struct boot *b, struct lm_err *err)
{
	struct mb_module module = { (uint32_t)b->initrd_gpa,
				    (uint32_t)(b->initrd_gpa + b->initrd.size), 0, 0 };
	struct mb_info info = {
		.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MMAP | INFO_LOADER,
		.mem_lower = (uint32_t)(BOOT_LOW_END / KIB),
		.mem_upper = (uint32_t)((ram_low_top(b->config->ram) - MIB) / KIB),
		.cmdline = (uint32_t)BOOT_CMDLINE,
		.mods_count = b->initrd.data ? 1 : 0,
		.mods_addr = (uint32_t)INFO_MODULE,
		.loader_name = (uint32_t)INFO_NAME,
	};
	int rc = put_map(b, &info, err);

	if (!rc)
		rc = boot_put(b, "boot data", INFO_MODULE, &module, sizeof(module), err);
	if (!rc)
		rc = boot_put(b, "boot data", INFO_NAME, loader_name, sizeof(loader_name), err);
	if (!rc)
		rc = boot_put(b, "boot data", BOOT_START_INFO, &info, sizeof(info), err);
	return rc;
}

int boot_multiboot(struct boot *b, struct lm_err *err)
{
	struct mb_header h;
	uint64_t entry, end;
	size_t at;
	int rc;

	if (!find_header(&b->kernel, &h, &at))
		return 0;
	if (h.flags & (UNKNOWN_REQUIRED | WANTS_VIDEO))
		return lm_err_set(err, -ENOEXEC,
				  "%s: its multiboot header requires what lamina lacks (flags 0x%x)",
				  b->kernel.path, h.flags);
	if (h.flags & HAS_ADDRESSES)
		rc = load_by_addresses(b, &h, at, &entry, &end, err);
	else if (elf_is(&b->kernel))
		rc = boot_load_elf(b, &entry, &end, err);
	else
		rc = lm_err_set(err, -ENOEXEC, "%s: a multiboot image without addresses or ELF",
				b->kernel.path);
	if (!rc)
		rc = boot_put_initrd(b, align_up(end, PAGE_SIZE), RAM_LOW_MAX, err);
	if (!rc)
		rc = put_cmdline(b, err);
	if (!rc)
		rc = put_info(b, err);
	if (!rc)
		rc = boot_enter_protected(b, (uint32_t)entry, err);
	if (rc < 0)
		return rc;
	b->bsp->gpr[RAX] = BOOT_MAGIC;
	b->bsp->gpr[RBX] = BOOT_START_INFO;
	return 1;
}
