/*
 * For the default guest: a computation that must not notice being stopped, copied and continued
 * elsewhere. ROUNDS times it adds in 16 AVX registers that are live nearly all the time, sends a number
 * to another process and back through pipes, and waits for a periodic timer. Each round is a line; at the
 * end the registers and the timer's count are checked, and "STEADY-OK" is printed.
 *
 * usage: steady [ROUNDS]
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_NS  20000000
#define BUSY_NS	   16000000 /* of a period: most of the time the registers are live */
#define ITERATIONS 2000	    /* between two looks at the clock */
#define LANES	   4

static uint64_t accumulated[16][LANES], step[LANES] = { 1, 3, UINT64_C(1) << 40, 7 };

static _Noreturn void die(const char *what)
{
	printf("STEADY-BAD: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Registers 0 to 14 hold sums and 15 the step, in memory only before and after. */
static void add_in_registers(void)
{
	uint64_t n = ITERATIONS;

	__asm__ volatile(
		"vmovdqu (%[s]), %%ymm15\n"
#define LOAD(r) "vmovdqu 32*" #r "(%[a]), %%ymm" #r "\n"
		LOAD(0) LOAD(1) LOAD(2) LOAD(3) LOAD(4) LOAD(5) LOAD(6) LOAD(7) LOAD(8) LOAD(9)
		LOAD(10) LOAD(11) LOAD(12) LOAD(13) LOAD(14)
		"1:\n"
#define ADD(r) "vpaddq %%ymm15, %%ymm" #r ", %%ymm" #r "\n"
		ADD(0) ADD(1) ADD(2) ADD(3) ADD(4) ADD(5) ADD(6) ADD(7) ADD(8) ADD(9) ADD(10)
		ADD(11) ADD(12) ADD(13) ADD(14)
		"dec %[n]\n"
		"jnz 1b\n"
#define STORE(r) "vmovdqu %%ymm" #r ", 32*" #r "(%[a])\n"
		STORE(0) STORE(1) STORE(2) STORE(3) STORE(4) STORE(5) STORE(6) STORE(7) STORE(8)
		STORE(9) STORE(10) STORE(11) STORE(12) STORE(13) STORE(14)
		"vzeroupper\n"
		: [n] "+r"(n)
		: [a] "r"(accumulated), [s] "r"(step)
		: "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
		  "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static uint64_t be_busy(void)
{
	int64_t end = now_ns() + BUSY_NS;
	uint64_t iterations = 0;

	do {
		add_in_registers();
		iterations += ITERATIONS;
	} while (now_ns() < end);
	return iterations;
}

static void check_registers(uint64_t iterations)
{
	for (unsigned r = 0; r < 15; r++)
		for (unsigned k = 0; k < LANES; k++)
			if (accumulated[r][k] != r + iterations * step[k])
				die("a register has lost its value");
}

/* The other process answers each number with its square. */
static void serve(int in, int out)
{
	uint64_t n;

	while (read(in, &n, sizeof(n)) == sizeof(n)) {
		n *= n;
		if (write(out, &n, sizeof(n)) != sizeof(n))
			break;
	}
	_exit(0);
}

static void start_server(int *to, int *from)
{
	int a[2], b[2];
	pid_t pid;

	if (pipe(a) < 0 || pipe(b) < 0)
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		close(a[1]);
		close(b[0]);
		serve(a[0], b[1]);
	}
	close(a[0]);
	close(b[1]);
	*to = a[1];
	*from = b[0];
}

static void ask(int to, int from, uint64_t n)
{
	uint64_t square = 0;

	if (write(to, &n, sizeof(n)) != sizeof(n) || read(from, &square, sizeof(square)) != sizeof(square))
		die("pipe pair");
	if (square != n * n)
		die("the other process gave a wrong answer");
}

static int start_timer(int64_t first)
{
	struct itimerspec spec = { .it_interval = { 0, PERIOD_NS } };
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);

	spec.it_value.tv_sec = first / 1000000000;
	spec.it_value.tv_nsec = first % 1000000000;
	if (fd < 0 || timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
		die("timerfd");
	return fd;
}

/* As many expirations as there were periods by the same clock. */
static uint64_t wait_tick(int fd, int64_t first, uint64_t before)
{
	uint64_t n = 0, due;
	int64_t now;

	if (read(fd, &n, sizeof(n)) != sizeof(n))
		die("read of the timer");
	now = now_ns();
	due = (uint64_t)((now - first) / PERIOD_NS + 1);
	if (now < first || before + n > due)
		die("the timer runs ahead of the clock");
	return before + n;
}

int main(int argc, char **argv)
{
	unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 100;
	int64_t first = now_ns() + PERIOD_NS, last = first;
	int timer = start_timer(first), to, from;
	uint64_t ticks = 0, iterations = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned r = 0; r < 15; r++)
		for (unsigned k = 0; k < LANES; k++)
			accumulated[r][k] = r;
	start_server(&to, &from);
	for (unsigned n = 0; n < rounds; n++) {
		iterations += be_busy();
		ask(to, from, n);
		ticks = wait_tick(timer, first, ticks);
		if (now_ns() < last)
			die("the clock went backwards");
		last = now_ns();
		printf("round %u\n", n);
	}
	check_registers(iterations);
	puts("STEADY-OK");
	return 0;
}
