/*
 * deny COMMAND...: runs a command under a seccomp filter like that of a strict container: no
 * io_uring, no userfaultfd, no namespaces, no KVM, no protection keys, no ptrace, no BPF.
 *
 * A filter cannot see paths, so KVM is denied by its ioctls (type 0xae). clone3 hides its flags
 * behind a pointer; ENOSYS makes the C library use clone.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define KVM_IOCTL_TYPE	0xae
#define IOCTL_TYPE_MASK 0xff00

static const char *const denied[] = {
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "userfaultfd",
    "unshare",
    "setns",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "pkey_alloc",
    "ptrace",
    "bpf",
    "perf_event_open",
    "keyctl",
    "add_key",
    "process_vm_readv",
    "process_vm_writev",
    "open_by_handle_at",
    "kexec_load",
    "init_module",
    "finit_module",
};

static const unsigned long namespaces[] = {CLONE_NEWUSER,  CLONE_NEWNS,	 CLONE_NEWPID,
					   CLONE_NEWNET,   CLONE_NEWIPC, CLONE_NEWUTS,
					   CLONE_NEWCGROUP};

static int add_rules(scmp_filter_ctx filter)
{
	int ret = 0;

	for (size_t k = 0; k < sizeof(denied) / sizeof(denied[0]) && !ret; k++) {
		int number = seccomp_syscall_resolve_name(denied[k]);

		if (number != __NR_SCMP_ERROR)
			ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 0);
	}
	for (size_t k = 0; k < sizeof(namespaces) / sizeof(namespaces[0]) && !ret; k++)
		ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces[k], namespaces[k]));
	if (!ret)
		ret = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (!ret)
		ret = seccomp_rule_add(
		    filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
		    SCMP_A1(SCMP_CMP_MASKED_EQ, IOCTL_TYPE_MASK, KVM_IOCTL_TYPE << 8));
	return ret;
}

int main(int argc, char **argv)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int ret;

	if (argc < 2 || !filter) {
		fputs("usage: deny COMMAND...\n", stderr);
		return 2;
	}
	ret = add_rules(filter);
	if (!ret)
		ret = seccomp_load(filter);
	if (ret) {
		fprintf(stderr, "deny: no filter: %s\n", strerror(-ret));
		return 2;
	}
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 2;
}
