#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

/* ---- One case ---- */

static void print_bytes(const uint8_t *p, unsigned n)
{
	for (unsigned k = 0; k < n; k++)
		printf("%02x%s", p[k], k + 1 < n ? " " : "");
}

static void print_form(const struct oracle_case *c)
{
	char text[128] = "(undefined)";

	if (c->form)
		form_describe(c->form, text, sizeof(text));
	printf("case %" PRIu64 ": %s\n  bytes  ", c->number, c->form ? text : "random bytes");
	print_bytes(c->bytes, c->length);
	if (c->decodes || c->insn.length)
		insn_format(&c->insn, c->size, c->in.rip, text, sizeof(text));
	printf("\n  insn   %s%s\n", text, c->decodes ? "" : " (not in the model)");
}

static void print_gprs(const struct registers *r)
{
	static const char *const names[16] = {
		"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		"r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15",
	};

	printf("  rip %016" PRIx64 " rflags %08" PRIx64 " fs %016" PRIx64 " gs %016" PRIx64 "\n", r->rip,
	       r->rflags, r->fs_base, r->gs_base);
	for (unsigned k = 0; k < 16; k++)
		printf("%s%s %016" PRIx64 "%s", k % 4 ? " " : "  ", names[k], r->gpr[k],
		       k % 4 == 3 ? "\n" : "");
}

static void print_x87(const struct xsave_image *x)
{
	printf("  fcw %04x fsw %04x ftw %02x\n", x->fcw, x->fsw, x->ftw);
	for (unsigned k = 0; k < 8; k++)
		printf("%sst%u %04x:%016" PRIx64 "%s", k % 4 ? " " : "  ", k, x->st[k].se, x->st[k].sig,
		       k % 4 == 3 ? "\n" : "");
}

static void print_vector(const struct xsave_image *x, unsigned n)
{
	printf("  vec%-2u %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64 "\n", n,
	       x->ymm_high[n].q[1], x->ymm_high[n].q[0], x->xmm[n].q[1], x->xmm[n].q[0]);
}

/* The vector registers that the instruction names, and XMM0, which some use without naming it. */
static void print_vectors(const struct oracle_case *c, const struct xsave_image *x)
{
	uint32_t shown = 1;

	for (unsigned n = 0; n < c->insn.op_count; n++)
		if (c->insn.op[n].kind == OPK_VEC)
			shown |= UINT32_C(1) << c->insn.op[n].reg;
	if (c->form && c->form->vsib)
		shown |= UINT32_C(1) << (c->insn.index & 15);
	printf("  mxcsr %08x\n", x->mxcsr);
	for (unsigned n = 0; n < 16; n++)
		if (shown >> n & 1)
			print_vector(x, n);
}

static void print_patches(const struct oracle_case *c)
{
	for (unsigned k = 0; k < c->patches; k++) {
		printf("  [%08x] ", c->patch[k].address);
		print_bytes(c->patch[k].bytes, LM_MIN(c->patch[k].len, 64));
		printf("%s\n", c->patch[k].len > 64 ? " ..." : "");
	}
}

void report_case(const struct oracle_case *c, const struct verdict *v, const char *engine)
{
	print_form(c);
	print_gprs(&c->in);
	if (c->insn.guard & (GUARD_X87 | GUARD_MMX))
		print_x87(&c->in.fp);
	if (c->insn.guard & (GUARD_SSE | GUARD_AVX))
		print_vectors(c, &c->in.fp);
	print_patches(c);
	for (unsigned k = 0; k < v->count; k++)
		printf("  differs: %-10s host %s\n  %*s %6s %s\n", v->d[k].field, v->d[k].host, 19, "",
		       engine, v->d[k].engine);
}

void report_outcome(const char *who, const struct outcome *o)
{
	printf(" after, %s: ", who);
	if (o->excepted)
		printf("exception %u error %x cr2 %" PRIx64 "\n", o->vector, o->error, o->cr2);
	else
		printf("completed\n");
	print_gprs(&o->after);
	print_x87(&o->after.fp);
	printf("  mxcsr %08x\n", o->after.fp.mxcsr);
	for (unsigned n = 0; n < 16; n++)
		print_vector(&o->after.fp, n);
}

/* ---- Coverage ---- */

struct group {
	const char *name;
	unsigned forms, exercised, completed, excluded;
};

static int by_group(const void *a, const void *b)
{
	const struct form *const *x = a, *const *y = b;
	int order = strcmp((*x)->group, (*y)->group);

	return order ? order : *x < *y ? -1 : *x > *y;
}

static void print_group(const struct group *g)
{
	printf("  %-16s %5u forms %5u exercised %5u completed at least once %5u excluded\n", g->name,
	       g->forms, g->exercised, g->completed, g->excluded);
}

static void count_form(struct group *g, const struct form *f)
{
	g->forms++;
	g->exercised += f->executed != 0;
	g->completed += f->executed > f->excepted;
	g->excluded += f->excluded != NULL;
}

static void print_groups(const struct form_table *t)
{
	const struct form **sorted = malloc((t->count + 1) * sizeof(*sorted));
	struct group g = { 0 }, all = { .name = "all" };

	if (!sorted)
		return;
	for (size_t k = 0; k < t->count; k++)
		sorted[k] = &t->form[k];
	qsort(sorted, t->count, sizeof(*sorted), by_group);
	for (size_t k = 0; k < t->count; k++) {
		if (!g.name || strcmp(g.name, sorted[k]->group)) {
			if (g.name)
				print_group(&g);
			g = (struct group){ .name = sorted[k]->group };
		}
		count_form(&g, sorted[k]);
		count_form(&all, sorted[k]);
	}
	if (g.name)
		print_group(&g);
	print_group(&all);
	free(sorted);
}

static void list_missed_forms(const struct form_table *t)
{
	char text[128];

	for (size_t k = 0; k < t->count; k++) {
		const struct form *f = &t->form[k];
		const char *why = f->excluded    ? f->excluded
				  : !f->executed ? "no case met it"
						 : "every case raised an exception";

		if (f->executed > f->excepted)
			continue;
		form_describe(f, text, sizeof(text));
		printf("  not completed: %s: %s\n", text, why);
	}
}

void report_coverage(const struct form_table *t, const struct tally *n, bool list_missed)
{
	print_groups(t);
	if (list_missed)
		list_missed_forms(t);
	printf("%" PRIu64 " cases (%" PRIu64 " of random bytes), %" PRIu64 " ended in exceptions; %" PRIu64
	       " random ones excluded, %" PRIu64 " that only the host may have; %" PRIu64
	       " differences\n",
	       n->cases, n->random, n->excepted, n->skipped, n->host_only, n->differences);
}
