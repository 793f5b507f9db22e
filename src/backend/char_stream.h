/*
 * One direction of a descriptor: a ring, and a thread that blocks on the descriptor instead of us.
 * The event loop is woken through `notify_fd` when there is something to look at.
 */
#ifndef LM_BACKEND_CHAR_STREAM_H
#define LM_BACKEND_CHAR_STREAM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define STREAM_RING 65536

struct char_stream {
	int fd; /* not owned */
	bool output;
	int notify_fd; /* eventfd of the owner */
	int stop_fd;   /* eventfd: ends a wait for the descriptor */
	pthread_t thread;
	bool started;

	pthread_mutex_t lock; /* leaf: guards what follows */
	pthread_cond_t changed;
	size_t head, len; /* ring in buf */
	bool short_write; /* output: somebody waits for room */
	bool stopping;
	bool ended; /* input: end of file or error; output: nobody reads, or error */
	int error;  /* errno that ended it, 0 for end of file */
	uint8_t buf[STREAM_RING];
};

int char_stream_start(struct char_stream *s, int fd, bool output, int notify_fd,
		      struct lm_err *err);
/* False where the thread is stuck in the kernel: then the memory must not be freed. */
bool char_stream_stop(struct char_stream *s);

/* Output: the number of bytes taken. */
size_t char_stream_put(struct char_stream *s, const uint8_t *bytes, size_t len);
/* Output: whether a put that was short may be tried again; answers once. */
bool char_stream_has_room(struct char_stream *s);
/* Output: whether all is written or never will be, within timeout_ms (-1: no limit). */
bool char_stream_drain(struct char_stream *s, int timeout_ms);
/* Input: copies and removes up to len bytes. */
size_t char_stream_get(struct char_stream *s, uint8_t *bytes, size_t len);
/* Input: all has been read; output: nobody reads. */
bool char_stream_ended(struct char_stream *s, int *error);

#endif
