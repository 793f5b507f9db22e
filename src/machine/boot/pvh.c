/* PVH: an ELF kernel whose note gives a 32-bit entry (Xen public/arch-x86/hvm/start_info.h). */
#include <elf.h>

#include "base/bits.h"
#include "machine/boot/elf.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define PVH_MAGIC                0x336ec578

struct pvh_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};

struct pvh_module {
	uint64_t paddr, size, cmdline_paddr, reserved;
};

struct pvh_memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

/* The entry in one note segment; 0 when it has none. */
static uint32_t find_pvh_note(const uint8_t *notes, uint64_t size)
{
	uint64_t at = 0;

	while (size - at >= 12) {
		uint64_t name_size = le_load(notes + at, 4);
		uint64_t desc_size = le_load(notes + at + 4, 4);
		uint64_t type = le_load(notes + at + 8, 4);
		uint64_t desc = at + 12 + align_up(name_size, 4);

		if (desc > size || align_up(desc_size, 4) > size - desc)
			return 0;
		if (type == XEN_ELFNOTE_PHYS32_ENTRY && name_size == 4 && desc_size >= 4 &&
		    !memcmp(notes + at + 12, "Xen", 4))
			return (uint32_t)le_load(notes + desc, 4);
		at = desc + align_up(desc_size, 4);
	}
	return 0;
}

static uint32_t pvh_entry(const struct boot *b, const struct elf_view *v)
{
	for (unsigned n = 0; n < v->ph_count; n++) {
		struct elf_segment s = elf_segment_at(&b->kernel, v, n);
		uint32_t entry;

		if (s.type != PT_NOTE)
			continue;
		entry = find_pvh_note(b->kernel.data + s.offset, s.file_size);
		if (entry)
			return entry;
	}
	return 0;
}

static int put_start_info(struct boot *b, struct lm_err *err)
{
	struct pvh_memmap_entry map[BOOT_MAX_RANGES] = { 0 };
	struct pvh_module module = { b->initrd_gpa, b->initrd.size, 0, 0 };
	struct pvh_start_info info = {
		.magic = PVH_MAGIC,
		.version = 1,
		.nr_modules = b->initrd.data ? 1 : 0,
		.modlist_paddr = BOOT_START_INFO + sizeof(info),
		.cmdline_paddr = BOOT_CMDLINE,
		.rsdp_paddr = b->config->rsdp,
		.memmap_paddr = BOOT_MEMMAP,
		.memmap_entries = b->map.count,
	};
	int rc;

	for (unsigned k = 0; k < b->map.count; k++)
		map[k] = (struct pvh_memmap_entry){ b->map.range[k].start, b->map.range[k].size,
						    b->map.range[k].type, 0 };
	rc = boot_put(b, "boot data", BOOT_MEMMAP, map, sizeof(map), err);
	if (!rc)
		rc = boot_put(b, "boot data", BOOT_START_INFO, &info, sizeof(info), err);
	if (!rc)
		rc = boot_put(b, "boot data", BOOT_START_INFO + sizeof(info), &module,
			      sizeof(module), err);
	return rc;
}

int boot_pvh(struct boot *b, struct lm_err *err)
{
	struct elf_view v;
	uint64_t entry, end;
	uint32_t start;
	int rc;

	if (!elf_is(&b->kernel))
		return 0;
	rc = elf_open(&b->kernel, &v, err);
	if (rc < 0)
		return rc;
	start = pvh_entry(b, &v);
	if (!start)
		return 0;
	rc = boot_load_elf(b, &entry, &end, err);
	if (!rc)
		rc = boot_put_initrd(b, align_up(end, PAGE_SIZE), RAM_LOW_MAX, err);
	if (!rc)
		rc = boot_put_cmdline(b, BOOT_CMDLINE_MAX, err);
	if (!rc)
		rc = put_start_info(b, err);
	if (!rc)
		rc = boot_enter_protected(b, start, err);
	if (rc < 0)
		return rc;
	b->bsp->gpr[RBX] = BOOT_START_INFO;
	return 1;
}
