/* Hints, fences, random numbers, BOUND. */
#include "isa/x86/sem/sem.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/random.h>

void hint_nop(struct x86_cpu *c, const struct insn *i)
{
}

/* A spinning vCPU gives way now and then: its lock holder may need this host CPU. */
void hint_pause(struct x86_cpu *c, const struct insn *i)
{
	if (++c->count.pauses % 64 == 0 && c->sys->cpu_count > 1)
		sched_yield();
}

void hint_fence(struct x86_cpu *c, const struct insn *i)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* CLFLUSH and its like touch the line as a byte load does, for faults (SDM vol. 2). */
void hint_cache_line(struct x86_cpu *c, const struct insn *i)
{
	lin_probe(c, mem_operand(c, i, 1, ACCESS_READ), 1, ACCESS_READ);
}

/* RDRAND and RDSEED; the host's generator stands behind both. CF = 0 would tell the guest to retry. */
void random_number(struct x86_cpu *c, const struct insn *i)
{
	uint64_t value = 0;
	bool ok;

	if (c->sys->loop->clock.is_virtual) { /* deterministic machines repeat themselves */
		value = (uint64_t)c->sys->loop->clock.virtual_ns * UINT64_C(0x9e3779b97f4a7c15);
		ok = true;
	} else {
		ok = getrandom(&value, sizeof(value), 0) == (ssize_t)sizeof(value);
	}

	op_write(c, i, 0, ok ? value : 0);
	flags_set_arith(c, FLAGS_ARITH, ok ? FLAG_CF : 0);
}

void bound_check(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = i->op[0].size;
	uint64_t offset = x86_offset(c, i);
	int64_t index = sign_extend_bytes(op_read(c, i, 0), size);
	int64_t low = sign_extend_bytes(seg_read(c, i->seg, offset, size), size);
	int64_t high = sign_extend_bytes(
		seg_read(c, i->seg, (offset + size) & mask_bytes(i->asz), size), size);

	if (index < low || index > high)
		x86_raise(c, VEC_BR);
}
