/* The inside of struct machine, for the files of this folder that run one. */
#ifndef LM_MACHINE_MACHINE_IMPL_H
#define LM_MACHINE_MACHINE_IMPL_H

#include "backend/keyboard.h"
#include "backend/screen_text.h"
#include "backend/screen_vnc.h"
#include "isa/x86/trace.h"
#include "machine/command.h"
#include "machine/machine.h"
#include "machine/networks.h"
#include "machine/pc.h"
#include "machine/vcpu.h"

struct machine {
	struct machine_config config;
	struct event_loop loop;
	struct ram ram;
	struct x86_system sys;
	struct vcpu_group vcpus;
	struct pc pc;
	struct blockdev *disk[MACHINE_MAX_DISKS];
	struct blockdev *cdrom[MACHINE_MAX_CDROMS];
	struct networks networks;
	struct vsockdev *vsock; /* NULL: none */
	struct fsdev *share[MACHINE_MAX_SHARES];
	struct chardev *terminal; /* stdin and stdout, or NULL in command mode */
	struct char_mux *mux;
	struct keyboard keyboard;
	struct screen_text *screen_text;
	struct screen_vnc *screen_vnc;
	struct chardev *firmware_log;
	int firmware_log_fd;      /* 0: none */
	struct command *command;
	struct timer timeout;
	struct x86_trace trace;
	/* The first reason wins; set under the device lock, except for machine_quit. */
	int end; /* enum machine_end, or -1; atomic */
	bool quit; /* machine_quit was called; atomic */
	int status;
	bool reset_wanted;
	bool parked; /* all vCPUs are */
	bool still;  /* the guest stands still: vCPUs parked, clock stopped, nothing in flight */
	bool paused; /* and stays so */
	struct machine_task io_error;  /* pauses after an error of a disk's host file */
	bool io_error_pending;
	struct queue tasks; /* of struct machine_task; under the device lock */
	int64_t created_ns;         /* CLOCK_BOOTTIME */
	struct lm_err failure;      /* of the engine, before END_ENGINE is set */
	bool loop_ready, system_ready, vcpus_ready, pc_ready;
};

/* The thread of machine_run, without the device lock. */
void machine_park(struct machine *m);
void machine_hold_still(struct machine *m);
/* The guest goes on, unless it is paused. */
void machine_let_go(struct machine *m);
void machine_run_tasks(struct machine *m);

#endif
