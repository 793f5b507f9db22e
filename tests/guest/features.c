/*
 * Which instructions this CPU executes: "name 1" or, where it raises #UD, "name 0". TZCNT and LZCNT
 * never raise it: "tzcnt 1" says that they are not BSF and BSR.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>

static sigjmp_buf back;

static void on_sigill(int number)
{
	siglongjmp(back, 1);
}

/* Many times: a translator has its own code for what is executed often. */
#define RUNS 2000

#define PROBE(name, ...)                                                                           \
	do {                                                                                       \
		volatile int ok = 0;                                                                     \
		if (!sigsetjmp(back, 1)) {                                                         \
			for (int k = 0; k < RUNS; k++)                                             \
				__asm__ volatile(".byte " #__VA_ARGS__ : : "b"(area), "c"(0)       \
						 : "rax", "rdx", "xmm0", "xmm1", "cc", "memory");  \
			ok = 1;                                                                    \
		}                                                                                  \
		printf("%s %d\n", name, ok);                                                       \
	} while (0)

static uint32_t scan(uint8_t opcode)
{
	uint32_t from = 0x80, to = 0;

	for (int k = 0; k < RUNS; k++)
		if (opcode == 0xbc)
			__asm__ volatile(".byte 0xf3, 0x0f, 0xbc, 0xc1" : "=a"(to) : "c"(0), "a"(77) : "cc");
		else
			__asm__ volatile(".byte 0xf3, 0x0f, 0xbd, 0xc1" : "=a"(to) : "c"(from) : "cc");
	return to;
}

int main(void)
{
	static uint8_t area[64] __attribute__((aligned(64)));

	signal(SIGILL, on_sigill);
	PROBE("sse2", 0x66, 0x0f, 0xfe, 0xc1);
	PROBE("popcnt", 0xf3, 0x0f, 0xb8, 0xc1);
	PROBE("sse4_2", 0xf2, 0x0f, 0x38, 0xf1, 0xc1);
	PROBE("lahf_lm", 0x9f);
	PROBE("cx16", 0x48, 0x0f, 0xc7, 0x0b);
	PROBE("aes", 0x66, 0x0f, 0x38, 0xdc, 0xc1);
	PROBE("avx", 0xc5, 0xf8, 0x58, 0xc1);
	PROBE("avx2", 0xc5, 0xfd, 0xfe, 0xc1);
	PROBE("bmi1", 0xc4, 0xe2, 0x78, 0xf2, 0xc1);
	PROBE("movbe", 0x0f, 0x38, 0xf0, 0x03);
	PROBE("rdrand", 0x0f, 0xc7, 0xf0);
	PROBE("xsave", 0x0f, 0x01, 0xd0); /* XGETBV */
	PROBE("sha_ni", 0x0f, 0x38, 0xc8, 0xc1);
	printf("tzcnt %d\n", scan(0xbc) == 32);
	printf("lzcnt %d\n", scan(0xbd) == 24);
	return 0;
}
