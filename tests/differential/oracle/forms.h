/*
 * Instruction forms: what is left to choose in one is registers, addresses, immediates and data.
 *
 * The table is found by asking the decoder about every opcode with every combination of mandatory
 * prefixes, REX.W, VEX fields and ModRM; encodings that give the same mnemonic, operand kinds and
 * sizes are one form.
 */
#ifndef ORACLE_FORMS_H
#define ORACLE_FORMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "isa/x86/decode.h"
#include "isa/x86/model.h"
#include "values.h"

struct form_key {
	uint16_t mnemonic;
	uint8_t opcode, map;
	uint8_t vex, vlen, osz, repeat;
	uint8_t op_count;
	struct {
		uint8_t kind;
		uint8_t size;
	} op[INSN_MAX_OPS];
};

struct form {
	struct form_key key;
	enum x86_code_size size;
	const char *group;      /* Zydis' ISA set */
	enum element element;   /* of its vector, x87 or memory operand */

	/* Encoding. */
	uint8_t prefix66;       /* has the prefix 66 */
	uint8_t prefix_rep;     /* 0, F2 or F3 */
	bool w;                 /* REX.W or VEX.W */
	uint8_t map;            /* 0: one-byte, 1: 0F, 2: 0F38, 3: 0F3A */
	uint8_t opcode;
	uint8_t vex_pp, vex_l;
	bool vvvv_free;         /* VEX.vvvv names a register */
	bool has_modrm, memory, vsib;
	uint64_t modrm;         /* allowed (reg, rm) as bit 8 * reg + rm; memory: bit 8 * reg */
	uint8_t tail;           /* bytes after ModRM, SIB and displacement */

	bool general;           /* depends on no x87, MMX, SSE or AVX state */
	bool lockable, branch, far_address; /* far_address: moffs */
	const char *excluded;   /* the reason, or NULL */

	uint64_t executed, excepted;
};

struct form_table {
	struct form *form;
	size_t count, room;
};

/* Adds the forms of a mode. */
void forms_find(struct form_table *t, enum x86_code_size size, const struct x86_model *model);

/* "add r32, m32" with the encoding: for --list-forms, --forms and messages. */
void form_describe(const struct form *f, char *buf, size_t len);

/* Why a mnemonic is not compared with the host, or NULL (exclude.c). */
const char *excluded_reason(const struct insn *i, enum x86_code_size size);

#endif
