/*
 * micro [--budget-ms N] [--list] [NAME...]: runs all microbenchmarks or those named and prints
 * "NAME NANOSECONDS" (of one operation), or "NAME skip REASON", for each. Exit status 1 when one of
 * them computed something wrong or crashed.
 *
 * The number of repetitions is doubled until one sample takes an eighth of the budget; the least of
 * the samples that fit into the budget, three at least, counts. Each bench runs in a process of its
 * own, so none inherits another's memory, and the others go on when one crashes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "micro.h"

#define SAMPLES_MIN	3
#define STATUS_EXEC	7 /* what the exec bench waits for */

static const struct bench *const tables[] = {
	kernel_benches, compute_benches, memory_benches, vector_benches, code_benches,
};

static const char *current = "micro";
static uint64_t budget_ns = 400 * 1000000ull;

void wrong(const char *what)
{
	fprintf(stderr, "%s: wrong result: %s\n", current, what);
	_exit(1);
}

void failed(const char *call)
{
	fprintf(stderr, "%s: %s: %s\n", current, call, strerror(errno));
	_exit(1);
}

void *pages(size_t size, int prot)
{
	void *p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		failed("mmap");
	return p;
}

static uint64_t now(void)
{
	struct timespec t;

	if (clock_gettime(CLOCK_MONOTONIC, &t))
		failed("clock_gettime");
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t sample(const struct bench *b, uint64_t n)
{
	uint64_t start = now();

	b->run(n);
	return now() - start;
}

/* Nanoseconds of one operation. */
static double measure(const struct bench *b)
{
	uint64_t start = now(), n = 1, ns;
	double best;

	while ((ns = sample(b, n)) < budget_ns / 8)
		n *= 2;
	best = (double)ns / (double)n;
	for (int samples = 1; samples < SAMPLES_MIN || now() - start < budget_ns; samples++) {
		ns = sample(b, n);
		if ((double)ns / (double)n < best)
			best = (double)ns / (double)n;
	}
	return best / (b->ops ? b->ops : 1);
}

static _Noreturn void child(const struct bench *b)
{
	const char *reason;

	current = b->name;
	reason = b->setup ? b->setup() : NULL;
	if (reason)
		printf("%s skip %s\n", b->name, reason);
	else
		printf("%s %.3f\n", b->name, measure(b));
	fflush(stdout);
	_exit(0);
}

static int run_bench(const struct bench *b)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		failed("fork");
	if (pid == 0)
		child(b);
	if (waitpid(pid, &status, 0) != pid)
		failed("waitpid");
	if (WIFSIGNALED(status))
		fprintf(stderr, "%s: ended by signal %d\n", b->name, WTERMSIG(status));
	return status == 0 ? 0 : 1;
}

static const struct bench *find(const char *name)
{
	for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
		for (const struct bench *b = tables[t]; b->name; b++)
			if (strcmp(b->name, name) == 0)
				return b;
	fprintf(stderr, "micro: no bench %s; micro --list tells them\n", name);
	exit(2);
}

/* Calls ACTION with every bench; the sum of what it returns. */
static int for_all(int (*action)(const struct bench *b))
{
	int sum = 0;

	for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
		for (const struct bench *b = tables[t]; b->name; b++)
			sum += action(b);
	return sum;
}

static int list_one(const struct bench *b)
{
	printf("%s\t%s\n", b->name, b->what);
	return 0;
}

static uint64_t parse_budget(const char *text)
{
	char *end;
	unsigned long ms = text ? strtoul(text, &end, 10) : 0;

	if (!text || *end || ms < 1 || ms > 60000) {
		fprintf(stderr, "micro: --budget-ms needs a number from 1 to 60000\n");
		exit(2);
	}
	return ms * 1000000ull;
}

int main(int argc, char **argv)
{
	int sum = 0, i = 1;

	if (argc == 2 && strcmp(argv[1], "--exec") == 0)
		return STATUS_EXEC;
	if (argc == 2 && strcmp(argv[1], "--list") == 0)
		return for_all(list_one);
	for (; i < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		if (strcmp(argv[i], "--budget-ms") != 0) {
			fprintf(stderr, "usage: micro [--budget-ms N] [--list] [NAME...]\n");
			return 2;
		}
		budget_ns = parse_budget(argv[i + 1]);
	}
	if (i >= argc)
		return for_all(run_bench) != 0;
	for (int k = i; k < argc; k++)
		find(argv[k]);
	for (; i < argc; i++)
		sum += run_bench(find(argv[i]));
	return sum != 0;
}
