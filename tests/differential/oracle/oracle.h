/*
 * The native oracle: one user-mode instruction at a time, executed by the host CPU and by one of
 * lamina's engines from the same state. This header holds what the parts share: a case (the
 * instruction and the state before it) and an outcome (the state after it, or the exception).
 *
 * forms.c lists the instruction forms, generate.c makes cases of them, native.c and guest.c execute
 * a case, compare.c judges, report.c tells.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include <stdbool.h>
#include <stdint.h>

#include "isa/x86/decode.h"
#include "isa/x86/state.h"

/* The standard form of an XSAVE area with x87, SSE and AVX (SDM vol. 1 §13.4). */
struct xsave_image {
	uint16_t fcw, fsw;
	uint8_t ftw, reserved0;
	uint16_t fop;
	uint64_t fip, fdp;
	uint32_t mxcsr, mxcsr_mask;
	struct {
		uint64_t sig;
		uint16_t se, reserved[3];
	} st[8]; /* ST(i): relative to TOP, unlike x86_fpu.st */
	struct {
		uint64_t q[2];
	} xmm[16];
	uint8_t reserved1[96];
	uint64_t xstate_bv, xcomp_bv, reserved2[6];
	struct {
		uint64_t q[2];
	} ymm_high[16];
} __attribute__((aligned(64)));

struct registers {
	uint64_t gpr[16];
	uint64_t rip, rflags;
	uint64_t fs_base, gs_base;
	uint16_t sreg[6]; /* selectors, by enum x86_sreg */
	struct xsave_image fp;
};

/* Bytes to be stored in the sandbox before the instruction runs. */
struct patch {
	uint32_t address;
	uint16_t len;
	uint8_t bytes[640];
};

#define MAX_PATCHES 3

struct form;

struct oracle_case {
	uint64_t number;
	struct form *form;       /* NULL: random bytes */
	enum x86_code_size size; /* the mode it runs in */
	bool decodes;            /* insn is valid; otherwise #UD is expected of both */
	bool landing;            /* a jump out of the sandbox stands behind the instruction */
	struct insn insn;
	uint8_t bytes[16];
	unsigned length;         /* bytes to be placed at in.rip */
	struct registers in;
	struct patch patch[MAX_PATCHES];
	unsigned patches;
};

struct outcome {
	struct registers after;
	bool excepted;
	bool hung; /* did not end: the host ran in circles */
	uint8_t vector;
	uint32_t error;
	uint64_t cr2; /* meaningful after #PF */
};

/* Executes a case. The data pages hold the result until executor.restore. */
struct executor {
	const char *name;
	void (*execute)(const struct oracle_case *c, struct outcome *o);
	uint8_t *data; /* the data pages as this executor sees them: BOX_DATA_BYTES */
	/* Brings back the pristine sandbox after `c`. */
	void (*restore)(const struct oracle_case *c);
};

#endif
