/* lamina receive: waits for a machine, and runs it in this process. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/engines.h"
#include "cmd/help.h"
#include "cmd/live.h"
#include "cmd/options.h"
#include "cmd/values.h"
#include "control/runtime.h"
#include "migration/address.h"
#include "migration/target.h"

struct receive_args {
	const char *engine, *name;
	struct wire_key key;
	bool write_disks, stats;
	uint64_t timeout_s;
	struct target target;
};

static int parse_engine(void *target, const char *value, struct lm_err *err)
{
	((struct receive_args *)target)->engine = value;
	return engine_check_name(value, err);
}

static int parse_name(void *target, const char *value, struct lm_err *err)
{
	((struct receive_args *)target)->name = value;
	return runtime_check_name(value, err);
}

static int parse_key(void *target, const char *value, struct lm_err *err)
{
	return wire_read_key(&((struct receive_args *)target)->key, value, err);
}

static int parse_timeout(void *target, const char *value, struct lm_err *err)
{
	return value_number(value, 1, INT32_MAX / 1000, "seconds",
			    &((struct receive_args *)target)->timeout_s, err);
}

static int parse_write_disks(void *target, const char *value, struct lm_err *err)
{
	((struct receive_args *)target)->write_disks = true;
	return 0;
}

static int parse_stats(void *target, const char *value, struct lm_err *err)
{
	((struct receive_args *)target)->stats = true;
	return 0;
}

static const struct option receive_options[] = {
	{ "engine", "auto|interp|jit|kvm", "what executes the guest's instructions", "auto",
	  parse_engine },
	{ "key", "FILE", "the key that both sides have; needed for TCP", NULL, parse_key },
	{ "name", "NAME", "the machine's name for other verbs, also that of the process", "vm-PID",
	  parse_name },
	{ "timeout", "SECONDS", "end the machine after that long", "never", parse_timeout },
	{ "write-disks", NULL, "let the guest write to the disks that the source names", NULL,
	  parse_write_disks },
	{ "stats", NULL, "print counters to standard error at the end", NULL, parse_stats },
	{ NULL },
};

static const char *const receive_paragraphs[] = {
	"Waits at ADDRESS ([HOST]:PORT, or unix:PATH) for a `lamina migrate`, and runs the machine that "
	"comes, as `lamina run` would: its console or its command's standard input and output are here "
	"then, and so is its exit status. Whoever connects without the key is turned away.",
	NULL,
};

/* ---- Waiting ---- */

static int prepare(struct receive_args *args, struct lm_err *err)
{
	struct machine_config *config = &args->target.config;

	config->engine = engine_choose(args->engine, config->cpus, err);
	if (!config->engine)
		return lm_err_wrap(err, "--engine %s", args->engine);
	config->timeout_s = (unsigned)args->timeout_s;
	return 0;
}

/* Those who cannot say hello are no reason to stop waiting. */
static int accept_source(struct receive_args *args, int listener, struct lm_err *err)
{
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), ret;

		if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
			continue;
		if (fd < 0)
			return lm_err_errno(err, -errno, "waiting");
		ret = target_open(&args->target, fd, &args->key, args->write_disks, err);
		if (!ret)
			ret = prepare(args, err);
		if (!ret)
			return 0;
		target_refuse(&args->target, err);
		target_close(&args->target);
		log_line(LOG_WARN, "refused a machine: %s", err->text);
	}
}

static int wait_for_source(struct receive_args *args, const char *address, struct lm_err *err)
{
	char shown[128];
	int listener, ret;

	if (!address_is_local(address) && !args->key.size)
		return lm_err_set(err, -EINVAL, "--key is needed for TCP: else anybody could send a machine");
	listener = address_listen(address, shown, err);
	if (listener < 0)
		return lm_err_wrap(err, "%.*s", SHOWN_MAX, address);
	fprintf(stderr, "lamina: waiting for a machine at %s\n", shown);
	ret = accept_source(args, listener, err);
	close(listener);
	address_remove(address);
	return ret;
}

/* ---- Running ---- */

static int make(void *opaque, struct machine **out, struct lm_err *err)
{
	struct receive_args *args = opaque;
	int ret = target_receive(&args->target, out, err);

	return ret ? lm_err_wrap(err, "receiving a machine") : 0;
}

static int receive_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct receive_args args = { .engine = "auto" };
	struct live_options live = { .name = NULL };
	struct operands rest;
	int ret = options_parse(self, argc, argv, &args, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	if (rest.count != 1)
		return lm_err_set(err, -EINVAL, "where? lamina receive [HOST]:PORT; options go first");
	ret = wait_for_source(&args, rest.words[0], err);
	if (ret)
		return ret;
	live.name = args.name;
	live.stats = args.stats;
	live.timeout_s = (unsigned)args.timeout_s;
	ret = live_run(&live, make, &args, err);
	target_close(&args.target);
	return ret;
}

const struct verb receive_verb = {
	.name = "receive",
	.summary = "wait for a machine that another host sends, and run it",
	.operands = "[HOST]:PORT|unix:PATH",
	.paragraphs = receive_paragraphs,
	.options = receive_options,
	.statuses = true,
	.run = receive_main,
};
