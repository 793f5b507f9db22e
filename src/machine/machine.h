/*
 * A machine: the PC put together from RAM, vCPUs, devices and an engine, and its life from power-on
 * to its end. One process is one machine.
 */
#ifndef LM_MACHINE_MACHINE_H
#define LM_MACHINE_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "backend/block.h"
#include "backend/net.h"
#include "backend/fs.h"
#include "base/err.h"
#include "base/queue.h"
#include "engine/engine.h"
#include "machine/disk.h"
#include "machine/firmware.h"

#define MACHINE_MAX_DISKS 16
#define MACHINE_MAX_NETS  8
#define MACHINE_MAX_CDROMS 4
#define MACHINE_MAX_SHARES 8
#define MACHINE_MAX_CPUS  64

struct disk_config {
	const char *path;
	const char *serial; /* NULL: the file's name */
	enum image_format format;
	enum disk_interface interface;
	enum block_cache cache;
	bool read_only;
	bool ephemeral; /* writes go to a temporary overlay; the file stays as it is */
	bool allow_backing;
	const char *changes; /* with ephemeral: see backend/block.h; NULL: none */
	bool detached;  /* not opened before block_attach, which then finds this size: */
	uint64_t size;
};

enum console_kind {
	CONSOLE_TERMINAL, /* stdin and stdout */
	CONSOLE_OUTPUT,   /* stdout only */
	CONSOLE_NONE,
};

/* Where the input of a command in the guest comes from, and its output goes. */
enum command_io {
	COMMAND_STDIO, /* the process' own standard streams */
	COMMAND_TTY,   /* the guest's console */
	COMMAND_MUTE,  /* output is dropped, input never comes */
};

struct vsock_config {
	const char *path; /* of the Unix socket; NULL: no such device */
	uint64_t cid;
};

/* What the command line (or a caller of the library) asks for. Strings are borrowed. */
struct machine_config {
	const struct engine_ops *engine;
	struct model_features cpu_model; /* what the guest may use; zeros: everything */
	unsigned cpus;
	uint64_t memory;        /* bytes */
	const char *kernel;     /* bzImage, PVH ELF or multiboot 1; NULL only with firmware */
	const char *initrd;
	const char *append;     /* kernel command line */
	struct firmware_files firmware; /* code is NULL: none */
	bool display_text;        /* the screen on the terminal, in place of the serial console */
	const char *display_vnc;  /* where VNC viewers are served (backend/screen_vnc.h); NULL: nowhere */
	const char *firmware_log; /* file for what firmware says on its debug port; NULL: nowhere */
	struct disk_config disk[MACHINE_MAX_DISKS];
	unsigned disk_count;
	const char *cdrom[MACHINE_MAX_CDROMS];
	unsigned cdrom_count;
	bool boot_cdrom; /* before disks */
	struct net_options net[MACHINE_MAX_NETS];
	unsigned net_count;
	struct vsock_config vsock;
	enum block_on_error on_io_error; /* deterministic machines always report */
	/* Shared folders: path, tag and how; the rest is filled in by the machine. */
	struct fs_options share[MACHINE_MAX_SHARES];
	unsigned share_count;
	unsigned timeout_s;     /* 0: none */
	bool no_reboot;
	bool balloon;
	enum watchdog_action {
		WATCHDOG_NONE, /* the machine has no watchdog */
		WATCHDOG_RESET,
		WATCHDOG_POWEROFF,
		WATCHDOG_PAUSE,
	} watchdog;
	bool test_devices;
	bool restoring;         /* memory and state are loaded before it runs (save.h): boots nothing */
	bool deterministic;     /* virtual clock, one vCPU, synchronous disks */

	enum console_kind console;

	/* A command for the default guest (guest/PROTOCOL.md); NULL: an interactive console. */
	char *const *command;
	const char *const *command_env; /* "K=V" each, NULL-terminated; NULL: none */
	enum command_io command_io;

	const char *trace;      /* what to trace, see --trace; NULL: nothing */
	FILE *trace_file;
	struct x86_listing listing; /* its files stay the caller's */
};

enum machine_end {
	END_POWEROFF,
	END_RESET,        /* with no_reboot */
	END_TRIPLE_FAULT,
	END_PANIC,        /* the guest told pvpanic */
	END_TIMEOUT,
	END_QUIT,         /* the user's escape sequence or a signal */
	END_DEBUG_EXIT,   /* port 0xf4: status in `status` */
	END_COMMAND,      /* the command ended: its exit status in `status` */
	END_DIFFERENCE,   /* lockstep: the engines disagree */
	END_ENGINE,       /* the engine gave up: never in a result, machine_run fails */
	END_MIGRATED,     /* it goes on elsewhere */
	END_LOST_COMMAND, /* the machine ended before the command's status arrived */
};

struct machine_result {
	enum machine_end end;
	int status;
	bool output_failed; /* what the guest printed could not be written; a line has said so */
};

struct machine;
struct display;
struct keyboard;

/* Heap. Everything that the user can get wrong is found here, before the guest starts. */
int machine_create(struct machine **out, const struct machine_config *config, struct lm_err *err);

/* Runs on the calling thread (which becomes the event loop's) until the machine ends. */
int machine_run(struct machine *m, struct machine_result *result, struct lm_err *err);

/*
 * Runs the same guest under config->engine and `other`, one vCPU each, and compares them as they go;
 * the first difference is told on `out` and ends both (END_DIFFERENCE). Disks must be read-only or
 * ephemeral.
 */
int machine_lockstep(const struct machine_config *config, const struct engine_ops *other, FILE *out,
		     struct machine_result *result, struct lm_err *err);

/* Any thread, and signal handlers: ends the run with END_QUIT. */
void machine_quit(struct machine *m);

/* ---- While it runs (still.c) ---- */

/*
 * Work for which the guest must stand still. When `run` is called all vCPUs are parked at an
 * instruction boundary with their canonical state complete (engine->state_save has been called), the
 * clock is stopped, no disk request is in flight, and the device lock is not held. Whoever changes a
 * vCPU's state calls engine->state_load. Afterwards the guest goes on, unless it is paused.
 */
struct machine_task {
	void (*run)(struct machine *m, void *opaque);
	void *opaque;
	/*
	 * vCPUs are parked and that is all: time goes on, requests may be in flight, state is not
	 * complete, and the device lock is held.
	 */
	bool light;
	struct queue_item queued; /* the machine's */
};

/*
 * Any thread. The task, which must live until then, is run on the thread of machine_run; not at all
 * when the machine ends before.
 */
void machine_when_still(struct machine *m, struct machine_task *task);

/* From tasks: the machine goes on elsewhere, and never again here. */
void machine_leave(struct machine *m);

/* Only from tasks that are not light: whether the guest stays still after this. */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);
/* Disks that another process was given are ours again; a failure leaves the machine without them. */
int machine_attach_disks(struct machine *m, struct lm_err *err);
bool machine_paused(const struct machine *m);

/*
 * Dirty tracking (mem/dirty.h), from tasks. Start marks nothing: the caller copies all of RAM first.
 * Take moves the marks since the last time into `to`; what is written from now on is marked anew.
 */
int machine_dirty_start(struct machine *m, struct lm_err *err);
int machine_dirty_take(struct machine *m, uint64_t *to, struct lm_err *err);
void machine_dirty_stop(struct machine *m);

/* Memory as the host and, where there is a balloon, as the guest sees it; bytes, 0 for not known. */
struct machine_memory {
	uint64_t resident;  /* of the guest's RAM on the host */
	bool has_balloon;
	uint64_t target;    /* what the guest was told to leave to the host */
	uint64_t ballooned; /* what it has left */
	uint64_t total, free, available, caches; /* in the guest, within the last seconds */
	uint64_t reported;  /* given back as free, ever */
};

/* Under the device lock. */
void machine_memory(const struct machine *m, struct machine_memory *out);
/* Asks the guest to do with that many bytes of its memory; -ENODEV without a balloon. */
int machine_balloon(struct machine *m, uint64_t keep, struct lm_err *err);

/*
 * Which 4 KiB pieces of a disk the guest wrote; from tasks. Pieces are marked when they are written. NULL
 * where the disk's controller does not tell.
 */
struct dirty_map *machine_disk_writes(struct machine *m, unsigned disk);

/* vCPUs stand still for so many per cent of their time. Any thread, again and again: it kicks them. */
void machine_throttle(struct machine *m, unsigned percent);

/* The ACPI power button. The event loop's thread. */
void machine_power_button(struct machine *m);

/*
 * Between loading and running: the guest's past may happen again elsewhere, so that it must not go on
 * with the same random numbers. Does nothing to machines that are deterministic or have firmware.
 */
void machine_new_generation(struct machine *m);

/* What it was made from. */
const struct machine_config *machine_config(const struct machine *m);
/* "running", "paused". */
const char *machine_state_name(const struct machine *m);
/* Seconds since its creation, pauses included. */
double machine_uptime(const struct machine *m);
/* Under the device lock. NULL: it has no screen. */
const struct display *machine_display(const struct machine *m);
struct keyboard *machine_keyboard(struct machine *m);
struct event_loop *machine_loop(struct machine *m);
struct ram *machine_ram(struct machine *m);
struct blockdev *machine_disk(struct machine *m, unsigned disk);
const struct x86_model *machine_model(const struct machine *m);

/*
 * Where each vCPU stands: registers and call chain, with names from `symbols` (System.map or
 * vmlinux; NULL: addresses). After the run has ended.
 */
int machine_backtrace(struct machine *m, const char *symbols, FILE *out, struct lm_err *err);

/* Counters of every vCPU and device, as text. */
void machine_print_stats(const struct machine *m, FILE *out);

void machine_destroy(struct machine *m);

#endif
