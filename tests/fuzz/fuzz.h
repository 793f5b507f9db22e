/*
 * One fuzzer, two drivers. A fuzzer defines fuzz_one and includes this header last:
 * - built with -fsanitize=fuzzer and -DLM_LIBFUZZER it is a libFuzzer target;
 * - otherwise it gets a main that feeds it random inputs, the same ones for the same seed, so that
 *   any compiler and sanitizer can run it: --seconds N, --seed S, --runs N, --run K (only that
 * one). LAMINA_FUZZ_SECONDS in the environment goes before --runs and --seconds. When a run dies it
 * prints the command that repeats it.
 */
#ifndef LM_TESTS_FUZZ_H
#define LM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_input {
	const uint8_t *p, *end;
};

/* Zeros once the input is used up. */
static inline uint64_t fuzz_take(struct fuzz_input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned k = 0; k < bytes && in->p < in->end; k++)
		v |= (uint64_t)*in->p++ << (8 * k);
	return v;
}

static void fuzz_one(struct fuzz_input *in);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, data + size};

	fuzz_one(&in);
	return 0;
}

#ifndef LM_LIBFUZZER

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define FUZZ_MAX_INPUT 8192

static const char *fuzz_name;
static uint64_t fuzz_seed = 1, fuzz_run;

const char *__ubsan_default_options(void);
const char *__ubsan_default_options(void)
{
	return "halt_on_error=1:print_stacktrace=1";
}

void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void fuzz_died(void)
{
	fprintf(stderr, "again: %s --seed %llu --run %llu\n", fuzz_name,
		(unsigned long long)fuzz_seed, (unsigned long long)fuzz_run);
}

static void fuzz_signal(int number)
{
	fuzz_died();
	signal(number, SIG_DFL);
	raise(number);
}

/* splitmix64. */
static uint64_t fuzz_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void fuzz_one_random(void)
{
	static const struct itimerval limit = {.it_value = {.tv_sec = 20}}; /* of CPU time */
	static uint8_t input[FUZZ_MAX_INPUT];
	uint64_t state = fuzz_seed * UINT64_C(0x100000001b3) + fuzz_run;
	size_t size = fuzz_random(&state) % sizeof(input);

	for (size_t k = 0; k < size; k++)
		input[k] = (uint8_t)(fuzz_random(&state) >> 20);
	setitimer(ITIMER_PROF, &limit, NULL); /* a run takes milliseconds: one that hangs dies */
	LLVMFuzzerTestOneInput(input, size);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seconds", 1, NULL, 't'},
						{"seed", 1, NULL, 's'},
						{"runs", 1, NULL, 'n'},
						{"run", 1, NULL, 'r'},
						{0}};
	static const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF};
	const char *seconds = getenv("LAMINA_FUZZ_SECONDS");
	uint64_t runs = UINT64_MAX;
	time_t end = 0;
	int c;

	fuzz_name = argv[0];
	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		unsigned long long v = optarg ? strtoull(optarg, NULL, 0) : 0;

		if (c == 't')
			end = time(NULL) + (time_t)v;
		else if (c == 's')
			fuzz_seed = v;
		else if (c == 'n')
			runs = v;
		else if (c == 'r')
			runs = (fuzz_run = v) + 1;
		else
			return 2;
	}
	if (seconds && runs != fuzz_run + 1) {
		end = time(NULL) + atoi(seconds);
		runs = UINT64_MAX;
	}
	if (!end && runs == UINT64_MAX)
		runs = 1000;
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(fuzz_died);
	else
		for (size_t k = 0; k < sizeof(deadly) / sizeof(deadly[0]); k++)
			signal(deadly[k], fuzz_signal);
	signal(SIGPROF, fuzz_signal); /* these two are not the sanitizers' */
	signal(SIGABRT, fuzz_signal);
	for (; fuzz_run < runs && (!end || time(NULL) < end); fuzz_run++)
		fuzz_one_random();
	printf("%llu runs, seed %llu\n", (unsigned long long)fuzz_run,
	       (unsigned long long)fuzz_seed);
	return 0;
}

#endif
#endif
