/* The terminal: raw mode that is always given back, escape keys, size changes. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "backend/char_fd.h"
#include "base/bits.h"
#include "event/waker.h"

#define KEY_ESCAPE 0x01 /* Ctrl-A */

const char char_stdio_help[] = "Ctrl-A h    this help\n"
			       "Ctrl-A x    quit\n"
			       "Ctrl-A b    send break (SysRq)\n"
			       "Ctrl-A Ctrl-A  send Ctrl-A\n";

struct char_stdio {
	struct char_fd fd; /* first: char_close frees through it */
	struct char_stdio_options options;
	bool escaped; /* the last key was Ctrl-A */
};

/*
 * There is one terminal, and signal handlers have no arguments. Written before the handlers are
 * installed; `raw` is only touched with them blocked or from within them.
 */
static struct {
	bool open;
	struct termios saved;
	volatile sig_atomic_t raw;
	volatile sig_atomic_t resized;
	int notify_fd;
} terminal;

/* Signals that end the process; those that somebody else handles or ignores are left alone. */
static const int fatal_signals[] = {
    SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGABRT, SIGSEGV,   SIGBUS,    SIGFPE,	SIGILL,
    SIGSYS,  SIGTRAP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF,   SIGXCPU, SIGXFSZ,
    SIGPIPE, SIGPOLL, SIGPWR,  SIGSTKFLT,
};
static struct sigaction saved_fatal[LM_ARRAY_SIZE(fatal_signals)];
static struct sigaction saved_stop, saved_cont, saved_winch;

/* Raw mode. Output processing stays on, so that our own messages look right. */

static bool in_foreground(void)
{
	return tcgetpgrp(STDIN_FILENO) == getpgrp();
}

static void enter_raw(void)
{
	struct termios raw = terminal.saved;

	if (!in_foreground())
		return;
	raw.c_iflag &=
	    ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	raw.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	raw.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
	raw.c_cflag |= CS8;
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	terminal.raw = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

static void leave_raw(void)
{
	if (!terminal.raw || !in_foreground())
		return;
	tcsetattr(STDIN_FILENO, TCSANOW, &terminal.saved);
	terminal.raw = false;
}

/* Signal handlers: only calls that are safe in them. */

static void on_fatal(int sig)
{
	leave_raw();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void on_stop(int sig)
{
	int saved_errno = errno;

	leave_raw();
	raise(SIGSTOP);
	errno = saved_errno;
}

static void note_resize(void)
{
	terminal.resized = true;
	wake_fd_signal(terminal.notify_fd);
}

/* After a stop the shell has set its own modes, and the window may have changed. */
static void on_cont(int sig)
{
	int saved_errno = errno;

	enter_raw();
	note_resize();
	errno = saved_errno;
}

static void on_winch(int sig)
{
	int saved_errno = errno;

	note_resize();
	errno = saved_errno;
}

static void handle(int sig, void (*handler)(int), struct sigaction *saved)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

	sigfillset(&action.sa_mask);
	sigaction(sig, &action, saved);
}

static void install_handlers(void)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(fatal_signals); k++) {
		struct sigaction *saved = &saved_fatal[k];

		sigaction(fatal_signals[k], NULL, saved);
		if (!(saved->sa_flags & SA_SIGINFO) && saved->sa_handler == SIG_DFL)
			handle(fatal_signals[k], on_fatal, saved);
	}
	handle(SIGTSTP, on_stop, &saved_stop);
	handle(SIGCONT, on_cont, &saved_cont);
	handle(SIGWINCH, on_winch, &saved_winch);
}

/* Gives back only what is still ours: the machine may have installed its own since. */
static void remove_handler(int sig, void (*handler)(int), const struct sigaction *saved)
{
	struct sigaction now;

	sigaction(sig, NULL, &now);
	if (!(now.sa_flags & SA_SIGINFO) && now.sa_handler == handler)
		sigaction(sig, saved, NULL);
}

static void remove_handlers(void)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(fatal_signals); k++)
		remove_handler(fatal_signals[k], on_fatal, &saved_fatal[k]);
	remove_handler(SIGTSTP, on_stop, &saved_stop);
	remove_handler(SIGCONT, on_cont, &saved_cont);
	remove_handler(SIGWINCH, on_winch, &saved_winch);
}

static void at_exit(void)
{
	leave_raw();
}

static void terminal_open(struct char_stdio *s)
{
	static bool registered;

	if (tcgetattr(STDIN_FILENO, &terminal.saved) < 0)
		return;
	terminal.open = true;
	terminal.notify_fd = s->fd.notify_fd;
	install_handlers();
	if (!registered)
		atexit(at_exit);
	registered = true;
	enter_raw();
}

static void terminal_close(struct char_fd *c)
{
	if (!terminal.open)
		return;
	remove_handlers();
	leave_raw();
	terminal.open = false;
}

static void terminal_woken(struct char_fd *c)
{
	if (!terminal.resized)
		return;
	terminal.resized = false;
	chardev_send_event(&c->chr, CHARDEV_RESIZED);
}

/* Escape keys. */

static void print_help(struct char_stdio *s)
{
	char_fd_write(&s->fd.chr, (const uint8_t *)"\n", 1);
	char_fd_write(&s->fd.chr, (const uint8_t *)char_stdio_help, sizeof(char_stdio_help) - 1);
}

/* What a key after Ctrl-A sends to the guest: the number of bytes put into out. */
static size_t escape_key(struct char_stdio *s, uint8_t key, uint8_t out[2])
{
	switch (key) {
	case 'x':
		if (s->options.quit)
			s->options.quit(s->options.opaque);
		return 0;
	case 'h':
	case '?':
		print_help(s);
		return 0;
	case 'b':
		chardev_send_event(&s->fd.chr, CHARDEV_BREAK);
		return 0;
	case KEY_ESCAPE:
		out[0] = KEY_ESCAPE;
		return 1;
	default: /* not one of ours: as typed */
		out[0] = KEY_ESCAPE;
		out[1] = key;
		return 2;
	}
}

static size_t filter(struct char_fd *c, uint8_t *bytes, size_t len)
{
	struct char_stdio *s = LM_CONTAINER_OF(c, struct char_stdio, fd);
	uint8_t out[2 * CHAR_FD_INPUT];
	size_t n = 0;

	for (size_t k = 0; k < len; k++) {
		if (s->escaped) {
			s->escaped = false;
			n += escape_key(s, bytes[k], out + n);
		} else if (bytes[k] == KEY_ESCAPE) {
			s->escaped = true;
		} else {
			out[n++] = bytes[k];
		}
	}
	n = LM_MIN(n, CHAR_FD_INPUT);
	memcpy(bytes, out, n);
	return n;
}

static bool stdio_size(struct chardev *chr, uint16_t *cols, uint16_t *rows)
{
	struct winsize ws;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) < 0 && ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) < 0)
		return false;
	*cols = ws.ws_col;
	*rows = ws.ws_row;
	return ws.ws_col && ws.ws_row;
}

static const struct chardev_ops stdio_ops = {
    .write = char_fd_write,
    .accept_input = char_fd_accept_input,
    .size = stdio_size,
};

int char_stdio_open(struct chardev **out, const struct char_stdio_options *options,
		    struct event_loop *loop, struct lm_err *err)
{
	bool raw = options->raw && isatty(STDIN_FILENO);
	struct char_stdio *s;
	int rc;

	*out = NULL;
	if (raw && terminal.open)
		return lm_err_set(err, -EBUSY, "the terminal is already in use by another device");
	s = calloc(1, sizeof(*s));
	if (!s)
		return lm_err_errno(err, -ENOMEM, "terminal");
	s->options = *options;
	if (raw) {
		s->fd.filter = filter;
		s->fd.woken = terminal_woken;
		s->fd.closing = terminal_close;
	}
	rc = char_fd_init(&s->fd, &stdio_ops, STDIN_FILENO, STDOUT_FILENO, loop, err);
	if (rc < 0)
		return rc;
	if (raw)
		terminal_open(s);
	*out = &s->fd.chr;
	return 0;
}
