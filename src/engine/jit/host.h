/*
 * What of the host the translator uses, decided once a process. Each item can be taken away by
 * LAMINA_JIT_WITHOUT, a list of the names in host.c: a host that has less is then tested on one that has more.
 */
#ifndef LM_ENGINE_JIT_HOST_H
#define LM_ENGINE_JIT_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct jit_host {
	bool avx;      /* else vector registers have 16 bytes, and XSAVE is the interpreter's */
	bool bmi2;     /* RORX, SARX and PEXT */
	bool pext;     /* PEXT is no microcode, as it is on AMD's processors before Zen 3 */
	bool xgetbv1;  /* XGETBV with ECX = 1 tells XINUSE */
	bool fsgsbase; /* WRGSBASE in user mode, else a system call */
	bool space;    /* terabytes of address space can be reserved, else tables are small (table.c) */
	bool checks;   /* each entry of a table is checked where it is used (check.c) */
	uint64_t features; /* enum x86_feature bits: what copied instructions may need */
};

const struct jit_host *jit_host(void);

/* Those of the features that guests use without a need: wide vectors and bit manipulation. */
uint64_t jit_host_vector_features(void);

/* The names of what is missing, for people; "" where nothing is. */
void jit_host_shortfall(char *text, size_t size);

/* 0, or why the translator cannot run here; `needed` bytes of address space must be there at the least. */
int jit_host_check(uint64_t needed, struct lm_err *err);

#endif
