/*
 * Files that users hand over: kernels of all boot protocols, symbol tables and trace
 * specifications, valid ones with damage and random ones. Loading succeeds or gives one line that
 * says why not; it writes nothing outside RAM and into no hole.
 */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/bug.h"
#include "isa/x86/trace.h"
#include "machine/boot/boot.h"
#include "machine/symbols.h"
#include "fuzz.h"

#define RAM_BYTES (4 * MIB)
#define FILE_MAX  8192u

static struct fuzz_input *input;
static uint8_t file[FILE_MAX];
static size_t file_size;

static uint64_t take(unsigned bytes)
{
	return fuzz_take(input, bytes);
}

static void put(size_t at, uint64_t value, unsigned size)
{
	if (at + size <= FILE_MAX)
		le_store(file + at, value, size);
}

/* ---- Valid files ---- */

static void make_bzimage(void)
{
	put(0x1f1, 1, 1);
	put(0x1fe, 0xaa55, 2);
	put(0x200, 0x66eb, 2);
	put(0x202, 0x53726448, 4);
	put(0x206, 0x020f, 2);
	put(0x211, 1, 1);
	put(0x22c, 0x7fffffff, 4);
	put(0x238, 2047, 4);
	put(0x258, MIB, 8);
	put(0x260, 0x100000, 4);
}

static void make_elf64(void)
{
	const Elf64_Ehdr h = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_entry = MIB, .e_phoff = sizeof(h),
		.e_shoff = 0x200, .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2,
		.e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 3,
	};
	const Elf64_Phdr p[] = {
		{ .p_type = PT_LOAD, .p_offset = 0x800, .p_paddr = MIB, .p_filesz = 0x400, .p_memsz = 0x2000 },
		{ .p_type = PT_NOTE, .p_offset = 0x400, .p_filesz = 20 },
	};
	const Elf64_Shdr s[] = {
		{ 0 },
		{ .sh_type = SHT_SYMTAB, .sh_offset = 0x500, .sh_size = 4 * sizeof(Elf64_Sym), .sh_link = 2 },
		{ .sh_type = SHT_STRTAB, .sh_offset = 0x600, .sh_size = 32 },
	};

	memcpy(file, &h, sizeof(h));
	memcpy(file + sizeof(h), p, sizeof(p));
	memcpy(file + 0x200, s, sizeof(s));
	memcpy(file + 0x400, (const uint32_t[]){ 4, 4, 18, 0x00006e65, MIB }, 20);
	memcpy(file + 0x40c, "Xen", 4);
	for (unsigned k = 0; k < 4; k++) {
		const Elf64_Sym sym = { .st_name = 8 * k, .st_info = STT_FUNC, .st_value = take(8) };

		memcpy(file + 0x500 + k * sizeof(sym), &sym, sizeof(sym));
	}
	memset(file + 0x600, 'a', 31);
	file[0x61f] = 0;
}

static void make_elf32(void)
{
	const Elf32_Ehdr h = {
		.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC, .e_machine = EM_386, .e_entry = MIB, .e_phoff = sizeof(h),
		.e_phentsize = sizeof(Elf32_Phdr), .e_phnum = 2,
	};
	const Elf32_Phdr p[] = {
		{ .p_type = PT_LOAD, .p_offset = 0x800, .p_paddr = MIB, .p_filesz = 0x400, .p_memsz = 0x2000 },
		{ .p_type = PT_NOTE, .p_offset = 0x400, .p_filesz = 20 },
	};

	memcpy(file, &h, sizeof(h));
	memcpy(file + sizeof(h), p, sizeof(p));
	memcpy(file + 0x400, (const uint32_t[]){ 4, 4, 18, 0x006e6558, MIB }, 20);
}

static void make_multiboot(void)
{
	const uint32_t flags = take(1) & 1 ? 0x10000 : 0;
	const uint32_t at = take(1) & 1 ? 0 : 0x300;

	if (!flags)
		make_elf32();
	memcpy(file + at, (const uint32_t[]){ 0x1badb002, flags, 0 - 0x1badb002 - flags,
					      MIB + at, MIB, 0, MIB + 0x4000, MIB }, 32);
}

/* Bytes and whole words, at the front more often: that is where headers are. */
static void damage(void)
{
	static const uint64_t nasty[] = {
		0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffffffff000, UINT64_MAX, INT64_MAX,
		RAM_BYTES, RAM_BYTES - 1, 0x9f000, 0xa0000, 0xbffff, 0x100000000, FILE_MAX, FILE_MAX - 1,
	};

	for (unsigned n = (unsigned)take(1) % 6; n; n--) {
		unsigned how = (unsigned)take(1);
		size_t at = take(2) % (how & 1 ? 0x700 : how & 2 ? 0x280 : 0x80);
		uint64_t value = how & 4 ? nasty[take(1) % LM_ARRAY_SIZE(nasty)] : take(8);

		put(how & 8 ? at & ~(size_t)7 : at, value, 1u << (how >> 4 & 3));
	}
	if (take(1) % 4 == 0)
		file_size = take(2) % (FILE_MAX + 1);
}

/* The file of this path now holds what `file` does. */
static int save(const char *name, char *path, size_t len)
{
	int fd = memfd_create(name, 0);

	LM_BUG_ON(fd < 0 || write(fd, file, file_size) != (ssize_t)file_size);
	snprintf(path, len, "/proc/self/fd/%d", fd);
	return fd;
}

/* ---- Loading ---- */

static void check_err(int rc, const struct lm_err *err)
{
	LM_BUG_ON(rc > 0);
	if (rc < 0)
		LM_BUG_ON(!err->code || !*err->text || !memchr(err->text, 0, sizeof(err->text)));
}

/* RAM's hole is in the middle of the mapping: what lies there must stay as it is. */
static void check_hole(const struct ram *ram)
{
	for (uint64_t at = RAM_HOLE_VGA_START; at < RAM_HOLE_VGA_END; at += 8)
		LM_BUG_ON(le_load(ram->base + at, 8));
}

static void load_kernel(const char *path)
{
	static struct ram ram;
	struct x86_state bsp = { 0 };
	struct lm_err err = { 0 };
	struct boot_config config = { .ram = &ram, .kernel = path, .rsdp = 0xe0000 };
	int rc;

	if (!ram.base)
		LM_BUG_ON(ram_init(&ram, RAM_BYTES, NULL));
	if (take(1) & 1)
		config.append = "console=ttyS0";
	if (take(1) & 1)
		config.initrd = path;
	rc = boot_load(&config, &bsp, &err);
	check_err(rc, &err);
	if (!rc)
		LM_BUG_ON(!(bsp.cr0 & CR0_PE) || bsp.rip >> 32);
	check_hole(&ram);
}

static void load_symbols(const char *path)
{
	struct lm_err err = { 0 };
	struct symbols *s;
	char name[80];
	int rc = symbols_load(&s, path, &err);

	check_err(rc, &err);
	LM_BUG_ON(!rc != !!s);
	for (unsigned k = 0; k < 8; k++) {
		symbols_name(s, take(8), name, sizeof(name));
		LM_BUG_ON(!*name);
	}
	symbols_free(s);
}

static void make_map(void)
{
	static const char *const lines[] = {
		"ffffffff81000000 T _text\n", "ffffffff81000040 t x\n", "0 A a\n", " t\n",
		"ffffffffffffffffffffff T too_long\n", "10 T a b c\n", "\n",
	};

	file_size = 0;
	while (input->p < input->end && file_size < FILE_MAX - 300) {
		unsigned what = (unsigned)take(1);

		if (what < 32) {
			for (unsigned k = what * 8; k; k--)
				file[file_size++] = (uint8_t)(what & 1 ? 'a' : take(1));
			continue;
		}
		file_size += (size_t)snprintf((char *)file + file_size, 64, "%s",
					      lines[what % LM_ARRAY_SIZE(lines)]);
	}
}

static void parse_trace(void)
{
	static const char *const words[] = {
		"insn", "exc", "int", "port", "mmio", ",", ",", ":", ":", "user", "kernel", "cpu=", "1",
		"-1", "99999999999", "0x", "ffffffff81000000", "-", "x", "%n",
	};
	char spec[256] = "";
	struct lm_err err = { 0 };
	struct x86_trace t;
	size_t len = 0;
	int rc;

	for (unsigned n = (unsigned)take(1) % 12; n && len < 200; n--)
		len += (size_t)snprintf(spec + len, sizeof(spec) - len, "%s",
					words[take(1) % LM_ARRAY_SIZE(words)]);
	if (take(1) % 4 == 0)
		spec[len ? take(1) % len : 0] = (char)take(1);
	rc = trace_parse(&t, spec, stderr, &err);
	check_err(rc, &err);
	if (!rc)
		LM_BUG_ON(!t.kinds || t.low > t.high);
}

static void fuzz_one(struct fuzz_input *in)
{
	static void (*const makers[])(void) = { make_bzimage, make_elf64, make_elf32, make_multiboot,
						make_map };
	unsigned what = (unsigned)fuzz_take(in, 1);
	char path[64];
	int fd;

	input = in;
	memset(file, 0, sizeof(file));
	file_size = FILE_MAX;
	if (what % 8 < LM_ARRAY_SIZE(makers))
		makers[what % 8]();
	else
		for (size_t k = 0; k < FILE_MAX && in->end - in->p > 512; k++)
			file[k] = (uint8_t)take(1);
	damage();
	fd = save("boot-fuzz", path, sizeof(path));
	load_kernel(path);
	load_symbols(path);
	for (unsigned k = 0; k < 8; k++)
		parse_trace();
	close(fd);
}
