/*
 * A box for one freestanding guest image: RAM, two ports, 16 bytes behind MMIO, one vCPU, and an engine
 * that may change under the guest.
 *
 * The image is loaded at 0x8000 and entered in real mode. Port 0xe9 prints a character; port 0xf4
 * ends the run with the byte written: 0 is success, anything else is the number of the check that
 * failed.
 */
#ifndef LM_TESTS_GUEST_UNIT_BOX_H
#define LM_TESTS_GUEST_UNIT_BOX_H

#include "engine/engine.h"

#define BOX_DEVICE_BYTES 16u

struct guest_box {
	const char *path; /* of the image, for messages */
	const struct engine_ops *engine;
	struct x86_system sys;
	struct event_loop loop;
	struct ram ram;
	struct mem_io io;
	struct x86_cpu *cpu;
	uint8_t device[BOX_DEVICE_BYTES];
	bool emulated; /* a KVM that is; it gets ten times the time */
	int result; /* -1: still running */
};

/* Whether the engine runs here; if not, says why on standard output. */
bool box_engine_works(const struct engine_ops *engine, const char *path);

/* With a virtual clock where `timed` is false: for one engine that counts instructions. */
bool box_init(struct guest_box *g, const char *path, bool timed);
void box_fini(struct guest_box *g);

/* Makes vCPU and engine; the state is `s`, or power-on at the image for NULL. */
void box_attach(struct guest_box *g, const struct engine_ops *engine, const struct x86_state *s);
/* Gives the state and drops both. */
void box_detach(struct guest_box *g, struct x86_state *s);

/*
 * Before the first attach: the guest will run under this engine too, so the CPU model becomes one that
 * it has, and guest.inc's EMULATED says whether it is an emulated KVM.
 */
void box_expect(struct guest_box *g, const struct engine_ops *engine);

/*
 * Runs for so many instructions, or microseconds where the engine does not count. 0, or 1 when the
 * guest has stopped for good, with a line about it.
 */
int box_run(struct guest_box *g, uint64_t insns, unsigned microseconds);
/* One line about where the guest stands. Returns 1. */
int box_report(struct guest_box *g, const char *what);
/* 0 when the guest has ended well; else with a line about the check. */
int box_result(const struct guest_box *g);

#endif
