/*
 * The sandbox: a few pages at fixed addresses below 4 GiB, the same for the host process and the
 * guest, with nothing mapped around them. Each side has its own copy of the contents.
 */
#ifndef ORACLE_SANDBOX_H
#define ORACLE_SANDBOX_H

/* Used by native_entry.S too. */
#define BOX_BASE       0x10000000
#define BOX_CODE       0x10010000 /* two pages, executable, not writable */
#define BOX_CODE_BYTES 0x2000
#define BOX_DATA       0x10020000 /* two pages, writable */
#define BOX_DATA_BYTES 0x2000
#define BOX_CONST      0x10030000 /* one page, readable only */
#define BOX_CONST_BYTES 0x1000
#define BOX_EXIT       0x10040000 /* one page, executable: the host's way out of the sandbox */
#define BOX_EXIT_BYTES 0x1000
#define BOX_BYTES      0x00050000

#define BOX_EXIT_POINTER (BOX_EXIT + 0) /* holds the address of native_landed */
#define BOX_EXIT_FAR     (BOX_EXIT + 16) /* 64-bit code that goes there, for compatibility mode */

/* The instruction that fills the code pages: int3 shows where a branch went. */
#define BOX_FILL 0xcc

#ifndef __ASSEMBLER__

#include <stdint.h>

#include "base/err.h"
#include "oracle.h"

struct sandbox {
	uint8_t *code;        /* the host's code pages through a writable mapping */
	uint8_t *data;        /* = BOX_DATA */
	uint8_t pristine_data[BOX_DATA_BYTES];
	uint8_t pristine_const[BOX_CONST_BYTES];
};

extern struct sandbox sandbox;

/* Maps the host's side and fills the pristine contents from the seed. */
int sandbox_init(uint64_t seed, struct lm_err *err);

/* Writes the instruction with its landing jump, and the patches, through the given pages. */
void sandbox_place(const struct oracle_case *c, uint8_t *code, uint8_t *data);
void sandbox_clear(const struct oracle_case *c, uint8_t *code, uint8_t *data);

/* Bytes of the landing jump behind an instruction. */
#define LANDING_BYTES 7

#endif
#endif
