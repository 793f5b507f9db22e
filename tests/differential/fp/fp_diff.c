/*
 * fp_diff [--cases N] [--seed S] [--op NAME] [--case K]
 *
 * Runs N cases (a total over all instructions) and prints each difference between the host and the
 * soft floating point library with the command that reruns it. --case runs one case of one
 * instruction and prints it whatever the outcome.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "vendor.h"

struct options {
	uint64_t cases, seed;
	const char *op;
	bool one;
	uint64_t one_case;
};

#define MAX_PRINTED 5 /* differences printed for one instruction */

/* ---- #XM on the host ---- */

static sigjmp_buf simd_trap;
static volatile uint32_t trapped_mxcsr;

static void on_sigfpe(int signal, siginfo_t *info, void *context)
{
	const ucontext_t *uc = context;

	(void)signal, (void)info;
	trapped_mxcsr = uc->uc_mcontext.fpregs->mxcsr;
	siglongjmp(simd_trap, 1);
}

static void catch_simd_exceptions(void)
{
	struct sigaction action = {.sa_sigaction = on_sigfpe, .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGFPE, &action, NULL);
}

static void run_host(const struct fp_op *op, const struct fp_case *c, struct fp_outcome *out)
{
	if (sigsetjmp(simd_trap, 0) == 0) {
		op->host(c, out);
		return;
	}
	/* The kernel gave the handler a clean MXCSR and siglongjmp keeps it. */
	*out = (struct fp_outcome){.faulted = true, .flags = trapped_mxcsr & FP_ALL_FLAGS};
}

/* ---- printing ---- */

static void print_operands(const struct fp_op *op, const struct fp_case *c)
{
	for (int i = 0; i < 3 && (op->operand[i] || i == 0); i++)
		printf(" %04x:%016llx", (unsigned)(c->operand[i] >> 64),
		       (unsigned long long)c->operand[i]);
}

static void print_outcome(const char *who, const struct fp_outcome *out)
{
	printf("  %s: %04x:%016llx %04x:%016llx flags %02x codes %x%s\n", who,
	       (unsigned)(out->value[0] >> 64), (unsigned long long)out->value[0],
	       (unsigned)(out->value[1] >> 64), (unsigned long long)out->value[1], out->flags,
	       out->condition, out->faulted ? " faulted" : "");
}

static void print_case(const struct fp_op *op, const struct fp_case *c, uint64_t seed, uint64_t k,
		       const struct fp_outcome *host, const struct fp_outcome *soft)
{
	printf("%s imm %u %s %04x operands", op->name, c->imm, op->x87 ? "fcw" : "mxcsr",
	       c->control);
	print_operands(op, c);
	printf("\n");
	print_outcome("host", host);
	print_outcome("soft", soft);
	printf("  rerun: fp_diff --seed %llu --op %s --case %llu\n", (unsigned long long)seed,
	       op->name, (unsigned long long)k);
}

/* ---- running ---- */

static bool same(const struct fp_outcome *a, const struct fp_outcome *b)
{
	if (a->faulted != b->faulted || a->flags != b->flags)
		return false;
	return a->faulted || (a->value[0] == b->value[0] && a->value[1] == b->value[1] &&
			      a->condition == b->condition);
}

/* Case k of an instruction depends on nothing but its name, the seed and k. */
static uint64_t case_state(const struct fp_op *op, uint64_t seed, uint64_t k)
{
	uint64_t state = seed;

	for (const char *p = op->name; *p; p++)
		state = state * 31 + (unsigned char)*p;
	state = random_next(&state) + k;
	return random_next(&state);
}

static bool run_case(const struct fp_op *op, uint64_t seed, uint64_t k, bool print_always,
		     bool print_difference)
{
	uint64_t state = case_state(op, seed, k);
	struct fp_case c = random_case(&state, op);
	struct fp_outcome host = {0}, soft = {0};

	run_host(op, &c, &host);
	op->soft(&c, &soft);
	fp_vendor_outcome(op->name, &c, &soft);
	bool equal = same(&host, &soft);
	if (print_always || (print_difference && !equal))
		print_case(op, &c, seed, k, &host, &soft);
	return equal;
}

static uint64_t run_op(const struct fp_op *op, const struct options *o, uint64_t cases)
{
	uint64_t differences = 0;

	for (uint64_t k = 0; k < cases; k++)
		differences += !run_case(op, o->seed, k, false, differences < MAX_PRINTED);
	if (differences)
		printf("%s: %llu of %llu differ\n", op->name, (unsigned long long)differences,
		       (unsigned long long)cases);
	return differences;
}

static bool selected(const struct fp_op *op, const struct options *o)
{
	return !o->op || strcmp(o->op, op->name) == 0;
}

static unsigned count_selected(const struct fp_op *table, const struct options *o)
{
	unsigned n = 0;

	for (; table->name; table++)
		n += selected(table, o);
	return n;
}

static uint64_t run_table(const struct fp_op *table, const struct options *o, uint64_t cases)
{
	uint64_t differences = 0;

	for (; table->name; table++) {
		if (!selected(table, o))
			continue;
		if (fp_host_lacks(table))
			printf("%s: skipped, the host has no such instruction\n", table->name);
		else if (o->one)
			differences += !run_case(table, o->seed, o->one_case, true, true);
		else
			differences += run_op(table, o, cases);
	}
	return differences;
}

static bool parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--cases") == 0)
			o->cases = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--seed") == 0)
			o->seed = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--op") == 0)
			o->op = argv[i + 1];
		else if (strcmp(argv[i], "--case") == 0)
			o->one = true, o->one_case = strtoull(argv[i + 1], NULL, 0);
		else
			return false;
	}
	return argc % 2 == 1;
}

int main(int argc, char **argv)
{
	struct options o = {.cases = 4000000, .seed = 1};

	if (!parse(argc, argv, &o)) {
		fprintf(stderr, "usage: fp_diff [--cases N] [--seed S] [--op NAME] [--case K]\n");
		return 2;
	}
	unsigned ops = count_selected(sse_ops, &o) + count_selected(x87_ops, &o);
	if (ops == 0) {
		fprintf(stderr, "fp_diff: no instruction named %s\n", o.op);
		return 2;
	}
	catch_simd_exceptions();
	uint64_t each = o.cases / ops, differences;
	differences = run_table(sse_ops, &o, each) + run_table(x87_ops, &o, each);
	printf("%u instructions, %llu cases each, %llu differences\n", ops,
	       (unsigned long long)(o.one ? 1 : each), (unsigned long long)differences);
	return differences != 0;
}
