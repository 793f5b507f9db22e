/* lamina balloon: how much memory a guest may keep. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "cmd/control.h"
#include "cmd/help.h"
#include "cmd/values.h"
#include "control/client.h"
#include "control/runtime.h"

#define ANSWER_MS 10000

static const char *const balloon_paragraphs[] = {
	"With SIZE (a number with K, M or G behind it) the guest is asked to do with that much of its memory "
	"and to leave the rest to the host; the whole size of its memory gives all back. It takes the "
	"guest a moment, and a guest without a driver does nothing.",
	"Without SIZE it tells how memory is used, as the guest has told within the last seconds.",
	NULL,
};

static void print_bytes(const json_t *object, const char *key, const char *what)
{
	const json_t *n = json_object_get(object, key);

	if (json_is_integer(n) && json_integer_value(n) >= 0)
		printf("%-28s %s\n", what, size_format((uint64_t)json_integer_value(n)).text);
}

static void print_answer(const json_t *answer)
{
	const json_t *guest = json_object_get(answer, "balloon");

	print_bytes(answer, "resident", "given by the host");
	print_bytes(guest, "target", "wanted back");
	print_bytes(guest, "ballooned", "given back by the balloon");
	print_bytes(guest, "reported", "given back as free, ever");
	print_bytes(guest, "total", "the guest's memory");
	print_bytes(guest, "free", "free in the guest");
	print_bytes(guest, "available", "available in the guest");
	print_bytes(guest, "caches", "caches of the guest");
}

static int parse_operands(const struct operands *rest, json_t **arguments, struct lm_err *err)
{
	uint64_t keep;
	int ret;

	if (rest->count < 1 || rest->count > 2)
		return lm_err_set(err, -EINVAL, "lamina balloon NAME [SIZE]; lamina ps lists machines");
	ret = runtime_check_name(rest->words[0], err);
	if (ret)
		return lm_err_wrap(err, "\"%.*s\"", SHOWN_MAX, rest->words[0]);
	if (rest->count == 1)
		return 0;
	ret = value_size(rest->words[1], &keep, err);
	if (ret)
		return lm_err_wrap(err, "%.*s", SHOWN_MAX, rest->words[1]);
	*arguments = json_pack("{s:I}", "keep", (json_int_t)keep);
	return 0;
}

static int balloon_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct control_call call = { .command = "balloon", .timeout_ms = ANSWER_MS };
	struct control_client client;
	json_t *arguments = NULL, *answer = NULL;
	struct operands rest;
	int ret = options_parse(self, argc, argv, NULL, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	ret = parse_operands(&rest, &arguments, err);
	if (ret)
		return ret;
	ret = control_client_open(&client, rest.words[0], err);
	if (!ret) {
		call.args = json_incref(arguments);
		ret = control_call(&client, &call, &answer, err);
		control_client_close(&client);
	}
	if (!ret && !arguments)
		print_answer(answer);
	json_decref(arguments);
	json_decref(answer);
	return ret;
}

const struct verb balloon_verb = {
	.name = "balloon",
	.summary = "say how much memory a guest may keep, or see how it uses it",
	.operands = "NAME [SIZE]",
	.paragraphs = balloon_paragraphs,
	.run = balloon_main,
};
