#include "signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

/* native_entry.S: puts AC, FS and GS right, then calls native_signal. */
void native_signal_entry(int signal, siginfo_t *info, void *context);
void native_signal(int signal, siginfo_t *info, void *context);

static pthread_t runner;
static struct sigaction previous[NSIG];

static void copy_context(const ucontext_t *uc, struct host_context *h)
{
	static const uint8_t order[16] = {
		REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
		REG_R8,	 REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
	};
	const greg_t *g = uc->uc_mcontext.gregs;

	for (unsigned k = 0; k < 16; k++)
		h->gpr[k] = (uint64_t)g[order[k]];
	h->rip = (uint64_t)g[REG_RIP];
	h->rflags = (uint64_t)g[REG_EFL];
	h->cr2 = (uint64_t)g[REG_CR2];
	h->error = (uint32_t)g[REG_ERR];
	h->cs = (uint16_t)g[REG_CSGSFS];
	h->vector = (uint8_t)g[REG_TRAPNO];
	h->fp = uc->uc_mcontext.fpregs;
}

void native_signal(int signal, siginfo_t *info, void *context)
{
	struct host_context h;

	copy_context(context, &h);
	h.hung = signal == SIGUSR1;
	if (native_caught(&h) || h.hung)
		return;
	if (previous[signal].sa_flags & SA_SIGINFO) /* the engine's, for its own code */
		previous[signal].sa_sigaction(signal, info, context);
	else /* our own bug: let it end us */
		sigaction(signal, &previous[signal], NULL);
}

static time_t runner_cpu_seconds(void)
{
	struct timespec used = { 0 };
	clockid_t clock;

	if (!pthread_getcpuclockid(runner, &clock))
		clock_gettime(clock, &used);
	return used.tv_sec;
}

/* A case is stuck that takes a second of the processor; one that waits for it may wait for ever. */
static void *watch(void *arg)
{
	const struct timespec nap = { .tv_sec = 1 };
	time_t since = 0;

	for (;;) {
		nanosleep(&nap, NULL);
		if (!native_stuck())
			since = runner_cpu_seconds();
		else if (runner_cpu_seconds() > since + 1)
			pthread_kill(runner, SIGUSR1);
	}
	return arg;
}

int signals_init(void)
{
	static uint8_t stack[65536] __attribute__((aligned(64)));
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGUSR1 };
	const stack_t alternate = { .ss_sp = stack, .ss_size = sizeof(stack) };
	const struct sigaction action = {
		.sa_sigaction = native_signal_entry,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER,
	};
	pthread_t watchdog;

	runner = pthread_self();
	if (sigaltstack(&alternate, NULL))
		return -errno;
	for (unsigned k = 0; k < sizeof(signals) / sizeof(signals[0]); k++)
		sigaction(signals[k], &action, &previous[signals[k]]);
	return -pthread_create(&watchdog, NULL, watch, NULL);
}
