/* lamina ps: the machines of this user. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cmd/help.h"
#include "cmd/options.h"
#include "cmd/values.h"
#include "control/client.h"
#include "control/runtime.h"

#define ANSWER_MS 2000

struct ps_args {
	bool json;
};

static int parse_json(void *target, const char *value, struct lm_err *err)
{
	((struct ps_args *)target)->json = true;
	return 0;
}

static const struct option ps_options[] = {
	{ "json", NULL, "an array of objects instead of a table", NULL, parse_json },
	{ NULL },
};

static const char *const ps_paragraphs[] = {
	"USED is what of the guest's memory the host has given it so far; with --json there is more, as the "
	"guest's balloon tells it.",
	"A machine that does not answer within two seconds is listed as \"silent\".",
	NULL,
};

/* What the machine says of itself, or what is known of one that says nothing. NULL: it is gone. */
static json_t *ask(const char *name)
{
	struct control_call call = { .command = "status", .timeout_ms = ANSWER_MS };
	struct control_client c;
	json_t *status = NULL;
	int ret = control_client_open(&c, name, NULL);

	if (ret == -ENOENT)
		return NULL;
	if (!ret) {
		ret = control_call(&c, &call, &status, NULL);
		if (ret && ret != -ECONNRESET)
			status = json_pack("{s:s, s:i, s:s}", "name", name, "pid", (int)c.pid, "state",
					   "silent");
		control_client_close(&c);
		return status;
	}
	return json_pack("{s:s, s:s}", "name", name, "state", "silent");
}

static int ask_all(json_t *list, struct lm_err *err)
{
	char **names;
	size_t count;
	int ret = runtime_names(&names, &count, err);

	if (ret < 0)
		return ret;
	for (size_t k = 0; k < count; k++) {
		json_t *status = ask(names[k]);

		if (status)
			json_array_append_new(list, status);
	}
	runtime_free_names(names, count);
	return 0;
}

/* Words from a machine, which a guest may have taken over: nothing that a terminal obeys. */
struct shown {
	char text[RUNTIME_NAME_MAX + 1];
};

static struct shown show(const json_t *status, const char *key)
{
	const char *word = json_string_value(json_object_get(status, key));
	struct shown s = { "-" };

	if (word && *word)
		snprintf(s.text, sizeof(s.text), "%s", word);
	for (char *p = s.text; *p; p++)
		if (*p <= ' ' || *p >= 0x7f)
			*p = '?';
	return s;
}

static struct shown show_number(const json_t *status, const char *key)
{
	const json_t *n = json_object_get(status, key);
	struct shown s = { "-" };

	if (json_is_integer(n))
		snprintf(s.text, sizeof(s.text), "%" JSON_INTEGER_FORMAT, json_integer_value(n));
	return s;
}

static struct shown show_time(const json_t *status)
{
	const json_t *n = json_object_get(status, "uptime");
	struct shown s = { "-" };
	double t = json_number_value(n);
	uint64_t min = (uint64_t)(t > 0 && t < 1e15 ? t : 0) / 60, sec = (uint64_t)(t > 0 && t < 1e15 ? t : 0) % 60;

	if (!n)
		return s;
	if (min < 60)
		snprintf(s.text, sizeof(s.text), "%" PRIu64 ":%02" PRIu64, min, sec);
	else
		snprintf(s.text, sizeof(s.text), "%" PRIu64 "h%02" PRIu64, min / 60, min % 60);
	return s;
}

static struct shown show_size(const json_t *status, const char *key)
{
	const json_t *n = json_object_get(status, key);
	struct shown s = { "-" };

	if (json_is_integer(n) && json_integer_value(n) > 0)
		snprintf(s.text, sizeof(s.text), "%s",
			 size_format((uint64_t)json_integer_value(n)).text);
	return s;
}

static void print_table(const json_t *list)
{
	size_t k, width = 4;
	const json_t *status;

	json_array_foreach(list, k, status) {
		size_t len = strlen(show(status, "name").text);

		width = len > width ? len : width;
	}
	printf("%-*s  %7s  %-6s  %5s  %6s  %6s  %-8s  %s\n", (int)width, "NAME", "PID", "ENGINE",
	       "VCPUS", "MEMORY", "USED", "STATE", "UPTIME");
	json_array_foreach(list, k, status)
		printf("%-*s  %7s  %-6s  %5s  %6s  %6s  %-8s  %s\n", (int)width, show(status, "name").text,
		       show_number(status, "pid").text, show(status, "engine").text,
		       show_number(status, "cpus").text, show_size(status, "memory").text,
		       show_size(status, "resident").text,
		       show(status, "state").text, show_time(status).text);
}

static int ps_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct ps_args args = { 0 };
	struct operands rest;
	json_t *list;
	int ret = options_parse(self, argc, argv, &args, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	list = json_array();
	ret = ask_all(list, err);
	if (!ret && args.json) {
		json_dumpf(list, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
		putchar('\n');
	} else if (!ret) {
		print_table(list);
	}
	json_decref(list);
	return ret;
}

const struct verb ps_verb = {
	.name = "ps",
	.summary = "list the machines that run",
	.paragraphs = ps_paragraphs,
	.options = ps_options,
	.run = ps_main,
};
