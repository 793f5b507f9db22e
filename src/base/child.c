#include "base/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/stream_pair.h"

#define FD_SOCKET CHILD_SOCKET_FD
#define FD_STATUS 4 /* closed by a successful exec; carries its errno otherwise */
#define FD_SPARE  10

/* In the child: only what is safe between fork and exec in a process with threads. */
static void reset_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static int move_up(int fd)
{
	return fcntl(fd, F_DUPFD, FD_SPARE);
}

static void become(char *const *argv, int socket, int errors, int status, pid_t parent)
{
	int null = open("/dev/null", O_RDWR);
	int code;

	reset_signals();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	null = move_up(null);
	socket = move_up(socket);
	errors = move_up(errors);
	status = move_up(status);
	if (dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(errors, 2) < 0 ||
	    dup2(socket, FD_SOCKET) < 0 || dup2(status, FD_STATUS) < 0)
		_exit(127);
	fcntl(FD_STATUS, F_SETFD, FD_CLOEXEC);
	close_range(FD_STATUS + 1, ~0u, 0);
	execvp(argv[0], argv);
	code = errno;
	(void)!write(FD_STATUS, &code, sizeof(code));
	_exit(127);
}

static void close_pair(const int fd[2])
{
	for (unsigned k = 0; k < 2; k++)
		if (fd[k] >= 0)
			close(fd[k]);
}

/* Waits for the exec; its errno where it failed. */
static int exec_result(int status)
{
	int code;
	ssize_t n;

	do
		n = read(status, &code, sizeof(code));
	while (n < 0 && errno == EINTR);
	return n == sizeof(code) ? code : 0;
}

static int start(struct child *c, char *const *argv, int sockets[2], int errors[2], int status[2])
{
	pid_t parent = getpid();
	int code;

	c->pid = fork();
	if (c->pid < 0) {
		c->pid = 0;
		return -errno;
	}
	if (!c->pid)
		become(argv, sockets[1], errors[1], status[1], parent);
	close(status[1]);
	status[1] = -1;
	code = exec_result(status[0]);
	if (code)
		child_stop(c);
	return -code;
}

int child_start(struct child *c, char *const *argv, struct lm_err *err)
{
	int sockets[2] = {-1, -1}, errors[2] = {-1, -1}, status[2] = {-1, -1};
	int rc;

	*c = (struct child){.socket = -1, .errors = -1};
	rc = stream_pair(sockets);
	if (rc == 0 && (pipe2(errors, O_CLOEXEC | O_NONBLOCK) < 0 || pipe2(status, O_CLOEXEC) < 0))
		rc = -errno;
	if (rc == 0)
		rc = start(c, argv, sockets, errors, status);
	close_pair(status);
	if (rc < 0) {
		close_pair(sockets);
		close_pair(errors);
		return lm_err_errno(err, rc, "cannot start %s", argv[0]);
	}
	close(sockets[1]);
	close(errors[1]);
	fcntl(sockets[0], F_SETFL, O_NONBLOCK);
	c->socket = sockets[0];
	c->errors = errors[0];
	return 0;
}

void child_last_words(const struct child *c, char *buf, unsigned size)
{
	char text[4096];
	ssize_t n = c->errors < 0 ? 0 : read(c->errors, text, sizeof(text) - 1);
	char *line;

	*buf = 0;
	if (n <= 0)
		return;
	while (n && text[n - 1] == '\n')
		n--;
	text[n] = 0;
	line = strrchr(text, '\n');
	line = line ? line + 1 : text;
	strncat(buf, line, size - 1);
	for (; *buf; buf++)
		if (*buf < ' ' || *buf > '~')
			*buf = '?';
}

void child_stop(struct child *c)
{
	if (c->pid > 0) {
		kill(c->pid, SIGKILL);
		while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	if (c->errors >= 0)
		close(c->errors);
	*c = (struct child){.socket = -1, .errors = -1};
}
