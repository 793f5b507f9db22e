#include "machine/boot/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/file_io.h"
#include "dev/chipset/layout.h"

#define MAX_FILE (UINT64_C(2) * GIB)

/* ---- Files ---- */

static int open_regular(const char *path, size_t *size, struct lm_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not to wait for a pipe */
	struct stat st;

	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot open %s", path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return lm_err_set(err, -EINVAL, "%s is not a regular file", path);
	}
	if ((uint64_t)st.st_size > MAX_FILE) {
		close(fd);
		return lm_err_set(err, -EFBIG, "%s is larger than 2 GiB: not a kernel or initrd",
				  path);
	}
	*size = (size_t)st.st_size;
	return fd;
}

static int file_load(struct boot_file *f, const char *path, struct lm_err *err)
{
	int fd = open_regular(path, &f->size, err), rc;

	if (fd < 0)
		return fd;
	f->path = path;
	rc = read_whole(fd, path, f->size, &f->data, err);
	close(fd);
	return rc;
}

/* ---- Guest memory ---- */

int boot_put(struct boot *b, const char *what, uint64_t gpa, const void *data, size_t len,
	     struct lm_err *err)
{
	if (ram_write(b->config->ram, GPA(gpa), data, len))
		return 0;
	return lm_err_set(err, -ENOMEM,
			  "%s (%zu KiB at guest address 0x%llx) does not fit into %llu MiB of memory: "
			  "give the guest more with --memory",
			  what, len / 1024, (unsigned long long)gpa,
			  (unsigned long long)(b->config->ram->size / MIB));
}

static void add_range(struct boot_map *map, uint64_t start, uint64_t end, uint32_t type)
{
	if (end > start)
		map->range[map->count++] = (struct boot_range){ start, end - start, type };
}

/* The PC's map: conventional memory, BIOS areas, RAM below and above 4 GiB, ECAM. */
static void build_map(struct boot_map *map, const struct ram *ram)
{
	map->count = 0;
	add_range(map, 0, BOOT_LOW_END, BOOT_RAM);
	add_range(map, BOOT_LOW_END, RAM_HOLE_VGA_START, BOOT_RESERVED);
	add_range(map, PC_ACPI_BASE, PC_ACPI_END, BOOT_RESERVED);
	add_range(map, MIB, ram_low_top(ram), BOOT_RAM);
	add_range(map, PC_ECAM_BASE, PC_ECAM_BASE + PC_ECAM_SIZE, BOOT_RESERVED);
	add_range(map, RAM_HIGH_START, RAM_HIGH_START + ram_high_size(ram), BOOT_RAM);
}

int boot_put_initrd(struct boot *b, uint64_t floor, uint64_t limit, struct lm_err *err)
{
	uint64_t top = LM_MIN(limit, ram_low_top(b->config->ram));

	if (!b->initrd.data)
		return 0;
	if (b->initrd.size > top || align_down(top - b->initrd.size, PAGE_SIZE) < floor)
		return lm_err_set(err, -ENOMEM,
				  "initrd %s (%zu KiB) does not fit between the kernel and %llu MiB: "
				  "give the guest more with --memory",
				  b->initrd.path, b->initrd.size / 1024,
				  (unsigned long long)(top / MIB));
	b->initrd_gpa = align_down(top - b->initrd.size, PAGE_SIZE);
	return boot_put(b, "the initrd", b->initrd_gpa, b->initrd.data, b->initrd.size, err);
}

int boot_put_cmdline(struct boot *b, size_t max, struct lm_err *err)
{
	const char *line = b->config->append ? b->config->append : "";
	size_t len = strlen(line) + 1;

	max = LM_MIN(max, BOOT_CMDLINE_MAX);
	if (len > max)
		return lm_err_set(err, -E2BIG,
				  "the kernel command line has %zu bytes; this kernel takes %zu",
				  len - 1, max - 1);
	return boot_put(b, "the kernel command line", BOOT_CMDLINE, line, len, err);
}

/* ---- The boot vCPU ---- */

#define BOOT_CS 0x10
#define BOOT_DS 0x18

static const struct x86_segment flat_code = {
	BOOT_CS, SEG_P | SEG_S | SEG_CODE | SEG_READABLE | SEG_ACCESSED | SEG_DB | SEG_G,
	0xffffffff, 0
};
static const struct x86_segment flat_data = {
	BOOT_DS, SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_DB | SEG_G, 0xffffffff, 0
};

int boot_enter_protected(struct boot *b, uint32_t entry, struct lm_err *err)
{
	static const uint64_t gdt[] = { 0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff };
	struct x86_state *s = b->bsp;
	int rc = boot_put(b, "the boot GDT", BOOT_GDT, gdt, sizeof(gdt), err);

	if (rc < 0)
		return rc;
	s->gdtr = (struct x86_table_reg){ .base = BOOT_GDT, .limit = sizeof(gdt) - 1 };
	s->seg[CS] = flat_code;
	s->seg[DS] = s->seg[ES] = s->seg[FS] = s->seg[GS] = s->seg[SS] = flat_data;
	s->cr0 = CR0_PE | CR0_ET;
	s->rflags = FLAG_FIXED;
	s->rip = entry;
	return 0;
}

/* ---- Choice of the protocol ---- */

static int load_by_protocol(struct boot *b, struct lm_err *err)
{
	static int (*const protocols[])(struct boot *, struct lm_err *) = {
		boot_bzimage,
		boot_pvh,
		boot_multiboot,
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(protocols); k++) {
		int rc = protocols[k](b, err);

		if (rc)
			return rc < 0 ? rc : 0;
	}
	return lm_err_set(err, -ENOEXEC,
			  "%s is no kernel lamina can boot: neither a bzImage, nor an ELF file with a "
			  "PVH note, nor a multiboot 1 image",
			  b->kernel.path);
}

int boot_load(const struct boot_config *config, struct x86_state *bsp, struct lm_err *err)
{
	struct boot b = { .config = config, .bsp = bsp };
	int rc;

	build_map(&b.map, config->ram);
	rc = file_load(&b.kernel, config->kernel, err);
	if (!rc && config->initrd)
		rc = file_load(&b.initrd, config->initrd, err);
	if (!rc && config->initrd && !b.initrd.size)
		rc = lm_err_set(err, -EINVAL, "initrd %s is empty", config->initrd);
	if (!rc)
		rc = load_by_protocol(&b, err);
	free(b.kernel.data);
	free(b.initrd.data);
	return rc;
}
