#include "snapshot/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "mem/ram.h"
#include "snapshot/checksum.h"

#define SAMPLES	    64u
#define SAMPLE_SIZE (64 * KIB)

/* ---- Describing ---- */

/* Absolute, as the next reader may stand elsewhere; null for none. */
static json_t *json_path(const char *path)
{
	char *absolute = path ? realpath(path, NULL) : NULL;
	json_t *json = path ? json_string(absolute ? absolute : path) : json_null();

	free(absolute);
	return json;
}

static json_t *json_text(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *json_words(char *const *words)
{
	json_t *out;

	if (!words)
		return json_null();
	out = json_array();
	for (; *words; words++)
		json_array_append_new(out, json_string(*words));
	return out;
}

/* Choices by name; ended by NULL, in the order of their enums. */
static const char *const console_names[] = {
	[CONSOLE_TERMINAL] = "terminal", [CONSOLE_OUTPUT] = "output", [CONSOLE_NONE] = "none", NULL,
};
static const char *const command_io_names[] = {
	[COMMAND_STDIO] = "stdio", [COMMAND_TTY] = "tty", [COMMAND_MUTE] = "mute", NULL,
};
static const char *const interface_names[] = {
	[DISK_VIRTIO] = "virtio", [DISK_NVME] = "nvme", [DISK_SATA] = "sata", NULL,
};
static const char *const on_io_error_names[] = {
	[BLOCK_REPORT] = "report", [BLOCK_STOP] = "stop", [BLOCK_STOP_ENOSPC] = "enospc", NULL,
};

/* Nanoseconds since the epoch, and what else tells one file from another. */
static json_t *describe_file(const struct stat *st)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "size", (json_int_t)st->st_size,
			 "changed_ns",
			 (json_int_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
			 "device", (json_int_t)st->st_dev, "inode", (json_int_t)st->st_ino);
}

/* A file outside of the bundle; null for none or one that is gone. */
static json_t *describe_reference(const char *path)
{
	struct stat st;

	if (!path || stat(path, &st) < 0)
		return json_null();
	return json_pack("{s:o, s:o}", "path", json_path(path), "file", describe_file(&st));
}

static json_t *describe_machine(const struct machine_config *c)
{
	return json_pack("{s:s, s:i, s:I, s:o, s:o, s:o, s:b, s:b, s:b, s:b, s:s, s:s, s:o, s:o, s:s}",
			 "engine", c->engine->name,
			 "cpus", (int)c->cpus,
			 "memory", (json_int_t)c->memory,
			 "kernel", describe_reference(c->kernel),
			 "initrd", describe_reference(c->initrd),
			 "append", json_text(c->append),
			 "no_reboot", c->no_reboot,
			 "test_devices", c->test_devices,
			 "deterministic", c->deterministic,
			 "balloon", c->balloon,
			 "console", console_names[c->console],
			 "on_io_error", on_io_error_names[c->on_io_error],
			 "command", json_words(c->command),
			 "command_env", json_words((char *const *)(uintptr_t)c->command_env),
			 "command_io", command_io_names[c->command_io]);
}

/* Engine kvm may have taken away what the host does not have. */
static json_t *describe_cpu(const struct machine_config *c, const struct x86_model *model)
{
	struct model_features had = c->cpu_model;

	had.features = model->features;
	return json_pack("{s:o, s:i, s:I}", "model", model_to_json(&had),
			 "physical_bits", model->physical_bits,
			 "tsc_hz", (json_int_t)model->tsc_hz);
}

static json_t *describe_disk(const struct disk_config *d, struct lm_err *err)
{
	enum image_format format =
		d->format == IMAGE_BY_NAME ? image_format_of_name(d->path) : d->format;
	json_t *out = describe_reference(d->path);

	if (json_is_null(out)) {
		lm_err_set(err, -ENOENT, "disk %s is not there any more", d->path);
		return NULL;
	}
	json_object_set_new(out, "interface", json_string(interface_names[d->interface]));
	json_object_set_new(out, "format", json_string(image_format_name(format)));
	json_object_set_new(out, "serial", json_text(d->serial));
	json_object_set_new(out, "backing", json_boolean(d->allow_backing));
	json_object_set_new(out, "read_only", json_boolean(d->read_only));
	json_object_set_new(out, "ephemeral", json_boolean(d->ephemeral));
	return out;
}

/* What the manifest has no words for yet. */
static int check_supported(const struct machine_config *c, struct lm_err *err)
{
	const struct {
		const char *what;
		bool there;
	} missing[] = {
		{ "firmware", c->firmware.code },
		{ "a network card", c->net_count },
		{ "shared folders", c->share_count },
		{ "a CD-ROM drive", c->cdrom_count },
		{ "a watchdog", c->watchdog },
		{ "vsock", c->vsock.path },
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(missing); k++)
		if (missing[k].there)
			return lm_err_set(err, -ENOTSUP, "a machine with %s cannot be saved yet",
					  missing[k].what);
	return 0;
}

static int describe_disks(const struct machine_config *c, json_t *disks, struct lm_err *err)
{
	for (unsigned k = 0; k < c->disk_count; k++) {
		json_t *disk = describe_disk(&c->disk[k], err);

		if (!disk || json_array_append_new(disks, disk) < 0)
			return disk ? -ENOMEM : -ENOENT;
	}
	return 0;
}

int manifest_describe(struct machine *m, json_t **out, struct lm_err *err)
{
	const struct machine_config *c = machine_config(m);
	int rc = check_supported(c, err);
	json_t *disks;

	if (rc < 0)
		return rc;
	disks = json_array();
	rc = describe_disks(c, disks, err);
	if (rc < 0) {
		json_decref(disks);
		return rc;
	}

	*out = json_pack("{s:o, s:o, s:o}", "machine", describe_machine(c), "cpu",
			 describe_cpu(c, machine_model(m)), "disks", disks);
	return *out ? 0 : lm_err_set(err, -ENOMEM, "a path or word is no valid UTF-8");
}

/* ---- Samples of a disk's contents ---- */

/* All of a small file; pieces evenly spread over a large one, first and last included. */
static int sample_fd(int fd, uint64_t size, uint64_t *sum)
{
	uint64_t pieces = LM_MIN(SAMPLES, (size + SAMPLE_SIZE - 1) / SAMPLE_SIZE);
	uint8_t *buf = calloc(pieces ? pieces : 1, SAMPLE_SIZE);
	int rc = buf ? 0 : -ENOMEM;

	for (uint64_t k = 0; !rc && k < pieces; k++) {
		uint64_t last = size > SAMPLE_SIZE ? size - SAMPLE_SIZE : 0;
		uint64_t at = pieces > 1 ? last / (pieces - 1) * k : 0;

		if (pread(fd, buf + k * SAMPLE_SIZE, SAMPLE_SIZE, (off_t)at) < 0)
			rc = -errno;
	}
	if (!rc)
		*sum = checksum_bytes(buf, pieces * SAMPLE_SIZE);
	free(buf);
	return rc;
}

static int sample(const char *path, uint64_t *sum)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc;
	off_t size;

	if (fd < 0)
		return -errno;
	size = lseek(fd, 0, SEEK_END);
	rc = size < 0 ? -errno : sample_fd(fd, (uint64_t)size, sum);
	close(fd);
	return rc;
}

static int add_samples(json_t *reference, struct lm_err *err)
{
	const char *path = json_string_value(json_object_get(reference, "path"));
	uint64_t sum;
	int rc = path ? sample(path, &sum) : 0;

	if (rc < 0)
		return lm_err_errno(err, rc, "cannot read %s", path);
	if (path)
		json_object_set_new(json_object_get(reference, "file"), "samples",
				    json_string(checksum_format(sum).hex));
	return 0;
}

int manifest_add_samples(json_t *manifest, struct lm_err *err)
{
	json_t *machine = json_object_get(manifest, "machine"), *disk;
	int rc = add_samples(json_object_get(machine, "kernel"), err);
	size_t k;

	if (!rc)
		rc = add_samples(json_object_get(machine, "initrd"), err);
	json_array_foreach(json_object_get(manifest, "disks"), k, disk)
		if (!rc)
			rc = add_samples(disk, err);
	return rc;
}

/* ---- Checking ---- */

static bool same_number(const json_t *a, const json_t *b, const char *name)
{
	return json_equal(json_object_get(a, name), json_object_get(b, name));
}

/*
 * Whether the file is what it was. Its contents are compared where something else changed: so a
 * manifest can refer to no file whose contents its maker did not know.
 */
static bool is_unchanged(const json_t *reference, const char *path)
{
	const json_t *was = json_object_get(reference, "file");
	const char *samples = json_string_value(json_object_get(was, "samples"));
	bool size_ok, same;
	uint64_t sum = 0;
	struct stat st;
	json_t *is;

	if (!samples || stat(path, &st) < 0)
		return false;
	is = describe_file(&st);
	size_ok = same_number(is, was, "size");
	same = size_ok && same_number(is, was, "changed_ns") && same_number(is, was, "inode") &&
	       same_number(is, was, "device");
	json_decref(is);
	return same || (size_ok && sample(path, &sum) == 0 &&
			!strcmp(samples, checksum_format(sum).hex));
}

static int check_disk(const json_t *disk, struct lm_err *err)
{
	const char *path = json_string_value(json_object_get(disk, "path"));

	if (!path)
		return lm_err_set(err, -EINVAL, "disks: one has no path");
	if (access(path, R_OK) < 0)
		return lm_err_errno(err, -errno, "disk %s", path);
	if (!is_unchanged(disk, path))
		return lm_err_set(err, -ESTALE, "disk %s is not what it was when the snapshot was "
				  "made: its contents have changed", path);
	return 0;
}

int manifest_check_disks(const json_t *manifest, bool write, struct lm_err *err)
{
	json_t *disk;
	size_t k;

	json_array_foreach(json_object_get(manifest, "disks"), k, disk) {
		int rc = check_disk(disk, err);

		if (rc < 0)
			return rc;
		if (!write && !json_is_true(json_object_get(disk, "read_only")) &&
		    !json_is_true(json_object_get(disk, "ephemeral")))
			return lm_err_set(err, -EPERM, "its guest writes to disk %s: say "
					  "--write-disks if the snapshot is yours",
					  json_string_value(json_object_get(disk, "path")));
	}
	return 0;
}

int manifest_check_cpu(const json_t *manifest, const struct x86_model *model, struct lm_err *err)
{
	const json_t *cpu = json_object_get(manifest, "cpu");

	if (json_integer_value(json_object_get(cpu, "physical_bits")) != model->physical_bits ||
	    (uint64_t)json_integer_value(json_object_get(cpu, "tsc_hz")) != model->tsc_hz)
		return lm_err_set(err, -ENOTSUP, "the guest's CPU has another width of physical "
				  "addresses or rate of the time-stamp counter");
	return 0;
}

/* ---- The configuration ---- */

struct parsed {
	json_int_t cpus, memory;
	int no_reboot, test_devices, deterministic, balloon;
	const char *engine, *console, *on_io_error, *command_io;
	json_t *kernel, *initrd, *append, *command, *command_env;
};

static int parse_choice(const char *const *names, const char *name, const char *field, unsigned *choice,
			struct lm_err *err)
{
	for (*choice = 0; names[*choice]; (*choice)++)
		if (!strcmp(names[*choice], name))
			return 0;
	return lm_err_set(err, -EINVAL, "%s: \"%.40s\" is unknown", field, name);
}

/* *words, an array of the heap; NULL for null. */
static int parse_words(const json_t *json, const char *field, const char ***words, struct lm_err *err)
{
	size_t count = json_array_size(json);

	*words = NULL;
	if (json_is_null(json))
		return 0;
	*words = calloc(count + 1, sizeof(**words));
	if (!*words)
		return lm_err_set(err, -ENOMEM, "no memory for the command");
	for (size_t k = 0; k < count; k++)
		(*words)[k] = json_string_value(json_array_get(json, k));
	for (size_t k = 0; k < count; k++)
		if (!(*words)[k])
			return lm_err_set(err, -EINVAL, "%s: not all are words", field);
	return count ? 0 : lm_err_set(err, -EINVAL, "%s is empty", field);
}

static int parse_command(const struct parsed *p, struct machine_config *config, struct lm_err *err)
{
	const char **argv, **env = NULL;
	int rc = parse_words(p->command, "machine.command", &argv, err);

	config->command = (char *const *)(uintptr_t)argv;
	if (!rc)
		rc = parse_words(p->command_env, "machine.command_env", &env, err);
	config->command_env = env;
	return rc;
}

static int parse_choices(const struct parsed *p, struct machine_config *config, struct lm_err *err)
{
	unsigned console = 0, on_io_error = 0, command_io = 0;
	int rc = parse_choice(console_names, p->console, "machine.console", &console, err);

	if (!rc)
		rc = parse_choice(on_io_error_names, p->on_io_error, "machine.on_io_error", &on_io_error,
				  err);
	if (!rc)
		rc = parse_choice(command_io_names, p->command_io, "machine.command_io", &command_io, err);
	config->console = (enum console_kind)console;
	config->on_io_error = (enum block_on_error)on_io_error;
	config->command_io = (enum command_io)command_io;
	return rc;
}

static int parse_disk(const json_t *json, struct disk_config *d, struct lm_err *err)
{
	int read_only, ephemeral, backing;
	const char *format, *name;
	unsigned interface;
	json_t *serial;
	json_error_t e;

	if (json_unpack_ex((json_t *)(uintptr_t)json, &e, 0, "{s:s, s:s, s:s, s:o, s:b, s:b, s:b}", "path",
			   &d->path, "interface", &name, "format", &format, "serial", &serial, "backing",
			   &backing, "read_only", &read_only, "ephemeral", &ephemeral) < 0)
		return lm_err_set(err, -EINVAL, "disks: %s", e.text);
	if (parse_choice(interface_names, name, "disks: interface", &interface, err) < 0)
		return -EINVAL;
	d->interface = (enum disk_interface)interface;
	if (!image_format_parse(format, &d->format))
		return lm_err_set(err, -EINVAL, "disks: format \"%.20s\" is unknown", format);
	d->serial = json_string_value(serial);
	d->allow_backing = backing;
	d->read_only = read_only;
	d->ephemeral = ephemeral;
	return 0;
}

static int parse_disks(const json_t *disks, struct machine_config *config, struct lm_err *err)
{
	json_t *disk;
	size_t k;

	if (!json_is_array(disks) || json_array_size(disks) > MACHINE_MAX_DISKS)
		return lm_err_set(err, -EINVAL, "disks: must be an array of at most %d",
				  MACHINE_MAX_DISKS);
	json_array_foreach(disks, k, disk) {
		int rc = parse_disk(disk, &config->disk[k], err);

		if (rc < 0)
			return rc;
	}
	config->disk_count = (unsigned)k;
	return 0;
}

/* A software engine offers what the default model has; what a model lacks is not offered. */
static int parse_model(const json_t *manifest, struct model_features *model, struct lm_err *err)
{
	struct model_features here;
	int rc = model_from_json(model, json_object_get(json_object_get(manifest, "cpu"), "model"),
				 err);

	if (!rc)
		rc = model_choose(&here, "default", err);
	return rc ? rc : model_check(model, &here, err);
}

static const char *unchanged_path(const json_t *reference)
{
	const char *path = json_string_value(json_object_get(reference, "path"));

	return path && is_unchanged(reference, path) ? path : NULL;
}

/* For resets only: where the files are not what they were, a reset ends the machine. */
static void set_kernel(const struct parsed *p, struct machine_config *config)
{
	config->kernel = unchanged_path(p->kernel);
	config->initrd = unchanged_path(p->initrd);
	if (!config->kernel || (!config->initrd && !json_is_null(p->initrd)))
		config->no_reboot = true;
}

static int check_numbers(const struct parsed *p, struct lm_err *err)
{
	if (p->cpus < 1 || p->cpus > MACHINE_MAX_CPUS)
		return lm_err_set(err, -EINVAL, "machine.cpus: %lld is not 1 to %d",
				  (long long)p->cpus, MACHINE_MAX_CPUS);
	if (p->memory < (json_int_t)RAM_MIN || p->memory > (json_int_t)RAM_MAX)
		return lm_err_set(err, -EINVAL, "machine.memory: %lld is out of range",
				  (long long)p->memory);
	return 0;
}

int manifest_config(const json_t *manifest, struct machine_config *config, struct lm_err *err)
{
	json_t *machine = json_object_get(manifest, "machine");
	struct parsed p;
	json_error_t e;
	int rc;

	if (!machine || json_unpack_ex(machine, &e, JSON_STRICT,
				       "{s:s, s:I, s:I, s:o, s:o, s:o, s:b, s:b, s:b, s:b, s:s, s:s, s:o, s:o, s:s}",
				       "engine", &p.engine, "cpus", &p.cpus, "memory", &p.memory,
				       "kernel", &p.kernel, "initrd", &p.initrd, "append", &p.append,
				       "no_reboot", &p.no_reboot, "test_devices", &p.test_devices,
				       "deterministic", &p.deterministic,
				       "balloon", &p.balloon, "console", &p.console,
				       "on_io_error", &p.on_io_error, "command", &p.command,
				       "command_env", &p.command_env, "command_io", &p.command_io) < 0)
		return lm_err_set(err, -EINVAL, "machine: %s", machine ? e.text : "missing");
	rc = check_numbers(&p, err);
	*config = (struct machine_config){
		.cpus = (unsigned)p.cpus,
		.memory = (uint64_t)p.memory,
		.append = json_string_value(p.append),
		.no_reboot = p.no_reboot,
		.test_devices = p.test_devices,
		.deterministic = p.deterministic,
		.balloon = p.balloon,
		.restoring = true,
	};
	set_kernel(&p, config);
	if (!rc)
		rc = parse_model(manifest, &config->cpu_model, err);
	if (!rc)
		rc = parse_choices(&p, config, err);
	if (!rc)
		rc = parse_command(&p, config, err);
	return rc ? rc : parse_disks(json_object_get(manifest, "disks"), config, err);
}
