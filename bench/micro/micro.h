/*
 * The microbenchmarks: each file has a table of them, main.c measures.
 *
 * A bench checks its own results: whatever is wrong ends in wrong(), so that neither the compiler
 * nor a faulty machine can make it fast by leaving work out.
 */
#ifndef LM_BENCH_MICRO_H
#define LM_BENCH_MICRO_H

#include <stddef.h>
#include <stdint.h>

struct bench {
	const char *name;
	/* Before the first run, not measured. Returns NULL, or why this machine cannot run it. */
	const char *(*setup)(void);
	/* Does it N times, N > 0, and checks. */
	void (*run)(uint64_t n);
	/* What the run repeats N times counts as so many operations; 0: one. */
	unsigned ops;
	const char *what;
};

/* Each ends with an entry without a name. */
extern const struct bench kernel_benches[];
extern const struct bench compute_benches[];
extern const struct bench memory_benches[];
extern const struct bench vector_benches[];
extern const struct bench code_benches[];

/* Prints the reason and ends the process: a result is not what it must be. */
_Noreturn void wrong(const char *what);

/* The same after a system call that must not fail. */
_Noreturn void failed(const char *call);

/* Memory of this process, zeroed; never NULL. */
void *pages(size_t size, int prot);

/* The next number of a fixed sequence (Marsaglia's xorshift64); *state must not be 0. */
static inline uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#endif
