#include "isa/x86/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- The specification ---- */

static const struct {
	const char *name;
	uint32_t kind;
} kinds[] = {
	{ "insn", TRACE_INSN }, { "exc", TRACE_EXC },   { "int", TRACE_INT },
	{ "port", TRACE_PORT }, { "mmio", TRACE_MMIO },
};

static int parse_kind(struct x86_trace *t, const char *word, size_t len, struct lm_err *err)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(kinds); k++) {
		if (strlen(kinds[k].name) == len && !strncmp(word, kinds[k].name, len)) {
			t->kinds |= kinds[k].kind;
			return 0;
		}
	}
	return lm_err_set(err, -EINVAL, "trace: no such kind '%.*s': the form is %s", (int)len, word,
			  TRACE_SYNTAX);
}

static int parse_kinds(struct x86_trace *t, const char *list, size_t len, struct lm_err *err)
{
	while (len) {
		const char *comma = memchr(list, ',', len);
		size_t word = comma ? (size_t)(comma - list) : len;
		int rc = parse_kind(t, list, word, err);

		if (rc < 0)
			return rc;
		len -= comma ? word + 1 : word;
		list += comma ? word + 1 : word;
	}
	return 0;
}

static int parse_filter(struct x86_trace *t, const char *text, struct lm_err *err)
{
	int used = 0;

	if (!strcmp(text, "user")) {
		t->user_only = true;
		return 0;
	}
	if (!strcmp(text, "kernel")) {
		t->kernel_only = true;
		return 0;
	}
	if (sscanf(text, "cpu=%d%n", &t->cpu, &used) == 1 && !text[used])
		return 0;
	if (sscanf(text, "0x%" SCNx64 "-0x%" SCNx64 "%n", &t->low, &t->high, &used) == 2 &&
	    !text[used] && t->low <= t->high)
		return 0;
	return lm_err_set(err, -EINVAL, "trace: no such filter '%s': the form is %s", text,
			  TRACE_SYNTAX);
}

int trace_parse(struct x86_trace *t, const char *spec, FILE *out, struct lm_err *err)
{
	const char *colon = strchr(spec, ':');
	int rc;

	*t = (struct x86_trace){ .out = out, .cpu = -1, .high = UINT64_MAX };
	rc = parse_kinds(t, spec, colon ? (size_t)(colon - spec) : strlen(spec), err);
	while (!rc && colon) {
		char text[64];

		spec = colon + 1;
		colon = strchr(spec, ':');
		snprintf(text, sizeof(text), "%.*s",
			 colon ? (int)(colon - spec) : (int)strlen(spec), spec);
		rc = parse_filter(t, text, err);
	}
	if (!rc && !t->kinds)
		rc = lm_err_set(err, -EINVAL, "trace: nothing to trace: the form is %s",
				TRACE_SYNTAX);
	return rc;
}

/* ---- Lines ---- */

static bool passes(const struct x86_cpu *c)
{
	const struct x86_trace *t = c->sys->trace;

	if ((t->user_only && c->cpl != 3) || (t->kernel_only && c->cpl == 3))
		return false;
	if (t->cpu >= 0 && t->cpu != (int)c->index)
		return false;
	return c->s.rip >= t->low && c->s.rip <= t->high;
}

/* "vCPU count cpl rip": every line starts so. */
static FILE *start_line(const struct x86_cpu *c, const char *kind)
{
	FILE *out = c->sys->trace->out;

	fprintf(out, "%u %" PRIu64 " %u %016" PRIx64 " %s ", c->index, c->count.instructions,
		c->cpl, c->s.rip, kind);
	return out;
}

void trace_insn(struct x86_cpu *c, const struct insn *i)
{
	static const char names[16][4] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
	char text[128];
	FILE *out;

	if (!passes(c))
		return;
	insn_format(i, c->code_size, c->s.rip, text, sizeof(text));
	out = start_line(c, "insn");
	fprintf(out, "%-40s", text);
	for (unsigned k = 0; k < 16; k++)
		fprintf(out, " %s=%" PRIx64, names[k], c->s.gpr[k]);
	fputc('\n', out);
}

void trace_exception(struct x86_cpu *c, uint8_t vector, bool has_error, uint32_t error)
{
	FILE *out;

	if (!passes(c))
		return;
	out = start_line(c, "exc");
	fprintf(out, "vector=%u", vector);
	if (has_error)
		fprintf(out, " error=%x", error);
	if (vector == VEC_PF)
		fprintf(out, " cr2=%" PRIx64, c->s.cr2);
	fputc('\n', out);
}

void trace_interrupt(struct x86_cpu *c, uint8_t vector)
{
	if (passes(c))
		fprintf(start_line(c, "int"), "vector=%u\n", vector);
}

void trace_port(struct x86_cpu *c, bool write, uint16_t port, uint32_t value, unsigned size)
{
	if (passes(c))
		fprintf(start_line(c, "port"), "%s %04x size=%u value=%x\n", write ? "out" : "in",
			port, size, value);
}

void trace_mmio(struct x86_cpu *c, bool write, gpa_t gpa, uint64_t value, unsigned size)
{
	if (passes(c))
		fprintf(start_line(c, "mmio"), "%s %" PRIx64 " size=%u value=%" PRIx64 "\n",
			write ? "write" : "read", gpa.v, size, value);
}
