/* GS base: by WRGSBASE where the kernel lets user code do so, else by a system call. */
#include <asm/prctl.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/jit/jit.h"

#define HWCAP2_FSGSBASE_BIT 2

static bool has_fsgsbase(void)
{
	return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT;
}

void gs_set(const uint8_t *base)
{
	static int usable = -1;

	if (usable < 0)
		usable = has_fsgsbase();
	if (usable)
		__asm__ volatile("wrgsbase %0" : : "r"(base));
	else
		syscall(SYS_arch_prctl, ARCH_SET_GS, base);
}
