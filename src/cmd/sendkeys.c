/* lamina sendkeys: types on a machine's keyboard. */
#include <errno.h>

#include "cmd/control.h"
#include "cmd/help.h"
#include "control/client.h"

#define ANSWER_MS 30000

struct sendkeys_args {
	const char *text;
};

static int parse_text(void *target, const char *value, struct lm_err *err)
{
	((struct sendkeys_args *)target)->text = value;
	return 0;
}

static const struct option sendkeys_options[] = {
	{ "text", "TEXT", "type this behind the keys, on a US keyboard", NULL, parse_text },
	{ NULL },
};

static const char *const paragraphs[] = {
	"Each KEY is a key's name or character, or several with dashes between them that are held "
	"down together: a, A, ret, esc, f12, up, pgdn, ctrl-alt-delete, shift-tab. Names are those "
	"of QEMU's monitor.",
	NULL,
};

static json_t *request(const struct sendkeys_args *args, const struct operands *rest)
{
	json_t *keys = json_array();

	for (int k = 1; k < rest->count; k++)
		json_array_append_new(keys, json_string(rest->words[k]));
	return json_pack("{s:o, s:s}", "keys", keys, "text", args->text);
}

static int sendkeys_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct sendkeys_args args = { .text = "" };
	struct control_call call = { .command = "sendkeys", .timeout_ms = ANSWER_MS };
	struct control_client client;
	struct operands rest;
	int ret = options_parse(self, argc, argv, &args, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	if (rest.count < 1 || (rest.count == 1 && !*args.text))
		return lm_err_set(err, -EINVAL, "lamina sendkeys wants a machine's NAME and keys");
	ret = control_client_open(&client, rest.words[0], err);
	if (ret)
		return ret;
	call.args = request(&args, &rest);
	ret = call.args ? control_call(&client, &call, NULL, err)
			: lm_err_set(err, -EINVAL, "keys and text must be UTF-8");
	control_client_close(&client);
	return ret;
}

const struct verb sendkeys_verb = {
	.name = "sendkeys",
	.summary = "type on a machine's keyboard",
	.operands = "NAME KEY...",
	.paragraphs = paragraphs,
	.options = sendkeys_options,
	.run = sendkeys_main,
};
