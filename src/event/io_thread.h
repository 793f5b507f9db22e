/*
 * An event loop with a thread of its own, for a device whose data path must neither hold up the
 * machine's loop nor wait for it.
 *
 * Lock order: the machine's device lock, then an I/O loop's lock. A callback of the I/O loop that
 * needs the device lock gives up its own first.
 */
#ifndef LM_EVENT_IO_THREAD_H
#define LM_EVENT_IO_THREAD_H

#include "event/loop.h"

struct io_thread {
	struct event_loop loop;
	pthread_t thread;
	bool started;
};

/* The loop can be given descriptors from then on; nothing is served before io_thread_start. */
int io_thread_init(struct io_thread *io, struct lm_err *err);
int io_thread_start(struct io_thread *io, struct lm_err *err);
/* Ends the thread, if it was started. Not under the loop's lock. */
void io_thread_stop(struct io_thread *io);
void io_thread_fini(struct io_thread *io);

#endif
