#include "box.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

#include "base/bug.h"
#include "engine/kvm/probe.h"
#include "isa/x86/event.h"

#define LOAD_ADDRESS 0x8000u
#define IMAGE_MAX    0x10000u
#define RAM_BYTES    (16 * MIB)
#define NOTES        0x6000u /* guest.inc */
#define EMULATED     0x6300u
#define PORT_TEXT    0xe9
#define PORT_LEFT    0xe8
#define PORT_EXIT    0xf4
#define DEVICE       0xd0000000u /* memory behind MMIO */
#define TSC_HZ       UINT64_C(1000000000)

/* ---- Devices ---- */

static uint8_t *device_at(struct guest_box *g, gpa_t gpa, unsigned size)
{
	uint64_t offset = gpa.v - DEVICE;

	return offset < BOX_DEVICE_BYTES && size <= BOX_DEVICE_BYTES - offset ? g->device + offset : NULL;
}

static uint64_t mmio_read(void *opaque, gpa_t gpa, unsigned size)
{
	const uint8_t *p = device_at(opaque, gpa, size);

	return p ? le_load(p, size) : mask_bytes(size);
}

static void mmio_write(void *opaque, gpa_t gpa, uint64_t value, unsigned size)
{
	uint8_t *p = device_at(opaque, gpa, size);

	if (p)
		le_store(p, value, size);
}

/* Ports read back as their number, so that guests can see which one they reached. */
static uint32_t port_read(void *opaque, uint16_t port, unsigned size)
{
	return port;
}

/* What guest.inc's NOT_IN_EMULATED_KVM numbers. */
static const char *const left_out[] = {
	NULL,
	"INT3 at CPL 3 raises #UD there",
	"SYSRET after SYSCALL raises #GP there",
	"paging outside long mode raises #GP there",
	"RDTSC reads the host's TSC there",
	"CPUID shows the host's features there",
};

static void port_write(void *opaque, uint16_t port, uint32_t value, unsigned size)
{
	struct guest_box *g = opaque;

	if (port == PORT_TEXT) {
		putchar((int)(value & 0xff));
	} else if (port == PORT_LEFT) {
		printf("not tried on this emulated /dev/kvm: %s\n",
		       value < LM_ARRAY_SIZE(left_out) ? left_out[value] : "?");
	} else if (port == PORT_EXIT) {
		g->result = (int)(value & 0xff);
		x86_event_raise(g->cpu, EV_KICK);
	}
}

/* ---- Life ---- */

bool box_engine_works(const struct engine_ops *engine, const char *path)
{
	struct lm_err err = { 0 };

	setenv("LAMINA_KVM_SLOW", "1", 0); /* for unit guests an emulated one is fast enough */
	if (!engine->probe(&err))
		return true;
	printf("%s: skipped: engine %s: %s\n", path, engine->name, err.text);
	return false;
}

static bool load_image(struct guest_box *g)
{
	FILE *f = fopen(g->path, "rb");
	size_t n = 0;

	if (f) {
		n = fread(ram_ptr(&g->ram, GPA(LOAD_ADDRESS), IMAGE_MAX), 1, IMAGE_MAX, f);
		fclose(f);
	}
	if (!n)
		fprintf(stderr, "cannot read %s\n", g->path);
	return n > 0;
}

bool box_init(struct guest_box *g, const char *path, bool timed)
{
	*g = (struct guest_box){ .path = path, .result = -1 };
	LM_BUG_ON(ram_init(&g->ram, RAM_BYTES, NULL) || loop_init(&g->loop, !timed, NULL));
	g->io = (struct mem_io){ mmio_read, mmio_write, port_read, port_write, g };
	g->sys = (struct x86_system){
		.ram = &g->ram, .io = &g->io, .loop = &g->loop, .tsc_hz = TSC_HZ, .cpu_count = 1,
		.opaque = g,
	};
	pthread_mutex_init(&g->sys.split_lock, NULL);
	model_default(&g->sys.model, 1, TSC_HZ);
	return load_image(g);
}

void box_fini(struct guest_box *g)
{
	pthread_mutex_destroy(&g->sys.split_lock);
	loop_fini(&g->loop);
	ram_fini(&g->ram);
}

static void create_system(struct guest_box *g, const struct engine_ops *engine)
{
	struct lm_err err = { 0 };

	if (engine->system_create && engine->system_create(&g->sys, &err)) {
		fprintf(stderr, "%s: %s\n", engine->name, err.text);
		abort();
	}
	g->sys.tsc_hz = g->sys.model.tsc_hz;
}

static void destroy_system(struct guest_box *g, const struct engine_ops *engine)
{
	if (engine->system_destroy)
		engine->system_destroy(&g->sys);
}

void box_attach(struct guest_box *g, const struct engine_ops *engine, const struct x86_state *s)
{
	g->engine = engine;
	create_system(g, engine);
	g->cpu = x86_cpu_create(&g->sys, 0);
	LM_BUG_ON(!g->cpu || engine->vcpu_create(g->cpu, NULL));
	if (s) {
		g->cpu->s = *s;
	} else {
		g->cpu->s.seg[CS].selector = 0;
		g->cpu->s.seg[CS].base = 0;
		g->cpu->s.rip = LOAD_ADDRESS;
	}
	engine->state_load(g->cpu);
}

void box_detach(struct guest_box *g, struct x86_state *s)
{
	g->engine->state_save(g->cpu);
	*s = g->cpu->s;
	g->engine->vcpu_destroy(g->cpu);
	x86_cpu_destroy(g->cpu);
	destroy_system(g, g->engine);
}

void box_expect(struct guest_box *g, const struct engine_ops *engine)
{
	uint8_t emulated = 1;

	create_system(g, engine);
	destroy_system(g, engine);
	g->emulated = engine == engine_find("kvm") && !kvm_probe_host()->fast;
	if (g->emulated)
		ram_write(&g->ram, GPA(EMULATED), &emulated, 1);
}

/* ---- Running ---- */

/* What guest.inc notes of the last exception. */
static void print_notes(const struct guest_box *g)
{
	uint64_t notes[4] = { 0 };

	ram_read(&g->ram, GPA(NOTES), notes, sizeof(notes));
	printf("%s: last exception: vector %d, error 0x%x, at 0x%llx, flags 0x%llx\n", g->path,
	       (int)notes[0], (unsigned)notes[1], (unsigned long long)notes[2],
	       (unsigned long long)notes[3]);
}

int box_report(struct guest_box *g, const char *what)
{
	const struct x86_state *s = &g->cpu->s;

	g->engine->state_save(g->cpu);
	printf("%s: %s at cs:rip %04x:%llx rsp %llx cr0 %llx\n", g->path, what,
	       s->seg[CS].selector, (unsigned long long)s->rip,
	       (unsigned long long)s->gpr[RSP], (unsigned long long)s->cr0);
	print_notes(g);
	return 1;
}

int box_result(const struct guest_box *g)
{
	if (g->result > 0) {
		printf("%s: check %d failed\n", g->path, g->result);
		print_notes(g);
	}
	return g->result != 0;
}

/* A halted guest waits for its APIC timer: the virtual clock jumps there. */
static bool skip_to_timer(struct guest_box *g)
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

static struct x86_cpu *running;

static void on_alarm(int signal)
{
	x86_event_raise(running, EV_KICK);
}

static enum exit_reason run_timed(struct guest_box *g, unsigned microseconds)
{
	struct itimerval timer = { .it_value.tv_usec = g->emulated ? 10 * microseconds : microseconds };

	running = g->cpu;
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &timer, NULL);
	return g->engine->run(g->cpu, ENGINE_NO_BUDGET);
}

int box_run(struct guest_box *g, uint64_t insns, unsigned microseconds)
{
	enum exit_reason why = g->engine->exact ? g->engine->run(g->cpu, insns)
						: run_timed(g, microseconds);

	if (why == EXIT_FAILED)
		return box_report(g, g->engine->failure(g->cpu));
	if (why == EXIT_SHUTDOWN)
		return box_report(g, "triple fault");
	if (why == EXIT_HALTED && !skip_to_timer(g))
		return box_report(g, "halted for good");
	loop_run_timers(&g->loop);
	return 0;
}
