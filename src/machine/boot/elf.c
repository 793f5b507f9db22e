/* ELF executables of both classes, as boot images: segments by physical address (System V gABI). */
#include <elf.h>
#include <errno.h>

#include "base/bits.h"
#include "machine/boot/elf.h"

static int bad(const struct boot_file *f, const char *why, struct lm_err *err)
{
	return lm_err_set(err, -ENOEXEC, "%s: damaged ELF file: %s", f->path, why);
}

bool elf_is(const struct boot_file *f)
{
	return f->size >= SELFMAG && !memcmp(f->data, ELFMAG, SELFMAG);
}

struct elf_segment elf_segment_at(const struct boot_file *f, const struct elf_view *v, unsigned n)
{
	const uint8_t *p = f->data + v->ph_offset + (uint64_t)n * v->ph_size;

	if (v->is_64) {
		Elf64_Phdr h;

		memcpy(&h, p, sizeof(h));
		return (struct elf_segment){ h.p_type, h.p_offset, h.p_paddr, h.p_filesz, h.p_memsz };
	}
	Elf32_Phdr h;

	memcpy(&h, p, sizeof(h));
	return (struct elf_segment){ h.p_type, h.p_offset, h.p_paddr, h.p_filesz, h.p_memsz };
}

static int check_segments(const struct boot_file *f, const struct elf_view *v, struct lm_err *err)
{
	for (unsigned n = 0; n < v->ph_count; n++) {
		struct elf_segment s = elf_segment_at(f, v, n);

		if (s.type != PT_LOAD && s.type != PT_NOTE)
			continue;
		if (s.offset > f->size || s.file_size > f->size - s.offset)
			return bad(f, "a segment lies outside the file: it is cut off", err);
	}
	return 0;
}

int elf_open(const struct boot_file *f, struct elf_view *v, struct lm_err *err)
{
	if (f->size < sizeof(Elf64_Ehdr))
		return bad(f, "the header is cut off", err);
	v->is_64 = f->data[EI_CLASS] == ELFCLASS64;
	if (v->is_64) {
		Elf64_Ehdr h;

		memcpy(&h, f->data, sizeof(h));
		*v = (struct elf_view){ true, h.e_entry, h.e_phoff, h.e_phnum, h.e_phentsize };
	} else {
		Elf32_Ehdr h;

		memcpy(&h, f->data, sizeof(h));
		*v = (struct elf_view){ false, h.e_entry, h.e_phoff, h.e_phnum, h.e_phentsize };
	}
	if (v->ph_size < (v->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
	    v->ph_offset > f->size ||
	    (uint64_t)v->ph_count * v->ph_size > f->size - v->ph_offset)
		return bad(f, "the program headers lie outside the file", err);
	return check_segments(f, v, err);
}

static int zero_fill(struct boot *b, uint64_t gpa, uint64_t len, struct lm_err *err)
{
	uint8_t *p = ram_ptr(b->config->ram, GPA(gpa), len);

	if (!p)
		return boot_put(b, "the kernel's zeroed data", gpa, NULL, len, err);
	memset(p, 0, len);
	ram_note_write(b->config->ram, p, len);
	return 0;
}

static int load_segment(struct boot *b, const struct elf_segment *s, struct lm_err *err)
{
	const struct boot_file *f = &b->kernel;
	int rc;

	if (s->mem_size < s->file_size)
		return bad(f, "a segment is larger in the file than in memory", err);
	rc = boot_put(b, "the kernel", s->paddr, f->data + s->offset, s->file_size, err);
	if (rc < 0 || s->mem_size == s->file_size)
		return rc;
	return zero_fill(b, s->paddr + s->file_size, s->mem_size - s->file_size, err);
}

int boot_load_elf(struct boot *b, uint64_t *entry, uint64_t *end, struct lm_err *err)
{
	const struct boot_file *f = &b->kernel;
	struct elf_view v;
	int rc = elf_open(f, &v, err);

	if (rc < 0)
		return rc;
	*entry = v.entry;
	*end = 0;
	for (unsigned n = 0; n < v.ph_count; n++) {
		struct elf_segment s = elf_segment_at(f, &v, n);

		if (s.type != PT_LOAD || !s.mem_size)
			continue;
		rc = load_segment(b, &s, err);
		if (rc < 0)
			return rc;
		*end = LM_MAX(*end, s.paddr + s.mem_size);
	}
	return *end ? 0 : bad(f, "nothing to load", err);
}
