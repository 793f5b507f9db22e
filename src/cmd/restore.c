/* lamina restore: a machine goes on from a snapshot, in this process. */
#include <errno.h>
#include <stdio.h>

#include "cmd/engines.h"
#include "cmd/help.h"
#include "cmd/live.h"
#include "cmd/options.h"
#include "cmd/values.h"
#include "control/runtime.h"
#include "snapshot/restore.h"

struct restore_args {
	const char *engine, *name;
	unsigned timeout_s;
	bool paused, stats, verify, write_disks;
	struct restore restore;
};

static int parse_engine(void *target, const char *value, struct lm_err *err)
{
	((struct restore_args *)target)->engine = value;
	return engine_check_name(value, err);
}

static int parse_name(void *target, const char *value, struct lm_err *err)
{
	((struct restore_args *)target)->name = value;
	return runtime_check_name(value, err);
}

static int parse_timeout(void *target, const char *value, struct lm_err *err)
{
	uint64_t n;
	int ret = value_number(value, 1, INT32_MAX / 1000, "seconds", &n, err);

	((struct restore_args *)target)->timeout_s = (unsigned)n;
	return ret;
}

static int parse_paused(void *target, const char *value, struct lm_err *err)
{
	((struct restore_args *)target)->paused = true;
	return 0;
}

static int parse_stats(void *target, const char *value, struct lm_err *err)
{
	((struct restore_args *)target)->stats = true;
	return 0;
}

static int parse_verify(void *target, const char *value, struct lm_err *err)
{
	((struct restore_args *)target)->verify = true;
	return 0;
}

static int parse_write_disks(void *target, const char *value, struct lm_err *err)
{
	((struct restore_args *)target)->write_disks = true;
	return 0;
}

static const struct option restore_options[] = {
	{ "engine", "auto|interp|jit|kvm", "what executes the guest's instructions", "auto",
	  parse_engine },
	{ "name", "NAME", "the machine's name for other verbs, also that of the process", "vm-PID",
	  parse_name },
	{ "paused", NULL, "wait for `lamina resume`", NULL, parse_paused },
	{ "timeout", "SECONDS", "end the machine after that long", "never", parse_timeout },
	{ "verify", NULL, "compare all files with their checksums first", NULL, parse_verify },
	{ "write-disks", NULL, "let the guest write to the disks that the snapshot names", NULL,
	  parse_write_disks },
	{ "stats", NULL, "print counters to standard error at the end", NULL, parse_stats },
	{ NULL },
};

static const char *const restore_paragraphs[] = {
	"Continues the machine that `lamina snapshot` wrote into DIR, under any engine, and stays until "
	"it ends. The guest's console is on standard input and output, or those of its command are, as "
	"with `lamina run`; the exit status is the same too.",
	"DIR stays as it is, so that it can be restored again. Memory is read from it as the guest "
	"needs it: DIR may be removed meanwhile, but not changed. What the guest writes to its "
	"ephemeral disks is lost at the end, as ever.",
	"The snapshot names the disks that it needs. A guest that writes to one is only restored with "
	"--write-disks, as whoever made the snapshot chose the file.",
	NULL,
};

static int make(void *opaque, struct machine **out, struct lm_err *err)
{
	struct restore_args *args = opaque;
	int ret = restore_create(&args->restore, out, err);

	if (!ret && args->paused)
		machine_pause(*out);
	return ret;
}

static int restore_run(struct restore_args *args, struct lm_err *err)
{
	struct machine_config *config = &args->restore.config;
	struct live_options live = {
		.name = args->name,
		.stats = args->stats,
		.timeout_s = args->timeout_s,
	};
	int ret = args->verify ? bundle_verify(&args->restore.bundle, err) : 0;

	if (ret)
		return ret;
	config->engine = engine_choose(args->engine, config->cpus, err);
	if (!config->engine)
		return lm_err_wrap(err, "--engine %s", args->engine);
	config->timeout_s = args->timeout_s;
	return live_run(&live, make, args, err);
}

static int restore_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct restore_args args = { .engine = "auto" };
	struct operands rest;
	int ret = options_parse(self, argc, argv, &args, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	if (rest.count != 1)
		return lm_err_set(err, -EINVAL, "which snapshot? lamina restore DIR; options go first");
	ret = restore_open(&args.restore, rest.words[0], args.write_disks, err);
	if (!ret) {
		ret = restore_run(&args, err);
		restore_close(&args.restore);
	}
	if (ret < 0)
		lm_err_wrap(err, "%s", rest.words[0]);
	return ret;
}

const struct verb restore_verb = {
	.name = "restore",
	.summary = "continue a machine from a snapshot",
	.operands = "DIR",
	.paragraphs = restore_paragraphs,
	.options = restore_options,
	.statuses = true,
	.run = restore_main,
};
