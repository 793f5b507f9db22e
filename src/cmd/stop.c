/* lamina stop: the power button, and the plug for a guest that does not care. */
#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "cmd/control.h"
#include "cmd/help.h"
#include "cmd/values.h"
#include "control/client.h"

#define ANSWER_MS 30000
#define QUIT_MS	  30000
#define MS	  1000

struct stop_args {
	uint64_t timeout_s;
};

static int parse_timeout(void *target, const char *value, struct lm_err *err)
{
	return value_number(value, 0, INT32_MAX / MS, "seconds",
			    &((struct stop_args *)target)->timeout_s, err);
}

static const struct option stop_options[] = {
	{ "timeout", "SECONDS", "how long the guest may take; 0: end it at once", "30",
	  parse_timeout },
	{ NULL },
};

static const char *const stop_paragraphs[] = {
	"Presses the machine's power button, as ACPI knows it, so that the guest shuts down; a paused "
	"machine goes on for that. A machine that is still there after the timeout is ended as "
	"if its plug were pulled; a line says so.",
	NULL,
};

static int tell(struct control_client *c, const char *command, struct lm_err *err)
{
	struct control_call call = { .command = command, .timeout_ms = ANSWER_MS };

	return control_call(c, &call, NULL, err);
}

static int ask_guest(struct control_client *c, struct lm_err *err)
{
	int ret = tell(c, "resume", err);

	return ret ? ret : tell(c, "power-button", err);
}

static int stop(struct control_client *c, const struct stop_args *args, struct lm_err *err)
{
	int ret = args->timeout_s ? ask_guest(c, err) : 0;

	if (ret == -ECONNRESET)
		return 0;
	if (ret)
		return ret;
	if (args->timeout_s) {
		if (!control_wait_end(c, (int)args->timeout_s * MS))
			return 0;
		log_line(LOG_WARN, "machine %s did not shut down within %d s: ended", c->name,
			 (int)args->timeout_s);
	}
	ret = tell(c, "quit", err);
	if (ret && ret != -ECONNRESET)
		return ret;
	if (control_wait_end(c, QUIT_MS))
		return lm_err_set(err, -ETIMEDOUT, "machine %s does not end; kill -9 %d would end it",
				  c->name, (int)c->pid);
	return 0;
}

static int stop_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct stop_args args = { .timeout_s = 30 };
	struct control_client client;
	struct operands rest;
	const char *name;
	int ret = options_parse(self, argc, argv, &args, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	ret = operand_name(self, &rest, &name, err);
	if (!ret)
		ret = control_client_open(&client, name, err);
	if (ret)
		return ret;
	ret = stop(&client, &args, err);
	control_client_close(&client);
	return ret;
}

const struct verb stop_verb = {
	.name = "stop",
	.summary = "shut a machine down",
	.operands = "NAME",
	.paragraphs = stop_paragraphs,
	.options = stop_options,
	.run = stop_main,
};
