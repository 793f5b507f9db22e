/* Character backends: pipes, files, slow and vanished readers, and a real (pseudo) terminal. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "backend/char.h"
#include "base/bits.h"
#include "check.h"

#define PATIENCE_MS 10000

/* A device that keeps what it receives, as much as the test gives it room for. */
struct user {
	struct event_loop loop;
	struct chardev *chr;
	uint8_t in[200000];
	size_t in_len, room;
	unsigned writable, ends, gone, resized, breaks;
	bool echo;
};

static size_t user_can_receive(void *opaque)
{
	struct user *u = opaque;

	return LM_MIN(u->room, sizeof(u->in) - u->in_len);
}

static void user_receive(void *opaque, const uint8_t *bytes, size_t len)
{
	struct user *u = opaque;

	memcpy(u->in + u->in_len, bytes, len);
	u->in_len += len;
	u->room -= len;
	if (u->echo)
		chardev_write(u->chr, bytes, len);
}

static void user_writable(void *opaque)
{
	((struct user *)opaque)->writable++;
}

static void user_event(void *opaque, enum chardev_event event)
{
	struct user *u = opaque;

	u->ends += event == CHARDEV_INPUT_END;
	u->gone += event == CHARDEV_OUTPUT_GONE;
	u->resized += event == CHARDEV_RESIZED;
	if (event == CHARDEV_RESIZED && u->echo)
		chardev_write(u->chr, (const uint8_t *)"resized;", 8);
	u->breaks += event == CHARDEV_BREAK;
}

static const struct chardev_user ops = {
    .can_receive = user_can_receive,
    .receive = user_receive,
    .writable = user_writable,
    .event = user_event,
};

static void open_fds(struct user *u, int in_fd, int out_fd)
{
	memset(u, 0, sizeof(*u));
	CHECK_EQ(loop_init(&u->loop, false, NULL), 0);
	CHECK_EQ(char_fd_open(&u->chr, in_fd, out_fd, &u->loop, NULL), 0);
	chardev_attach(u->chr, &ops, u);
}

static void close_fds(struct user *u)
{
	chardev_attach(u->chr, NULL, NULL);
	char_close(u->chr);
	loop_fini(&u->loop);
}

static void stop(void *opaque)
{
	loop_stop(opaque);
}

static void step(struct user *u)
{
	struct timer t;

	timer_init(&t, &u->loop, stop, &u->loop);
	u->loop.stopping = false;
	timer_arm(&t, clock_now(&u->loop.clock) + 2000000);
	loop_run(&u->loop);
}

/* Runs the loop in short steps until the device has received `len` bytes. */
static bool run_until_len(struct user *u, size_t len)
{
	for (unsigned k = 0; k < PATIENCE_MS / 2 && u->in_len < len; k++)
		step(u);
	return u->in_len >= len;
}

/* The same until an event was counted. */
static bool run_until(struct user *u, const unsigned *counter)
{
	for (unsigned k = 0; k < PATIENCE_MS / 2 && !*counter; k++)
		step(u);
	return *counter != 0;
}

/* Input is taken as the device has room, then the end is told, once and last. */
static void test_pipe_input(void)
{
	static struct user u;
	int p[2];

	CHECK_EQ(pipe(p), 0);
	CHECK_EQ(write(p[1], "hello", 5), 5);
	close(p[1]);
	open_fds(&u, p[0], -1);
	u.room = 2;
	chardev_accept_input(u.chr);
	CHECK(run_until_len(&u, 2));
	for (unsigned k = 0; k < 10; k++)
		step(&u); /* no room, no end */
	CHECK_EQ(u.in_len, 2);
	CHECK_EQ(u.ends, 0);
	u.room = 100;
	chardev_accept_input(u.chr);
	CHECK(run_until(&u, &u.ends));
	CHECK(u.in_len == 5 && !memcmp(u.in, "hello", 5));
	CHECK_EQ(u.ends, 1);
	CHECK(u.chr->input_ended);
	close_fds(&u);
	close(p[0]);
}

/* epoll refuses regular files; the flags of the descriptor stay as they are. */
static void test_file_input(void)
{
	static struct user u;
	char path[] = "/tmp/lamina-char-XXXXXX";
	int fd = mkstemp(path);

	unlink(path);
	for (unsigned k = 0; k < 100000; k++) {
		uint8_t b = (uint8_t)(k * 7);

		if (write(fd, &b, 1) != 1)
			break;
	}
	lseek(fd, 0, SEEK_SET);
	open_fds(&u, fd, -1);
	u.room = sizeof(u.in);
	chardev_accept_input(u.chr);
	CHECK(run_until(&u, &u.ends));
	CHECK_EQ(u.in_len, 100000);
	CHECK_EQ(u.in[99999], (uint8_t)(99999 * 7));
	CHECK_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	close_fds(&u);
	close(fd);
}

/* A reader that does not read: writes become short, and go on when it reads. */
static void test_slow_reader(void)
{
	static struct user u;
	static uint8_t bytes[4096], got[4096];
	size_t sent = 0, taken = 0, wrong = 0;
	int p[2];

	CHECK_EQ(pipe(p), 0);
	open_fds(&u, -1, p[1]);
	for (unsigned k = 0; k < 1000; k++) {
		size_t n;

		for (unsigned i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t)((sent + i) / 4096);
		n = chardev_write(u.chr, bytes, sizeof(bytes));
		sent += n;
		if (n < sizeof(bytes) && !char_drain(u.chr, 100))
			break;
	}
	CHECK(sent < 300000); /* the pipe's and ours */
	CHECK(!char_drain(u.chr, 10));
	CHECK_EQ(u.writable, 0);
	while (taken < sent) {
		ssize_t n = read(p[0], got, sizeof(got));

		if (n <= 0)
			break;
		for (ssize_t k = 0; k < n; k++)
			wrong += got[k] != (uint8_t)((taken + (size_t)k) / 4096);
		taken += (size_t)n;
	}
	CHECK_EQ(taken, sent);
	CHECK_EQ(wrong, 0);
	CHECK(run_until(&u, &u.writable));
	CHECK(char_drain(u.chr, PATIENCE_MS));
	close_fds(&u);
	close(p[0]);
	close(p[1]);
}

static void test_reader_gone(void)
{
	static struct user u;
	int p[2];

	CHECK_EQ(pipe(p), 0);
	open_fds(&u, -1, p[1]);
	close(p[0]);
	chardev_write(u.chr, (const uint8_t *)"x", 1);
	CHECK(run_until(&u, &u.gone));
	CHECK_EQ(chardev_write(u.chr, u.in, sizeof(u.in)), sizeof(u.in)); /* dropped */
	CHECK(char_drain(u.chr, PATIENCE_MS));
	close_fds(&u);
	close(p[1]);
}

/* Closing does not wait for a reader that never reads. */
static void test_close_while_blocked(void)
{
	static struct user u;
	int p[2];

	CHECK_EQ(pipe(p), 0);
	open_fds(&u, -1, p[1]);
	do
		chardev_write(u.chr, u.in, sizeof(u.in));
	while (char_drain(u.chr, 100));
	close_fds(&u);
	close(p[0]);
	close(p[1]);
	CHECK_EQ(pipe(p), 0);
	open_fds(&u, p[0], -1); /* and an input that never comes */
	close_fds(&u);
	close(p[0]);
	close(p[1]);
}

/* The terminal. The child is the machine, the parent the user at the other end. */

static void child_quit(void *opaque)
{
	struct user *u = opaque;

	loop_stop(&u->loop);
}

static _Noreturn void child(const char *slave)
{
	static struct user u;
	struct char_stdio_options o = {.raw = true, .quit = child_quit, .opaque = &u};
	int fd;

	setsid();
	fd = open(slave, O_RDWR);
	ioctl(fd, TIOCSCTTY, 0);
	dup2(fd, 0);
	dup2(fd, 1);
	if (loop_init(&u.loop, false, NULL) < 0 || char_stdio_open(&u.chr, &o, &u.loop, NULL) < 0)
		_exit(10);
	u.room = sizeof(u.in);
	u.echo = true;
	chardev_attach(u.chr, &ops, &u);
	loop_run(&u.loop);
	char_drain(u.chr, PATIENCE_MS);
	chardev_attach(u.chr, NULL, NULL);
	char_close(u.chr);
	exit(u.breaks == 1 && u.resized >= 1 ? 0 : 11);
}

static bool is_raw(int master)
{
	struct termios t;

	return tcgetattr(master, &t) == 0 && !(t.c_lflag & ICANON);
}

static bool wait_raw(int master, bool raw)
{
	for (unsigned k = 0; k < PATIENCE_MS && is_raw(master) != raw; k++)
		poll(NULL, 0, 1);
	return is_raw(master) == raw;
}

static pid_t start_child(int *master)
{
	pid_t pid;

	*master = posix_openpt(O_RDWR | O_NOCTTY);
	if (*master < 0 || grantpt(*master) < 0 || unlockpt(*master) < 0)
		return -1;
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		child(ptsname(*master));
	CHECK(wait_raw(*master, true));
	return pid;
}

static bool read_text(int master, char *buf, size_t size, const char *want)
{
	size_t len = 0;

	buf[0] = 0;
	while (!strstr(buf, want) && len + 1 < size) {
		struct pollfd p = {master, POLLIN, 0};
		ssize_t n;

		if (poll(&p, 1, PATIENCE_MS) <= 0)
			return false;
		n = read(master, buf + len, size - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
		buf[len] = 0;
	}
	return strstr(buf, want) != NULL;
}

static void type(int master, const char *keys)
{
	CHECK_EQ(write(master, keys, strlen(keys)), strlen(keys));
}

static void test_terminal(void)
{
	struct winsize ws = {.ws_row = 40, .ws_col = 100};
	char buf[4096];
	int master, status;
	pid_t pid = start_child(&master);

	type(master, "a\003b\001\001c\001zd!");
	CHECK(read_text(master, buf, sizeof(buf), "!"));
	CHECK(strstr(buf, "a\003b\001c\001zd!")); /* Ctrl-C is the guest's */
	type(master, "\001h");
	CHECK(read_text(master, buf, sizeof(buf), "send Ctrl-A"));
	CHECK_EQ(ioctl(master, TIOCSWINSZ, &ws), 0);
	CHECK(read_text(master, buf, sizeof(buf), "resized;"));
	type(master, "\001b.");
	CHECK(read_text(master, buf, sizeof(buf), "."));
	type(master, "\001x");
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	close(master);
}

static void end_by_signal(int master, pid_t pid, int number)
{
	int status;

	kill(pid, number);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == number);
	CHECK(!is_raw(master));
}

/* Whatever ends or stops the process, the terminal is as it was. */
static void test_terminal_signals(void)
{
	static const int others[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, SIGXFSZ, SIGPROF};
	int master, status;
	pid_t pid = start_child(&master);
	int keep = open(ptsname(master), O_RDWR | O_NOCTTY);

	kill(pid, SIGTSTP);
	CHECK_EQ(waitpid(pid, &status, WUNTRACED), pid);
	CHECK(WIFSTOPPED(status));
	CHECK(!is_raw(master));
	kill(pid, SIGCONT);
	CHECK(wait_raw(master, true));
	end_by_signal(master, pid, SIGTERM);
	close(keep);
	close(master);
	for (unsigned k = 0; k < sizeof(others) / sizeof(others[0]); k++) {
		pid = start_child(&master);
		keep = open(ptsname(master), O_RDWR | O_NOCTTY);
		end_by_signal(master, pid, others[k]);
		close(keep);
		close(master);
	}
}

int main(void)
{
	test_pipe_input();
	test_file_input();
	test_slow_reader();
	test_reader_gone();
	test_close_while_blocked();
	test_terminal();
	test_terminal_signals();
	return check_done();
}
