#include "machine/machine_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "backend/block.h"
#include "backend/char.h"
#include "backend/char_mux.h"
#include "backend/vsock.h"
#include "base/bits.h"
#include "base/log.h"
#include "isa/x86/trace.h"
#include "machine/boot/boot.h"
#include "machine/command.h"
#include "machine/pc.h"
#include "machine/pc_disk.h"
#include "machine/symbols.h"
#include "machine/vcpu.h"

#define NS_PER_S INT64_C(1000000000)

/* The guest's time-stamp counter counts nanoseconds. */
#define TSC_HZ UINT64_C(1000000000)

/*
 * OVMF makes page tables of 2 MiB pages for all that the CPU can address: at 46 bits 256 MiB of them,
 * and minutes. Up to 40 it looks at the RAM there is instead.
 */
#define FIRMWARE_PHYSICAL_BITS 40

/* As firmware leaves it: MTRRs enabled, all memory write-back (SDM vol. 3A §12.11.2.1). */
#define MTRR_ENABLED_WB UINT64_C(0x806)

/* ---- Ends ---- */

static void end_with(struct machine *m, enum machine_end end, int status)
{
	int none = -1;

	if (__atomic_compare_exchange_n(&m->end, &none, (int)end, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED))
		m->status = status;
	loop_stop(&m->loop);
}

void machine_quit(struct machine *m)
{
	__atomic_store_n(&m->quit, true, __ATOMIC_RELEASE);
	end_with(m, END_QUIT, 0);
}

void machine_leave(struct machine *m)
{
	end_with(m, END_MIGRATED, 0);
}

static void on_power_off(void *opaque)
{
	struct machine *m = opaque;

	end_with(m, m->command ? END_LOST_COMMAND : END_POWEROFF, 0);
}

static void on_reset(void *opaque)
{
	struct machine *m = opaque;

	if (m->config.no_reboot || m->command) {
		end_with(m, m->command ? END_LOST_COMMAND : END_RESET, 0);
		return;
	}
	m->reset_wanted = true;
	loop_stop(&m->loop);
}

static void on_panicked(void *opaque)
{
	end_with(opaque, END_PANIC, 0);
}

static void pause_task(struct machine *m, void *opaque)
{
	machine_pause(m);
}

/* As config says: for the guest it is as if somebody had pressed a button. */
static void on_watchdog(void *opaque)
{
	static struct machine_task pause = { .run = pause_task };
	struct machine *m = opaque;

	log_line(LOG_WARN, "the guest did not feed its watchdog");
	if (m->config.watchdog == WATCHDOG_RESET)
		on_reset(m);
	else if (m->config.watchdog == WATCHDOG_POWEROFF)
		on_power_off(m);
	else
		machine_when_still(m, &pause);
}

static void on_debug_exit(void *opaque, uint32_t status)
{
	end_with(opaque, END_DEBUG_EXIT, (int)(status & 0xff));
}

static void on_triple_fault(void *opaque)
{
	end_with(opaque, END_TRIPLE_FAULT, 0);
}

static void on_engine_failure(void *opaque, const char *why)
{
	struct machine *m = opaque;

	lm_err_set(&m->failure, -EIO, "engine %s: %s", m->config.engine->name, why);
	end_with(m, END_ENGINE, 0);
}

static void on_timeout(void *opaque)
{
	end_with(opaque, END_TIMEOUT, 0);
}

static void on_terminal_quit(void *opaque)
{
	machine_quit(opaque);
}

static void on_command_end(void *opaque, int status)
{
	end_with(opaque, END_COMMAND, status);
}

/* ---- Building ---- */

static void pause_after_io_error(struct machine *m, void *opaque)
{
	m->io_error_pending = false;
	machine_pause(m);
}

/* Under the device lock. */
static void on_io_error(void *opaque, struct blockdev *dev, int error)
{
	struct machine *m = opaque;

	if (m->io_error_pending)
		return;
	m->io_error_pending = true;
	m->io_error.run = pause_after_io_error;
	machine_when_still(m, &m->io_error);
}

static int open_disks(struct machine *m, struct lm_err *err)
{
	for (unsigned k = 0; k < m->config.disk_count; k++) {
		const struct disk_config *d = &m->config.disk[k];
		struct block_options options = {
			.path = d->path,
			.id = d->serial,
			.format = d->format,
			.cache = d->cache,
			.on_error = m->config.on_io_error,
			.read_only = d->read_only,
			.ephemeral = d->ephemeral,
			.allow_backing = d->allow_backing,
			.changes = d->changes,
			.detached = d->detached,
			.size = d->size,
			.synchronous = m->config.deterministic,
			.stop = m->config.deterministic ? NULL : on_io_error,
			.opaque = m,
		};
		int rc = block_open(&m->disk[k], &options, &m->loop, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int open_cdroms(struct machine *m, struct lm_err *err)
{
	for (unsigned k = 0; k < m->config.cdrom_count; k++) {
		struct block_options options = {
			.path = m->config.cdrom[k],
			.read_only = true,
			.synchronous = m->config.deterministic,
		};
		int rc = block_open(&m->cdrom[k], &options, &m->loop, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

/* A guest cannot know more files than its memory has room for: 1 KiB each in Linux. */
static int open_shares(struct machine *m, struct lm_err *err)
{
	for (unsigned k = 0; k < m->config.share_count; k++) {
		struct fs_options options = m->config.share[k];
		int rc;

		options.synchronous = m->config.deterministic;
		options.shares = m->config.share_count;
		options.max_files = (unsigned)LM_MIN(m->config.memory / KIB, UINT32_MAX / 2);
		rc = fs_open(&m->share[k], &options, &m->loop, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The serial port and the virtio console share one terminal. */
static int open_terminal(struct machine *m, struct lm_err *err)
{
	struct char_stdio_options options = { .raw = true, .quit = on_terminal_quit, .opaque = m };
	int rc = m->config.console == CONSOLE_OUTPUT
			 ? char_fd_open(&m->terminal, -1, STDOUT_FILENO, &m->loop, err)
			 : char_stdio_open(&m->terminal, &options, &m->loop, err);

	if (rc < 0 || m->config.display_text)
		return rc;
	return char_mux_open(&m->mux, m->terminal, err);
}

static int add_consoles(struct machine *m, struct pc_config *board, struct lm_err *err)
{
	struct command_config command = {
		.argv = m->config.command,
		.env = m->config.command_env,
		.io = m->config.command_io,
	};
	int rc = 0;

	board->port[0].name = "console";
	board->ports = 1;
	if (m->config.console != CONSOLE_NONE && (!m->config.command || m->config.command_io == COMMAND_TTY))
		rc = open_terminal(m, err);
	if (rc < 0)
		return rc;
	if (m->mux) {
		board->serial = char_mux_front(m->mux, 0);
		board->port[0].chr = char_mux_front(m->mux, 1);
	}
	if (!m->config.command)
		return 0;
	rc = command_open(&m->command, &command, &m->loop, on_command_end, m, err);
	if (rc < 0)
		return rc;
	for (unsigned k = 0; k < COMMAND_PORTS; k++)
		board->port[board->ports++] = (struct console_port_setup){
			command_port_name(k), command_port(m->command, k)
		};
	return 0;
}

static bool inject_key(void *opaque, const uint8_t *bytes, size_t len)
{
	struct machine *m = opaque;

	return i8042_inject(&m->pc.kbc, bytes, len);
}

static int open_firmware_log(struct machine *m, struct pc_config *board, struct lm_err *err)
{
	int rc;

	m->firmware_log_fd = open(m->config.firmware_log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (m->firmware_log_fd < 0)
		return lm_err_errno(err, -errno, "cannot write %s", m->config.firmware_log);
	rc = char_fd_open(&m->firmware_log, -1, m->firmware_log_fd, &m->loop, err);
	board->debug = m->firmware_log;
	return rc;
}

/* A mouse counts upwards. */
static void move_mouse(void *opaque, int dx, int dy, int wheel, uint8_t buttons)
{
	struct machine *m = opaque;

	i8042_move_mouse(&m->pc.kbc, dx, -dy, wheel, buttons);
}

static int open_screens(struct machine *m, struct lm_err *err)
{
	const struct display *display = machine_display(m);
	struct screen_pointer pointer = { move_mouse, m };
	int rc = 0;

	if (!display)
		return 0;
	if (m->config.display_text && m->terminal)
		rc = screen_text_open(&m->screen_text, m->terminal, display, &m->keyboard, &m->loop,
				      err);
	if (!rc && m->config.display_vnc)
		rc = screen_vnc_open(&m->screen_vnc, m->config.display_vnc, "lamina", display,
				     &m->keyboard, pointer, &m->loop, err);
	return rc;
}

static int build_board(struct machine *m, struct lm_err *err)
{
	struct pc_config board = {
		.ops = { on_power_off, on_reset, on_panicked, on_debug_exit, on_watchdog, m },
		.disks = m->config.disk_count,
		.cdroms = m->config.cdrom_count,
		.boot_cdrom = m->config.boot_cdrom,
		.test_devices = m->config.test_devices,
		.balloon = m->config.balloon && !m->config.deterministic,
		.watchdog = m->config.watchdog != WATCHDOG_NONE,
		.firmware = m->config.firmware,
		.serial_console = !m->config.display_text,
		.entropy_seed = m->config.deterministic ? 1 : 0,
	};
	int rc = add_consoles(m, &board, err);

	if (!rc && m->config.firmware_log)
		rc = open_firmware_log(m, &board, err);
	if (rc < 0)
		return rc;
	for (unsigned k = 0; k < m->config.disk_count; k++) {
		board.disk[k] = m->disk[k];
		board.disk_interface[k] = m->config.disk[k].interface;
	}
	for (unsigned k = 0; k < m->config.cdrom_count; k++)
		board.cdrom[k] = m->cdrom[k];
	networks_describe(&m->networks, &board);
	board.vsock = m->vsock;
	board.vsock_cid = m->config.vsock.cid;
	for (unsigned k = 0; k < m->config.share_count; k++)
		board.share[board.shares++] = m->share[k];
	m->pc_ready = true;
	keyboard_init(&m->keyboard, &m->loop, inject_key, m);
	rc = pc_init(&m->pc, &board, &m->ram, &m->sys, &m->loop, err);
	if (!rc && m->command)
		command_attach(m->command, &m->pc.console);
	return rc ? rc : open_screens(m, err);
}

static void system_init(struct machine *m)
{
	m->sys.ram = &m->ram;
	m->sys.loop = &m->loop;
	m->sys.tsc_hz = TSC_HZ;
	m->sys.wake = vcpu_wake;
	if (m->config.trace)
		m->sys.trace = &m->trace;
	m->sys.listing = m->config.listing;
	pthread_mutex_init(&m->sys.split_lock, NULL);
	if (!m->config.cpu_model.features)
		model_choose(&m->config.cpu_model, "default", NULL);
	model_default(&m->sys.model, m->config.cpus, TSC_HZ);
	m->sys.model.name = m->config.cpu_model.name;
	m->sys.model.features = m->config.cpu_model.features;
	if (m->config.firmware.code && m->config.memory < LM_BIT(FIRMWARE_PHYSICAL_BITS - 1))
		m->sys.model.physical_bits = FIRMWARE_PHYSICAL_BITS;
}

static int create_system(struct machine *m, struct lm_err *err)
{
	const struct engine_ops *engine = m->config.engine;
	int rc;

	if (!engine->exact && (m->config.deterministic || m->config.trace))
		return lm_err_set(err, -ENOTSUP, "engine %s neither counts nor traces instructions; "
				  "use --engine jit or interp", engine->name);
	if (!engine->system_create)
		return 0;
	m->system_ready = true;
	rc = engine->system_create(&m->sys, err);
	m->sys.tsc_hz = m->sys.model.tsc_hz;
	return rc;
}

static int boot(struct machine *m, struct lm_err *err)
{
	struct boot_config config = {
		.ram = &m->ram,
		.kernel = m->config.kernel,
		.initrd = m->config.initrd,
		.append = m->config.append,
		.rsdp = m->pc.rsdp,
	};

	for (unsigned k = 0; k < m->sys.cpu_count; k++) {
		struct x86_cpu *c = m->sys.cpu[k];
		int rc = 0;

		x86_cpu_reset(c, false);
		if (m->config.kernel)
			c->s.mtrr.def_type = MTRR_ENABLED_WB;
		if (k == 0 && m->config.kernel && !m->config.restoring)
			rc = boot_load(&config, &c->s, err);
		if (rc < 0)
			return rc;
		m->config.engine->state_load(c);
	}
	return 0;
}

static int build(struct machine *m, struct lm_err *err)
{
	int rc = 0;

	if (m->config.trace)
		rc = trace_parse(&m->trace, m->config.trace, m->config.trace_file, err);
	if (!rc)
		rc = loop_init(&m->loop, m->config.deterministic, err);
	if (rc < 0)
		return rc;
	m->loop_ready = true;
	rc = ram_init(&m->ram, m->config.memory, err);
	if (rc < 0)
		return rc;
	system_init(m);
	rc = open_disks(m, err);
	if (!rc)
		rc = open_cdroms(m, err);
	if (!rc)
		rc = open_shares(m, err);
	if (rc < 0)
		return rc;
	rc = networks_open(&m->networks, m->config.net, m->config.net_count, err);
	if (rc == 0 && m->config.vsock.path)
		rc = vsock_open(&m->vsock, m->config.vsock.path, &m->loop, err);
	if (rc < 0)
		return rc;
	rc = create_system(m, err);
	if (rc < 0)
		return rc;
	m->vcpus_ready = true;
	m->vcpus.shutdown = on_triple_fault;
	m->vcpus.failed = on_engine_failure;
	m->vcpus.opaque = m;
	rc = vcpus_init(&m->vcpus, m->config.engine, &m->sys, m->config.cpus, err);
	if (rc < 0)
		return rc;
	rc = build_board(m, err);
	if (rc < 0)
		return rc;
	rc = boot(m, err);
	m->config.restoring = false; /* resets boot */
	return rc;
}

static int64_t boot_time_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int machine_create(struct machine **out, const struct machine_config *config, struct lm_err *err)
{
	struct machine *m = calloc(1, sizeof(*m));
	int rc;

	*out = NULL;
	if (!m)
		return lm_err_set(err, -ENOMEM, "no memory for a machine");
	m->config = *config;
	m->end = -1;
	m->created_ns = boot_time_ns();
	rc = build(m, err);
	if (rc < 0) {
		machine_destroy(m);
		return rc;
	}
	*out = m;
	return 0;
}

/* ---- Running ---- */

static int reboot(struct machine *m, struct lm_err *err)
{
	int rc;

	loop_lock(&m->loop);
	m->reset_wanted = false;
	rc = pc_reset(&m->pc, err);
	if (!rc)
		rc = boot(m, err);
	loop_unlock(&m->loop);
	return rc;
}

static bool ended(const struct machine *m)
{
	return __atomic_load_n(&m->end, __ATOMIC_ACQUIRE) >= 0;
}

#define DRAIN_SLICE_MS   50
#define DRAIN_IMPATIENT  20 /* slices */

static bool is_drained(struct machine *m, int timeout_ms)
{
	return (!m->terminal || char_drain(m->terminal, timeout_ms)) &&
	       (!m->command || command_drain(m->command, timeout_ms));
}

static void close_screen_text(struct machine *m)
{
	loop_lock(&m->loop);
	screen_text_close(m->screen_text);
	m->screen_text = NULL;
	loop_unlock(&m->loop);
}

/*
 * What the guest has printed is written before lamina says how it ended, however long that takes
 * where the guest ended well, unless the user wants no more.
 */
static void drain_output(struct machine *m, struct machine_result *result)
{
	bool patient = m->end == END_POWEROFF || m->end == END_COMMAND || m->end == END_RESET;
	bool quit = false, drained = false;

	close_screen_text(m);
	for (unsigned k = 0; !drained && (k < DRAIN_IMPATIENT || (patient && !quit)); k++) {
		drained = is_drained(m, DRAIN_SLICE_MS);
		quit = __atomic_load_n(&m->quit, __ATOMIC_ACQUIRE);
	}
	if (!drained && quit)
		m->end = END_QUIT;
	result->output_failed = (m->terminal && char_output_failed(m->terminal)) ||
				(m->command && command_output_failed(m->command));
}

int machine_run(struct machine *m, struct machine_result *result, struct lm_err *err)
{
	int rc = vcpus_start(&m->vcpus, err);

	if (rc < 0)
		return rc;
	if (m->config.timeout_s) {
		timer_init(&m->timeout, &m->loop, on_timeout, m);
		timer_arm(&m->timeout,
			  clock_now(&m->loop.clock) + m->config.timeout_s * NS_PER_S);
	}
	m->still = m->parked = true;
	while (!rc && !ended(m)) {
		machine_let_go(m);
		loop_run(&m->loop);
		machine_park(m);
		if (ended(m) || m->reset_wanted)
			machine_hold_still(m);
		if (!ended(m) && m->reset_wanted)
			rc = reboot(m, err);
		if (!rc && !ended(m))
			machine_run_tasks(m);
	}
	drain_output(m, result);
	if (rc < 0)
		return rc;
	if (m->end == END_ENGINE)
		return lm_err_set(err, m->failure.code, "%s", m->failure.text);
	result->end = (enum machine_end)m->end;
	result->status = m->status;
	return 0;
}

/* While there still are vCPUs, which completions interrupt. */
static void finish_disks(struct machine *m)
{
	if (!m->loop_ready)
		return;
	loop_lock(&m->loop);
	for (unsigned k = 0; k < m->config.disk_count; k++)
		if (m->disk[k])
			blockdev_finish(m->disk[k]);
	loop_unlock(&m->loop);
}

void machine_destroy(struct machine *m)
{
	if (!m)
		return;
	networks_stop(&m->networks);
	finish_disks(m);
	if (m->vcpus_ready)
		vcpus_fini(&m->vcpus);
	if (m->system_ready)
		m->config.engine->system_destroy(&m->sys);
	screen_vnc_close(m->screen_vnc);
	if (m->loop_ready)
		loop_lock(&m->loop);
	screen_text_close(m->screen_text);
	if (m->pc_ready) {
		keyboard_fini(&m->keyboard);
		pc_fini(&m->pc);
	}
	for (unsigned k = 0; k < m->config.disk_count; k++)
		block_close(m->disk[k]);
	for (unsigned k = 0; k < m->config.cdrom_count; k++)
		block_close(m->cdrom[k]);
	networks_close(&m->networks);
	vsock_close(m->vsock);
	for (unsigned k = 0; k < m->config.share_count; k++)
		fs_close(m->share[k]);
	command_close(m->command);
	char_mux_close(m->mux);
	char_close(m->firmware_log);
	if (m->firmware_log_fd > 0)
		close(m->firmware_log_fd);
	char_close(m->terminal);
	if (m->loop_ready) {
		loop_unlock(&m->loop);
		loop_fini(&m->loop);
	}
	ram_fini(&m->ram);
	free(m);
}

/* ---- What the machine tells of itself ---- */

const struct display *machine_display(const struct machine *m)
{
	return m->pc.vga ? &m->pc.vga->display : NULL;
}

struct keyboard *machine_keyboard(struct machine *m)
{
	return &m->keyboard;
}

const struct machine_config *machine_config(const struct machine *m)
{
	return &m->config;
}

const char *machine_state_name(const struct machine *m)
{
	return machine_paused(m) ? "paused" : "running";
}

double machine_uptime(const struct machine *m)
{
	return (double)(boot_time_ns() - m->created_ns) / NS_PER_S;
}

struct ram *machine_ram(struct machine *m)
{
	return &m->ram;
}

struct blockdev *machine_disk(struct machine *m, unsigned disk)
{
	return m->disk[disk];
}

const struct x86_model *machine_model(const struct machine *m)
{
	return &m->sys.model;
}

struct event_loop *machine_loop(struct machine *m)
{
	return &m->loop;
}

int machine_backtrace(struct machine *m, const char *symbols, FILE *out, struct lm_err *err)
{
	struct symbols *s = NULL;
	int rc = symbols ? symbols_load(&s, symbols, err) : 0;

	if (rc < 0)
		return rc;
	for (unsigned k = 0; k < m->sys.cpu_count; k++) {
		m->config.engine->state_save(m->sys.cpu[k]);
		symbols_backtrace(s, m->sys.cpu[k], out);
	}
	symbols_free(s);
	return 0;
}

static void print_cpu(const struct x86_cpu *c, FILE *out)
{
	const struct x86_counters *n = &c->count;

	fprintf(out, "vcpu%u.instructions %llu\n", c->index, (unsigned long long)n->instructions);
	fprintf(out, "vcpu%u.decodes %llu\n", c->index, (unsigned long long)n->decodes);
	fprintf(out, "vcpu%u.tlb_misses %llu\n", c->index, (unsigned long long)n->tlb_misses);
	fprintf(out, "vcpu%u.exceptions %llu\n", c->index, (unsigned long long)n->exceptions);
	fprintf(out, "vcpu%u.interrupts %llu\n", c->index, (unsigned long long)n->interrupts);
	fprintf(out, "vcpu%u.port_accesses %llu\n", c->index, (unsigned long long)n->io_exits);
	fprintf(out, "vcpu%u.mmio_accesses %llu\n", c->index, (unsigned long long)n->mmio_exits);
	fprintf(out, "vcpu%u.halts %llu\n", c->index, (unsigned long long)n->hlts);
}

static void print_net(const struct virtio_net *net, unsigned index, FILE *out)
{
	const struct net_counters *n = &net->count;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "rx_packets", n->rx_packets }, { "rx_bytes", n->rx_bytes },
		{ "rx_dropped", n->rx_dropped }, { "rx_filtered", n->rx_filtered },
		{ "rx_waits", n->rx_waits },     { "tx_packets", n->tx_packets },
		{ "tx_bytes", n->tx_bytes },     { "tx_invalid", n->tx_invalid },
		{ "tx_waits", n->tx_waits },
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(rows); k++)
		fprintf(out, "net%u.%s %llu\n", index, rows[k].name,
			(unsigned long long)rows[k].value);
}

void machine_print_stats(const struct machine *m, FILE *out)
{
	for (unsigned k = 0; k < m->sys.cpu_count; k++) {
		print_cpu(m->sys.cpu[k], out);
		if (m->config.engine->print_stats)
			m->config.engine->print_stats(m->sys.cpu[k], out);
	}
	for (unsigned k = 0; k < m->pc.disks; k++)
		fprintf(out, "disk%u.requests %llu\ndisk%u.errors %llu\ndisk%u.uring_requests %llu\n", k,
			(unsigned long long)pc_disk_counts(&m->pc, m->pc.disk[k]).requests, k,
			(unsigned long long)pc_disk_counts(&m->pc, m->pc.disk[k]).errors, k,
			(unsigned long long)block_uring_requests(m->pc.disk[k]->backend));
	for (unsigned k = 0; k < m->config.share_count; k++)
		fprintf(out, "share%u.requests %llu\nshare%u.errors %llu\n", k,
			(unsigned long long)m->share[k]->requests, k,
			(unsigned long long)m->share[k]->errors);
	for (unsigned k = 0; k < m->pc.nets; k++)
		print_net(&m->pc.net[k]->net, k, out);
}
