#include "machine/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/char.h"
#include "base/bits.h"
#include "base/log.h"

#define LINE_MAX_BYTES    256     /* PROTOCOL.md §3 */
#define REQUEST_MAX       1048576 /* §4 */
#define STATUS_NOT_RUN    125
#define STATUS_SIGNAL     128
#define FLUSH_INTERVAL_NS INT64_C(2000000)

struct command {
	struct chardev ctl;
	struct chardev *stream[COMMAND_PORTS]; /* stdin, stdout, stderr; NULL without COMMAND_STDIO */
	struct virtio_console *console;
	struct timer flush;                    /* retries while stdout or stderr is slow */
	char line[LINE_MAX_BYTES + 1];
	size_t line_len;
	char *request;
	size_t built_len; /* of request; request_len is the same but while a snapshot is loaded */
	size_t request_len, request_sent;
	bool ready, sending;
	int status;                            /* -1 until the status line came */
	void (*ended)(void *opaque, int status);
	void *opaque;
};

const char *command_port_name(unsigned port)
{
	static const char *const names[COMMAND_PORTS] = { "lamina.in", "lamina.out", "lamina.err",
							  "lamina.ctl" };

	return names[port];
}

struct chardev *command_port(struct command *cmd, unsigned port)
{
	return port == COMMAND_CTL ? &cmd->ctl : cmd->stream[port];
}

/* ---- The request ---- */

static int build_request(struct command *cmd, const struct command_config *config,
			 struct lm_err *err)
{
	size_t len = 0, body;
	char *records;
	FILE *f = open_memstream(&records, &len);

	if (!f)
		return lm_err_set(err, -ENOMEM, "no memory for the command");
	for (unsigned k = 0; config->argv[k]; k++)
		fprintf(f, "argv=%s%c", config->argv[k], 0);
	for (unsigned k = 0; config->env && config->env[k]; k++)
		fprintf(f, "env=%s%c", config->env[k], 0);
	if (config->io == COMMAND_TTY)
		fprintf(f, "tty=1%c", 0);
	fclose(f);
	body = len;
	if (body > REQUEST_MAX) {
		free(records);
		return lm_err_set(err, -E2BIG, "the command is longer than 1 MiB");
	}
	f = open_memstream(&cmd->request, &cmd->request_len);
	if (f) {
		fprintf(f, "lamina1 %zu\n", body);
		fwrite(records, 1, body, f);
		fclose(f);
		cmd->built_len = cmd->request_len;
	}
	free(records);
	return f ? 0 : lm_err_set(err, -ENOMEM, "no memory for the command");
}

/* As much as there is room for. The device asks for more from within: the loop goes on with that. */
static void send_request(struct command *cmd)
{
	if (cmd->sending)
		return;
	cmd->sending = true;
	while (cmd->ready && cmd->request_sent < cmd->request_len) {
		const char *next = cmd->request + cmd->request_sent;
		size_t room = chardev_can_receive(&cmd->ctl);
		size_t n = LM_MIN(room, cmd->request_len - cmd->request_sent);

		if (!n)
			break;
		cmd->request_sent += n;
		chardev_receive(&cmd->ctl, (const uint8_t *)next, n);
	}
	cmd->sending = false;
}

/* ---- The status ---- */

/* Output may still stand in the guest's queues: all of it leaves before the status does. */
static void finish_when_flushed(void *opaque)
{
	struct command *cmd = opaque;
	bool out = virtio_console_flush(cmd->console, 1 + COMMAND_OUT);
	bool err = virtio_console_flush(cmd->console, 1 + COMMAND_ERR);

	if (out && err)
		cmd->ended(cmd->opaque, cmd->status);
	else
		timer_arm(&cmd->flush, clock_now(&cmd->flush.loop->clock) + FLUSH_INTERVAL_NS);
}

static void take_line(struct command *cmd)
{
	const char *text = cmd->line;
	unsigned n;

	if (!strcmp(text, "ready 1")) {
		cmd->ready = true;
		send_request(cmd);
		return;
	}
	if (cmd->status >= 0)
		return;
	if (sscanf(text, "exit %u", &n) == 1) {
		cmd->status = (int)(n & 0xff);
	} else if (sscanf(text, "signal %u", &n) == 1) {
		cmd->status = (int)((STATUS_SIGNAL + n) & 0xff);
	} else {
		cmd->status = STATUS_NOT_RUN;
		log_line(LOG_ERROR, "the guest did not run the command: %s", text);
	}
	finish_when_flushed(cmd);
}

/* The guest's lines; a longer one than the protocol allows is cut. */
static size_t ctl_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	struct command *cmd = LM_CONTAINER_OF(chr, struct command, ctl);

	for (size_t k = 0; k < len; k++) {
		if (bytes[k] != '\n') {
			if (cmd->line_len < LINE_MAX_BYTES)
				cmd->line[cmd->line_len++] = (char)bytes[k];
			continue;
		}
		cmd->line[cmd->line_len] = 0;
		cmd->line_len = 0;
		take_line(cmd);
	}
	return len;
}

static void ctl_accept_input(struct chardev *chr)
{
	send_request(LM_CONTAINER_OF(chr, struct command, ctl));
}

static const struct chardev_ops ctl_ops = {
	.write = ctl_write,
	.accept_input = ctl_accept_input,
};

/* ---- Life ---- */

static int open_streams(struct command *cmd, struct event_loop *loop, struct lm_err *err)
{
	int rc = char_fd_open(&cmd->stream[COMMAND_IN], STDIN_FILENO, -1, loop, err);

	if (!rc)
		rc = char_fd_open(&cmd->stream[COMMAND_OUT], -1, STDOUT_FILENO, loop, err);
	if (!rc)
		rc = char_fd_open(&cmd->stream[COMMAND_ERR], -1, STDERR_FILENO, loop, err);
	return rc;
}

int command_open(struct command **out, const struct command_config *config, struct event_loop *loop,
		 void (*ended)(void *opaque, int status), void *opaque, struct lm_err *err)
{
	struct command *cmd = calloc(1, sizeof(*cmd));
	int rc;

	*out = cmd;
	if (!cmd)
		return lm_err_set(err, -ENOMEM, "no memory for the command");
	cmd->ctl.ops = &ctl_ops;
	cmd->status = -1;
	cmd->ended = ended;
	cmd->opaque = opaque;
	timer_init(&cmd->flush, loop, finish_when_flushed, cmd);
	rc = build_request(cmd, config, err);
	if (!rc && config->io == COMMAND_STDIO)
		rc = open_streams(cmd, loop, err);
	return rc;
}

void command_attach(struct command *cmd, struct virtio_console *console)
{
	cmd->console = console;
}

bool command_drain(struct command *cmd, int timeout_ms)
{
	bool drained = true;

	for (unsigned k = COMMAND_OUT; k <= COMMAND_ERR; k++)
		drained &= !cmd->stream[k] || char_drain(cmd->stream[k], timeout_ms);
	return drained;
}

bool command_output_failed(struct command *cmd)
{
	bool failed = false;

	for (unsigned k = COMMAND_OUT; k <= COMMAND_ERR; k++)
		failed |= cmd->stream[k] && char_output_failed(cmd->stream[k]);
	return failed;
}

void command_close(struct command *cmd)
{
	if (!cmd)
		return;
	timer_cancel(&cmd->flush);
	for (unsigned k = 0; k < COMMAND_PORTS; k++)
		char_close(cmd->stream[k]);
	free(cmd->request);
	free(cmd);
}

/* ---- Saved state ---- */

static const struct field command_fields[] = {
	FIELD_BYTES(struct command, line, FIELD_COUNTER(struct command, line_len)),
	FIELD(struct command, request_len, "bytes"),
	FIELD(struct command, request_sent, "bytes"),
	FIELD(struct command, ready, NULL),
	FIELD(struct command, status, ""),
	FIELD_NOT_SAVED(struct command, ctl, "wiring"),
	FIELD_NOT_SAVED(struct command, stream, "wiring"),
	FIELD_NOT_SAVED(struct command, console, "wiring"),
	FIELD_NOT_SAVED(struct command, flush, "from status"),
	FIELD_NOT_SAVED(struct command, built_len, "from the command line"),
	FIELD_NOT_SAVED(struct command, request, "from the command line"),
	FIELD_NOT_SAVED(struct command, sending, "only within a call"),
	FIELD_NOT_SAVED(struct command, ended, "wiring"),
	FIELD_NOT_SAVED(struct command, opaque, "wiring"),
	FIELD_END,
};

static int command_loaded(void *object, struct lm_err *err)
{
	struct command *cmd = object;

	if (cmd->line_len > LINE_MAX_BYTES)
		return lm_err_set(err, -ERANGE, "line is longer than the protocol allows");
	if (cmd->request_len != cmd->built_len || cmd->request_sent > cmd->request_len)
		return lm_err_set(err, -EINVAL, "the request is not that of the manifest's command");
	if (cmd->status < -1 || cmd->status > 255)
		return lm_err_set(err, -ERANGE, "status: %d is none", cmd->status);
	return 0;
}

/* The command may have ended with output still in the guest's queues. */
static void command_restored(void *object)
{
	struct command *cmd = object;

	send_request(cmd);
	if (cmd->status >= 0)
		finish_when_flushed(cmd);
}

const struct fields_section command_section = {
	.name = "command",
	.version = 1,
	.table = command_fields,
	.post_load = command_loaded,
	.restored = command_restored,
};
