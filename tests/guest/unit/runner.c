/*
 * Runs one freestanding guest image on an engine: RAM, two ports, nothing else.
 *
 *     unit-runner ENGINE IMAGE
 *
 * The image is loaded at 0x8000 and entered in real mode. Port 0xe9 prints a character; port 0xf4
 * ends the run with the byte written: 0 is success, anything else is the number of the check that
 * failed. Exit status 1 also for a triple fault, a halt nothing can end, and a budget used up (for an
 * engine that counts no instructions: a minute).
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bug.h"
#include "engine/engine.h"
#include "isa/x86/event.h"

#define LOAD_ADDRESS 0x8000u
#define RAM_BYTES    (16 * MIB)
#define BUDGET       UINT64_C(100000000)
#define SECONDS      60u
#define PORT_TEXT    0xe9
#define PORT_EXIT    0xf4
#define TSC_HZ       UINT64_C(1000000000)

struct guest {
	const struct engine_ops *engine;
	struct x86_system sys;
	struct event_loop loop;
	struct ram ram;
	struct mem_io io;
	struct x86_cpu *cpu;
	int result; /* -1: still running */
};

static uint64_t mmio_read(void *opaque, gpa_t gpa, unsigned size)
{
	return mask_bytes(size);
}

static void mmio_write(void *opaque, gpa_t gpa, uint64_t value, unsigned size)
{
}

/* Ports read back as their number, so that guests can see which one they reached. */
static uint32_t port_read(void *opaque, uint16_t port, unsigned size)
{
	return port;
}

static void port_write(void *opaque, uint16_t port, uint32_t value, unsigned size)
{
	struct guest *g = opaque;

	if (port == PORT_TEXT) {
		putchar((int)(value & 0xff));
	} else if (port == PORT_EXIT) {
		g->result = (int)(value & 0xff);
		x86_event_raise(g->cpu, EV_KICK);
	}
}

static void guest_init(struct guest *g)
{
	LM_BUG_ON(ram_init(&g->ram, RAM_BYTES, NULL) ||
		  loop_init(&g->loop, g->engine->exact, NULL));
	g->io = (struct mem_io){ mmio_read, mmio_write, port_read, port_write, g };
	g->sys = (struct x86_system){
		.ram = &g->ram, .io = &g->io, .loop = &g->loop, .tsc_hz = TSC_HZ, .cpu_count = 1,
		.opaque = g,
	};
	pthread_mutex_init(&g->sys.split_lock, NULL);
	model_default(&g->sys.model, 1, TSC_HZ);
	LM_BUG_ON(g->engine->system_create && g->engine->system_create(&g->sys, NULL));
	g->sys.tsc_hz = g->sys.model.tsc_hz;
	g->cpu = x86_cpu_create(&g->sys, 0);
	LM_BUG_ON(!g->cpu || g->engine->vcpu_create(g->cpu, NULL));
	g->result = -1;
}

static void guest_fini(struct guest *g)
{
	g->engine->vcpu_destroy(g->cpu);
	x86_cpu_destroy(g->cpu);
	if (g->engine->system_destroy)
		g->engine->system_destroy(&g->sys);
	pthread_mutex_destroy(&g->sys.split_lock);
	loop_fini(&g->loop);
	ram_fini(&g->ram);
}

static bool load_image(struct guest *g, const char *path)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f)
		return false;
	n = fread(ram_ptr(&g->ram, GPA(LOAD_ADDRESS), 0x10000), 1, 0x10000, f);
	fclose(f);
	return n > 0;
}

static void enter_real_mode(const struct engine_ops *engine, struct x86_cpu *c)
{
	c->s.seg[CS].selector = 0;
	c->s.seg[CS].base = 0;
	c->s.rip = LOAD_ADDRESS;
	engine->state_load(c);
}

static int report(const struct guest *g, const char *path, const char *what)
{
	const struct x86_state *s = &g->cpu->s;

	printf("%s: %s at cs:rip %04x:%llx rsp %llx cr0 %llx\n", path, what, s->seg[CS].selector,
	       (unsigned long long)s->rip, (unsigned long long)s->gpr[RSP],
	       (unsigned long long)s->cr0);
	return 1;
}

/* A halted guest waits for its APIC timer: the virtual clock jumps there. */
static bool skip_to_timer(struct guest *g)
{
	int64_t wait = loop_run_timers(&g->loop);

	if (event_wakes(g->cpu))
		return true;
	if (wait < 0)
		return false;
	g->loop.clock.virtual_ns += wait;
	loop_run_timers(&g->loop);
	return event_wakes(g->cpu);
}

static int run(struct guest *g, const char *path)
{
	while (g->result < 0 && g->cpu->count.instructions < BUDGET) {
		enum exit_reason why = g->engine->run(g->cpu, g->engine->exact ? 100000
									       : ENGINE_NO_BUDGET);

		if (why == EXIT_FAILED)
			return report(g, path, g->engine->failure(g->cpu));
		if (why == EXIT_SHUTDOWN)
			return report(g, path, "triple fault");
		if (why == EXIT_HALTED && !skip_to_timer(g))
			return report(g, path, "halted for good");
		loop_run_timers(&g->loop);
	}
	if (g->result < 0)
		return report(g, path, "does not end");
	if (g->result > 0)
		printf("%s: check %d failed\n", path, g->result);
	return g->result != 0;
}

int main(int argc, char **argv)
{
	static struct guest g;
	struct lm_err err = { 0 };
	int status;

	if (argc != 3 || !(g.engine = engine_find(argv[1]))) {
		fprintf(stderr, "usage: unit-runner ENGINE IMAGE\n");
		return 2;
	}
	setenv("LAMINA_KVM_SLOW", "1", 0); /* for unit guests an emulated one is fast enough */
	if (g.engine->probe(&err)) {
		printf("%s: skipped: engine %s: %s\n", argv[2], argv[1], err.text);
		return 77;
	}
	alarm(SECONDS);
	guest_init(&g);
	if (!load_image(&g, argv[2])) {
		fprintf(stderr, "unit-runner: cannot read %s\n", argv[2]);
		return 2;
	}
	enter_real_mode(g.engine, g.cpu);
	status = run(&g, argv[2]);
	guest_fini(&g);
	return status;
}
