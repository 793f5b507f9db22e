/* lamina pause and lamina resume: one word to a machine. */
#include "cmd/control.h"

#include <errno.h>

#include "cmd/help.h"
#include "control/client.h"
#include "control/runtime.h"

int operand_name(const struct verb *self, const struct operands *rest, const char **name,
		 struct lm_err *err)
{
	if (rest->count == 1 && !runtime_check_name(rest->words[0], err)) {
		*name = rest->words[0];
		return 0;
	}
	for (int k = 1; k < rest->count; k++)
		if (rest->words[k][0] == '-')
			return lm_err_set(err, -EINVAL, "options go before NAME: lamina %s %.*s ...",
					  self->name, SHOWN_MAX, rest->words[k]);
	if (rest->count != 1)
		return lm_err_set(err, -EINVAL, "%s: lamina %s NAME; lamina ps lists them",
				  rest->count ? "one machine at a time" : "which machine?", self->name);
	return lm_err_wrap(err, "\"%.*s\"", SHOWN_MAX, rest->words[0]);
}

/* The verb's name is the command's. */
static int tell_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct operands rest;
	const char *name;
	int ret = options_parse(self, argc, argv, NULL, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	ret = operand_name(self, &rest, &name, err);
	return ret ? ret : control_tell(name, self->name, err);
}

static const char *const pause_paragraphs[] = {
	"The guest stands still until `lamina resume`: its vCPUs execute nothing and its clock stops. "
	"What the disks were asked before is completed.",
	NULL,
};

static const char *const resume_paragraphs[] = {
	"The guest goes on as if no time had passed; its real-time clock (RTC) tells the host's time.",
	NULL,
};

const struct verb pause_verb = {
	.name = "pause",
	.summary = "let a machine stand still",
	.operands = "NAME",
	.paragraphs = pause_paragraphs,
	.run = tell_main,
};

const struct verb resume_verb = {
	.name = "resume",
	.summary = "let a paused machine go on",
	.operands = "NAME",
	.paragraphs = resume_paragraphs,
	.run = tell_main,
};
