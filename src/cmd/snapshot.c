/* lamina snapshot: a machine into a folder; and what is in such a folder. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/control.h"
#include "cmd/help.h"
#include "cmd/inspect.h"
#include "cmd/options.h"
#include "cmd/values.h"
#include "control/client.h"
#include "snapshot/bundle.h"
#include "snapshot/manifest.h"

struct snapshot_args {
	bool stop, verify, values;
};

static int parse_stop(void *target, const char *value, struct lm_err *err)
{
	((struct snapshot_args *)target)->stop = true;
	return 0;
}

static int parse_verify(void *target, const char *value, struct lm_err *err)
{
	((struct snapshot_args *)target)->verify = true;
	return 0;
}

static int parse_values(void *target, const char *value, struct lm_err *err)
{
	((struct snapshot_args *)target)->values = true;
	return 0;
}

static const struct option snapshot_options[] = {
	{ "stop", NULL, "end the machine once the snapshot is there", NULL, parse_stop },
	{ "verify", NULL, "with inspect: compare all files with their checksums", NULL,
	  parse_verify },
	{ "state", NULL, "with inspect: all values of the devices' and vCPUs' state", NULL,
	  parse_values },
	{ NULL },
};

static const char *const snapshot_paragraphs[] = {
	"Writes all of a running or paused machine into the new folder DIR: the state of vCPUs and "
	"devices, memory, what the guest wrote to ephemeral disks, and references to its disks. The "
	"guest stands still while memory is copied and goes on; the folder appears when it is "
	"complete and durable. `lamina restore DIR` continues from there, `lamina clone` many times.",
	"A disk that the guest may write to is not copied: when its contents change later, restore "
	"refuses the snapshot. With --stop nothing can change between.",
	"lamina snapshot inspect DIR tells what is in a snapshot.",
	NULL,
};

/* The machine writes its state and memory, here they get checksums and become durable. */
static int save(struct control_client *c, struct bundle_writer *w, struct lm_err *err)
{
	struct control_call call = {
		.command = "snapshot",
		.fd = &w->dir,
		.fds = 1,
		.timeout_ms = CONTROL_NO_TIMEOUT,
	};
	json_t *result = NULL, *manifest;
	int ret = control_call(c, &call, &result, err);

	if (ret) {
		bundle_abort(w);
		return ret;
	}
	manifest = json_object_get(result, "manifest");
	ret = manifest_add_samples(manifest, err);
	if (ret)
		bundle_abort(w);
	else
		ret = bundle_commit(w, manifest, err);
	json_decref(result);
	return ret;
}

static int quit(struct control_client *c, struct lm_err *err)
{
	struct control_call call = { .command = "quit" };
	int ret = control_call(c, &call, NULL, err);

	return ret == -ECONNRESET ? 0 : ret;
}

/* With --stop the guest stands still from the snapshot to its end. */
static int take(struct control_client *c, const struct snapshot_args *args, const char *dir,
		struct lm_err *err)
{
	struct control_call pause = { .command = "pause" }, resume = { .command = "resume" };
	struct bundle_writer w;
	int ret = bundle_create(&w, dir, err);

	if (ret)
		return ret;
	if (args->stop)
		ret = control_call(c, &pause, NULL, err);
	if (ret)
		bundle_abort(&w);
	else
		ret = save(c, &w, err);
	if (args->stop && ret)
		control_call(c, &resume, NULL, NULL);
	return args->stop && !ret ? quit(c, err) : ret;
}

static int snapshot_machine(const struct snapshot_args *args, const char *name, const char *dir,
			    struct lm_err *err)
{
	struct control_client c;
	int ret = control_client_open(&c, name, err);

	if (ret)
		return ret;
	ret = take(&c, args, dir, err);
	if (ret)
		lm_err_wrap(err, "snapshot %s", dir);
	control_client_close(&c);
	return ret;
}

static int snapshot_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct snapshot_args args = { 0 };
	struct operands rest;
	int ret = options_parse(self, argc, argv, &args, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	if (rest.count != 2)
		return lm_err_set(err, -EINVAL, "lamina snapshot NAME DIR, or lamina snapshot inspect "
				  "DIR; options go first");
	if (!strcmp(rest.words[0], "inspect"))
		return inspect_bundle(rest.words[1], args.verify, args.values, err);
	if (args.verify || args.values)
		return lm_err_set(err, -EINVAL, "--verify and --state are for inspect");
	return snapshot_machine(&args, rest.words[0], rest.words[1], err);
}

const struct verb snapshot_verb = {
	.name = "snapshot",
	.summary = "write a machine into a folder, or tell what is in one",
	.operands = "NAME DIR | inspect DIR",
	.paragraphs = snapshot_paragraphs,
	.options = snapshot_options,
	.run = snapshot_main,
};
