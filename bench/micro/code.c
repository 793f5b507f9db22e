/* Code that writes code, and the time stamp counter. */
#include <string.h>
#include <sys/mman.h>
#include <x86intrin.h>

#include "micro.h"

#define CODE_BYTES	(256u << 10)
#define SLOT_BYTES	64u

typedef uint32_t code_fn(uint32_t x);

static uint8_t *code;

static const char *code_setup(void)
{
	code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return code == MAP_FAILED ? "no memory that is writable and executable" : NULL;
}

/* x + n: lea N(%rdi), %eax; ret. Returns where N is. */
static uint8_t *emit_add(uint8_t *at, uint32_t n)
{
	static const uint8_t lea[] = {0x8d, 0x87};

	memcpy(at, lea, sizeof lea);
	memcpy(at + 2, &n, 4);
	at[6] = 0xc3;
	return at + 2;
}

static void smc_run(uint64_t n)
{
	code_fn *add = (code_fn *)(uintptr_t)code;
	uint8_t *operand = emit_add(code, 0);

	for (uint32_t i = 0; i < n; i++) {
		memcpy(operand, &i, 4);
		__asm__ volatile("" : : : "memory");
		if (add(5) != i + 5)
			wrong("modified code");
	}
}

/* A new function each time, in the next slot of a ring. */
static void jit_run(uint64_t n)
{
	static size_t slot;

	for (uint32_t i = 0; i < n; i++) {
		uint8_t *at = code + slot;
		slot = (slot + SLOT_BYTES) % CODE_BYTES;
		emit_add(at, i * 3);
		__asm__ volatile("" : : : "memory");
		if (((code_fn *)(uintptr_t)at)(7) != i * 3 + 7)
			wrong("emitted code");
	}
}

static void rdtsc_run(uint64_t n)
{
	uint64_t last = __rdtsc();

	while (n--) {
		uint64_t tsc = __rdtsc();
		/* Below 0 as a difference: another CPU's counter may be a little behind. */
		if (tsc < last && last - tsc > 1000000)
			wrong("the counter goes back");
		last = tsc;
	}
}

const struct bench code_benches[] = {
	{"smc", code_setup, smc_run, 0, "change of an instruction and its call"},
	{"jit", code_setup, jit_run, 0, "writing a function and its call"},
	{"rdtsc", NULL, rdtsc_run, 0, "time stamp counter"},
	{0},
};
