#include "control/server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"

struct connection {
	struct control_server *server;
	struct connection *next;
	struct event_fd watch;
	struct control_request *pending; /* no other is looked at meanwhile */
	bool serving;			 /* serve_lines is at work */
	bool ended;			 /* the client sends no more */
	bool broken;			 /* shut down; freed when the loop says so */
	int fd[CONTROL_FDS_MAX];	 /* that came, for the request whose line is not complete yet */
	unsigned fds;
	size_t in_used, out_used;
	char *out;			 /* what the client has not taken yet */
	char in[CONTROL_REQUEST_MAX];
};

struct control_server {
	const struct control_command *commands;
	struct machine *machine;
	struct event_loop *loop;
	struct runtime_socket *socket;
	struct event_fd watch;
	struct connection *connections;
	struct control_request *requests; /* pending ones, those without a client too */
	unsigned clients;
};

static void serve_lines(struct connection *c);

/* ---- Output ---- */

static void update_watch(struct connection *c)
{
	uint32_t in = c->pending || c->ended ? 0 : EPOLLIN;

	event_fd_update(&c->watch, c->broken ? 0 : in | (c->out_used ? EPOLLOUT : 0));
}

/* Its event, EPOLLHUP, which comes without being asked for, is what frees it. */
static void break_off(struct connection *c)
{
	c->broken = true;
	shutdown(c->watch.fd, SHUT_RDWR);
	update_watch(c);
}

static void send_out(struct connection *c)
{
	ssize_t n = send(c->watch.fd, c->out, c->out_used, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		break_off(c);
		return;
	}
	if (n > 0) {
		c->out_used -= (size_t)n;
		memmove(c->out, c->out + n, c->out_used);
	}
	if (c->ended && !c->pending && !c->out_used)
		break_off(c);
	else
		update_watch(c);
}

/* Steals the message. */
static void send_message(struct connection *c, json_t *message)
{
	size_t len = json_dumpb(message, NULL, 0, JSON_COMPACT);
	char *more = NULL;

	if (!c->broken && len && c->out_used + len < CONTROL_REPLY_MAX)
		more = realloc(c->out, c->out_used + len + 1);
	if (more) {
		c->out = more;
		json_dumpb(message, more + c->out_used, len, JSON_COMPACT);
		more[c->out_used + len] = '\n';
		c->out_used += len + 1;
		send_out(c);
	} else if (!c->broken) {
		break_off(c);
	}
	json_decref(message);
}

/* {KIND: content, "id": id}; steals the content. */
static void answer(struct connection *c, json_t *id, const char *kind, json_t *content)
{
	json_t *message = json_object();

	json_object_set_new(message, kind, content);
	if (id)
		json_object_set(message, "id", id);
	send_message(c, message);
}

/* File names in it may be anything, JSON is UTF-8. */
static json_t *error_text(const struct lm_err *err)
{
	json_t *text = json_string(err->text);
	char plain[sizeof(err->text)];
	size_t len = strlen(err->text);

	if (text)
		return text;
	for (size_t k = 0; k <= len; k++)
		plain[k] = (char)((unsigned char)err->text[k] < 0x80 ? err->text[k] : '?');
	return json_string(plain);
}

static void answer_error(struct connection *c, json_t *id, const struct lm_err *err)
{
	answer(c, id, "error", json_pack("{s:i, s:o}", "errno", -err->code, "text", error_text(err)));
}

/* ---- Requests ---- */

static void close_fds(int *fd, unsigned *count)
{
	for (unsigned k = 0; k < *count; k++)
		if (fd[k] >= 0)
			close(fd[k]);
	*count = 0;
}

static void free_request(struct control_request *r)
{
	struct control_request **p = &r->server->requests;

	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
	close_fds(r->fd, &r->fds);
	json_decref(r->args);
	json_decref(r->id);
	free(r);
}

/* After the answer: the client's next request, if it has come already. */
static void end_request(struct control_request *r)
{
	struct connection *c = r->conn;

	free_request(r);
	if (!c)
		return;
	c->pending = NULL;
	update_watch(c);
	if (!c->serving)
		serve_lines(c);
}

void control_progress(struct control_request *r, json_t *progress)
{
	if (r->conn && !r->conn->out_used) /* a client that reads slowly gets less of it */
		answer(r->conn, r->id, "progress", progress);
	else
		json_decref(progress);
}

void control_finish(struct control_request *r, json_t *result)
{
	if (r->conn)
		answer(r->conn, r->id, "return", result ? result : json_object());
	else
		json_decref(result);
	end_request(r);
}

void control_fail(struct control_request *r, const struct lm_err *err)
{
	if (r->conn)
		answer_error(r->conn, r->id, err);
	end_request(r);
}

int control_unpack(json_t *args, struct lm_err *err, const char *format, ...)
{
	json_error_t why;
	va_list ap;
	int rc;

	va_start(ap, format);
	rc = json_vunpack_ex(args, &why, JSON_STRICT, format, ap);
	va_end(ap);
	return rc ? lm_err_set(err, -EINVAL, "arguments: %s", why.text) : 0;
}

static void run_command(struct control_request *r)
{
	json_t *result = json_object();
	struct lm_err err = { 0 };
	int rc = r->command->run(r, r->args, result, &err);

	if (rc < 0)
		control_fail(r, &err);
	else if (rc != CONTROL_LATER)
		control_finish(r, json_incref(result));
	json_decref(result);
}

static void run_still(struct machine *m, void *opaque)
{
	run_command(opaque);
}

static const struct control_command *find_command(const struct control_server *s, const char *name)
{
	for (const struct control_command *k = s->commands; k->name; k++)
		if (!strcmp(k->name, name))
			return k;
	return NULL;
}

/* What is wrong with a request that has been read as JSON; else its parts, borrowed. */
static int take_apart(struct control_server *s, json_t *request, const struct control_command **command,
		      json_t **args, struct lm_err *err)
{
	json_t *name = json_object_get(request, "command");
	const char *key;
	json_t *value;

	if (!json_is_object(request))
		return lm_err_set(err, -EINVAL, "a request is a JSON object");
	json_object_foreach(request, key, value)
		if (strcmp(key, "command") && strcmp(key, "arguments") && strcmp(key, "id"))
			return lm_err_set(err, -EINVAL, "unknown member \"%.40s\"", key);
	if (!json_is_string(name))
		return lm_err_set(err, -EINVAL, "\"command\" is missing or no string");
	*command = find_command(s, json_string_value(name));
	if (!*command)
		return lm_err_set(err, -ENOSYS, "no command \"%.40s\"", json_string_value(name));
	*args = json_object_get(request, "arguments");
	if (*args && !json_is_object(*args))
		return lm_err_set(err, -EINVAL, "\"arguments\" is no object");
	return 0;
}

static struct control_request *new_request(struct connection *c, const struct control_command *command,
					   json_t *args, json_t *id)
{
	struct control_server *s = c->server;
	struct control_request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	*r = (struct control_request){
		.server = s,
		.machine = s->machine,
		.command = command,
		.conn = c,
		.id = json_incref(id),
		.args = args ? json_incref(args) : json_object(),
		.fds = c->fds,
		.task = { .run = run_still, .opaque = r },
		.next = s->requests,
	};
	memcpy(r->fd, c->fd, sizeof(r->fd));
	c->fds = 0;
	s->requests = r;
	c->pending = r;
	return r;
}

static void serve_request(struct connection *c, json_t *request)
{
	json_t *args = NULL, *id = json_object_get(request, "id");
	const struct control_command *command = NULL;
	struct control_request *r = NULL;
	struct lm_err err = { 0 };

	if (!take_apart(c->server, request, &command, &args, &err)) {
		r = new_request(c, command, args, id);
		if (!r)
			lm_err_set(&err, -ENOMEM, "no memory for a request");
	}
	if (!r) {
		close_fds(c->fd, &c->fds);
		answer_error(c, id, &err);
		return;
	}
	update_watch(c);
	if (command->still)
		machine_when_still(r->machine, &r->task);
	else
		run_command(r);
}

/* The first line of what came, without its newline. */
static void serve_line(struct connection *c, size_t len)
{
	json_error_t why;
	json_t *request = json_loadb(c->in, len, JSON_REJECT_DUPLICATES, &why);
	struct lm_err err;

	c->in_used -= len + 1;
	memmove(c->in, c->in + len + 1, c->in_used);
	if (request) {
		serve_request(c, request);
		json_decref(request);
		return;
	}
	close_fds(c->fd, &c->fds);
	lm_err_set(&err, -EINVAL, "not JSON: %s", why.text);
	answer_error(c, NULL, &err);
}

/* Lines that are complete, up to one that is not answered at once. */
static void serve_lines(struct connection *c)
{
	const char *end;

	c->serving = true;
	while (!c->pending && !c->broken && (end = memchr(c->in, '\n', c->in_used)))
		serve_line(c, (size_t)(end - c->in));
	c->serving = false;
	if (c->ended && !c->pending && !c->out_used && !c->broken)
		break_off(c);
}

/* ---- Connections ---- */

static void free_connection(struct connection *c)
{
	struct connection **p = &c->server->connections;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	c->server->clients--;
	close_fds(c->fd, &c->fds);
	event_fd_fini(&c->watch);
	close(c->watch.fd);
	free(c->out);
	free(c);
}

/* The client is gone; what it asked for goes on, or is cancelled. */
static void client_left(struct connection *c)
{
	struct control_request *r = c->pending;

	free_connection(c);
	if (!r)
		return;
	r->conn = NULL;
	if (r->command->cancel)
		r->command->cancel(r);
}

static void take_fds(struct connection *c, struct msghdr *msg)
{
	for (struct cmsghdr *m = CMSG_FIRSTHDR(msg); m; m = CMSG_NXTHDR(msg, m)) {
		unsigned count = (unsigned)((m->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (m->cmsg_level != SOL_SOCKET || m->cmsg_type != SCM_RIGHTS)
			continue;
		for (unsigned k = 0; k < count; k++) {
			int fd;

			memcpy(&fd, CMSG_DATA(m) + k * sizeof(fd), sizeof(fd));
			if (c->fds < CONTROL_FDS_MAX)
				c->fd[c->fds++] = fd;
			else
				close(fd);
		}
	}
}

static ssize_t receive(struct connection *c)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { c->in + c->in_used, sizeof(c->in) - c->in_used };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(c->watch.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n >= 0)
		take_fds(c, &msg);
	return n;
}

static void read_some(struct connection *c)
{
	ssize_t n = receive(c);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		break_off(c);
		return;
	}
	c->ended = n == 0;
	c->in_used += (size_t)n;
	serve_lines(c);
	update_watch(c);
	if (c->in_used == sizeof(c->in) && !c->pending && !c->broken) {
		struct lm_err err;

		lm_err_set(&err, -E2BIG, "a request has at most %d bytes", CONTROL_REQUEST_MAX - 1);
		answer_error(c, NULL, &err);
		break_off(c);
	}
}

static void client_ready(void *opaque, uint32_t events)
{
	struct connection *c = opaque;

	if (c->broken || events & (EPOLLHUP | EPOLLERR)) {
		client_left(c);
		return;
	}
	if (events & EPOLLOUT)
		send_out(c);
	if (events & EPOLLIN && !c->broken && !c->pending)
		read_some(c);
}

static bool may_speak(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

int control_server_adopt(struct control_server *s, int fd, struct lm_err *err)
{
	struct connection *c = malloc(sizeof(*c));
	int rc;

	if (!c) {
		close(fd);
		return lm_err_set(err, -ENOMEM, "no memory for a client");
	}
	memset(c, 0, offsetof(struct connection, in));
	c->server = s;
	rc = event_fd_init(&c->watch, s->loop, fd, EPOLLIN, client_ready, c, err);
	if (rc < 0) {
		close(fd);
		free(c);
		return rc;
	}
	c->next = s->connections;
	s->connections = c;
	s->clients++;
	return 0;
}

static void accept_one(void *opaque, uint32_t events)
{
	struct control_server *s = opaque;
	int fd = accept4(s->socket->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (s->clients >= CONTROL_CLIENTS_MAX || !may_speak(fd))
		close(fd);
	else
		control_server_adopt(s, fd, NULL);
}

/* ---- The server ---- */

int control_server_create(struct control_server **out, const struct control_command *commands,
			  struct machine *machine, struct event_loop *loop,
			  struct runtime_socket *socket, struct lm_err *err)
{
	struct control_server *s = calloc(1, sizeof(*s));
	int rc = 0;

	*out = NULL;
	if (!s)
		return lm_err_set(err, -ENOMEM, "no memory for the control socket");
	*s = (struct control_server){ commands, machine, loop, socket, .requests = NULL };
	if (socket)
		rc = event_fd_init(&s->watch, loop, socket->fd, EPOLLIN, accept_one, s, err);
	if (rc < 0) {
		free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void control_server_destroy(struct control_server *s)
{
	if (!s)
		return;
	event_fd_fini(&s->watch);
	while (s->connections)
		free_connection(s->connections);
	while (s->requests) {
		if (s->requests->command->abandon)
			s->requests->command->abandon(s->requests);
		free_request(s->requests);
	}
	free(s);
}

const char *control_server_name(const struct control_server *s)
{
	return s->socket ? s->socket->name : "";
}
