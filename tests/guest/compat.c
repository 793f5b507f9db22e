/*
 * A 32-bit program without a library, for compatibility mode: runs in the default guest, where
 * boot_test.py sends it. Prints COMPAT-OK, or what went wrong and exits with 1. With an argument that names
 * one of the kernels it runs that alone and prints its nanoseconds.
 */
typedef unsigned int u32;
typedef unsigned long long u64;

#define SYS_EXIT            1
#define SYS_WRITE           4
#define SYS_MPROTECT        125
#define SYS_RT_SIGACTION    174
#define SYS_SET_THREAD_AREA 243
#define SYS_CLOCK_GETTIME   265
#define CLOCK_MONOTONIC     1
#define SIGSEGV             11
#define SA_SIGINFO          4
#define SA_RESTORER         0x04000000
#define PAGE                4096

/* ---- The kernel's interface ---- */

static int call3(int number, u32 a, u32 b, u32 c)
{
	int result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
	return result;
}

static int call4(int number, u32 a, u32 b, u32 c, u32 d)
{
	int result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d)
			 : "memory");
	return result;
}

static u32 length(const char *s)
{
	u32 n = 0;

	while (s[n])
		n++;
	return n;
}

static void print(const char *s)
{
	call3(SYS_WRITE, 1, (u32)s, length(s));
}

static void print_number(u32 v)
{
	char text[12], *p = text + sizeof(text) - 1;

	*p = 0;
	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);
	print(p);
}

static void leave(int status)
{
	call3(SYS_EXIT, (u32)status, 0, 0);
}

static void want(const char *what, u32 got, u32 wanted)
{
	if (got == wanted)
		return;
	print(what);
	print(": ");
	print_number(got);
	print(" instead of ");
	print_number(wanted);
	print("\n");
	leave(1);
}

static u32 now_ns(void)
{
	u32 t[2];

	call3(SYS_CLOCK_GETTIME, CLOCK_MONOTONIC, (u32)t, 0);
	return t[0] * 1000000000u + t[1];
}

/* ---- Kernels ---- */

static u32 data[16384];

static void fill(u32 seed)
{
	for (u32 k = 0; k < 16384; k++) {
		seed = seed * 1664525 + 1013904223;
		data[k] = seed;
	}
}

static u32 crc(void)
{
	static u32 table[256];
	u32 c = ~0u;

	for (u32 n = 0; n < 256; n++) {
		u32 v = n;

		for (int k = 0; k < 8; k++)
			v = v & 1 ? v >> 1 ^ 0xedb88320 : v >> 1;
		table[n] = v;
	}
	fill(1);
	for (u32 round = 0; round < 16; round++)
		for (u32 k = 0; k < sizeof(data); k++)
			c = table[(c ^ ((unsigned char *)data)[k]) & 255] ^ c >> 8;
	return c;
}

static void sort_range(u32 *a, int low, int high)
{
	while (low < high) {
		u32 pivot = a[(low + high) / 2];
		int l = low, h = high;

		while (l <= h) {
			while (a[l] < pivot)
				l++;
			while (a[h] > pivot)
				h--;
			if (l <= h) {
				u32 swap = a[l];

				a[l++] = a[h];
				a[h--] = swap;
			}
		}
		sort_range(a, low, h);
		low = l;
	}
}

static u32 sort(void)
{
	u32 sum = 0;

	for (u32 round = 0; round < 8; round++) {
		fill(round);
		sort_range(data, 0, 16383);
		for (u32 k = 0; k < 16384; k++)
			sum = sum * 31 + data[k];
	}
	return sum;
}

static __attribute__((noinline)) u32 fibonacci(u32 n)
{
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static u32 fib(void)
{
	return fibonacci(29);
}

#define SIDE 64
static double matrix[3][SIDE * SIDE];

static u32 matmul(void)
{
	for (int k = 0; k < SIDE * SIDE; k++) {
		matrix[0][k] = k % 7;
		matrix[1][k] = k % 5;
	}
	for (int i = 0; i < SIDE; i++) {
		for (int j = 0; j < SIDE; j++) {
			double sum = 0;

			for (int k = 0; k < SIDE; k++)
				sum += matrix[0][SIDE * i + k] * matrix[1][SIDE * k + j];
			matrix[2][SIDE * i + j] = sum;
		}
	}
	return (u32)matrix[2][SIDE * SIDE - 1];
}

static u32 syscalls(void)
{
	u32 sum = 0;

	for (u32 k = 0; k < 20000; k++)
		sum += (u32)call3(20, 0, 0, 0) > 0;
	return sum;
}

static const struct kernel {
	const char *name;
	u32 (*run)(void);
	u32 result;
} kernels[] = {
	{ "crc", crc, 4240844167u },      { "sort", sort, 2322803148u }, { "fib", fib, 514229 },
	{ "matmul", matmul, 376 }, { "syscalls", syscalls, 20000 },
};

#define KERNELS (sizeof(kernels) / sizeof(kernels[0]))

/* ---- What only 32-bit code does ---- */

/* Each operand's sum is beyond 4 GiB or below 0, its address is not. */
static void wrap(void)
{
	u32 at = (u32)data, got;

	data[0] = 11;
	data[1] = 22;
	__asm__("movl (%1, %2, 4), %0" : "=r"(got) : "r"(at + 16), "r"(-3));
	want("negative index", got, 22);
	__asm__("movl 0x7ffffff0(%1), %0" : "=r"(got) : "r"(at - 0x7ffffff0));
	want("large displacement", got, 11);
	__asm__("movl -0x70000000(%1), %0" : "=r"(got) : "r"(at + 0x70000000u));
	want("negative displacement", got, 11);
	__asm__("movl $0x80000004, %%ecx; movl (%1, %%ecx, 8), %0" : "=r"(got) : "r"(at - 28) : "ecx");
	want("scaled index", got, 22);
	__asm__("leal 0x7ffffff0(%1, %1, 8), %0" : "=r"(got) : "r"(at));
	want("LEA", got, at * 9 + 0x7ffffff0u);
}

static void old_instructions(void)
{
	u32 a, b, c;

	__asm__("mov $0x0f, %%eax; aaa" : "=a"(a));
	want("AAA", a & 0xffff, 0x105);
	__asm__("mov $0x79, %%eax; add $0x35, %%al; daa" : "=a"(a));
	want("DAA", a & 0xff, 0x14);
	__asm__("mov $63, %%eax; aam" : "=a"(a));
	want("AAM", a & 0xffff, 0x603);
	__asm__("stc; .byte 0xd6" : "=a"(a));
	want("SALC", a & 0xff, 0xff);
	__asm__("pusha; movl 28(%%esp), %0; movl 16(%%esp), %1; popa; subl $8, %1"
		: "=a"(a), "=b"(b) : "0"(77), "1"(5), "c"(0));
	__asm__("movl $5, %%ecx; .byte 0x41, 0x41, 0x49" : "=c"(c));
	want("INC and DEC", c, 6);
	__asm__("push %%es; push %%ds; pop %%es; mov %%es, %0; pop %%es" : "=r"(a));
	__asm__("mov %%ds, %0" : "=r"(b));
	want("ES", a, b);
	__asm__("movl $7, %0; .byte 0x82, 0xc0, 0x05" : "=a"(a));
	want("opcode 82", a, 12);
	__asm__("movw $0x10, %%bx; .byte 0x67, 0x8d, 0x47, 0x08" : "=a"(a) : "b"(0x12340000), "D"(0));
}

static void strings(void)
{
	static const char text[] = "the quick brown fox";
	static char copy[32];
	const char *p = text, *end;
	char *to = copy;
	u32 n;

	__asm__("repne scasb" : "=D"(end), "=c"(n) : "0"(text), "1"(-1), "a"(0) : "cc");
	want("SCAS", (u32)(end - text), sizeof(text));
	__asm__("0: lodsb; stosb; testb %%al, %%al; jne 0b" : "+S"(p), "+D"(to) : : "eax", "memory", "cc");
	want("LODS and STOS", (u32)(to - copy), sizeof(text));
	p = text;
	to = copy;
	copy[10] = 'B';
	n = sizeof(text);
	__asm__("repe cmpsb" : "+S"(p), "+D"(to), "+c"(n) : : "cc", "memory");
	want("CMPS", (u32)(p - text), 11);
}

/* A segment with a base, by GS. */
static void segments(void)
{
	struct {
		u32 number, base, limit, flags;
	} area = { ~0u, (u32)(data + 4), 0xfffff, 0x51 }; /* 32-bit, limit in pages, usable */
	u32 got;

	want("set_thread_area", (u32)call3(SYS_SET_THREAD_AREA, (u32)&area, 0, 0), 0);
	__asm__ volatile("mov %0, %%gs" : : "r"(area.number * 8 + 3));
	data[4] = 1234;
	data[7] = 4321;
	__asm__ volatile("movl %%gs:0, %0" : "=r"(got));
	want("GS", got, 1234);
	__asm__ volatile("movl %%gs:8(%1), %0" : "=r"(got) : "r"(4));
	want("GS with a register", got, 4321);
	__asm__ volatile("movl %%gs:-16(%1, %1, 2), %0" : "=r"(got) : "r"(0));
	want("below GS", got, data[0]);
}

/* To 64-bit code and back, by a far call: R8 to R15 exist, and all registers come back as 32 bits. */
static void modes(void)
{
	u32 a = 5, b = 0;

	for (u32 k = 0; k < 1000; k++) {
		__asm__ volatile(
			"lcall $0x33, $1f\n"
			"jmp 2f\n"
			".code64\n"
			"1: movabs $0x1122334400000000, %%r8\n"
			"leaq (%%r8, %%rax, 4), %%rbx\n"
			"movq %%rbx, %%r9\n"
			"shrq $32, %%r9\n"
			"addl %%r9d, %%ebx\n"
			"lretl\n"
			".code32\n"
			"2:\n"
			: "=b"(b) : "a"(a) : "memory", "cc");
		want("64-bit code", b, 0x11223344 + 20);
		want("back in 32-bit code", data[1 + (k & 1) - 1 - (k & 1)], data[0]);
	}
}

/* ---- Code that changes, and faults ---- */

static unsigned char code[2 * PAGE] __attribute__((aligned(PAGE)));

static void self_modifying(void)
{
	want("mprotect", (u32)call3(SYS_MPROTECT, (u32)code, sizeof(code), 7), 0);
	for (u32 k = 0; k < 2000; k++) {
		unsigned char *p = code + PAGE - 3 + k % 5; /* now and then on two pages */

		p[0] = 0xb8; /* mov eax, k; ret */
		*(u32 *)(p + 1) = k;
		p[5] = 0xc3;
		want("self-modifying", ((u32(*)(void))(u32)p)(), k);
	}
}

static volatile u32 faults;

/* The context's EIP (offset 20 + 14 * 4 in ucontext): behind a MOV of 2 bytes. */
static void on_fault(int signal, void *info, u32 *context)
{
	faults++;
	context[5 + 14] += 2;
}

__asm__("restore: movl $173, %eax; int $0x80");
extern void restore(void);

static void signals(void)
{
	struct {
		u32 handler, flags, restorer, mask[2];
	} action = { (u32)on_fault, SA_SIGINFO | SA_RESTORER, (u32)restore, { 0 } };
	u32 zero = 0;

	want("sigaction", (u32)call4(SYS_RT_SIGACTION, SIGSEGV, (u32)&action, 0, 8), 0);
	for (u32 k = 0; k < 500; k++)
		__asm__ volatile("movl (%0), %%eax" : : "b"(zero) : "eax", "memory");
	want("faults", faults, 500);
}

/* ---- */

static int same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static void measure(const struct kernel *k)
{
	u32 start = now_ns(), rounds = 0, took;

	do {
		k->run();
		rounds++;
		took = now_ns() - start;
	} while (took < 500000000);
	print_number(took / rounds);
	print("\n");
}

static __attribute__((used)) void run(int argc, char **argv)
{
	for (u32 k = 0; k < KERNELS; k++) {
		if (argc > 1 && same(argv[1], kernels[k].name))
			measure(&kernels[k]);
		else if (argc == 1)
			want(kernels[k].name, kernels[k].run(), kernels[k].result);
	}
	if (argc > 1)
		leave(0);
	wrap();
	old_instructions();
	strings();
	segments();
	modes();
	self_modifying();
	signals();
	print("COMPAT-OK\n");
	leave(0);
}

__asm__(".globl _start; _start: movl %esp, %eax; andl $-16, %esp; leal 4(%eax), %edx; subl $8, %esp;"
	"pushl %edx; pushl (%eax); call run");
