/*
 * Host faults inside translated code: a misaligned SSE operand, a division error, an unmasked
 * floating-point exception, a non-canonical address, or the poll page. Registers are the guest's at
 * the start of the instruction (translated code changes nothing before its last possible fault), so
 * the interpreter can take over there.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>

#include "engine/jit/jit.h"

__thread struct jit *jit_current;

static const int greg_of[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
				 REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
				 REG_R12, REG_R13, REG_R14, REG_R15 };

/* The guest instruction that a host address in a block belongs to. */
static const struct jit_insn_info *info_at(const struct jit_block *b, uint64_t offset)
{
	unsigned k = b->insns - 1;

	while (k && b->info[k].host > offset)
		k--;
	return &b->info[k];
}

/* In front of the first instruction: the poll. */
static bool is_parked(const struct jit_block *b, uint64_t offset)
{
	return offset < b->info[0].host ? b->starts_parked : info_at(b, offset)->parked;
}

static uint64_t pack_flags(uint64_t rflags)
{
	return (rflags & 0xd5) << 8 | (rflags & FLAG_OF ? 1 : 0);
}

static bool recover(struct jit *j, ucontext_t *uc, uint64_t address)
{
	const uint8_t *pc = (const uint8_t *)uc->uc_mcontext.gregs[REG_RIP];
	struct jit_block *b;
	uint64_t offset;

	if (!j || pc < j->cache.common_end || pc >= j->cache.exec + j->cache.size)
		return false;
	b = cache_at(j, pc);
	if (!b)
		return false;
	for (unsigned r = 0; r < 16; r++)
		if (r != R10 && r != R11)
			j->js->gpr[r] = (uint64_t)uc->uc_mcontext.gregs[greg_of[r]];
	offset = (uint64_t)(pc - b->code);
	if (!is_parked(b, offset))
		j->js->save_flags = pack_flags((uint64_t)uc->uc_mcontext.gregs[REG_EFL]);
	j->js->slow_return = 0;
	j->js->rip = j->js->page_base + ((b->gpa + info_at(b, offset)->guest) & PAGE_MASK);
	j->js->exit = (address & ~PAGE_MASK) == (uint64_t)j->poll_page ? JIT_EXIT_POLL
									: JIT_EXIT_FAULT;
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)j->exit_fault;
	return true;
}

/* Faults outside translated code are somebody else's: the process's earlier handlers, or a core. */
static struct sigaction previous[NSIG];

static void on_fault(int sig, siginfo_t *info, void *context)
{
	if (recover(jit_current, context, (uint64_t)info->si_addr))
		return;
	if (previous[sig].sa_flags & SA_SIGINFO)
		previous[sig].sa_sigaction(sig, info, context);
	else
		sigaction(sig, &previous[sig], NULL); /* the fault comes again, and there it ends */
}

static void install(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigemptyset(&sa.sa_mask);
	for (unsigned k = 0; k < LM_ARRAY_SIZE(signals); k++)
		sigaction(signals[k], &sa, &previous[signals[k]]);
}

void faults_install(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install);
}
