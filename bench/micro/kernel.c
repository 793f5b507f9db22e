/* What a process asks of its kernel: system calls, processes, memory, pipes, signals. */
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "micro.h"

#define PAGE		4096u
#define FAULT_PAGES	512u /* in one mapping, below the size of a huge page */
#define MMAP_PAGES	4u

static void getppid_run(uint64_t n)
{
	long parent = syscall(SYS_getppid);

	while (n--)
		if (syscall(SYS_getppid) != parent)
			wrong("the parent changed");
}

static void wait_for(pid_t pid, int expected)
{
	int status;

	if (pid < 0)
		failed("fork");
	if (waitpid(pid, &status, 0) != pid)
		failed("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
		wrong("exit status of a child");
}

static void fork_run(uint64_t n)
{
	while (n--) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(3);
		wait_for(pid, 3);
	}
}

static void exec_run(uint64_t n)
{
	static char *const argv[] = {"micro", "--exec", NULL};

	while (n--) {
		pid_t pid = fork();
		if (pid == 0) {
			execv("/proc/self/exe", argv);
			_exit(127);
		}
		wait_for(pid, 7);
	}
}

/* Single pages: a huge page would make one fault of all. */
static volatile uint8_t *small_pages(unsigned count)
{
	uint8_t *p = pages((size_t)count * PAGE, PROT_READ | PROT_WRITE);

	if (madvise(p, (size_t)count * PAGE, MADV_NOHUGEPAGE) < 0)
		failed("madvise");
	return p;
}

/* Writes before it reads, so that it is one fault a page. */
static void touch(volatile uint8_t *p, unsigned count)
{
	for (unsigned i = 0; i < count; i++, p += PAGE) {
		p[8] = 1;
		if (p[0] || p[PAGE - 1])
			wrong("a new page is not zero");
	}
}

static void fault_run(uint64_t n)
{
	while (n--) {
		volatile uint8_t *p = small_pages(FAULT_PAGES);
		touch(p, FAULT_PAGES);
		munmap((void *)p, (size_t)FAULT_PAGES * PAGE);
	}
}

static void mmap_run(uint64_t n)
{
	while (n--) {
		volatile uint8_t *p = pages((size_t)MMAP_PAGES * PAGE, PROT_READ | PROT_WRITE);
		touch(p, MMAP_PAGES);
		munmap((void *)p, (size_t)MMAP_PAGES * PAGE);
	}
}

static volatile uint32_t *protected_page;

static const char *mprotect_setup(void)
{
	protected_page = (volatile uint32_t *)small_pages(1);
	return NULL;
}

static void mprotect_run(uint64_t n)
{
	uint32_t first = *protected_page;

	for (uint64_t i = 0; i < n; i++) {
		if (mprotect((void *)protected_page, PAGE, PROT_READ) < 0 ||
		    mprotect((void *)protected_page, PAGE, PROT_READ | PROT_WRITE) < 0)
			failed("mprotect");
		++*protected_page;
	}
	if (*protected_page != first + (uint32_t)n)
		wrong("writes to a page");
}

static int ping[2], pong[2];

/* Answers each byte with the next one until the other end is closed. */
static _Noreturn void echo(void)
{
	uint8_t byte;

	close(ping[1]);
	close(pong[0]);
	while (read(ping[0], &byte, 1) == 1) {
		byte++;
		if (write(pong[1], &byte, 1) != 1)
			break;
	}
	_exit(0);
}

/* Both processes stay on one CPU, so that machines with one and with several compare. */
static void use_one_cpu(void)
{
	cpu_set_t set;
	int cpu = sched_getcpu();

	CPU_ZERO(&set);
	CPU_SET((size_t)(cpu < 0 ? 0 : cpu), &set);
	sched_setaffinity(0, sizeof set, &set);
}

static const char *pipe_setup(void)
{
	use_one_cpu();
	if (pipe(ping) < 0 || pipe(pong) < 0)
		failed("pipe");
	pid_t pid = fork();
	if (pid < 0)
		failed("fork");
	if (pid == 0)
		echo();
	close(ping[0]);
	close(pong[1]);
	return NULL;
}

static void pipe_run(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint8_t sent = (uint8_t)i, got;
		if (write(ping[1], &sent, 1) != 1 || read(pong[0], &got, 1) != 1)
			failed("pipe");
		if (got != (uint8_t)(sent + 1))
			wrong("a byte through two pipes");
	}
}

static volatile uint64_t signals;

static void count_signal(int sig)
{
	(void)sig;
	signals++;
}

static const char *signal_setup(void)
{
	struct sigaction action = {.sa_handler = count_signal};

	if (sigaction(SIGUSR1, &action, NULL) < 0)
		failed("sigaction");
	return NULL;
}

static void signal_run(uint64_t n)
{
	uint64_t first = signals;
	pid_t self = getpid();

	for (uint64_t i = 0; i < n; i++)
		kill(self, SIGUSR1);
	if (signals != first + n)
		wrong("number of signals");
}

/* Continues behind the two bytes of `idivl %ecx`. */
static void skip_divide(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)sig;
	if (info->si_code != FPE_INTDIV)
		wrong("si_code of a division by zero");
	uc->uc_mcontext.gregs[REG_RIP] += 2;
	signals++;
}

static const char *sigfpe_setup(void)
{
	struct sigaction action = {.sa_sigaction = skip_divide, .sa_flags = SA_SIGINFO};

	if (sigaction(SIGFPE, &action, NULL) < 0)
		failed("sigaction");
	return NULL;
}

static void sigfpe_run(uint64_t n)
{
	uint64_t first = signals;

	for (uint64_t i = 0; i < n; i++) {
		uint32_t low = 1, high = 0;
		__asm__ volatile("idivl %%ecx" : "+a"(low), "+d"(high) : "c"(0));
	}
	if (signals != first + n)
		wrong("number of SIGFPE");
}

const struct bench kernel_benches[] = {
	{"getppid", NULL, getppid_run, 0, "system call"},
	{"fork", NULL, fork_run, 0, "fork, exit, wait"},
	{"exec", NULL, exec_run, 0, "fork, exec of this program, exit, wait"},
	{"fault", NULL, fault_run, FAULT_PAGES, "first touch of an anonymous page"},
	{"mmap", NULL, mmap_run, 0, "mmap, touch, munmap of 4 pages"},
	{"mprotect", mprotect_setup, mprotect_run, 0, "mprotect to r and back to rw, write"},
	{"pipe", pipe_setup, pipe_run, 0, "round trip between two processes on one CPU"},
	{"signal", signal_setup, signal_run, 0, "kill of oneself, handler, return"},
	{"sigfpe", sigfpe_setup, sigfpe_run, 0, "division by zero, handler, return"},
	{0},
};
