/* ELF executables of both classes, as boot images (System V gABI). */
#ifndef LM_MACHINE_BOOT_ELF_H
#define LM_MACHINE_BOOT_ELF_H

#include "machine/boot/boot.h"

/* A program header in one form for both classes. */
struct elf_segment {
	uint32_t type;
	uint64_t offset, paddr, file_size, mem_size;
};

struct elf_view {
	bool is_64;
	uint64_t entry, ph_offset;
	unsigned ph_count, ph_size;
};

bool elf_is(const struct boot_file *f);
/* Checks that the headers and segments lie within the file. */
int elf_open(const struct boot_file *f, struct elf_view *v, struct lm_err *err);
struct elf_segment elf_segment_at(const struct boot_file *f, const struct elf_view *v, unsigned n);

#endif
