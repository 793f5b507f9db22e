/* The control socket's server: lines in, lines out, with the commands of this test. */
#include "control/server.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/check.h"

static struct event_loop loop;
static struct control_server *server;
static struct control_request *later;
static unsigned cancelled;

static int echo(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	const char *text;
	int rc = control_unpack(args, err, "{s:s}", "text", &text);

	if (!rc)
		json_object_set_new(result, "text", json_string(text));
	return rc;
}

static int fail(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	return lm_err_errno(err, -ENOSPC, "file \xff");
}

static int wait_for_it(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	later = r;
	return CONTROL_LATER;
}

static void cancel(struct control_request *r)
{
	cancelled++;
	control_finish(r, NULL);
	later = NULL;
}

static int take_fd(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	ssize_t n = r->fds == 1 ? write(r->fd[0], "x", 1) : -1;

	json_object_set_new(result, "fds", json_integer(n == 1 ? r->fds : 100));
	return 0;
}

static const struct control_command commands[] = {
	{ "echo", echo, .still = false },
	{ "fail", fail, .still = false },
	{ "wait", wait_for_it, .cancel = cancel },
	{ "take-fd", take_fd, .still = false },
	{ NULL },
};

static int client(void)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
		abort();
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	CHECK_EQ(control_server_adopt(server, fd[0], NULL), 0);
	return fd[1];
}

/* Serves what there is: stops itself after a few rounds. */
static void run(void)
{
	for (unsigned k = 0; k < 4; k++) {
		struct timer t;

		timer_init(&t, &loop, (void (*)(void *))loop_stop, &loop);
		timer_arm(&t, clock_now(&loop.clock) + 2000000);
		loop_run(&loop);
	}
}

static const char *talk(int fd, const char *request)
{
	static char answer[CONTROL_REPLY_MAX];
	size_t len = 0;
	ssize_t n;

	if (*request)
		CHECK_EQ(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	do {
		run();
		n = recv(fd, answer + len, sizeof(answer) - 1 - len, MSG_DONTWAIT);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	answer[len] = 0;
	return answer;
}

static void wants(int fd, const char *request, const char *answer)
{
	const char *got = talk(fd, request);

	CHECK(!strcmp(got, answer));
	if (strcmp(got, answer))
		fprintf(stderr, "%s gives %s", request, got);
}

static void test_requests(void)
{
	int fd = client();

	wants(fd, "{\"command\":\"echo\",\"arguments\":{\"text\":\"a\"}}\n", "{\"return\":{\"text\":\"a\"}}\n");
	wants(fd, "{\"command\":\"echo\",\"arguments\":{\"text\":\"a\"},\"id\":[1]}\n",
	      "{\"return\":{\"text\":\"a\"},\"id\":[1]}\n");
	wants(fd, "{\"command\":\"fail\",\"id\":1}\n",
	      "{\"error\":{\"errno\":28,\"text\":\"file ?: No space left on device\"},\"id\":1}\n");
	CHECK(strstr(talk(fd, "{\"command\":\"echo\"}\n"), "arguments: ") != NULL);
	CHECK(strstr(talk(fd, "{\"command\":\"echo\",\"arguments\":{\"text\":1}}\n"), "arguments: "));
	CHECK(strstr(talk(fd, "{\"command\":\"echo\",\"arguments\":{\"text\":\"\",\"x\":1}}\n"),
		     "arguments: "));
	CHECK(strstr(talk(fd, "{\"command\":\"xyzzy\"}\n"), "no command \\\"xyzzy\\\"") != NULL);
	CHECK(strstr(talk(fd, "{\"command\":\"echo\",\"arguments\":[]}\n"), "is no object") != NULL);
	CHECK(strstr(talk(fd, "{\"comand\":\"echo\"}\n"), "unknown member") != NULL);
	CHECK(strstr(talk(fd, "[]\n"), "is a JSON object") != NULL);
	CHECK(strstr(talk(fd, "\n"), "not JSON") != NULL);
	close(fd);
	run();
}

/* Requests in pieces and many at once; the last one half-closes. */
static void test_streams(void)
{
	static char many[60000];
	unsigned lines = 0;
	int fd = client();
	const char *got;

	wants(fd, "{\"command\":\"ec", "");
	wants(fd, "ho\",\"arguments\":{\"text\":\"b\"}}\n{\"comm", "{\"return\":{\"text\":\"b\"}}\n");
	wants(fd, "and\":\"fail\"}\n",
	      "{\"error\":{\"errno\":28,\"text\":\"file ?: No space left on device\"}}\n");
	for (size_t n = 0; n + 100 < sizeof(many);)
		n += (size_t)snprintf(many + n, 50, "{\"command\":\"x\"}\n");
	got = talk(fd, many);
	for (const char *p = got; (p = strchr(p, '\n')); p++)
		lines++;
	CHECK_EQ(lines, (sizeof(many) - 100) / 16 + 1);
	CHECK_EQ(write(fd, "{\"command\":\"x\"}\n", 16), 16);
	shutdown(fd, SHUT_WR);
	CHECK(strstr(talk(fd, ""), "no command") != NULL);
	CHECK_EQ(recv(fd, many, 1, MSG_DONTWAIT), 0); /* and it is closed behind the answer */
	close(fd);
	run();
}

static void test_bounds(void)
{
	static char line[CONTROL_REQUEST_MAX + 1];
	int fd = client();

	memset(line, ' ', sizeof(line) - 1);
	CHECK(strstr(talk(fd, line), "at most") != NULL);
	close(fd);
	run();
	/* Whoever takes no answers is cut off, and the server holds little for him. */
	fd = client();
	snprintf(line, sizeof(line), "{\"command\":\"echo\",\"arguments\":{\"text\":\"%060000d\"}}\n", 0);
	for (unsigned k = 0; k < 100; k++) {
		send(fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
		run();
	}
	CHECK(send(fd, line, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE);
	close(fd);
	run();
}

static void test_later(void)
{
	int fd = client();
	struct lm_err err = { -EIO, "no" };

	wants(fd, "{\"command\":\"wait\",\"id\":1}\n{\"command\":\"echo\",\"arguments\":{\"text\":\"c\"}}\n", "");
	control_progress(later, json_pack("{s:i}", "done", 1));
	wants(fd, "", "{\"progress\":{\"done\":1},\"id\":1}\n");
	control_finish(later, NULL);
	wants(fd, "", "{\"return\":{},\"id\":1}\n{\"return\":{\"text\":\"c\"}}\n");
	wants(fd, "{\"command\":\"wait\"}\n", "");
	control_fail(later, &err);
	wants(fd, "", "{\"error\":{\"errno\":5,\"text\":\"no\"}}\n");
	wants(fd, "{\"command\":\"wait\"}\n", "");
	CHECK_EQ(cancelled, 0);
	close(fd);
	run();
	CHECK_EQ(cancelled, 1);
	fd = client();
	wants(fd, "{\"command\":\"wait\"}\n", ""); /* pending when the server goes */
	close(client());
	control_server_destroy(server);
	CHECK_EQ(read(fd, &err, 1), 0);
	close(fd);
	server = NULL;
	control_server_create(&server, commands, NULL, &loop, NULL, NULL);
}

static void send_with_fd(int to, const char *text, int fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .space = { 0 } };
	struct iovec iov = { (char *)text, strlen(text) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *m = CMSG_FIRSTHDR(&msg);

	m->cmsg_level = SOL_SOCKET;
	m->cmsg_type = SCM_RIGHTS;
	m->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(m), &fd, sizeof(fd));
	CHECK_EQ(sendmsg(to, &msg, 0), strlen(text));
}

static void test_descriptors(void)
{
	int fd = client(), ends[2];
	char byte;

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	send_with_fd(fd, "{\"command\":\"take-fd\"}\n", ends[1]);
	wants(fd, "", "{\"return\":{\"fds\":1}}\n");
	send_with_fd(fd, "{\"command\":\"xyzzy\"}\n", ends[1]);
	CHECK(strstr(talk(fd, ""), "no command") != NULL);
	for (unsigned k = 0; k < 8; k++)
		send_with_fd(fd, " ", ends[1]);
	run();
	close(fd);
	run();
	close(ends[1]);
	CHECK_EQ(read(ends[0], &byte, 1), 1);
	CHECK_EQ(read(ends[0], &byte, 1), 0); /* the server has kept none */
	close(ends[0]);
}

int main(void)
{
	if (loop_init(&loop, false, NULL) ||
	    control_server_create(&server, commands, NULL, &loop, NULL, NULL))
		return 1;
	test_requests();
	test_streams();
	test_bounds();
	test_later();
	test_descriptors();
	control_server_destroy(server);
	loop_fini(&loop);
	return check_done();
}
