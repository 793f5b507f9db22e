#include "backend/net_confine.h"

#include <errno.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/bits.h"

#define MEMORY_MAX (UINT64_C(1) << 30)
#define FILES_MAX  4096

/* Everything else is refused with EPERM: opening files, programs, processes, signals to others. */
static const int allowed[] = {
	SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(bind), SCMP_SYS(brk), SCMP_SYS(clock_gettime),
	SCMP_SYS(close), SCMP_SYS(connect), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(fcntl),
	SCMP_SYS(fstat), SCMP_SYS(futex), SCMP_SYS(getpeername), SCMP_SYS(getrandom),
	SCMP_SYS(getsockname), SCMP_SYS(getsockopt), SCMP_SYS(gettimeofday), SCMP_SYS(ioctl),
	SCMP_SYS(listen), SCMP_SYS(madvise), SCMP_SYS(mremap), SCMP_SYS(munmap),
	SCMP_SYS(newfstatat), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(read), SCMP_SYS(readv),
	SCMP_SYS(recvfrom), SCMP_SYS(recvmsg), SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sendmsg), SCMP_SYS(sendto),
	SCMP_SYS(setsockopt), SCMP_SYS(shutdown), SCMP_SYS(stat), SCMP_SYS(time), SCMP_SYS(write),
	SCMP_SYS(writev),
};

static int add_rules(scmp_filter_ctx filter)
{
	int rc = 0;

	for (unsigned k = 0; rc == 0 && k < LM_ARRAY_SIZE(allowed); k++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[k], 0);
	if (rc == 0) /* the Internet only: no Unix sockets, no packets, no netlink */
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				      SCMP_A0(SCMP_CMP_EQ, AF_INET));
	if (rc == 0)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				      SCMP_A0(SCMP_CMP_EQ, AF_INET6));
	if (rc == 0) /* no new code */
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return rc;
}

int net_confine(struct lm_err *err)
{
	const struct rlimit memory = {MEMORY_MAX, MEMORY_MAX}, files = {FILES_MAX, FILES_MAX},
			    none = {0, 0};
	scmp_filter_ctx filter;
	int rc;

	prctl(PR_SET_DUMPABLE, 0);
	setrlimit(RLIMIT_AS, &memory);
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_FSIZE, &none);
	filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	rc = filter ? add_rules(filter) : -ENOMEM;
	if (rc == 0)
		rc = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return rc < 0 ? lm_err_errno(err, rc, "cannot give up rights (seccomp)") : 0;
}
