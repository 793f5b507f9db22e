/*
 * Lockstep: two deterministic machines that differ in their engine only execute the same guest side
 * by side; after every few instructions their vCPUs must be in the same state.
 */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "isa/x86/event.h"
#include "isa/x86/mmu.h"
#include "machine/machine_impl.h"

#define CHUNK 64u /* instructions between two comparisons */

/* ---- What is compared ---- */

struct compared {
	const char *name;
	size_t offset, size, count;
};

#define COMPARED(f) { #f, offsetof(struct x86_state, f), sizeof(((struct x86_state *)0)->f), 1 }
#define ARRAY(f, n) { #f, offsetof(struct x86_state, f), sizeof(((struct x86_state *)0)->f) / (n), n }

/* Not compared: x87 instruction and data pointers, which engines may keep or not. */
static const struct compared fields[] = {
	COMPARED(rip), ARRAY(gpr, 16), COMPARED(rflags), ARRAY(seg, 6),
	COMPARED(ldtr), COMPARED(tr), COMPARED(gdtr.base), COMPARED(gdtr.limit),
	COMPARED(idtr.base), COMPARED(idtr.limit), COMPARED(cr0), COMPARED(cr2),
	COMPARED(cr3), COMPARED(cr4), ARRAY(dr, 8), COMPARED(xcr0),
	ARRAY(fpu.st, 8), COMPARED(fpu.fcw), COMPARED(fpu.fsw), COMPARED(fpu.ftw),
	COMPARED(mxcsr), ARRAY(vec, 16), COMPARED(efer), COMPARED(star),
	COMPARED(lstar), COMPARED(cstar), COMPARED(fmask), COMPARED(kernel_gs_base),
	COMPARED(sysenter_cs), COMPARED(sysenter_esp), COMPARED(sysenter_eip), COMPARED(pat),
	COMPARED(apic_base), COMPARED(tsc_aux), COMPARED(tsc_offset), COMPARED(tsc_deadline),
	COMPARED(activity), COMPARED(interrupt_shadow), COMPARED(nmi_blocked),
};

static void print_value(FILE *out, const uint8_t *p, size_t size)
{
	for (size_t k = size; k-- > 0;)
		fprintf(out, "%02x", p[k]);
}

/* Undefined flags are as different processors leave them: b gets those of a. */
static bool same_state(const struct x86_state *a, struct x86_state *b, uint32_t undefined)
{
	b->rflags = (b->rflags & ~(uint64_t)undefined) | (a->rflags & undefined);
	for (unsigned k = 0; k < LM_ARRAY_SIZE(fields); k++)
		if (memcmp((const uint8_t *)a + fields[k].offset,
			   (const uint8_t *)b + fields[k].offset, fields[k].size * fields[k].count))
			return false;
	return true;
}

static void print_differences(const struct x86_state *a, const struct x86_state *b, FILE *out)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(fields); k++) {
		const struct compared *f = &fields[k];

		for (size_t n = 0; n < f->count; n++) {
			const uint8_t *x = (const uint8_t *)a + f->offset + n * f->size;
			const uint8_t *y = (const uint8_t *)b + f->offset + n * f->size;

			if (!memcmp(x, y, f->size))
				continue;
			fprintf(out, "  %s[%zu]: ", f->name, n);
			print_value(out, x, f->size);
			fprintf(out, " / ");
			print_value(out, y, f->size);
			fprintf(out, "\n");
		}
	}
}

/* ---- Running side by side ---- */

struct lockstep {
	struct machine *m[2];
	FILE *out;
	uint64_t path[CHUNK]; /* RIPs of the chunk, as the first engine went */
	unsigned path_len;
	uint32_t undefined;    /* status flags that the manual leaves undefined at this point */
};

static struct x86_cpu *cpu_of(const struct machine *m)
{
	return m->sys.cpu[0];
}

static bool insn_at(struct x86_cpu *c, uint64_t rip, struct insn *i)
{
	uint64_t linear = c->code_size == CODE_64 ? rip : (uint32_t)(c->s.seg[CS].base + rip);
	uint8_t bytes[INSN_MAX_LENGTH] = { 0 };
	gpa_t gpa;

	return mmu_probe(c, GVA(linear), &gpa) &&
	       ram_read(c->sys->ram, gpa, bytes, sizeof(bytes)) &&
	       insn_decode(i, bytes, sizeof(bytes), c->code_size, c->real_or_v86,
			   &c->sys->model) == DECODE_OK;
}

/*
 * Undefined flags become data where an instruction stores or reloads the flags as a whole: before
 * and after it the engines must be given the same ones.
 */
static bool moves_flags(const struct insn *i)
{
	const char *name = insn_mnemonic_name(i->mnemonic);

	return !strncmp(name, "pushf", 5) || !strncmp(name, "iret", 4) || !strcmp(name, "lahf") ||
	       !strcmp(name, "syscall") || !strncmp(name, "int", 3);
}

/* Notes the instruction about to run; returns whether it is one that moves flags. */
static bool note_step(struct lockstep *l, struct insn *i)
{
	struct x86_cpu *c = cpu_of(l->m[0]);
	uint32_t written, undefined;

	l->path[l->path_len++] = c->s.rip;
	insn_flag_effects(i, c->code_size, &written, &undefined);
	l->undefined = (l->undefined & ~written) | undefined;
	if (!strncmp(insn_mnemonic_name(i->mnemonic), "iret", 4))
		l->undefined = FLAGS_ARITH; /* a fault may have stored undefined ones */
	return moves_flags(i);
}

/* Fires timers; how many instructions until the next one. */
static uint64_t until_timer(struct machine *m)
{
	int64_t wait;

	loop_lock(&m->loop);
	wait = loop_run_timers(&m->loop);
	loop_unlock(&m->loop);
	return wait < 0 || wait > CHUNK ? CHUNK : (uint64_t)wait;
}

static void skip_to_event(struct machine *m)
{
	while (!event_wakes(cpu_of(m)) && m->end < 0)
		m->loop.clock.virtual_ns += (int64_t)until_timer(m);
}

/* The first engine goes by single instructions; *budget becomes how many it executed. */
static enum exit_reason run_recorded(struct lockstep *l, uint64_t *budget)
{
	struct machine *m = l->m[0];
	enum exit_reason why = EXIT_BUDGET;
	bool stop = false;
	uint64_t k = 0;

	l->path_len = 0;
	while (k < *budget && why == EXIT_BUDGET && !stop) {
		struct insn i = { 0 };

		if (insn_at(cpu_of(m), cpu_of(m)->s.rip, &i)) {
			if (k && moves_flags(&i))
				break;
			stop = note_step(l, &i);
		}
		why = m->config.engine->run(cpu_of(m), 1);
		k++;
	}
	*budget = k;
	return why;
}

static void report(struct lockstep *l, enum exit_reason a, enum exit_reason b)
{
	struct x86_cpu *c = cpu_of(l->m[0]);

	fprintf(l->out, "lockstep: %s and %s differ after %" PRIu64 " instructions\n",
		l->m[0]->config.engine->name, l->m[1]->config.engine->name, c->count.instructions);
	if (a != b)
		fprintf(l->out, "  exit: %d / %d\n", a, b);
	fprintf(l->out, "the last instructions:\n");
	for (unsigned k = 0; k < l->path_len; k++) {
		char text[128] = "?";
		struct insn i;

		if (insn_at(c, l->path[k], &i))
			insn_format(&i, c->code_size, l->path[k], text, sizeof(text));
		fprintf(l->out, "  %016" PRIx64 "  %s\n", l->path[k], text);
	}
}

/* True while both agree and the machine goes on. */
static bool step(struct lockstep *l, bool *differ)
{
	struct machine *a = l->m[0], *b = l->m[1];
	uint64_t budget = until_timer(a);
	enum exit_reason why_a, why_b;

	until_timer(b);
	if (budget == 0)
		budget = 1;
	why_a = run_recorded(l, &budget);
	why_b = b->config.engine->run(cpu_of(b), budget);
	a->config.engine->state_save(cpu_of(a));
	b->config.engine->state_save(cpu_of(b));
	if (why_a != why_b || !same_state(&cpu_of(a)->s, &cpu_of(b)->s, l->undefined)) {
		report(l, why_a, why_b);
		print_differences(&cpu_of(a)->s, &cpu_of(b)->s, l->out);
		*differ = true;
		return false;
	}
	if (why_a == EXIT_SHUTDOWN || a->end >= 0)
		return false;
	if (why_a == EXIT_HALTED) {
		skip_to_event(a);
		skip_to_event(b);
	}
	return true;
}

int machine_lockstep(const struct machine_config *config, const struct engine_ops *other, FILE *out,
		     struct machine_result *result, struct lm_err *err)
{
	struct machine_config twin = *config;
	struct lockstep l = { .out = out };
	bool differ = false;
	int rc;

	twin.deterministic = true;
	twin.command_io = COMMAND_MUTE;
	twin.console = CONSOLE_OUTPUT;
	rc = machine_create(&l.m[0], &twin, err);
	twin.engine = other;
	twin.console = CONSOLE_NONE;
	if (!rc)
		rc = machine_create(&l.m[1], &twin, err);
	while (!rc && step(&l, &differ))
		;
	if (!rc) {
		result->end = differ		  ? END_DIFFERENCE
			      : l.m[0]->end >= 0 ? (enum machine_end)l.m[0]->end
						  : END_TRIPLE_FAULT;
		result->status = l.m[0]->status;
		if (!differ)
			fprintf(out, "lockstep: no difference in %" PRIu64 " instructions\n",
				cpu_of(l.m[0])->count.instructions);
	}
	machine_destroy(l.m[0]);
	machine_destroy(l.m[1]);
	return rc;
}
