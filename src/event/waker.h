/*
 * Waking somebody who waits for descriptors, from any thread: an eventfd, which is readable from
 * then on until it is cleared.
 */
#ifndef LM_EVENT_WAKER_H
#define LM_EVENT_WAKER_H

#include "base/err.h"
#include "event/loop.h"

/* The bare descriptor, or a negative errno. */
int wake_fd_open(struct lm_err *err);
/* Signal handlers may, too. */
void wake_fd_signal(int fd);
void wake_fd_clear(int fd);

/* The same watched by an event loop. All zero where it is not open. */
struct waker {
	int fd;
	struct event_fd watch;
	void (*woken)(void *opaque); /* on the loop's thread, once for all wakes before it */
	void *opaque;
};

/* Where it fails *w stays as if never opened: there is nothing to undo. */
int waker_init(struct waker *w, struct event_loop *loop, void (*woken)(void *), void *opaque,
	       struct lm_err *err);
void waker_wake(const struct waker *w);
/* Nothing happens where it is not open. */
void waker_fini(struct waker *w);

#endif
