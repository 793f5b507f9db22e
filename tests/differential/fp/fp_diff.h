/*
 * Differential test of the soft floating point library against the host CPU (x86-64 only): one
 * table row per instruction, each with the host's instruction in inline assembly and our function.
 */
#ifndef LM_TESTS_FP_DIFF_H
#define LM_TESTS_FP_DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "isa/x86/fp/softfp.h"

typedef unsigned __int128 u128;

/* What an operand holds; picks the generator. */
enum operand_kind { NONE, F16, F32, F64, F80, I16, I32, I64, BCD };

struct fp_case {
	u128 operand[3];
	unsigned imm;	  /* rounding immediate or predicate, where the instruction has one */
	uint16_t control; /* x87: FCW; SSE: MXCSR, without its flags */
};

struct fp_outcome {
	u128 value[2];
	uint8_t flags;	   /* MXCSR or FSW exception bits */
	uint8_t condition; /* x87: C3 C2 C1 C0 as bits 3..0; COMISS: ZF PF CF as bits 2..0 */
	bool faulted;	   /* SSE: #XM; values are then not compared */
};

struct fp_op {
	const char *name;
	enum operand_kind operand[3];
	bool x87;
	unsigned imm_count; /* imm is drawn from 0..imm_count-1 */
	void (*host)(const struct fp_case *c, struct fp_outcome *out);
	void (*soft)(const struct fp_case *c, struct fp_outcome *out);
};

/* Both tables end with a row without a name. */
extern const struct fp_op sse_ops[];
extern const struct fp_op x87_ops[];
/* Bits 0..: the host lacks what this row needs. */
bool fp_host_lacks(const struct fp_op *op);

/* Operands that sit where floating point breaks: limits, halves, near-equal pairs, odd encodings.
 * The state is all there is: equal states give equal cases. */
uint64_t random_next(uint64_t *state);
struct fp_case random_case(uint64_t *state, const struct fp_op *op);

#endif
