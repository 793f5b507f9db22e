/* lamina run: boots a machine in this process and stays until it ends. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "backend/screen_vnc.h"
#include "base/bits.h"
#include "base/log.h"
#include "cmd/config_file.h"
#include "cmd/default_guest.h"
#include "cmd/disk_option.h"
#include "cmd/engines.h"
#include "cmd/firmware_files.h"
#include "cmd/help.h"
#include "cmd/live.h"
#include "cmd/net_values.h"
#include "cmd/options.h"
#include "cmd/seed.h"
#include "cmd/shares.h"
#include "cmd/values.h"
#include "cmd/verb.h"
#include "control/runtime.h"
#include "isa/x86/trace.h"
#include "machine/machine.h"
#include "machine/symbols.h"
#include "mem/ram.h"

#define NET_DEFAULT_PAIRS_MAX 4 /* more only when asked for */
#define ENV_MAX	    256
#define CMDLINE_MAX	2048 /* COMMAND_LINE_SIZE of Linux on x86 */

struct run_args {
	struct machine_config config;
	const char *engine;
	const char *name;
	const char *lockstep; /* the engine to compare with, or NULL */
	const char *symbols;  /* for backtraces, or NULL */
	bool stats;
	/* Backing of config's strings. */
	struct default_guest guest;
	struct firmware_choice firmware;
	char cmdline[CMDLINE_MAX];
	char *disk_words[MACHINE_MAX_DISKS]; /* heap */
	char *net_words[MACHINE_MAX_NETS];  /* heap */
	struct net_published published[NET_MAX_PUBLISHED];
	unsigned published_count;
	struct shares shares;
	struct seed seed;
	struct config_files files;
	const char *env[ENV_MAX + 1]; /* NULL-terminated */
	unsigned env_count;
	bool dry_run;
};

static int parse_engine(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;

	args->engine = value;
	return engine_check_name(value, err);
}

static int parse_cpus(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;
	uint64_t n;
	int ret = value_number(value, 1, MACHINE_MAX_CPUS, "vCPUs", &n, err);

	args->config.cpus = (unsigned)n;
	return ret;
}

/* Whether the host gives us that much address space (RLIMIT_AS, the size of the space itself). */
static bool can_map(uint64_t size)
{
	void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return false;
	munmap(p, size);
	return true;
}

static void warn_above_host_memory(uint64_t size)
{
	struct sysinfo si;
	uint64_t host;

	if (sysinfo(&si))
		return;
	host = ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;
	if (size > host)
		log_line(LOG_WARN,
			 "--memory %s is more than this host's memory and swap (%s): the host may "
			 "end the machine when the guest uses it",
			 size_format(size).text, size_format(host).text);
}

static int parse_cpu_model(void *target, const char *value, struct lm_err *err)
{
	return model_choose(&((struct run_args *)target)->config.cpu_model, value, err);
}

static int parse_memory(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;
	uint64_t size;
	int ret = value_size(value, &size, err);

	if (ret)
		return ret;
	if (size < RAM_MIN)
		return lm_err_set(err, -EINVAL,
				  "a machine needs at least %s (%" PRIu64 " is bytes%s)",
				  size_format(RAM_MIN).text, size,
				  size ? "; write M or G behind the number" : "");
	if (size > RAM_MAX)
		return lm_err_set(err, -EINVAL, "a machine can have at most %s",
				  size_format(RAM_MAX).text);
	if (size % (4 * KIB))
		return lm_err_set(err, -EINVAL, "the size must be a multiple of 4K");
	if (!can_map(size))
		return lm_err_set(err, -ENOMEM,
				  "this host cannot map that much; use less, or raise `ulimit -v`");
	args->config.memory = size;
	return 0;
}

static int parse_kernel(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->config.kernel = value;
	return value_file(value, err);
}

static int parse_initrd(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->config.initrd = value;
	return value_file(value, err);
}

static int parse_append(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->config.append = value;
	if (strlen(value) >= CMDLINE_MAX)
		return lm_err_set(err, -EINVAL, "a kernel command line has at most %d bytes",
				  CMDLINE_MAX - 1);
	return 0;
}

static int parse_disk(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;
	struct machine_config *config = &args->config;
	struct disk_config *disk = &config->disk[config->disk_count];
	int ret;

	if (config->disk_count == MACHINE_MAX_DISKS)
		return lm_err_set(err, -EINVAL, "a machine has at most %d disks",
				  MACHINE_MAX_DISKS);
	ret = disk_option_parse(value, disk, &args->disk_words[config->disk_count++], err);
	if (ret)
		return ret;
	if (disk->read_only || disk->ephemeral)
		return value_file(disk->path, err);
	ret = value_file_writable(disk->path, err);
	if (ret == -EACCES || ret == -EROFS || ret == -EPERM)
		return lm_err_set(err, ret,
				  "cannot write to it: %s; write \"%s,ro\" for a disk that the "
				  "guest only reads, or \"%s,ephemeral\"",
				  strerror(-ret), disk->path, disk->path);
	return ret;
}

static int parse_on_io_error(void *target, const char *value, struct lm_err *err)
{
	static const char *const words[] = {[BLOCK_REPORT] = "report",
					    [BLOCK_STOP] = "stop",
					    [BLOCK_STOP_ENOSPC] = "enospc"};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(words); k++) {
		if (strcmp(value, words[k]))
			continue;
		((struct run_args *)target)->config.on_io_error = k;
		return 0;
	}
	return lm_err_set(err, -EINVAL, "the choices are report, stop and enospc");
}

static int parse_cdrom(void *target, const char *value, struct lm_err *err)
{
	struct machine_config *config = &((struct run_args *)target)->config;

	if (config->cdrom_count == MACHINE_MAX_CDROMS)
		return lm_err_set(err, -EINVAL, "a machine has at most %d CD-ROM drives",
				  MACHINE_MAX_CDROMS);
	config->cdrom[config->cdrom_count++] = value;
	return value_file(value, err);
}

static int parse_share(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;

	return shares_add(&args->shares, &args->config, value, err);
}

static int parse_rootfs(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;

	return shares_add_rootfs(&args->shares, &args->config, value, err);
}

static int parse_firmware(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;
	int ret = firmware_choose(&args->firmware, value, err);

	args->config.firmware = args->firmware.files;
	return ret;
}

static int parse_display(void *target, const char *value, struct lm_err *err)
{
	struct machine_config *config = &((struct run_args *)target)->config;

	config->display_text = !strcmp(value, "text");
	if (config->display_text || !strcmp(value, "none"))
		return 0;
	if (strncmp(value, "vnc=", 4))
		return lm_err_set(err, -EINVAL, "the choices are none, text and vnc=[HOST:]PORT or vnc=unix:PATH");
	config->display_vnc = value + 4;
	return screen_vnc_check(config->display_vnc, err);
}

static int parse_firmware_log(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->config.firmware_log = value;
	return 0;
}

static int parse_net(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;
	struct machine_config *config = &args->config;
	unsigned n = config->net_count;

	if (!strcmp(value, "none"))
		return 0;
	if (n == MACHINE_MAX_NETS)
		return lm_err_set(err, -EINVAL, "a machine has at most %d networks",
				  MACHINE_MAX_NETS);
	config->net_count++;
	return value_net(value, &config->net[n], &args->net_words[n], err);
}

static int parse_publish(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;

	if (args->published_count == NET_MAX_PUBLISHED)
		return lm_err_set(err, -EINVAL, "a machine publishes at most %d ports",
				  NET_MAX_PUBLISHED);
	return value_published(value, &args->published[args->published_count++], err);
}

static int parse_vsock(void *target, const char *value, struct lm_err *err)
{
	struct vsock_config *vsock = &((struct run_args *)target)->config.vsock;

	return value_vsock(value, &vsock->cid, &vsock->path, err);
}

/* Published ports lead to the first user network, which they are a wish for. */
static int finish_networks(struct run_args *args, struct lm_err *err)
{
	struct machine_config *config = &args->config;
	struct net_options *user = NULL;

	if (args->published_count && !config->net_count)
		config->net[config->net_count++].kind = NET_USER;
	for (unsigned k = config->net_count; k--;) {
		struct net_options *net = &config->net[k];

		if (!net->queues)
			net->queues = LM_MIN(config->cpus, NET_DEFAULT_PAIRS_MAX);
		if (net->kind == NET_USER)
			user = net;
	}
	if (config->net_count && (config->deterministic || args->lockstep))
		return lm_err_set(err, -EINVAL, "%s has no network",
				  args->lockstep ? "--lockstep" : "--deterministic");
	if (!args->published_count)
		return 0;
	if (!user)
		return lm_err_set(err, -EINVAL, "-p publishes ports of --net user only");
	memcpy(user->published, args->published, sizeof(user->published));
	user->published_count = args->published_count;
	return 0;
}

static int parse_timeout(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;
	uint64_t n;
	int ret = value_number(value, 1, INT32_MAX / 1000, "seconds", &n, err);

	args->config.timeout_s = (unsigned)n;
	return ret;
}

static int parse_name(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->name = value;
	return runtime_check_name(value, err);
}

static int parse_test_devices(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->config.test_devices = true;
	return 0;
}

static int parse_no_reboot(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->config.no_reboot = true;
	return 0;
}

static int parse_stats(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->stats = true;
	return 0;
}

static int parse_trace(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->config.trace = value;
	((struct run_args *)target)->config.trace_file = stderr;
	return 0;
}

static int parse_deterministic(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->config.deterministic = true;
	return 0;
}

static int parse_lockstep(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->lockstep = value;
	return engine_check_name(value, err);
}

static int parse_symbols(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->symbols = value;
	return value_file(value, err);
}

static int parse_env(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;

	if (args->env_count == ENV_MAX)
		return lm_err_set(err, -E2BIG, "at most %d variables", ENV_MAX);
	if (*value == '=' || !strchr(value, '='))
		return lm_err_set(err, -EINVAL, "write NAME=VALUE");
	args->env[args->env_count++] = value;
	args->config.command_env = args->env;
	return 0;
}

static int parse_user_data(void *target, const char *value, struct lm_err *err)
{
	return seed_user_data(&((struct run_args *)target)->seed, value, err);
}

static int parse_ssh_key(void *target, const char *value, struct lm_err *err)
{
	return seed_ssh_key(&((struct run_args *)target)->seed, value, err);
}

static int parse_balloon(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->config.balloon = !strcmp(value, "on");
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return lm_err_set(err, -EINVAL, "the choices are on and off");
	return 0;
}

static int parse_watchdog(void *target, const char *value, struct lm_err *err)
{
	static const char *const words[] = {
	    [WATCHDOG_RESET] = "reset", [WATCHDOG_POWEROFF] = "poweroff", [WATCHDOG_PAUSE] = "pause"};

	for (unsigned k = WATCHDOG_RESET; k < LM_ARRAY_SIZE(words); k++) {
		if (strcmp(value, words[k]) != 0)
			continue;
		((struct run_args *)target)->config.watchdog = k;
		return 0;
	}
	return lm_err_set(err, -EINVAL, "the choices are reset, poweroff and pause");
}

static int parse_rm(void *target, const char *value, struct lm_err *err)
{
	return 0;
}

static int parse_config(void *target, const char *value, struct lm_err *err)
{
	struct run_args *args = target;

	return config_file_read(&args->files, value, &run_verb, args, err);
}

static int parse_dry_run(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->dry_run = true;
	return 0;
}

static int parse_tty(void *target, const char *value, struct lm_err *err)
{
	((struct run_args *)target)->config.command_io = COMMAND_TTY;
	return 0;
}

static int parse_dump_block(void *target, const char *value, struct lm_err *err)
{
	struct x86_listing *l = &((struct run_args *)target)->config.listing;
	char *end;

	errno = 0;
	l->block = strtoull(value, &end, 16);
	if (errno || end == value || *end || *value == '-')
		return lm_err_set(err, -EINVAL, "not a hexadecimal address");
	l->blocks = stderr;
	return 0;
}

static int parse_perf_map(void *target, const char *value, struct lm_err *err)
{
	struct x86_listing *l = &((struct run_args *)target)->config.listing;
	char path[64];

	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	l->perf_map = fopen(path, "wxe");
	if (!l->perf_map)
		return lm_err_errno(err, -errno, "cannot create %s", path);
	return 0;
}

static const struct option run_options[] = {
    {"engine", "auto|interp|jit|kvm", "what executes the guest's instructions", "auto",
     parse_engine},
    {"cpus", "N", "vCPUs", "1", parse_cpus},
    {"cpu-model", MODEL_CHOICES, "what the guest's CPUs offer; FILE: JSON, docs/cpu-models.md",
     "default", parse_cpu_model},
    {"memory", "SIZE", "RAM: a number with K, M, G or T behind it", "512M", parse_memory},
    {"kernel", "FILE", "kernel to boot: bzImage, ELF with a PVH entry, or multiboot",
     "the default guest's", parse_kernel},
    {"initrd", "FILE", "initial RAM disk; needs --kernel", NULL, parse_initrd},
    {"append", "TEXT", "kernel command line; added to that of the default guest", NULL,
     parse_append},
    {"disk", DISK_SYNTAX, "disk: a file or block device; may be repeated", NULL, parse_disk,
     .repeats = true},
    {"on-io-error", "report|stop|enospc",
     "when the host cannot read or write a disk: tell the guest, pause the machine, or pause it "
     "for want of space only",
     "report", parse_on_io_error},
    {"cdrom", "FILE", "CD-ROM image in a SATA drive; may be repeated", NULL, parse_cdrom,
     .repeats = true},
    {"firmware", FIRMWARE_NAMES "[,vars=FILE]",
     "firmware that boots the disks: BIOS or UEFI, which keeps its variables in FILE",
     "seabios with an IMAGE", parse_firmware},
    {"display", "none|text|vnc=ADDR",
     "the screen of a machine with firmware: on the terminal in text modes, with the terminal's keys "
     "as its keyboard, or for VNC viewers at [HOST:]PORT of this host, or at unix:PATH", "none",
     parse_display},
    {"firmware-log", "FILE", "write there what the firmware says on its debug port", NULL,
     parse_firmware_log},
    {"net", NET_SYNTAX,
     "a network card: on the host's network without rights, on a tap interface, or on a cable to the "
     "machine at the same socket; behind it ,mac=ADDR ,mtu=N ,queues=N ,backend=passt|slirp; may be "
     "repeated", "none", parse_net, .repeats = true},
    {"publish", PUBLISH_SYNTAX, "the host's port leads to the guest's, on --net user; may be repeated",
     NULL, parse_publish, 'p', .repeats = true},
    {"vsock", VSOCK_SYNTAX,
     "sockets between guest and host: who writes \"CONNECT PORT\" to the Unix socket at PATH is "
     "connected to that port of the guest, and the guest's connections to port P reach PATH_P",
     NULL, parse_vsock},
    {"share", SHARE_SYNTAX,
     "a folder of the host in the guest: ro or rw; owners keep or squash (all root's); fresh: nothing is "
     "believed without asking the host, exclusive: nobody else changes it; may be repeated",
     NULL, parse_share, 'v', .repeats = true},
    {"rootfs", ROOTFS_SYNTAX,
     "boot the default guest's kernel with this folder as root; changes are lost at the end, except "
     "with rw",
     NULL, parse_rootfs},
    {"timeout", "SECONDS", "end the machine after that long", "never", parse_timeout},
    {"name", "NAME", "the machine's name for other verbs, also that of the process", "vm-PID",
     parse_name},
    {"tty", NULL, "the guest's console becomes the terminal of CMD", NULL, parse_tty},
    {"env", "NAME=VALUE", "a variable for CMD; may be repeated", NULL, parse_env, 'e', .repeats = true},
    {"user-data", "FILE", "for cloud-init in an image: its user data", NULL, parse_user_data},
    {"ssh-key", "FILE", "for cloud-init: a public key of who may log in; may be repeated", NULL,
     parse_ssh_key, .repeats = true},
    {"balloon", "on|off", "the guest gives free memory back to the host, and more by `lamina balloon`",
     "on", parse_balloon},
    {"watchdog", "reset|poweroff|pause",
     "a watchdog (ACPI WDAT; Linux: wdat_wdt), and what happens when the guest does not feed it", "none",
     parse_watchdog},
    {"rm", NULL, "keep nothing of the machine at its end: so it is always, and may be said", NULL,
     parse_rm},
    {"config", "FILE", "take options from a JSON file such as --dry-run prints; may be repeated", NULL,
     parse_config, .repeats = true},
    {"dry-run", NULL, "check everything and print the options as JSON instead of booting", NULL,
     parse_dry_run},
    {"no-reboot", NULL, "end when the guest resets instead of booting it again", NULL,
     parse_no_reboot},
    {"test-devices", NULL, "add the devices of kvm-unit-tests, with debug exit at port 0xf4", NULL,
     parse_test_devices},
    {"stats", NULL, "print counters to standard error at the end", NULL, parse_stats},
    {"trace", "WHAT[:FILTER]", "trace to standard error: " TRACE_SYNTAX, NULL, parse_trace},
    {"deterministic", NULL, "virtual clock, one vCPU: two runs execute the same", NULL,
     parse_deterministic},
    {"lockstep", "interp|jit|kvm",
     "compare --engine with this one as both run; stops at the first difference; what a command prints "
     "is dropped",
     NULL, parse_lockstep},
    {"dump-block", "ADDR",
     "list translated blocks with the instruction at this guest address: what was decided, host code",
     NULL, parse_dump_block},
    {"perf-map", NULL, "write /tmp/perf-PID.map: perf names translated code by guest address", NULL,
     parse_perf_map},
    {"symbols", "FILE", "System.map or vmlinux: a backtrace when the guest ends badly", NULL, parse_symbols},
    {NULL},
};

static const char *const run_paragraphs[] = {
    "Boots a machine and stays until it ends. The guest's console is on standard input and output; "
    "on a terminal Ctrl-A x ends the machine and Ctrl-A Ctrl-A sends one Ctrl-A. lamina's own "
    "messages go to standard error.",
    "Without --kernel the default guest is booted, which `make guest` builds. Its disk is thrown "
    "away at the end.",
    "IMAGE is a disk image, as --disk takes it, or a CD-ROM image (ISO 9660), that the machine's firmware "
    "boots: SeaBIOS, or what "
    "--firmware names. With SeaBIOS its screen and that of boot loaders are on the serial port too.",
    "The properties of a disk follow its file's name behind commas; a comma in a value is written "
    "twice. ro is for disks that the guest only reads, ephemeral for such as forget what is written "
    "to them. The format is that of the name (.qcow2) unless format= says it; what a disk contains "
    "never decides, except for ro and ephemeral. cache=direct bypasses the host's page cache, which "
    "auto does for disks that are written to. backing=allow lets a qcow2 image name other files of "
    "yours that it is based on. With the default guest these disks follow its own.",
    "With -- CMD the default guest runs that command instead of a shell: standard input, output "
    "and error are the command's, and lamina exits with its status.",
    NULL,
};

/* ECMA-119 §8.1: the first volume descriptor is in sector 16. */
static bool is_iso9660(const char *path)
{
	char magic[5] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return false;
	if (pread(fd, magic, sizeof(magic), 16 * 2048 + 1) != sizeof(magic))
		*magic = 0;
	close(fd);
	return !memcmp(magic, "CD001", sizeof(magic));
}

static int use_cdrom(struct run_args *args, const char *image, struct lm_err *err)
{
	struct machine_config *config = &args->config;

	config->boot_cdrom = true;
	if (config->cdrom_count == MACHINE_MAX_CDROMS)
		return parse_cdrom(args, image, err);
	memmove(config->cdrom + 1, config->cdrom, config->cdrom_count * sizeof(config->cdrom[0]));
	config->cdrom[0] = image;
	config->cdrom_count++;
	return 0;
}

/* The operand: a disk that boots, before all others. */
static int use_image(struct run_args *args, const char *image, struct lm_err *err)
{
	struct machine_config *config = &args->config;
	int ret = 0;

	if (access(image, F_OK) && !strchr(image, ','))
		return lm_err_set(err, -errno,
				  "no image \"%.*s\": %s; a command for the guest goes behind --",
				  SHOWN_MAX, image, strerror(errno));
	if (!config->firmware.code)
		ret = parse_firmware(args, "seabios", err);
	if (!ret && is_iso9660(image))
		ret = use_cdrom(args, image, err);
	else if (!ret)
		ret = parse_disk(args, image, err);
	if (ret)
		return lm_err_wrap(err, "%.*s", SHOWN_MAX, image);
	return 0;
}

static int check_combination(const struct run_args *args, const struct operands *rest,
			     struct lm_err *err)
{
	const struct machine_config *config = &args->config;

	if (rest->count > 1 && !rest->after_dashes)
		return lm_err_set(err, -EINVAL,
				  "unexpected \"%.*s\"; a command for the guest goes behind --",
				  SHOWN_MAX, rest->words[1]);
	if (config->kernel && config->firmware.code)
		return lm_err_set(err, -EINVAL,
				  "--firmware boots the disks, --kernel a kernel: leave out one");
	if (rest->after_dashes && config->firmware.code)
		return lm_err_set(err, -EINVAL,
				  "a command runs in the default guest only: leave out --firmware");
	if (rest->after_dashes && (!rest->count || !*rest->words[0]))
		return lm_err_set(err, -EINVAL, "no command behind --");
	if (rest->after_dashes && config->kernel)
		return lm_err_set(err, -EINVAL,
				  "a command runs in the default guest only: leave "
				  "out --kernel or the command");
	if (args->shares.rootfs && (config->kernel || config->firmware.code))
		return lm_err_set(err, -EINVAL,
				  "--rootfs goes with the default guest's kernel: leave out %s",
				  config->kernel ? "--kernel" : "the image and --firmware");
	if (config->initrd && !config->kernel)
		return lm_err_set(err, -EINVAL, "--initrd needs --kernel");
	if (config->disk_count == MACHINE_MAX_DISKS && !config->kernel && !config->firmware.code)
		return lm_err_set(err, -EINVAL,
				  "the default guest has a disk of its own: at most %d others",
				  MACHINE_MAX_DISKS - 1);
	if ((config->display_text || config->display_vnc) && !config->firmware.code)
		return lm_err_set(err, -EINVAL, "--display needs --firmware or an image");
	if (config->firmware_log && !config->firmware.code)
		return lm_err_set(err, -EINVAL, "--firmware-log needs --firmware or an image");
	if (args->env_count && !rest->after_dashes)
		return lm_err_set(err, -EINVAL, "--env needs a command behind --");
	if (config->command_io == COMMAND_TTY && !rest->after_dashes)
		return lm_err_set(err, -EINVAL, "--tty needs a command behind --");
	if (args->lockstep && config->command_io == COMMAND_TTY)
		return lm_err_set(err, -EINVAL, "--lockstep gives its command no terminal: leave out --tty");
	if (config->command_io == COMMAND_TTY && !isatty(STDIN_FILENO))
		return lm_err_set(err, -ENOTTY, "--tty: standard input is no terminal");
	if (args->lockstep && (config->cpus > 1 || config->timeout_s))
		return lm_err_set(err, -EINVAL, "--lockstep needs --cpus 1, and has no --timeout");
	if (config->deterministic && config->cpus > 1)
		return lm_err_set(err, -EINVAL, "--deterministic needs --cpus 1, not %u",
				  config->cpus);
	return 0;
}

/* A word for the kernel command line from the environment: harmless characters only. */
static bool is_plain_word(const char *word)
{
	size_t len =
	    strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

	return len && len < 32 && !word[len];
}

/* What guest/PROTOCOL.md §7 lists, for the default guest. */
static void add_guest_words(const struct run_args *args, char *words, size_t size)
{
	const char *term = getenv("TERM");
	struct winsize ws;
	size_t n = 0;

	*words = 0;
	if (args->config.command)
		n += (size_t)snprintf(words, size, " lamina.cmd=1");
	if (args->config.command && args->config.command_io != COMMAND_TTY)
		return;
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return;
	if (term && is_plain_word(term))
		n += (size_t)snprintf(words + n, size - n, " lamina.term=%s", term);
	if (!ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) && ws.ws_row && ws.ws_col)
		snprintf(words + n, size - n, " lamina.winsize=%ux%u", ws.ws_row, ws.ws_col);
}

static int use_default_guest(struct run_args *args, struct lm_err *err)
{
	struct machine_config *config = &args->config;
	char words[128], shares[CMDLINE_MAX];
	int n, ret = default_guest_find(&args->guest, err);

	if (!ret && config->share_count && !args->guest.shares)
		return lm_err_set(err, -ENOTSUP,
				  "the default guest is too old for shared folders: `make guest` builds it "
				  "anew");
	if (!ret)
		ret = shares_words(&args->shares, config, shares, sizeof(shares), err);
	if (ret)
		return ret;
	add_guest_words(args, words, sizeof(words));
	/* Not the virtio console as well: init keeps ttyS0 open, and so it would get the keys. */
	n = snprintf(args->cmdline, sizeof(args->cmdline), "%s console=ttyS0%s%s%s%s",
		     args->guest.cmdline, shares, words, config->append ? " " : "",
		     config->append ? config->append : "");
	if (n < 0 || (size_t)n >= sizeof(args->cmdline))
		return lm_err_set(err, -EINVAL,
				  "--append: the kernel command line gets longer "
				  "than %d bytes",
				  CMDLINE_MAX - 1);
	config->kernel = args->guest.kernel;
	config->initrd = args->guest.initrd;
	config->append = args->cmdline;
	if (args->shares.rootfs)
		return 0;
	memmove(&config->disk[1], &config->disk[0], config->disk_count * sizeof(config->disk[0]));
	config->disk_count++;
	config->disk[0] = (struct disk_config){
	    .path = args->guest.disk,
	    .format = IMAGE_RAW,
	    .ephemeral = true,
	};
	return 0;
}

static int run_lockstep(const struct run_args *args, struct lm_err *err)
{
	const struct engine_ops *other = engine_choose(args->lockstep, 1, err);
	struct machine_result result = {0};
	int ret;

	if (!other)
		return lm_err_wrap(err, "--lockstep %s", args->lockstep);
	ret = machine_lockstep(&args->config, other, stderr, &result, err);
	return ret ? ret : live_status(&result, args->config.timeout_s);
}

static int make(void *opaque, struct machine **out, struct lm_err *err)
{
	const struct run_args *args = opaque;

	return machine_create(out, &args->config, err);
}

static int run_machine(struct run_args *args, struct lm_err *err)
{
	struct live_options live = {
		.name = args->name,
		.symbols = args->symbols,
		.stats = args->stats,
		.timeout_s = args->config.timeout_s,
	};

	return args->lockstep ? run_lockstep(args, err) : live_run(&live, make, args, err);
}

/* They are needed at the end only, when it would be too late to learn that there are none. */
static int check_symbols(const char *path, struct lm_err *err)
{
	struct symbols *s;
	int ret = symbols_load(&s, path, err);

	if (!ret)
		symbols_free(s);
	return ret;
}

static int prepare(struct run_args *args, const struct operands *rest, struct lm_err *err)
{
	int ret = 0;

	if (rest->count == 1 && !rest->after_dashes)
		ret = use_image(args, rest->words[0], err);
	if (!ret)
		ret = check_combination(args, rest, err);
	if (!ret)
		ret = finish_networks(args, err);
	if (ret)
		return ret;
	if (rest->after_dashes)
		args->config.command = rest->words;
	args->config.engine = engine_choose(args->engine, args->config.cpus, err);
	if (!args->config.engine)
		return lm_err_wrap(err, "--engine %s", args->engine);
	if (args->symbols)
		ret = check_symbols(args->symbols, err);
	if (!ret && !args->config.kernel && !args->config.firmware.code)
		ret = use_default_guest(args, err);
	if (!ret)
		ret = seed_attach(&args->seed, &args->config, args->name ? args->name : "lamina", err);
	if (!ret)
		warn_above_host_memory(args->config.memory);
	return ret;
}

static int run_main(const struct verb *self, int argc, char **argv, struct lm_err *err)
{
	static struct run_args args = {
	    .config = {.cpus = 1, .memory = 512 * MIB, .balloon = true},
	    .engine = "auto",
	};
	struct operands rest;
	int ret = options_parse(self, argc, argv, &args, &rest, err);

	if (!ret && rest.help)
		return print_help(self);
	if (!ret) {
		config_file_operands(&args.files, &rest);
		ret = prepare(&args, &rest, err);
	}
	if (!ret && args.dry_run)
		ret = config_file_print(&args.files, self, argv, &rest, err);
	else if (!ret)
		ret = run_machine(&args, err);
	for (unsigned k = 0; k < MACHINE_MAX_DISKS; k++)
		free(args.disk_words[k]);
	for (unsigned k = 0; k < MACHINE_MAX_NETS; k++)
		free(args.net_words[k]);
	shares_fini(&args.shares);
	seed_fini(&args.seed);
	config_files_fini(&args.files);
	return ret;
}

const struct verb run_verb = {
    .name = "run",
    .summary = "boot a machine and stay until it ends",
    .operands = "[IMAGE | -- CMD [ARG...]]",
    .paragraphs = run_paragraphs,
    .options = run_options,
    .statuses = true,
    .run = run_main,
};
