/* The control socket: arbitrary and nearly right lines, in pieces, with answers at once and later. */
#include "control/server.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/bug.h"
#include "fuzz.h"

static struct event_loop loop;
static struct control_server *server;
static struct control_request *pending[8];
static unsigned pendings;

static int now(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	const char *text = NULL;
	int number = 0, flag = 0;
	int rc = control_unpack(args, err, "{s?s, s?i, s?b}", "text", &text, "number", &number, "flag", &flag);

	if (!rc)
		json_object_set_new(result, "text", json_string(text ? text : ""));
	return rc;
}

static int later(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	if (pendings == LM_ARRAY_SIZE(pending))
		return lm_err_set(err, -16, "busy");
	pending[pendings++] = r;
	return CONTROL_LATER;
}

static void cancel(struct control_request *r)
{
	for (unsigned k = 0; k < pendings; k++)
		if (pending[k] == r)
			pending[k] = pending[--pendings];
	control_finish(r, NULL);
}

static const struct control_command commands[] = {
	{ "now", now, .still = false },
	{ "later", later, .cancel = cancel },
	{ NULL },
};

static void finish_one(unsigned how)
{
	struct lm_err err = { -5, "no" };
	struct control_request *r;

	if (!pendings)
		return;
	r = pending[pendings - 1];
	if (how % 3 == 0) {
		control_progress(r, json_object());
		return;
	}
	pendings--;
	if (how % 3 == 1)
		control_finish(r, NULL);
	else
		control_fail(r, &err);
}

static void write_some(struct fuzz_input *in, int fd)
{
	static const char *const words[] = {
		"{\"command\":\"now\"}\n", "{\"command\":\"later\"}\n", "{\"command\":\"later\",\"id\":", "\"now\"",
		"{", "}", "[", "\n", "\"arguments\":{", "\"text\":\"", "\"number\":1e999", "\"flag\":true", ",",
		"\\ud800", "null", "\"command\":",
	};
	char text[1024];
	size_t len = 0;

	for (unsigned n = (unsigned)fuzz_take(in, 1) % 16; n; n--) {
		unsigned what = (unsigned)fuzz_take(in, 1);

		if (what < LM_ARRAY_SIZE(words) * 12)
			len += (size_t)snprintf(text + len, 64, "%s", words[what / 12]);
		else
			text[len++] = (char)fuzz_take(in, 1);
	}
	if (send(fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

static void serve(void)
{
	/* One round of loop_run at a time, without waiting. */
	for (unsigned k = 0; k < 2; k++) {
		struct epoll_event ev[16];
		int n = epoll_wait(loop.epoll_fd, ev, 16, 0);

		for (int i = 0; i < n; i++) {
			struct event_fd *e = ev[i].data.ptr;

			if (e && e->ready)
				e->ready(e->opaque, ev[i].events);
		}
	}
}

static void fuzz_one(struct fuzz_input *in)
{
	char answers[4096];
	int fd[2];

	LM_BUG_ON(loop_init(&loop, false, NULL));
	LM_BUG_ON(control_server_create(&server, commands, NULL, &loop, NULL, NULL));
	LM_BUG_ON(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd));
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	LM_BUG_ON(control_server_adopt(server, fd[0], NULL));
	while (in->p < in->end) {
		unsigned what = (unsigned)fuzz_take(in, 1);

		if (what < 150)
			write_some(in, fd[1]);
		else if (what < 230)
			serve();
		else if (what < 254)
			finish_one(what);
		else
			shutdown(fd[1], what & 1 ? SHUT_WR : SHUT_RDWR);
		if (what % 5 == 0 && recv(fd[1], answers, sizeof(answers), MSG_DONTWAIT) < 0)
			continue;
	}
	close(fd[1]);
	serve();
	pendings = 0;
	control_server_destroy(server);
	loop_fini(&loop);
}
