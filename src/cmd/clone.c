/* lamina clone: many machines from one snapshot, each a process of its own in the background. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/engines.h"
#include "cmd/help.h"
#include "cmd/live.h"
#include "cmd/options.h"
#include "cmd/status.h"
#include "cmd/values.h"
#include "control/runtime.h"
#include "snapshot/restore.h"

#define MAX_CLONES 1000

struct clone_args {
	const char *engine, *name, *output;
	unsigned count;
	struct restore restore;
};

static int parse_engine(void *target, const char *value, struct lm_err *err)
{
	((struct clone_args *)target)->engine = value;
	return engine_check_name(value, err);
}

static int parse_name(void *target, const char *value, struct lm_err *err)
{
	((struct clone_args *)target)->name = value;
	return runtime_check_name(value, err);
}

static int parse_count(void *target, const char *value, struct lm_err *err)
{
	uint64_t n;
	int ret = value_number(value, 1, MAX_CLONES, "clones", &n, err);

	((struct clone_args *)target)->count = (unsigned)n;
	return ret;
}

static int parse_output(void *target, const char *value, struct lm_err *err)
{
	((struct clone_args *)target)->output = value;
	return 0;
}

static const struct option clone_options[] = {
	{ "count", "N", "how many machines", "1", parse_count },
	{ "name", "NAME", "they are called NAME-1, NAME-2, ...", "clone", parse_name },
	{ "engine", "auto|interp|jit|kvm", "what executes the guests' instructions", "auto",
	  parse_engine },
	{ "output", "DIR", "what each prints goes to DIR/NAME-N.out", "nowhere", parse_output },
	{ NULL },
};

static const char *const clone_paragraphs[] = {
	"Starts machines in the background that all continue the snapshot in DIR, and prints name and "
	"process of each once they run. They share the memory that they do not write, and what they write "
	"to ephemeral disks is each one's own. Each gets a new generation ID (VMGenID), upon which Linux "
	"from 5.18 on makes its random numbers differ from those of the others.",
	"`lamina ps` lists them, `lamina stop` ends one.",
	NULL,
};

/* One clone on its way, in the parent. */
struct child {
	pid_t pid;
	int report; /* a pipe: empty when it runs, else an error */
	char name[RUNTIME_NAME_MAX + 1];
};

struct making {
	struct clone_args *args;
	int report;
};

/* The clone's console is nobody's. */
static int redirect(const struct clone_args *args, const char *name, struct lm_err *err)
{
	char path[4096] = "/dev/null";
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC), out;

	if (args->output)
		snprintf(path, sizeof(path), "%s/%s.out", args->output, name);
	out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (in < 0 || out < 0)
		return lm_err_errno(err, -errno, "cannot open %s", path);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	close(in);
	close(out);
	return 0;
}

static int make(void *opaque, struct machine **out, struct lm_err *err)
{
	struct making *making = opaque;
	int ret = restore_create(&making->args->restore, out, err);

	if (!ret) {
		close(making->report);
		making->report = -1;
	}
	return ret;
}

static _Noreturn void be_clone(struct clone_args *args, const struct child *child, int report)
{
	struct live_options live = { .name = child->name };
	struct making making = { args, report };
	struct lm_err err = { 0 };
	int ret;

	setsid();
	ret = redirect(args, child->name, &err);
	if (!ret)
		ret = live_run(&live, make, &making, &err);
	if (ret < 0 && making.report >= 0)
		dprintf(making.report, "%s", err.text);
	else if (ret < 0)
		log_line(LOG_ERROR, "%s", err.text);
	exit(ret < 0 ? STATUS_ERROR : ret);
}

static int start(struct clone_args *args, struct child *child, unsigned number, struct lm_err *err)
{
	int ends[2];

	snprintf(child->name, sizeof(child->name), "%.50s-%u", args->name, number);
	if (pipe2(ends, O_CLOEXEC) < 0)
		return lm_err_errno(err, -errno, "cannot make a pipe");
	child->report = ends[0];
	child->pid = fork();
	if (!child->pid) {
		close(ends[0]);
		be_clone(args, child, ends[1]);
	}
	close(ends[1]);
	if (child->pid > 0)
		return 0;
	close(ends[0]);
	return lm_err_errno(err, -errno, "cannot start another process");
}

/* Waits until it runs. */
static int expect(struct child *child, struct lm_err *err)
{
	char text[sizeof(err->text)];
	ssize_t n = read(child->report, text, sizeof(text) - 1);

	close(child->report);
	if (n <= 0 && waitpid(child->pid, NULL, WNOHANG) == 0)
		return 0;
	text[n > 0 ? n : 0] = 0;
	return lm_err_set(err, -ECHILD, "%s: %s", child->name, n > 0 ? text : "it ended at once");
}

static int start_all(struct clone_args *args, struct child *child, struct lm_err *err)
{
	unsigned started = 0;
	int ret = 0;

	fflush(stdout); /* before fork: the children would print it too */
	while (!ret && started < args->count) {
		ret = start(args, &child[started], started + 1, err);
		started += !ret;
	}
	for (unsigned k = 0; k < started; k++) {
		struct lm_err one = { 0 };
		int rc = expect(&child[k], &one);

		if (!rc)
			printf("%s %d\n", child[k].name, (int)child[k].pid);
		else if (!ret)
			ret = lm_err_set(err, rc, "%s", one.text);
	}
	return ret;
}

static int clone_run(struct clone_args *args, struct lm_err *err)
{
	struct machine_config *config = &args->restore.config;
	struct child *child;
	int ret;

	config->engine = engine_choose(args->engine, config->cpus, err);
	if (!config->engine)
		return lm_err_wrap(err, "--engine %s", args->engine);
	if (args->output && access(args->output, W_OK) < 0)
		return lm_err_errno(err, -errno, "--output %s", args->output);
	child = calloc(args->count, sizeof(*child));
	if (!child)
		return lm_err_set(err, -ENOMEM, "no memory for %u clones", args->count);
	ret = start_all(args, child, err);
	free(child);
	return ret;
}

static int clone_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct clone_args args = { .engine = "auto", .name = "clone", .count = 1 };
	struct operands rest;
	int ret = options_parse(self, argc, argv, &args, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	if (rest.count != 1)
		return lm_err_set(err, -EINVAL, "which snapshot? lamina clone [--count N] DIR; options "
				  "go first");
	ret = restore_open(&args.restore, rest.words[0], false, err);
	if (!ret) {
		ret = clone_run(&args, err);
		restore_close(&args.restore);
	}
	if (ret < 0)
		lm_err_wrap(err, "%s", rest.words[0]);
	return ret;
}

const struct verb clone_verb = {
	.name = "clone",
	.summary = "start many machines from one snapshot",
	.operands = "DIR",
	.paragraphs = clone_paragraphs,
	.options = clone_options,
	.run = clone_main,
};
