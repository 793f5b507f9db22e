/* lamina migrate: a running machine goes to another host. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/control.h"
#include "cmd/help.h"
#include "cmd/values.h"
#include "control/client.h"
#include "migration/address.h"
#include "migration/wire.h"

#define DOWNTIME_MAX 60000
#define BAR_WIDTH    20

struct migrate_args {
	const char *key_path;
	struct wire_key key;
	uint64_t downtime_ms;
	bool json;
};

static int parse_key(void *target, const char *value, struct lm_err *err)
{
	struct migrate_args *args = target;

	args->key_path = value;
	return wire_read_key(&args->key, value, err);
}

static int parse_downtime(void *target, const char *value, struct lm_err *err)
{
	return value_number(value, 1, DOWNTIME_MAX, "milliseconds",
			    &((struct migrate_args *)target)->downtime_ms, err);
}

static int parse_json(void *target, const char *value, struct lm_err *err)
{
	((struct migrate_args *)target)->json = true;
	return 0;
}

static const struct option migrate_options[] = {
	{ "key", "FILE", "the key that both sides have; needed for TCP", NULL, parse_key },
	{ "downtime", "MS", "how long the guest may stand still, as far as that can be estimated", "50",
	  parse_downtime },
	{ "json", NULL, "print the result as JSON", NULL, parse_json },
	{ NULL },
};

static const char *const migrate_paragraphs[] = {
	"Moves a running machine to a `lamina receive` that waits at HOST:PORT or unix:PATH, under any "
	"engine. The guest runs on while its memory is copied, stands still for a moment, and "
	"goes on there; the lamina that ran it here ends with status 254. Whatever fails before "
	"that leaves the machine as it was.",
	"Disks: what the guest wrote to an ephemeral disk goes along. A disk that it writes to must be "
	"there under the same path. The base of an ephemeral disk, and a disk that it only reads, must "
	"have the same contents there.",
	"TCP is encrypted and authenticated (TLS 1.3) by a key: 32 to 128 hexadecimal digits in a file that "
	"only its owner reads, for example from `openssl rand -hex 32`.",
	NULL,
};

/* ---- What it shows ---- */

static double number(const json_t *p, const char *name)
{
	return json_number_value(json_object_get(p, name));
}

static void show_bar(double part)
{
	int full = (int)(part * BAR_WIDTH + 0.5);

	fputc('[', stderr);
	for (int k = 0; k < BAR_WIDTH; k++)
		fputc(k < full ? '#' : '.', stderr);
	fputc(']', stderr);
}

static void show_progress(void *opaque, const json_t *p)
{
	double total = number(p, "round_pages"), done = number(p, "round_done");

	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "\rround %.0f ", number(p, "round"));
	show_bar(total > 0 && done < total ? done / total : 1);
	fprintf(stderr, " %.0f MB/s, guest writes %.0f MB/s, downtime about %.0f ms", number(p, "rate") / 1e6,
		number(p, "dirty_rate") / 1e6, number(p, "downtime_ms"));
	if (number(p, "throttle") > 0)
		fprintf(stderr, ", vCPUs slowed by %.0f %%", number(p, "throttle"));
	fputs("   ", stderr);
}

static void show_result(const struct migrate_args *args, const json_t *r)
{
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	if (args->json) {
		json_dumpf(r, stdout, JSON_INDENT(2));
		putchar('\n');
		return;
	}
	printf("%.0f rounds, %.1f MB of memory and disks in %.1f MB, downtime %.1f ms\n",
	       number(r, "round"), number(r, "pages") * 4096 / 1e6, number(r, "bytes") / 1e6,
	       number(r, "downtime_ms"));
}

/* ---- Asking ---- */

static json_t *make_arguments(const struct migrate_args *args)
{
	json_t *json = json_pack("{s:I}", "downtime", (json_int_t)args->downtime_ms);
	char text[2 * WIRE_KEY_MAX + 1] = "";

	for (unsigned k = 0; k < args->key.size; k++)
		snprintf(text + 2 * k, 3, "%02x", args->key.bytes[k]);
	if (args->key.size)
		json_object_set_new(json, "key", json_string(text));
	explicit_bzero(text, sizeof(text));
	return json;
}

static int ask(struct control_client *c, const struct migrate_args *args, int fd, struct lm_err *err)
{
	struct control_call call = {
		.command = "migrate",
		.args = make_arguments(args),
		.fd = &fd,
		.fds = 1,
		.timeout_ms = CONTROL_NO_TIMEOUT,
		.progress = show_progress,
	};
	json_t *result = NULL;
	int ret = control_call(c, &call, &result, err);

	if (ret && isatty(STDERR_FILENO))
		fputc('\n', stderr);
	if (!ret)
		show_result(args, result);
	json_decref(result);
	return ret;
}

static int migrate(const struct migrate_args *args, const char *name, const char *address,
		   struct lm_err *err)
{
	struct control_client client;
	int ret = control_client_open(&client, name, err), fd;

	if (ret)
		return ret;
	fd = address_connect(address, err);
	if (fd < 0)
		ret = lm_err_wrap(err, "%.*s", SHOWN_MAX, address);
	else
		ret = ask(&client, args, fd, err);
	if (fd >= 0)
		close(fd);
	control_client_close(&client);
	return ret;
}

static int migrate_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	struct migrate_args args = { .downtime_ms = 50 };
	struct operands rest;
	int ret = options_parse(self, argc, argv, &args, &rest, err);

	if (ret)
		return ret;
	if (rest.help)
		return print_help(self);
	if (rest.count != 2)
		return lm_err_set(err, -EINVAL, "which machine, and where to? lamina migrate NAME HOST:PORT; "
						"options go first");
	if (!address_is_local(rest.words[1]) && !args.key.size)
		return lm_err_set(err, -EINVAL, "--key is needed for TCP: else all could read the guest's "
						"memory on its way");
	return migrate(&args, rest.words[0], rest.words[1], err);
}

const struct verb migrate_verb = {
	.name = "migrate",
	.summary = "move a running machine to another host",
	.operands = "NAME HOST:PORT|unix:PATH",
	.paragraphs = migrate_paragraphs,
	.options = migrate_options,
	.run = migrate_main,
};
