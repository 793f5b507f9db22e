/* GS base: by WRGSBASE where the kernel lets user code do so, else by a system call. */
#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/jit/jit.h"

void gs_set(const struct jit *j, const uint8_t *base)
{
	if (j->host->fsgsbase)
		__asm__ volatile("wrgsbase %0" : : "r"(base));
	else
		syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}
