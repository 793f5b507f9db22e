#include "control/client.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "control/runtime.h"
#include "control/server.h"

#define ANSWER_MS 30000 /* of commands that take no time */
#define READ_SIZE 4096

int control_client_open(struct control_client *c, const char *name, struct lm_err *err)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	*c = (struct control_client){ .fd = runtime_connect(name, err) };
	if (c->fd < 0)
		return c->fd;
	if (!getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		c->pid = peer.pid;
	c->name = strdup(name);
	if (!c->name) {
		control_client_close(c);
		return lm_err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

void control_client_close(struct control_client *c)
{
	close(c->fd);
	free(c->name);
	free(c->in);
}

/* ---- Sending ---- */

static int send_line(struct control_client *c, const char *line, size_t len, const int *fd,
		     unsigned fds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))];
	} control = { .space = { 0 } };
	struct iovec iov = { (char *)line, len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *m;
	ssize_t n;

	if (fds) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(fds * sizeof(int));
		m = CMSG_FIRSTHDR(&msg);
		m->cmsg_level = SOL_SOCKET;
		m->cmsg_type = SCM_RIGHTS;
		m->cmsg_len = CMSG_LEN(fds * sizeof(int));
		memcpy(CMSG_DATA(m), fd, fds * sizeof(int));
	}
	n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	/* The rest of a long line goes without the descriptors. */
	return (size_t)n < len ? send_line(c, line + n, len - (size_t)n, NULL, 0) : 0;
}

static int send_request(struct control_client *c, const struct control_call *call, struct lm_err *err)
{
	json_t *request = json_pack("{s:s, s:o*}", "command", call->command, "arguments", call->args);
	char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t len = line ? strlen(line) : 0;
	int rc;

	json_decref(request);
	if (!line)
		return lm_err_set(err, -EINVAL, "a file name or text is not UTF-8");
	if (len >= CONTROL_REQUEST_MAX) {
		free(line);
		return lm_err_set(err, -E2BIG, "too long a request");
	}
	line[len] = '\n'; /* in place of the terminator */
	rc = send_line(c, line, len + 1, call->fd, call->fds);
	free(line);
	return rc < 0 ? lm_err_errno(err, rc, "machine %s", c->name) : 0;
}

/* ---- Receiving ---- */

static int make_room(struct control_client *c)
{
	char *more;

	if (c->in_size - c->in_used >= READ_SIZE)
		return 0;
	if (c->in_size > CONTROL_REPLY_MAX)
		return -E2BIG;
	more = realloc(c->in, c->in_size * 2 + READ_SIZE);
	if (!more)
		return -ENOMEM;
	c->in = more;
	c->in_size = c->in_size * 2 + READ_SIZE;
	return 0;
}

static int read_more(struct control_client *c, int timeout_ms, struct lm_err *err)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	int rc = make_room(c);
	ssize_t n;

	if (rc < 0)
		return lm_err_errno(err, rc, "machine %s: its answer", c->name);
	rc = poll(&p, 1, timeout_ms == CONTROL_NO_TIMEOUT ? -1 : timeout_ms);
	if (rc == 0)
		return lm_err_set(err, -ETIMEDOUT, "machine %s does not answer", c->name);
	n = rc < 0 ? -1 : read(c->fd, c->in + c->in_used, c->in_size - c->in_used);
	if (n < 0)
		return errno == EINTR ? 0 : lm_err_errno(err, -errno, "machine %s", c->name);
	if (n == 0)
		return lm_err_set(err, -ECONNRESET, "machine %s ended before it answered", c->name);
	c->in_used += (size_t)n;
	return 0;
}

static int read_message(struct control_client *c, int timeout_ms, json_t **message,
			struct lm_err *err)
{
	json_error_t why;
	char *end;

	while (!c->in_used || !(end = memchr(c->in, '\n', c->in_used))) {
		int rc = read_more(c, timeout_ms, err);

		if (rc < 0)
			return rc;
	}
	*message = json_loadb(c->in, (size_t)(end - c->in), JSON_REJECT_DUPLICATES, &why);
	c->in_used -= (size_t)(end + 1 - c->in);
	memmove(c->in, end + 1, c->in_used);
	return *message ? 0
			: lm_err_set(err, -EPROTO, "machine %s gave a strange answer: %s", c->name,
				     why.text);
}

/* An answer ends the call: 0 or its error; progress does not: CONTROL_LATER. */
static int judge(struct control_client *c, const struct control_call *call, const json_t *message,
		 json_t **result, struct lm_err *err)
{
	json_t *error = json_object_get(message, "error"), *got = json_object_get(message, "return");
	json_t *progress = json_object_get(message, "progress");
	const char *text = json_string_value(json_object_get(error, "text"));
	json_int_t code = json_integer_value(json_object_get(error, "errno"));

	if (progress) {
		if (call->progress)
			call->progress(call->opaque, progress);
		return CONTROL_LATER;
	}
	if (error)
		return lm_err_set(err, code > 0 && code < 4096 ? -(int)code : -EIO, "machine %s: %s",
				  c->name, text ? text : "failed without a reason");
	if (!json_is_object(got))
		return lm_err_set(err, -EPROTO, "machine %s gave a strange answer", c->name);
	if (result)
		*result = json_incref(got);
	return 0;
}

int control_call(struct control_client *c, const struct control_call *call, json_t **result,
		 struct lm_err *err)
{
	int rc = send_request(c, call, err);

	if (rc < 0)
		return rc;
	do {
		json_t *message = NULL;

		rc = read_message(c, call->timeout_ms, &message, err);
		if (!rc)
			rc = judge(c, call, message, result, err);
		json_decref(message);
	} while (rc == CONTROL_LATER);
	return rc;
}

int control_tell(const char *name, const char *command, struct lm_err *err)
{
	struct control_call call = { .command = command, .timeout_ms = ANSWER_MS };
	struct control_client c;
	int rc = control_client_open(&c, name, err);

	if (rc < 0)
		return rc;
	rc = control_call(&c, &call, NULL, err);
	control_client_close(&c);
	return rc;
}

/* ---- The end ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* Without a pidfd (before Linux 5.3, another PID namespace) the closed connection must do. */
static bool has_ended(struct control_client *c, int pidfd, int timeout_ms)
{
	struct pollfd p = { .fd = pidfd >= 0 ? pidfd : c->fd, .events = POLLIN };
	char byte;

	if (poll(&p, 1, timeout_ms) <= 0)
		return false;
	return pidfd >= 0 || read(c->fd, &byte, 1) <= 0;
}

int control_wait_end(struct control_client *c, int timeout_ms)
{
	int pidfd = c->pid > 0 ? (int)syscall(SYS_pidfd_open, c->pid, 0) : -1;
	int64_t end = now_ms() + timeout_ms;
	bool ended = false;

	if (pidfd < 0 && c->pid > 0 && errno == ESRCH)
		return 0;
	for (int64_t left = timeout_ms; !ended && left >= 0; left = end - now_ms())
		ended = has_ended(c, pidfd, (int)left);
	if (pidfd >= 0)
		close(pidfd);
	return ended ? 0 : -ETIMEDOUT;
}
