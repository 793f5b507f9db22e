/*
 * The interpreter: fetch, decode through a cache, execute, look up when events say so.
 *
 * What is cached are runs: instructions that follow each other in one page, decoded once and kept
 * side by side, found by guest-physical address and mode. Each instruction is compared with the
 * bytes in memory every time before it executes: self-modifying code, code written by another vCPU
 * or by a device, and remapped pages need no tracking.
 */
#include "engine/interp/interp.h"

#include <errno.h>
#include <stdlib.h>

#include "isa/x86/event.h"
#include "isa/x86/fault.h"
#include "isa/x86/mmu.h"
#include "isa/x86/sem/sem.h"
#include "isa/x86/trace.h"

#define RUN_SLOTS  16384u  /* direct-mapped by address and mode */
#define RUN_MAX    32u     /* instructions */
#define POOL_INSNS 131072u /* when full, all runs are dropped */

struct run {
	uint64_t key;   /* address and mode; NO_KEY: empty */
	uint32_t first; /* in the pool */
	uint32_t count;
};

#define NO_KEY 0

struct interp {
	struct insn page_crosser; /* an instruction on two pages, decoded anew each time */
	uint32_t pool_used;
	struct run run[RUN_SLOTS];
	struct insn pool[POOL_INSNS];
};

static void undefined(struct x86_cpu *c, const struct insn *i)
{
	x86_raise(c, VEC_UD);
}

/* ---- Fetch (SDM vol. 3A §4.6: fetches are accesses with the current privilege) ---- */

static uint64_t linear_rip(const struct x86_cpu *c)
{
	if (c->code_size == CODE_64)
		return c->s.rip;
	return (uint32_t)(c->s.seg[CS].base + c->s.rip);
}

static void open_page(struct x86_cpu *c, uint64_t linear)
{
	gpa_t gpa;
	const uint8_t *p;

	if (c->code_size == CODE_64 && !x86_canonical(linear))
		x86_raise_gp(c, 0);
	c->fetch.page = FETCH_NONE;
	p = mmu_translate(c, GVA(linear), ACCESS_EXEC, (unsigned)(c->tlb - c->tlb_set), &gpa);
	c->fetch.gpa = gpa.v & ~PAGE_MASK;
	c->fetch.hva = p ? p - (linear & PAGE_MASK) : NULL;
	c->fetch.page = linear & ~PAGE_MASK;
}

static inline bool unchanged(const struct insn *i, const uint8_t *p, unsigned room)
{
	uint64_t now, then;

	if (LM_UNLIKELY(i->length > 8 || room < 8))
		return !memcmp(p, i->bytes, i->length);
	memcpy(&now, p, 8);
	memcpy(&then, i->bytes, 8);
	return !((now ^ then) << (64 - 8 * i->length));
}

/* What no decoder knows is kept with all the bytes there are, so that other bytes are not taken for it. */
static void finish_decode(struct x86_cpu *c, struct insn *i, enum decode_status status, unsigned room)
{
	if (status == DECODE_TOO_LONG)
		x86_raise_gp(c, 0);
	if (status == DECODE_UNDEFINED) {
		i->exec = undefined;
		i->guard = 0;
		i->length = i->length ? i->length : (uint8_t)LM_MIN(room, INSN_MAX_LENGTH);
	}
}

static enum decode_status decode(struct x86_cpu *c, struct insn *i, const uint8_t *p, unsigned n)
{
	c->count.decodes++;
	return insn_decode(i, p, LM_MIN(n, INSN_MAX_LENGTH), c->code_size, c->real_or_v86,
			   &c->sys->model);
}

/* The instruction goes on in the next page, or its page is not RAM (reads as 0xff: #UD). */
static const struct insn *fetch_slowly(struct x86_cpu *c, uint64_t linear, unsigned room)
{
	struct interp *in = c->interp;
	uint8_t bytes[INSN_MAX_LENGTH + 1];
	enum decode_status status;
	uint64_t next = linear + room;
	const uint8_t *p;
	gpa_t gpa;

	memset(bytes, 0xff, sizeof(bytes));
	if (c->fetch.hva)
		memcpy(bytes, c->fetch.hva + (linear & PAGE_MASK), LM_MIN(room, INSN_MAX_LENGTH));
	if (room < INSN_MAX_LENGTH) {
		if (c->code_size != CODE_64)
			next = (uint32_t)next;
		p = mmu_translate(c, GVA(next), ACCESS_EXEC, (unsigned)(c->tlb - c->tlb_set),
				  &gpa);
		if (p)
			memcpy(bytes + room, p, INSN_MAX_LENGTH - room);
	}
	status = decode(c, &in->page_crosser, bytes, INSN_MAX_LENGTH);
	finish_decode(c, &in->page_crosser, status, INSN_MAX_LENGTH);
	return &in->page_crosser;
}

/* ---- Runs ---- */

static uint64_t run_key(const struct x86_cpu *c, uint64_t gpa)
{
	return gpa << 5 | (uint64_t)c->code_size << 1 | c->real_or_v86;
}

static struct run *run_slot(struct interp *in, uint64_t gpa)
{
	return &in->run[(gpa ^ gpa >> 14) % RUN_SLOTS];
}

static void drop_runs(struct interp *in)
{
	for (unsigned k = 0; k < RUN_SLOTS; k++)
		in->run[k].key = NO_KEY;
	in->pool_used = 0;
}

/* What follows these in memory is not executed next. A conditional branch does not end a run. */
static bool ends_run(const struct insn *i)
{
	return i->exec == branch_jump || i->exec == branch_call || i->exec == branch_return ||
	       i->exec == undefined;
}

/* Decodes from the current address to the run's end; 0 instructions: the first crosses the page. */
static uint32_t decode_run(struct x86_cpu *c, struct insn *i, const uint8_t *p, unsigned room)
{
	uint32_t count = 0;

	while (count < RUN_MAX && room) {
		enum decode_status status = decode(c, i, p, room);

		if (status == DECODE_MORE || (status == DECODE_TOO_LONG && count))
			break;
		finish_decode(c, i, status, room);
		count++;
		if (ends_run(i) || i->length > room)
			break;
		p += i->length;
		room -= i->length;
		i++;
	}
	return count;
}

static struct run *find_run(struct x86_cpu *c, unsigned offset, const uint8_t *p, unsigned room)
{
	struct interp *in = c->interp;
	uint64_t gpa = c->fetch.gpa + offset;
	struct run *r = run_slot(in, gpa);
	uint64_t key = run_key(c, gpa);

	if (LM_LIKELY(r->key == key && unchanged(&in->pool[r->first], p, room)))
		return r;
	if (in->pool_used + RUN_MAX > POOL_INSNS)
		drop_runs(in);
	r->key = NO_KEY; /* decoding may throw */
	r->first = in->pool_used;
	r->count = decode_run(c, &in->pool[r->first], p, room);
	in->pool_used += r->count;
	if (r->count) /* an empty run's place in the pool is the next run's */
		r->key = key;
	return r;
}

/* ---- Execution ---- */

static inline uint64_t rip_after(struct x86_cpu *c, const struct insn *i)
{
	uint64_t next = c->s.rip + i->length;

	if (LM_LIKELY(c->code_size == CODE_64))
		return next;
	if (LM_UNLIKELY(next - 1 > c->s.seg[CS].limit))
		x86_raise_gp(c, 0);
	return next & mask_bytes(c->code_size);
}

/* True when the instruction went on to the one behind it. */
static inline bool execute(struct x86_cpu *c, const struct insn *i)
{
	uint64_t behind = rip_after(c, i);

	c->insn = i;
	c->next_rip = behind;
	if (trace_wants(c, TRACE_INSN))
		trace_insn(c, i);
	if (LM_UNLIKELY(i->guard & (c->guard_traps | c->simd_away))) {
		if (c->simd_away)
			c->simd_home(c);
		if (i->guard & c->guard_traps)
			x86_guard_raise(c, i);
	}
	c->count.instructions++;
	c->repeat = false;
	i->exec(c, i);
	if (LM_UNLIKELY(c->repeat))
		return false;
	c->s.rip = c->next_rip;
	return c->next_rip == behind;
}

/* Executes instructions from a run until it ends, something happens, or `budget` is used up. */
static void execute_run(struct x86_cpu *c, uint64_t budget)
{
	struct interp *in = c->interp;
	uint64_t linear = linear_rip(c), page;
	unsigned offset = linear & PAGE_MASK, room = (unsigned)PAGE_SIZE - offset;
	const struct insn *i, *end;
	const uint8_t *p;
	struct run *r;

	if (LM_UNLIKELY((linear & ~PAGE_MASK) != c->fetch.page))
		open_page(c, linear);
	if (LM_UNLIKELY(!c->fetch.hva)) {
		execute(c, fetch_slowly(c, linear, room));
		return;
	}
	p = c->fetch.hva + offset;
	r = find_run(c, offset, p, room);
	if (LM_UNLIKELY(!r->count)) {
		execute(c, fetch_slowly(c, linear, room));
		return;
	}
	page = c->fetch.page;
	i = &in->pool[r->first];
	end = i + LM_MIN(r->count, budget);
	for (;;) {
		const struct insn *now = i++;

		if (!execute(c, now) || i == end || x86_events(c) || c->fetch.page != page)
			return;
		p += now->length;
		room -= now->length;
		if (LM_UNLIKELY(!unchanged(i, p, room))) {
			r->key = NO_KEY;
			return;
		}
	}
}

static enum exit_reason why_left(struct x86_cpu *c)
{
	if (x86_events(c) & EV_SHUTDOWN || c->s.activity == CPU_SHUTDOWN)
		return EXIT_SHUTDOWN;
	if (x86_events(c) & EV_KICK) {
		x86_event_clear(c, EV_KICK);
		return EXIT_KICKED;
	}
	return EXIT_HALTED;
}

static enum exit_reason run_until_exit(struct x86_cpu *c, uint64_t stop_at)
{
	for (;;) {
		/* First: polling arms the single step and ends shadows for the next instruction. */
		if (LM_UNLIKELY(c->count.instructions >= stop_at))
			return EXIT_BUDGET;
		if (LM_UNLIKELY(x86_events(c)) && event_poll(c))
			return why_left(c);
		execute_run(c, stop_at - c->count.instructions);
	}
}

/* Deterministic machines: an instruction takes one nanosecond of the virtual clock. */
static enum exit_reason run_until_exit_timed(struct x86_cpu *c, uint64_t stop_at)
{
	struct lm_clock *clock = &c->sys->loop->clock;

	for (;;) {
		if (c->count.instructions >= stop_at)
			return EXIT_BUDGET;
		if (x86_events(c) && event_poll(c))
			return why_left(c);
		clock->virtual_ns++;
		execute_run(c, 1);
	}
}

static enum exit_reason interp_run(struct x86_cpu *c, uint64_t max_insns)
{
	/* volatile: lives across longjmp */
	volatile uint64_t stop_at =
		max_insns == ENGINE_NO_BUDGET ? UINT64_MAX : c->count.instructions + max_insns;

	for (;;) {
		if (!setjmp(c->unwind))
			return c->sys->loop->clock.is_virtual ? run_until_exit_timed(c, stop_at)
							      : run_until_exit(c, stop_at);
		event_deliver_fault(c);
		if (event_only_faults(c))
			return EXIT_KICKED;
	}
}

void interp_steps(struct x86_cpu *c, uint64_t most)
{
	if (!setjmp(c->unwind))
		execute_run(c, most);
	else
		event_deliver_fault(c);
}

/* ---- The engine ---- */

static int interp_probe(struct lm_err *err)
{
	return 0;
}

static int interp_vcpu_create(struct x86_cpu *c, struct lm_err *err)
{
	c->interp = calloc(1, sizeof(struct interp));
	if (!c->interp)
		return lm_err_set(err, -ENOMEM, "no memory for the interpreter of vCPU %u",
				  c->index);
	return 0;
}

static void interp_vcpu_destroy(struct x86_cpu *c)
{
	free(c->interp);
	c->interp = NULL;
}

static void interp_kick(struct x86_cpu *c)
{
	x86_event_raise(c, EV_KICK);
}

const struct engine_ops interp_engine = {
	.name = "interp",
	.summary = "interpreter: the precise reference, on any host",
	.cpus_max = X86_MAX_CPUS,
	.exact = true,
	.probe = interp_probe,
	.vcpu_create = interp_vcpu_create,
	.vcpu_destroy = interp_vcpu_destroy,
	.run = interp_run,
	.kick = interp_kick,
	.state_save = x86_cpu_save,
	.state_load = x86_cpu_load,
	.forget_writes = mmu_flush_all,
};
