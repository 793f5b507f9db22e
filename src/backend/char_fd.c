#include "backend/char_fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "event/waker.h"

/* Chunks that one wake-up delivers: a fast source must not keep the event loop. */
#define CHUNKS_AT_ONCE 16

static void deliver(struct char_fd *c)
{
	size_t n = LM_MIN(chardev_can_receive(&c->chr), c->input_len);
	uint8_t bytes[CHAR_FD_INPUT];

	if (!n)
		return;
	/* The device may ask for more from within: the buffer is consistent before it is called. */
	memcpy(bytes, c->input, n);
	c->input_len -= n;
	memmove(c->input, c->input + n, c->input_len);
	chardev_receive(&c->chr, bytes, n);
}

/* Takes more from the stream; whether there was something. */
static bool fetch(struct char_fd *c)
{
	uint8_t bytes[CHAR_FD_INPUT];
	size_t room = sizeof(c->input) - c->input_len;
	size_t n = char_stream_get(&c->in, bytes, c->filter ? sizeof(bytes) : room);

	if (!n)
		return false;
	if (c->filter)
		n = LM_MIN(c->filter(c, bytes, n), room);
	memcpy(c->input + c->input_len, bytes, n);
	c->input_len += n;
	return true;
}

static void run_input(struct char_fd *c)
{
	bool more = true;
	int error;

	for (unsigned k = 0; more && k < CHUNKS_AT_ONCE; k++) {
		more = fetch(c);
		deliver(c);
	}
	if (more)
		wake_fd_signal(c->notify_fd);
	if (c->end_told || c->input_len || !char_stream_ended(&c->in, &error))
		return;
	c->end_told = true;
	if (error)
		log_line(LOG_WARN, "cannot read the machine's input: %s", strerror(error));
	chardev_send_event(&c->chr, CHARDEV_INPUT_END);
}

bool char_output_failed(struct chardev *chr)
{
	struct char_fd *c = LM_CONTAINER_OF(chr, struct char_fd, chr);
	int error;

	if (!char_stream_ended(&c->out, &error) || error == EPIPE || error == ECANCELED)
		return false;
	if (!c->failure_told)
		log_line(LOG_WARN, "cannot write the machine's output: %s", strerror(error));
	c->failure_told = true;
	return true;
}

static void run_output(struct char_fd *c)
{
	int error;

	if (char_stream_ended(&c->out, &error) && !c->chr.output_gone) {
		char_output_failed(&c->chr);
		chardev_send_event(&c->chr, CHARDEV_OUTPUT_GONE);
	}
	if (char_stream_has_room(&c->out))
		chardev_writable(&c->chr);
}

static void ready(void *opaque, uint32_t events)
{
	struct char_fd *c = opaque;

	wake_fd_clear(c->notify_fd);
	if (c->woken)
		c->woken(c);
	if (c->has_output)
		run_output(c);
	if (c->has_input)
		run_input(c);
}

size_t char_fd_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	struct char_fd *c = LM_CONTAINER_OF(chr, struct char_fd, chr);

	return c->has_output ? char_stream_put(&c->out, bytes, len) : len;
}

void char_fd_accept_input(struct chardev *chr)
{
	struct char_fd *c = LM_CONTAINER_OF(chr, struct char_fd, chr);

	if (c->has_input)
		wake_fd_signal(c->notify_fd);
}

const struct chardev_ops char_fd_ops = {
    .write = char_fd_write,
    .accept_input = char_fd_accept_input,
};

/* A thread that the kernel does not let go keeps the memory: better a leak than a crash at exit. */
static void destroy(struct char_fd *c)
{
	bool stopped = char_stream_stop(&c->in);

	stopped &= char_stream_stop(&c->out);
	event_fd_fini(&c->watch);
	if (!stopped)
		return;
	if (c->notify_fd >= 0)
		close(c->notify_fd);
	free(c);
}

static int start(struct char_fd *c, int in_fd, int out_fd, struct event_loop *loop,
		 struct lm_err *err)
{
	int rc = 0;

	c->notify_fd = wake_fd_open(err);
	if (c->notify_fd < 0)
		return c->notify_fd;
	c->has_input = in_fd >= 0;
	c->has_output = out_fd >= 0;
	if (c->has_input)
		rc = char_stream_start(&c->in, in_fd, false, c->notify_fd, err);
	if (rc == 0 && c->has_output)
		rc = char_stream_start(&c->out, out_fd, true, c->notify_fd, err);
	if (rc == 0)
		rc = event_fd_init(&c->watch, loop, c->notify_fd, EPOLLIN, ready, c, err);
	return rc;
}

int char_fd_init(struct char_fd *c, const struct chardev_ops *ops, int in_fd, int out_fd,
		 struct event_loop *loop, struct lm_err *err)
{
	int rc;

	c->chr.ops = ops;
	rc = start(c, in_fd, out_fd, loop, err);
	if (rc < 0)
		destroy(c);
	return rc;
}

int char_fd_open(struct chardev **out, int in_fd, int out_fd, struct event_loop *loop,
		 struct lm_err *err)
{
	struct char_fd *c = calloc(1, sizeof(*c));
	int rc;

	*out = NULL;
	if (!c)
		return lm_err_errno(err, -ENOMEM, "character stream");
	rc = char_fd_init(c, &char_fd_ops, in_fd, out_fd, loop, err);
	if (rc == 0)
		*out = &c->chr;
	return rc;
}

bool char_drain(struct chardev *chr, int timeout_ms)
{
	return char_stream_drain(&LM_CONTAINER_OF(chr, struct char_fd, chr)->out, timeout_ms);
}

void char_close(struct chardev *chr)
{
	struct char_fd *c;

	if (!chr)
		return;
	c = LM_CONTAINER_OF(chr, struct char_fd, chr);
	if (c->closing)
		c->closing(c);
	destroy(c);
}
