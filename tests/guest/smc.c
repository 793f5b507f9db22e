/*
 * Code that changes while it is executed, for engines that translate: runs in the default guest,
 * where boot_test.py sends it. Prints SMC-OK, or what went wrong and exits with 1.
 */
#include <cpuid.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROUNDS 2000
#define PAGE   4096

typedef int (*function)(int);

static uint8_t *writable, *executable; /* the same two pages */
static volatile int turn;              /* 1: the other thread's */

static void expect(const char *what, int got, int wanted)
{
	if (got == wanted)
		return;
	printf("%s: %d instead of %d\n", what, got, wanted);
	exit(1);
}

/* mov eax, value; ret */
static void put_function(uint8_t *at, int value)
{
	at[0] = 0xb8;
	memcpy(at + 1, &value, sizeof(value));
	at[5] = 0xc3;
}

static int call(const uint8_t *at, int argument)
{
	return ((function)(uintptr_t)at)(argument);
}

static void patch(const char *what, uint8_t *through, const uint8_t *run)
{
	for (int k = 0; k < ROUNDS; k++) {
		put_function(through, k);
		expect(what, call(run, 0), k);
	}
}

/* mov [rip + 1], dil; mov eax, 0; ret: the store changes the next instruction. */
static void patch_ahead(void)
{
	static const uint8_t code[] = { 0x40, 0x88, 0x3d, 1, 0, 0, 0, 0xb8, 0, 0, 0, 0, 0xc3 };

	memcpy(executable, code, sizeof(code));
	for (int k = 0; k < ROUNDS; k++)
		expect("just ahead", call(executable, k & 0xff), k & 0xff);
}

/* A serializing instruction between the handshake and the new code (SDM vol. 3A §8.1.3). */
static void *run_what_the_other_writes(void *arg)
{
	unsigned a, b, c, d;

	for (int k = 0; k < ROUNDS; k++) {
		while (turn != 1)
			;
		__cpuid(0, a, b, c, d);
		expect("another thread", call(executable + 256, 0), k);
		turn = 0;
	}
	return arg;
}

static void patch_for_another_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run_what_the_other_writes, NULL))
		exit(1);
	for (int k = 0; k < ROUNDS; k++) {
		while (turn != 0)
			;
		put_function(writable + 256, k);
		turn = 1;
	}
	pthread_join(thread, NULL);
}

static void reuse_pages(void)
{
	for (int k = 0; k < ROUNDS; k++) {
		uint8_t *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		put_function(p, k);
		expect("a page used again", call(p, 0), k);
		munmap(p, PAGE);
	}
}

int main(void)
{
	int fd = memfd_create("code", 0);

	if (fd < 0 || ftruncate(fd, (off_t)2 * PAGE))
		return 1;
	writable = mmap(NULL, (size_t)2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	executable = mmap(NULL, (size_t)2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fd, 0);
	patch("the same mapping", executable, executable);
	patch("another mapping", writable, executable);
	patch("across pages", writable + PAGE - 3, executable + PAGE - 3);
	patch_ahead();
	patch_for_another_thread();
	reuse_pages();
	puts("SMC-OK");
	return 0;
}
