#include "base/probe_child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REAP_TRIES 20 /* of 5 ms each */

static _Noreturn void child(long (*probe)(void), int fd)
{
	static const struct rlimit no_core = {0, 0};
	long value;

	setrlimit(RLIMIT_CORE, &no_core);
	value = probe();
	if (write(fd, &value, sizeof(value)) != sizeof(value))
		_exit(1);
	_exit(0);
}

/* A child that hangs inside the kernel does not die at once: it is left behind, not waited for. */
static struct probe_result reap(pid_t pid)
{
	static const struct timespec pause = {.tv_nsec = 5000000};
	struct probe_result r = {.outcome = PROBE_TIMEOUT};
	int status;

	for (int tries = 0; tries < REAP_TRIES; tries++) {
		if (waitpid(pid, &status, WNOHANG) == pid) {
			if (!WIFSIGNALED(status))
				return (struct probe_result){PROBE_UNTRIED, EIO};
			return (struct probe_result){PROBE_KILLED, WTERMSIG(status)};
		}
		nanosleep(&pause, NULL);
	}
	return r;
}

struct probe_result probe_in_child(long (*probe)(void), int limit_ms)
{
	struct probe_result r = {.outcome = PROBE_ANSWERED};
	struct pollfd p = {.events = POLLIN};
	int fds[2], ready;
	pid_t pid;

	if (pipe(fds))
		return (struct probe_result){PROBE_UNTRIED, errno};
	pid = fork();
	if (pid == 0)
		child(probe, fds[1]);
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		return (struct probe_result){PROBE_UNTRIED, errno};
	}
	p.fd = fds[0];
	ready = poll(&p, 1, limit_ms);
	if (ready > 0 && read(fds[0], &r.value, sizeof(r.value)) == sizeof(r.value)) {
		reap(pid);
	} else if (ready > 0) {
		r = reap(pid);
	} else {
		kill(pid, SIGKILL);
		reap(pid);
		r.outcome = PROBE_TIMEOUT;
	}
	close(fds[0]);
	return r;
}
