/* Makes cases: an instruction and the state it meets. Case N of a seed is always the same. */
#ifndef ORACLE_GENERATE_H
#define ORACLE_GENERATE_H

#include "forms.h"
#include "oracle.h"

struct generator {
	uint64_t seed;
	struct form_table *forms;
	const struct x86_model *model;
	/* Forms to draw from: those not excluded and selected by --forms, as indices. */
	uint32_t *choice;
	unsigned choices, general; /* the first `general` of them are integer instructions */
	unsigned random_percent;   /* cases of random bytes */
	const uint8_t *bytes;      /* INSN_MAX_LENGTH bytes to be used in place of random ones, or NULL */
	struct xsave_image *pool;
};

void generator_init(struct generator *g);

enum generated {
	CASE_OK,
	CASE_SKIPPED,  /* random bytes that are excluded */
	CASE_HOST_ONLY, /* that the model does not have but the host may */
};

enum generated generate_case(struct generator *g, uint64_t number, struct oracle_case *c);

/* Legacy prefixes and REX in front of the opcode or the VEX prefix. */
unsigned prefix_bytes(const uint8_t *bytes, enum x86_code_size size);

/* ---- Between generate.c, operands.c and special.c ---- */

struct builder {
	struct rng r;
	const struct form *form;
	struct oracle_case *c;
	unsigned disp_at, disp_bytes; /* where the displacement stands; 0 bytes: none */
	uint64_t target;              /* the memory operand's linear address */
	bool has_target;
};

/* Emits ModRM, SIB and displacement of a memory operand at *n, with its prefixes counted already. */
struct address_form {
	uint8_t mod, rm, sib;
	bool has_sib;
	uint8_t rex_bits;     /* X and B to be set */
	uint8_t disp_bytes;
	bool short_address;   /* prefix 67 */
	uint8_t segment;      /* override prefix, or 0 */
};

void choose_address_form(struct builder *b, struct address_form *a);

/* Gives base, index and displacement values so that the operand lies at b->target. */
void aim_memory_operand(struct builder *b);

/* An address for an operand of `size` bytes: mostly in the data pages. */
uint64_t choose_data_address(struct rng *r, unsigned size, unsigned alignment);

/* An address to branch to. */
uint64_t choose_code_address(struct builder *b);

/* A patch of the data at `address`, cut to the data pages; NULL when none of it lies there. */
struct patch *add_patch(struct oracle_case *c, uint64_t address, unsigned len);
void patch_value(struct oracle_case *c, uint64_t address, uint64_t value, unsigned size);

/* What an instruction needs beyond random operands: before and after aiming (special.c). */
/* XSAVE and its kin: EDX:EAX says what to save or load. */
bool special_takes_state_mask(const struct insn *i);
/* Whether the choice of registers makes the case useless. */
bool special_unsuitable(const struct insn *i);
void special_registers(struct builder *b);
void special_memory(struct builder *b);

#endif
