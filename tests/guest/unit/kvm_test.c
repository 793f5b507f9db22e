/*
 * Engine kvm by itself: every field of the canonical state that the kernel holds comes back as it was
 * given, and the log of written pages names those that the guest wrote and no others.
 *
 *     kvm-test IMAGE
 *
 * The image is switch64: it is run for a while under the interpreter, so that the state is one that
 * exists; then what may have any value gets one.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "box.h"

#define ROUNDS      50
#define BEFORE      100000u /* instructions */
#define WORDS       0x400000u /* what switch64 writes, and ... */
#define WORDS_BYTES 0x10000u
#define UNTOUCHED   0x800000u /* ... what it does not */

static uint64_t seed = 1;

static uint64_t any(void)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return seed ^ seed >> 29;
}

static uint64_t any_canonical(void)
{
	return (uint64_t)((int64_t)(any() << 16) >> 16);
}

/* ---- Round trips ---- */

struct part {
	const char *name;
	size_t offset, size;
};

#define PART(f) { #f, offsetof(struct x86_state, f), sizeof(((struct x86_state *)0)->f) }

/* Not here: times, which go on. */
static const struct part parts[] = {
	PART(gpr), PART(rip), PART(rflags), PART(seg[ES]), PART(seg[CS]), PART(seg[SS]),
	PART(seg[DS]), PART(seg[FS]), PART(seg[GS]), PART(ldtr), PART(tr), PART(gdtr.base),
	PART(gdtr.limit), PART(idtr.base), PART(idtr.limit), PART(cr0), PART(cr2), PART(cr3),
	PART(cr4), PART(dr), PART(xcr0), PART(fpu.st), PART(fpu.fcw), PART(fpu.fsw),
	PART(fpu.ftw), PART(fpu.fop), PART(fpu.fip), PART(fpu.fdp), PART(mxcsr), PART(vec),
	PART(efer), PART(star), PART(lstar), PART(cstar), PART(fmask), PART(kernel_gs_base),
	PART(sysenter_cs), PART(sysenter_esp), PART(sysenter_eip), PART(pat), PART(apic_base),
	PART(misc_enable), PART(tsc_aux), PART(mtrr), PART(activity), PART(interrupt_shadow),
	PART(nmi_blocked), PART(nmi_pending), PART(lapic.id), PART(lapic.tpr), PART(lapic.ldr),
	PART(lapic.svr), PART(lapic.esr), PART(lapic.isr), PART(lapic.tmr), PART(lapic.irr),
	PART(lapic.icr), PART(lapic.lvt), PART(lapic.timer_initial), PART(lapic.timer_divide),
};

static void fill_fpu(struct x86_state *s, const struct x86_model *m)
{
	for (unsigned k = 0; k < 8; k++)
		s->fpu.st[k] = (struct f80){ .sig = any(), .se = (uint16_t)any() };
	s->fpu.fsw = any() & 0x7800; /* TOP and C3 */
	s->fpu.ftw = (uint8_t)any();
	s->fpu.fop = any() & 0x7ff;
	s->fpu.fip = any() & 0xffffffffffff;
	s->fpu.fdp = any() & 0xffffffffffff;
	s->mxcsr = 0x1f80 | (any() & 0x603f);
	for (unsigned k = 0; k < 16; k++) {
		for (unsigned q = 0; q < 4; q++)
			s->vec[k].q[q] = q < 2 || model_has(m, F_AVX) ? any() : 0;
	}
}

static void fill_lapic(struct lapic_state *l)
{
	l->tpr = any() & 0xff;
	l->icr = any() & UINT64_C(0xff000000000cc7ff);
	for (unsigned k = 1; k < 8; k++) {
		l->irr[k] = (uint32_t)any();
		l->isr[k] = (uint32_t)(any() & any());
		l->tmr[k] = (uint32_t)any();
	}
	for (unsigned n = LVT_THERMAL; n < LVT_COUNT; n++)
		l->lvt[n] = any() & 0x100ff;
}

static void fill(struct x86_state *s, const struct x86_model *m)
{
	for (unsigned k = 0; k < 16; k++)
		s->gpr[k] = any();
	s->rflags = (any() & (FLAGS_ARITH | FLAG_DF | FLAG_IF)) | FLAG_FIXED;
	s->cr2 = any();
	for (unsigned k = 0; k < 4; k++)
		s->dr[k] = any_canonical();
	s->seg[FS].base = any_canonical();
	s->seg[GS].base = any_canonical();
	s->kernel_gs_base = any_canonical();
	s->star = any();
	s->lstar = any_canonical();
	s->cstar = any_canonical();
	s->fmask = any() & UINT32_MAX;
	s->sysenter_cs = any() & 0xfffc;
	s->sysenter_esp = any_canonical();
	s->sysenter_eip = any_canonical();
	s->tsc_aux = model_has(m, F_RDTSCP) ? any() & UINT32_MAX : 0;
	s->interrupt_shadow = any() & 1;
	s->nmi_blocked = any() & 1;
	s->nmi_pending = any() & 1;
	s->activity = any() & 1 ? CPU_HALTED : CPU_ACTIVE;
	fill_fpu(s, m);
	fill_lapic(&s->lapic);
}

static int compare(const struct x86_state *given, const struct x86_state *got)
{
	int status = 0;

	for (unsigned k = 0; k < LM_ARRAY_SIZE(parts); k++) {
		const uint8_t *a = (const uint8_t *)given + parts[k].offset;
		const uint8_t *b = (const uint8_t *)got + parts[k].offset;

		if (!memcmp(a, b, parts[k].size))
			continue;
		printf("%s: given", parts[k].name);
		for (size_t n = 0; n < LM_MIN(parts[k].size, (size_t)32); n++)
			printf(" %02x", a[n]);
		printf(", got");
		for (size_t n = 0; n < LM_MIN(parts[k].size, (size_t)32); n++)
			printf(" %02x", b[n]);
		printf("\n");
		status = 1;
	}
	return status;
}

static int test_round_trips(struct guest_box *g, const struct engine_ops *kvm,
			    const struct x86_state *start)
{
	struct x86_state given = *start, got;
	int status = 0;

	for (unsigned k = 0; k < ROUNDS && !status; k++) {
		box_attach(g, kvm, &given);
		box_detach(g, &got);
		status = compare(&given, &got);
		given = *start;
		fill(&given, &g->sys.model);
	}
	printf("round trips: %s\n", status ? "failed" : "passed");
	return status;
}

/* ---- Written pages ---- */

static unsigned pages_marked(const uint64_t *words, uint64_t start, uint64_t bytes)
{
	unsigned n = 0;

	for (uint64_t page = start >> PAGE_SHIFT; page < (start + bytes) >> PAGE_SHIFT; page++)
		n += words[page / 64] >> page % 64 & 1;
	return n;
}

static int test_dirty_log(struct guest_box *g, const struct engine_ops *kvm,
			  const struct x86_state *start)
{
	struct x86_state end;
	unsigned written, untouched;
	uint64_t *words;
	int status;

	if (g->emulated) {
		printf("written pages: not tried: this emulated /dev/kvm keeps no log\n");
		return 0;
	}
	box_attach(g, kvm, start);
	if (dirty_start(&g->ram.dirty, g->ram.size, NULL) ||
	    kvm->dirty_log(&g->sys, DIRTY_LOG_START, NULL))
		return 1;
	status = box_run(g, 0, 20000);
	words = calloc(dirty_word_count(&g->ram.dirty), sizeof(*words));
	if (!words || kvm->dirty_log(&g->sys, DIRTY_LOG_COLLECT, NULL))
		return 1;
	dirty_take(&g->ram.dirty, words);
	written = pages_marked(words, WORDS, WORDS_BYTES);
	untouched = pages_marked(words, UNTOUCHED, WORDS_BYTES);
	status |= !written || untouched || kvm->dirty_log(&g->sys, DIRTY_LOG_STOP, NULL);
	printf("written pages: %s (%u of what was written, %u of what was not)\n",
	       status ? "failed" : "passed", written, untouched);
	box_detach(g, &end);
	free(words);
	return status;
}

int main(int argc, char **argv)
{
	const struct engine_ops *kvm = engine_find("kvm");
	static struct guest_box g;
	struct x86_state start;
	int status;

	if (argc != 2) {
		fprintf(stderr, "usage: kvm-test IMAGE\n");
		return 2;
	}
	if (!box_engine_works(kvm, argv[1]))
		return 77;
	if (!box_init(&g, argv[1], true))
		return 2;
	box_expect(&g, kvm);
	box_attach(&g, engine_find("interp"), NULL);
	status = box_run(&g, BEFORE, 0);
	box_detach(&g, &start);
	if (!status)
		status = test_round_trips(&g, kvm, &start) | test_dirty_log(&g, kvm, &start);
	box_fini(&g);
	return status;
}
