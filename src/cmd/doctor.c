/* lamina doctor: what this host offers, and which engine auto takes. */
#include <stdio.h>

#include "cmd/engines.h"
#include "cmd/help.h"
#include "cmd/options.h"
#include "cmd/verb.h"

static int doctor_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct operands rest;
	const struct engine_ops *engine;
	int ret = options_parse(self, argc, argv, NULL, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	engine = engine_choose("auto", err);
	if (!engine)
		return err->code;
	printf("%-14s %s (%s)\n", "engine", engine->name, engine->summary);
	return 0;
}

const struct verb doctor_verb = {
    .name = "doctor",
    .summary = "tell what this host offers, and which engine auto takes",
    .run = doctor_main,
};
