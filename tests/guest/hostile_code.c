/*
 * What a hostile program can try against an engine that translates: runs in the default guest, where
 * boot_test.py sends it and compares what it prints under the engines. Instructions that tell or change
 * what is the kernel's, code that is entered in the middle of instructions while another thread
 * rewrites it, and mappings that change under accesses.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE   4096
#define ROUNDS 3000

static sigjmp_buf back;
static volatile int stop;

static void on_signal(int signal)
{
	siglongjmp(back, signal);
}

static void fail(const char *what)
{
	printf("wrong: %s\n", what);
	exit(1);
}

/* ---- Sensitive instructions ---- */

static uint8_t *code; /* two pages, readable, writable, executable */
static uint64_t area[8];

/* RAX is area, RCX is 0, RDX is 0x80; what RAX and flags are afterwards, and area, is told. */
static const struct {
	const char *name;
	uint8_t bytes[10], length;
} sensitive[] = {
#define S(name, ...) { name, { __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }) }
	S("sgdt", 0x0f, 0x01, 0x00), S("sidt", 0x0f, 0x01, 0x08), S("sldt", 0x0f, 0x00, 0xc0),
	S("str", 0x0f, 0x00, 0xc8), S("smsw", 0x0f, 0x01, 0xe0), S("lgdt", 0x0f, 0x01, 0x10),
	S("lidt", 0x0f, 0x01, 0x18), S("lldt", 0x0f, 0x00, 0xd0), S("ltr", 0x0f, 0x00, 0xd8),
	S("lmsw", 0x0f, 0x01, 0xf0), S("clts", 0x0f, 0x06), S("invlpg", 0x0f, 0x01, 0x38),
	S("swapgs", 0x0f, 0x01, 0xf8), S("rdpmc", 0x0f, 0x33), S("rdmsr", 0x0f, 0x32), S("wrmsr", 0x0f, 0x30),
	S("mov from cr0", 0x0f, 0x20, 0xc0), S("mov from cr2", 0x0f, 0x20, 0xd0), S("mov to cr3", 0x0f, 0x22, 0xd8),
	S("mov from cr8", 0x44, 0x0f, 0x20, 0xc0), S("mov from dr7", 0x0f, 0x21, 0xf8), S("mov to dr0", 0x0f, 0x23, 0xc0),
	S("hlt", 0xf4), S("cli", 0xfa), S("sti", 0xfb), S("in", 0xec), S("out", 0xee), S("insb", 0x6c), S("outsb", 0x6e),
	S("invd", 0x0f, 0x08), S("wbinvd", 0x0f, 0x09), S("xsetbv", 0x0f, 0x01, 0xd1), S("clac", 0x0f, 0x01, 0xca),
	S("stac", 0x0f, 0x01, 0xcb), S("iretd", 0xcf), S("sysretq", 0x48, 0x0f, 0x07), S("sysexit", 0x48, 0x0f, 0x35),
	S("invpcid", 0x66, 0x0f, 0x38, 0x82, 0x08), S("xsaves", 0x0f, 0xc7, 0x28), S("vmcall", 0x0f, 0x01, 0xc1),
	S("vmlaunch", 0x0f, 0x01, 0xc2), S("monitor", 0x0f, 0x01, 0xc8), S("getsec", 0x0f, 0x37), S("rsm", 0x0f, 0xaa),
	S("ud2", 0x0f, 0x0b), S("int 3", 0xcc), S("int 0x81", 0xcd, 0x81), S("int1", 0xf1),
	S("mov ss, 0", 0x8e, 0xd1), S("mov ds, 0x80", 0x8e, 0xda), S("mov cs, ax", 0x8e, 0xc8),
	S("lar 0", 0x0f, 0x02, 0xc1), S("lsl 0", 0x0f, 0x03, 0xc1), S("verr 0", 0x0f, 0x00, 0xe1), S("verw 0", 0x0f, 0x00, 0xe9),
	S("lar 0x80", 0x0f, 0x02, 0xc2), S("lsl 0x80", 0x0f, 0x03, 0xc2), S("verr 0x80", 0x0f, 0x00, 0xe2),
	S("lar cs", 0x8c, 0xc8, 0x0f, 0x02, 0xc0), S("lsl ss", 0x8c, 0xd0, 0x0f, 0x03, 0xc0),
	S("verw ss", 0x8c, 0xd0, 0x0f, 0x00, 0xe8), S("verw cs", 0x8c, 0xc8, 0x0f, 0x00, 0xe8),
	S("xgetbv", 0x0f, 0x01, 0xd0), S("mov ax, cs", 0x8c, 0xc8), S("mov ax, es", 0x8c, 0xc0), S("mov ax, gs", 0x8c, 0xe8),
	S("cpuid", 0x31, 0xc0, 0x53, 0x0f, 0xa2, 0x5b), S("rdgsbase", 0xf3, 0x48, 0x0f, 0xae, 0xc8),
	S("pushf", 0x9c, 0x58), S("popf all", 0x48, 0xc7, 0xc0, 0xd7, 0x7e, 0x20, 0x00, 0x50, 0x9d, 0x9c),
	S("jump to nowhere", 0x48, 0xc1, 0xe0, 0x20, 0xff, 0xe0), S("lock nop", 0xf0, 0x90), S("16 bytes", 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66),
};

static void prepare(unsigned k)
{
	uint8_t *p = code;

	memset(area, 0x5a, sizeof(area));
	memcpy(p, sensitive[k].bytes, sensitive[k].length);
	p += sensitive[k].length;
	if (!strcmp(sensitive[k].name, "popf all"))
		*p++ = 0x58; /* pop rax */
	*p++ = 0xc3;
}

static int try_it(uint64_t *result)
{
	uint64_t rax = (uint64_t)area, rcx = 0, rdx = 0x80;
	int signal = sigsetjmp(back, 1);

	if (signal)
		return signal;
	__asm__ volatile("call *%3; cld; pushfq; andq $~0x4000, (%%rsp); popfq"
			 : "+a"(rax), "+c"(rcx), "+d"(rdx)
			 : "r"(code), "S"(area), "D"(area)
			 : "memory", "cc", "r8", "r9", "r11");
	*result = rax == (uint64_t)area ? 0 : rax;
	return 0;
}

/* Several times, so that blocks are chained and counted; the outcome is always the same. */
static void sensitive_instructions(void)
{
	for (unsigned k = 0; k < sizeof(sensitive) / sizeof(sensitive[0]); k++) {
		uint64_t result = 0, again = 0;
		int signal;

		prepare(k);
		signal = try_it(&result);
		for (unsigned n = 0; n < 20; n++)
			if (try_it(&again) != signal || again != result)
				fail(sensitive[k].name);
		printf("%s: signal %d, %#lx, memory %d\n", sensitive[k].name, signal, result,
		       memcmp(area, area + 1, sizeof(area) - 8) != 0);
	}
}

/* ---- Code in the middle of instructions ---- */

/* mov eax, imm32 (whose bytes are: mov al, n; ret; nop); ret. Entered at 0 and at 1. */
static void write_pair(uint8_t *p, uint8_t n)
{
	static const uint8_t around[] = { 0xb8, 0xb0, 0, 0xc3, 0x90, 0xc3 };

	for (unsigned k = 0; k < sizeof(around); k++)
		if (k != 2)
			p[k] = around[k];
	__atomic_store_n(p + 2, n, __ATOMIC_RELEASE);
}

static void *rewrite(void *opaque)
{
	for (uint8_t n = 0; !stop; n++) {
		__atomic_store_n(code + PAGE - 3 + 2, n, __ATOMIC_RELEASE);
		__atomic_store_n(code + 2, n, __ATOMIC_RELEASE);
	}
	return opaque;
}

static unsigned enter(const uint8_t *at)
{
	return ((unsigned (*)(void))(uintptr_t)at)();
}

static void middle(uint8_t *p)
{
	unsigned whole = enter(p), part = enter(p + 1) & 0xff;

	if ((whole & 0xffff00ff) != 0x90c300b0 || part > 0xff)
		fail("an instruction that is written to");
}

static void middles(void)
{
	pthread_t writer;

	write_pair(code, 0);
	write_pair(code + PAGE - 3, 0); /* the immediate is on two pages */
	stop = 0;
	if (pthread_create(&writer, NULL, rewrite, NULL))
		fail("no thread");
	for (unsigned k = 0; k < ROUNDS; k++) {
		middle(code);
		middle(code + PAGE - 3);
	}
	stop = 1;
	pthread_join(writer, NULL);
}

/* ---- Mappings that change under accesses ---- */

#define PLACES 4u
static uint64_t *place[PLACES]; /* each word of the page that is there names the page */

static void fill(uint64_t *page, uint64_t name)
{
	for (unsigned k = 0; k < PAGE / 8; k++)
		page[k] = name;
}

static void *remap(void *opaque)
{
	for (uint64_t n = 1; !stop; n++) {
		unsigned k = n % PLACES;
		uint64_t *fresh = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		fill(fresh, (uint64_t)k << 32 | 7);
		if (n % 3 == 0)
			mprotect(place[k], PAGE, n % 2 ? PROT_READ : PROT_NONE);
		mremap(fresh, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place[k]);
	}
	return opaque;
}

static void mappings(void)
{
	uint8_t *all = mmap(NULL, PLACES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile unsigned round = 0;
	pthread_t thread;

	for (unsigned k = 0; k < PLACES; k++) {
		place[k] = (uint64_t *)(all + k * PAGE);
		fill(place[k], (uint64_t)k << 32 | 7);
	}
	stop = 0;
	if (pthread_create(&thread, NULL, remap, NULL))
		fail("no thread");
	sigsetjmp(back, 1);
	while (round++ < ROUNDS * PLACES) {
		volatile uint64_t *p = place[round % PLACES] + round % 512;
		uint64_t v = *p;

		if (v != ((uint64_t)(round % PLACES) << 32 | 7))
			fail("another page's word");
		*p = v;
	}
	stop = 1;
	pthread_join(thread, NULL);
}

int main(void)
{
	static const int signals[] = { SIGSEGV, SIGILL, SIGBUS, SIGTRAP, SIGFPE };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };

	for (unsigned k = 0; k < sizeof(signals) / sizeof(signals[0]); k++)
		sigaction(signals[k], &sa, NULL);
	code = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	sensitive_instructions();
	middles();
	mappings();
	puts("HOSTILE-OK");
	return 0;
}
