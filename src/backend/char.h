/*
 * Character backends: file descriptors and the terminal, as struct chardev (dev/chardev.h).
 *
 * Reading and writing are done by threads of their own, so any descriptor will do (pipe, file,
 * terminal, socket), whether or not it is non-blocking, and a slow one never holds the machine up.
 * The flags of the descriptors, which may be shared with other processes, are not touched.
 */
#ifndef LM_BACKEND_CHAR_H
#define LM_BACKEND_CHAR_H

#include <stdbool.h>

#include "base/err.h"
#include "dev/chardev.h"
#include "event/loop.h"

/*
 * in_fd is read until its end, out_fd written; each may be -1. The descriptors are not owned. Free
 * with char_close.
 */
int char_fd_open(struct chardev **out, int in_fd, int out_fd, struct event_loop *loop,
		 struct lm_err *err);

struct char_stdio_options {
	bool raw; /* raw mode and the escape keys, where stdin is a terminal */
	/* The user typed Ctrl-A x. On the event loop's thread. */
	void (*quit)(void *opaque);
	void *opaque;
};

/*
 * Standard input and output; at most one at a time, since there is one terminal. Where it is one:
 * raw mode is left at close, at exit, when a signal ends the process and while it is stopped; size
 * changes are reported (CHARDEV_RESIZED); escape keys are those of QEMU:
 *   Ctrl-A h help, Ctrl-A x quit, Ctrl-A b break, Ctrl-A Ctrl-A sends Ctrl-A.
 */
int char_stdio_open(struct chardev **out, const struct char_stdio_options *options,
		    struct event_loop *loop, struct lm_err *err);

/* The text of Ctrl-A h, for help pages. */
extern const char char_stdio_help[];

/* Whether all output has been written (or nobody reads it) within timeout_ms; -1 waits for ever. */
bool char_drain(struct chardev *chr, int timeout_ms);

/*
 * Whether output was lost because it could not be written, as to a full disk; a reader that went
 * away is no failure. Says so once. After char_drain, or on the loop's thread.
 */
bool char_output_failed(struct chardev *chr);

/*
 * Under the device lock, with no user attached. Output that is not yet written is lost: see
 * char_drain. NULL is allowed.
 */
void char_close(struct chardev *chr);

#endif
