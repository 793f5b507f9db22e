/* The inside of char_fd, for char_stdio which adds a terminal's manners to it. */
#ifndef LM_BACKEND_CHAR_FD_H
#define LM_BACKEND_CHAR_FD_H

#include "backend/char.h"
#include "backend/char_stream.h"

#define CHAR_FD_INPUT 4096

struct char_fd {
	struct chardev chr;
	struct event_fd watch;
	int notify_fd;
	bool has_input, has_output;
	bool end_told; /* CHARDEV_INPUT_END was sent */
	bool failure_told; /* of output */
	struct char_stream in, out;
	/* Input on its way from the stream to the device. */
	uint8_t input[CHAR_FD_INPUT];
	size_t input_len;
	/*
	 * May change and remove bytes as they arrive; returns how many remain of len. Input is then
	 * always read, and what a device that takes nothing leaves no room for is dropped, so that
	 * the filter sees every byte. NULL: none.
	 */
	size_t (*filter)(struct char_fd *c, uint8_t *bytes, size_t len);
	/* Every time the loop was woken for this backend; NULL: none. */
	void (*woken)(struct char_fd *c);
	void (*closing)(struct char_fd *c);
};

/* c is zeroed and heap-allocated; freed here on failure. filter and so on may be set before. */
int char_fd_init(struct char_fd *c, const struct chardev_ops *ops, int in_fd, int out_fd,
		 struct event_loop *loop, struct lm_err *err);
extern const struct chardev_ops char_fd_ops;
size_t char_fd_write(struct chardev *chr, const uint8_t *bytes, size_t len);
void char_fd_accept_input(struct chardev *chr);

#endif
