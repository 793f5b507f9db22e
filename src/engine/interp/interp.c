/*
 * The interpreter: fetch, decode through a cache, execute, look up when events say so.
 *
 * Decoded instructions are cached by guest-physical address and mode, and each is compared with the
 * bytes in memory every time before it executes: self-modifying code, code written by another vCPU
 * or by a device, and remapped pages need no tracking.
 */
#include "engine/interp/interp.h"

#include <errno.h>
#include <stdlib.h>

#include "isa/x86/event.h"
#include "isa/x86/fault.h"
#include "isa/x86/mmu.h"
#include "isa/x86/trace.h"

#define CACHE_ENTRIES 65536u

struct cached_insn {
	uint64_t key; /* gpa and mode of what is cached */
	struct insn insn;
};

struct interp {
	uint64_t stop_at;        /* count.instructions at which run() returns */
	struct insn page_crosser; /* an instruction on two pages, decoded anew each time */
	struct cached_insn cache[CACHE_ENTRIES];
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

static bool unchanged(const struct insn *i, const uint8_t *p, unsigned room)
{
	uint64_t now, then;

	if (i->length > 8 || room < 8)
		return !memcmp(p, i->bytes, i->length);
	memcpy(&now, p, 8);
	memcpy(&then, i->bytes, 8);
	return !((now ^ then) & mask_bytes(i->length));
}

static void finish_decode(struct x86_cpu *c, struct insn *i, enum decode_status status)
{
	if (status == DECODE_TOO_LONG)
		x86_raise_gp(c, 0);
	if (status == DECODE_UNDEFINED) {
		i->exec = undefined;
		i->guard = 0;
		i->length = i->length ? i->length : 1;
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
	struct interp *in = c->engine;
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
	finish_decode(c, &in->page_crosser, status);
	return &in->page_crosser;
}

static struct cached_insn *cache_slot(struct interp *in, uint64_t gpa)
{
	return &in->cache[gpa % CACHE_ENTRIES];
}

static uint64_t cache_key(const struct x86_cpu *c, uint64_t gpa)
{
	return gpa << 5 | (uint64_t)c->code_size << 1 | c->real_or_v86;
}

static const struct insn *fetch(struct x86_cpu *c)
{
	uint64_t linear = linear_rip(c), key;
	unsigned offset = linear & PAGE_MASK, room = (unsigned)PAGE_SIZE - offset;
	struct cached_insn *slot;
	const uint8_t *p;
	enum decode_status status;

	if (LM_UNLIKELY((linear & ~PAGE_MASK) != c->fetch.page))
		open_page(c, linear);
	if (LM_UNLIKELY(!c->fetch.hva))
		return fetch_slowly(c, linear, room);
	p = c->fetch.hva + offset;
	slot = cache_slot(c->engine, c->fetch.gpa + offset);
	key = cache_key(c, c->fetch.gpa + offset);
	if (LM_LIKELY(slot->key == key && unchanged(&slot->insn, p, room)))
		return &slot->insn;
	slot->key = 0;
	status = decode(c, &slot->insn, p, room);
	if (status == DECODE_MORE)
		return fetch_slowly(c, linear, room);
	finish_decode(c, &slot->insn, status);
	slot->key = key;
	return &slot->insn;
}

/* ---- Execution ---- */

static uint64_t rip_after(struct x86_cpu *c, const struct insn *i)
{
	uint64_t next = c->s.rip + i->length;

	if (c->code_size == CODE_64)
		return next;
	if (LM_UNLIKELY(next - 1 > c->s.seg[CS].limit))
		x86_raise_gp(c, 0);
	return next & mask_bytes(c->code_size);
}

static inline void execute_one(struct x86_cpu *c)
{
	const struct insn *i = fetch(c);

	c->insn = i;
	c->next_rip = rip_after(c, i);
	if (trace_wants(c, TRACE_INSN))
		trace_insn(c, i);
	if (LM_UNLIKELY(i->guard & c->guard_traps))
		x86_guard_raise(c, i);
	c->count.instructions++;
	c->repeat = false;
	i->exec(c, i);
	if (LM_LIKELY(!c->repeat))
		c->s.rip = c->next_rip;
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
		if (LM_UNLIKELY(c->count.instructions >= stop_at))
			return EXIT_BUDGET;
		if (LM_UNLIKELY(x86_events(c)) && event_poll(c))
			return why_left(c);
		execute_one(c);
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
		execute_one(c);
	}
}

static enum exit_reason interp_run(struct x86_cpu *c, uint64_t max_insns)
{
	struct interp *in = c->engine;

	in->stop_at = max_insns == ENGINE_NO_BUDGET ? UINT64_MAX
						    : c->count.instructions + max_insns;
	for (;;) {
		if (!setjmp(c->unwind))
			return c->sys->loop->clock.is_virtual
				       ? run_until_exit_timed(c, in->stop_at)
				       : run_until_exit(c, in->stop_at);
		event_deliver_fault(c);
	}
}

void interp_step(struct x86_cpu *c)
{
	if (!setjmp(c->unwind))
		execute_one(c);
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
	c->engine = calloc(1, sizeof(struct interp));
	if (!c->engine)
		return lm_err_set(err, -ENOMEM, "no memory for the interpreter of vCPU %u",
				  c->index);
	return 0;
}

static void interp_vcpu_destroy(struct x86_cpu *c)
{
	free(c->engine);
	c->engine = NULL;
}

static void interp_kick(struct x86_cpu *c)
{
	x86_event_raise(c, EV_KICK);
}

const struct engine_ops interp_engine = {
	.name = "interp",
	.summary = "interpreter: the precise reference, on any host",
	.probe = interp_probe,
	.vcpu_create = interp_vcpu_create,
	.vcpu_destroy = interp_vcpu_destroy,
	.run = interp_run,
	.kick = interp_kick,
	.state_save = x86_cpu_save,
	.state_load = x86_cpu_load,
};
