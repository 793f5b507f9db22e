/*
 * Tracing: one line for each instruction, exception, interrupt, port or MMIO access that a filter
 * lets through. Costs nothing while off.
 *
 * What to trace is a comma-separated list of kinds, then optional filters after colons:
 *   insn,exc,int,port,mmio[:user|:kernel][:cpu=N][:0xLOW-0xHIGH]     (addresses are of RIP)
 */
#ifndef LM_ISA_X86_TRACE_H
#define LM_ISA_X86_TRACE_H

#include <stdio.h>

#include "base/err.h"
#include "isa/x86/cpu.h"

#define TRACE_INSN 0x01u
#define TRACE_EXC  0x02u /* exceptions */
#define TRACE_INT  0x04u /* interrupts from outside and INT n */
#define TRACE_PORT 0x08u
#define TRACE_MMIO 0x10u

struct x86_trace {
	uint32_t kinds;
	FILE *out;
	bool user_only, kernel_only;
	int cpu; /* -1: all */
	uint64_t low, high;
};

/* Parses a specification; -EINVAL with one line that says what is wrong. */
int trace_parse(struct x86_trace *t, const char *spec, FILE *out, struct lm_err *err);

/* Text for help. */
#define TRACE_SYNTAX "insn,exc,int,port,mmio[:user|:kernel][:cpu=N][:0xLOW-0xHIGH]"

static inline bool trace_wants(const struct x86_cpu *c, uint32_t kind)
{
	return LM_UNLIKELY(c->sys->trace != NULL) && c->sys->trace->kinds & kind;
}

/* Each checks the filter. trace_insn prints before execution, with the registers that it has. */
void trace_insn(struct x86_cpu *c, const struct insn *i);
void trace_exception(struct x86_cpu *c, uint8_t vector, bool has_error, uint32_t error);
void trace_interrupt(struct x86_cpu *c, uint8_t vector);
void trace_port(struct x86_cpu *c, bool write, uint16_t port, uint32_t value, unsigned size);
void trace_mmio(struct x86_cpu *c, bool write, gpa_t gpa, uint64_t value, unsigned size);

#endif
