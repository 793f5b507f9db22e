/* Names for kernel addresses, from a System.map or the symbol table of an ELF file (vmlinux). */
#ifndef LM_MACHINE_SYMBOLS_H
#define LM_MACHINE_SYMBOLS_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "isa/x86/cpu.h"

struct symbols;

/* Heap. An empty table (a stripped vmlinux) is an error that says so. */
int symbols_load(struct symbols **out, const char *path, struct lm_err *err);
void symbols_free(struct symbols *s);

/* "do_idle+0x12c" into buf, or the bare address; s may be NULL. Returns buf. */
const char *symbols_name(const struct symbols *s, uint64_t address, char *buf, size_t len);

/*
 * RIP, registers and the call chain of a stopped vCPU: by frame pointers where they make sense, else
 * by every word on the stack that is a kernel text symbol (marked "?"). Reads guest memory only.
 */
void symbols_backtrace(const struct symbols *s, struct x86_cpu *c, FILE *out);

#endif
