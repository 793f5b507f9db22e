/* The translator as an engine: the dispatcher between translated code and the interpreter. */
#include "engine/jit/jit.h"

#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/interp/interp.h"
#include "engine/jit/simd.h"
#include "isa/x86/event.h"
#include "isa/x86/fault.h"
#include "isa/x86/flags.h"
#include "isa/x86/mmu.h"

#define ALT_STACK_BYTES     65536
#define MXCSR_DEFAULT       0x1f80

/* ---- The guest's SIMD state ---- */

/* From where translated code has it into the canonical state. */
static void simd_home(struct x86_cpu *c)
{
	struct jit *j = c->engine;

	if (!c->simd_away)
		return;
	simd_come_home(&c->s, j->js);
	c->simd_away = 0;
	x86_mode_changed(c); /* FSW may hold a pending exception */
}

static void simd_away(struct x86_cpu *c)
{
	struct jit *j = c->engine;

	if (c->simd_away)
		return;
	simd_leave_home(&c->s, j->js);
	c->simd_away = 0xff;
}

/* ---- Events from other threads ---- */

/* Any thread: makes the next block entry fault. */
static void close_poll_page(struct x86_cpu *c)
{
	struct jit *j = c->engine;

	if (j && __atomic_load_n(&j->in_code, __ATOMIC_SEQ_CST))
		mprotect(j->poll_page, PAGE_SIZE, PROT_NONE);
}

/* ---- Invalidation ---- */

static void read_log_entry(struct jit *j, uint32_t entry)
{
	uint64_t gpa = (uint64_t)(entry & ~CODE_LOG_WATCH) << PAGE_SHIFT;

	if (entry & CODE_LOG_WATCH)
		tables_drop_writes(j, gpa);
	else
		cache_drop_page(j, gpa);
}

/* Pages whose code was written, or that became code, since we last looked. */
static void read_code_log(struct jit *j)
{
	struct code_map *map = &j->c->sys->ram->code;
	uint64_t notes = __atomic_load_n(&map->notes, __ATOMIC_ACQUIRE);

	if (notes == j->notes_seen)
		return;
	mmu_drop_tlb(j->c); /* it may have entries for writes to such a page */
	if (notes - j->notes_seen > CODE_LOG / 2) {
		cache_flush(j);
		tables_flush(j);
	} else {
		for (uint64_t n = j->notes_seen; n != notes; n++)
			read_log_entry(j, map->log[n % CODE_LOG]);
	}
	j->last_exit = NULL;
	__atomic_store_n(&j->notes_seen, notes, __ATOMIC_SEQ_CST);
}

static void catch_up(struct jit *j)
{
	if (j->log_full)
		tables_flush(j);
	tables_adopt_mode(j);
}

/* ---- Finding code ---- */

/* With a budget, blocks are made to fit: another length is another block. */
static unsigned longest_block(const struct jit *j)
{
	uint64_t left = j->stop_at - j->c->count.instructions;

	return j->counted && left < JIT_MAX_INSNS ? (unsigned)left : JIT_MAX_INSNS;
}

static uint32_t mode_of(const struct jit *j)
{
	return jit_mode(j, longest_block(j));
}

/* What translated code does not do at all: why; JIT_TRANSLATED: it does. */
static enum jit_stretch why_interpreter(const struct x86_cpu *c)
{
	if (c->sys->trace)
		return JIT_STRETCH_TRACE;
	if (c->access_checks)
		return JIT_STRETCH_CHECKS;
	if (c->s.rflags & FLAG_TF)
		return JIT_STRETCH_TF;
	if (c->s.rflags & FLAG_DF)
		return JIT_STRETCH_DF;
	if (c->code_size == CODE_16 || c->real_or_v86)
		return JIT_STRETCH_16BIT;
	return c->code_size == CODE_64 || jit_has_flat_segments(c) ? JIT_TRANSLATED : JIT_STRETCH_SEGMENTS;
}

static bool interpreter_only(const struct x86_cpu *c)
{
	return why_interpreter(c) != JIT_TRANSLATED;
}

/* Until all other vCPUs that run have read the log so far. They may be waiting for us. */
static void wait_for_readers(struct jit *j, uint64_t notes)
{
	struct x86_system *sys = j->c->sys;

	for (unsigned k = 0; k < sys->cpu_count; k++) {
		struct jit *o = sys->cpu[k]->engine;

		while (o != j && __atomic_load_n(&o->in_run, __ATOMIC_SEQ_CST) &&
		       __atomic_load_n(&o->notes_seen, __ATOMIC_SEQ_CST) < notes) {
			read_code_log(j);
			__builtin_ia32_pause();
		}
	}
}

/* Marks the page so that writes are noticed from now on; all shortcuts to it must go. */
static void watch_page(struct jit *j, uint64_t gpa)
{
	struct code_map *map = &j->c->sys->ram->code;

	while (code_map_watch(map, GPA(gpa)) != CODE_WATCH_DONE) {
		uint64_t notes = code_map_log(map, (uint32_t)(gpa >> PAGE_SHIFT) | CODE_LOG_WATCH);

		read_code_log(j);
		wait_for_readers(j, notes);
		code_map_watched(map, GPA(gpa));
	}
}

static const uint8_t *fetch(struct jit *j, uint64_t gva, gpa_t *gpa)
{
	struct x86_cpu *c = j->c;

	return mmu_translate(c, GVA(gva), ACCESS_EXEC, (unsigned)(c->tlb - c->tlb_set), gpa);
}

/* The one behind RIP's; false: beyond the limit of CS. */
static bool next_page(const struct x86_cpu *c, uint64_t *gva)
{
	*gva = (c->s.rip | PAGE_MASK) + 1;
	return c->code_size == CODE_64 || *gva <= UINT32_MAX;
}

/* The page that follows the one of RIP is still the one that the block's instruction goes on in. */
static bool second_page_matches(struct jit *j, const struct jit_block *b)
{
	gpa_t gpa;

	uint64_t next;

	if (!jit_crosses(b))
		return true;
	return next_page(j->c, &next) && fetch(j, next, &gpa) && gpa.v == b->second_page;
}

/* An instruction on two pages becomes a block of its own, translated from a copy. */
static struct jit_block *translate_crossing(struct jit *j, struct jit_source *from)
{
	uint8_t bytes[INSN_MAX_LENGTH];
	const uint8_t *second;
	uint64_t next;
	gpa_t gpa;

	if (!next_page(j->c, &next))
		return NULL;
	second = fetch(j, next, &gpa);
	if (!second)
		return NULL;
	watch_page(j, gpa.v);
	memcpy(bytes, from->code, from->room);
	memcpy(bytes + from->room, second, sizeof(bytes) - from->room);
	from->second_page = gpa.v;
	from->code = bytes;
	from->room = sizeof(bytes);
	return translate(j, from);
}

/* The block at RIP; NULL: interpret one instruction. Throws what the fetch faults with. */
static struct jit_block *find_block(struct jit *j)
{
	struct x86_cpu *c = j->c;
	struct jit_source from = {
		.second_page = JIT_ONE_PAGE,
		.mode = mode_of(j) | (j->ungrouped ? JIT_MODE_UNGROUPED : 0),
	};
	struct jit_block *b;
	gpa_t gpa;

	/* A fetch that faults takes the time of an instruction, as with the interpreter. */
	c->sys->loop->clock.virtual_ns += j->counted;
	if (!x86_canonical(c->s.rip))
		x86_raise_gp(c, 0);
	from.code = fetch(j, c->s.rip, &gpa);
	c->sys->loop->clock.virtual_ns -= j->counted;
	if (!from.code)
		return NULL;
	b = cache_find(j, gpa.v, from.mode);
	if (b)
		return second_page_matches(j, b) ? b : NULL;
	watch_page(j, gpa.v);
	from.gpa = gpa.v;
	from.room = (unsigned)(PAGE_SIZE - (gpa.v & PAGE_MASK));
	from.max_insns = longest_block(j);
	return translate_wants_more(j, &from) ? translate_crossing(j, &from) : translate(j, &from);
}

static void remember_jump(struct jit *j, struct jit_block *b)
{
	struct x86_cpu *c = j->c;
	unsigned set = (unsigned)(c->tlb - c->tlb_set);
	struct page_walk w, w2;
	uint32_t error;

	if (!mmu_walk(c, GVA(c->s.rip), ACCESS_EXEC, set, true, &w, &error))
		return;
	if (jit_crosses(b)) {
		uint64_t next = (c->s.rip | PAGE_MASK) + 1;

		if (!mmu_walk(c, GVA(next), ACCESS_EXEC, set, true, &w2, &error))
			return;
		table_remember_page(table_of(j, set), next, w2.global);
	}
	table_remember_jump(table_of(j, set), c->s.rip, b->code, w.global);
}

/* ---- Running ---- */

static uint64_t pack_flags(uint32_t f)
{
	return (uint64_t)(f & 0xd5) << 8 | (f & FLAG_OF ? 1 : 0);
}

#define UNREADABLE 8 /* an address that no process maps */

static bool interrupt_waits(struct x86_cpu *c)
{
	return lapic_pending(c) >= 0 || x86_extint(c);
}

static void load_registers(struct jit *j)
{
	struct x86_cpu *c = j->c;

	memcpy(j->js->gpr, c->s.gpr, sizeof(c->s.gpr));
	if (c->code_size != CODE_64)
		jit_narrow_registers(j->js);
	j->js->save_flags = pack_flags(flags_arith(c));
	j->js->interrupt_flag = (c->s.rflags & FLAG_IF) != 0;
	j->js->system_flags = c->s.rflags & ~(uint64_t)(FLAGS_ARITH | FLAG_IF | FLAG_RF);
	j->js->sti_poll = j->js->interrupt_flag || !interrupt_waits(c) ? j->js->poll : UNREADABLE;
	j->js->seg_base[FS] = jit_segment_base(c, FS);
	j->js->seg_base[GS] = jit_segment_base(c, GS);
	j->js->kernel_gs_base = c->s.kernel_gs_base;
	j->js->rip = c->s.rip;
	j->js->behind_sti = 0;
}

static void store_registers(struct jit *j)
{
	struct x86_cpu *c = j->c;
	uint64_t f = j->js->save_flags;

	memcpy(c->s.gpr, j->js->gpr, sizeof(c->s.gpr));
	flags_set_arith(c, FLAGS_ARITH,
			(uint32_t)(f >> 8 & (FLAGS_ARITH & 0xff)) | (f & 0xff ? FLAG_OF : 0));
	c->s.rflags = (c->s.rflags & ~(uint64_t)FLAG_IF) | (j->js->interrupt_flag ? FLAG_IF : 0);
	if (c->code_size == CODE_64) /* SWAPGS; else helpers have changed it there already */
		c->s.seg[GS].base = j->js->seg_base[GS];
	c->s.kernel_gs_base = j->js->kernel_gs_base;
	c->s.rip = c->code_size == CODE_64 ? j->js->rip : (uint32_t)j->js->rip;
}

static void enter_block(struct jit *j, struct jit_block *b)
{
	struct x86_cpu *c = j->c;
	void (*enter)(void) = (void (*)(void))(uintptr_t)j->enter;

	load_registers(j);
	simd_away(c);
	c->s.rflags &= ~(uint64_t)FLAG_RF;
	j->js->target = (uint64_t)b->code;
	tables_enter(j);
	__atomic_store_n(&j->in_code, true, __ATOMIC_SEQ_CST);
	if (!x86_events(c)) {
		j->count.entries++;
		enter();
		store_registers(j);
	} else {
		j->js->exit = JIT_EXIT_POLL;
	}
	__atomic_store_n(&j->in_code, false, __ATOMIC_SEQ_CST);
}

/* A jump whose target is not canonical faults itself: back to before it. */
static void undo_jump(struct jit *j)
{
	struct x86_state *s = &j->c->s;
	uint64_t info = j->js->insn;

	s->gpr[RSP] -= (info >> 12) - 8;
	s->rip = j->js->page_base + (info & PAGE_MASK);
	j->interpret = true;
}

/* The instruction behind an STI is not done: no interrupt may come before it (SDM vol. 2 STI). */
static void cast_shadow(struct jit *j)
{
	struct x86_cpu *c = j->c;

	if (!j->js->behind_sti || (c->s.rip & PAGE_MASK) != j->js->behind_sti)
		return;
	c->s.interrupt_shadow = true;
	x86_event_set(c, EV_TRAP);
}

static void after_exit(struct jit *j)
{
	uint64_t exit = j->js->exit;

	switch (exit) {
	case JIT_EXIT_POLL:
		j->count.polls++;
		mprotect(j->poll_page, PAGE_SIZE, PROT_READ);
		break;
	case JIT_EXIT_LOOKUP:
		j->count.lookups++;
		if (x86_canonical(j->c->s.rip))
			j->jump_wanted = true;
		else
			undo_jump(j);
		break;
	case JIT_EXIT_INTERP:
		j->interpret = true;
		cast_shadow(j);
		break;
	case JIT_EXIT_FAULT:
		j->count.faults++;
		j->interpret = true;
		cast_shadow(j);
		break;
	default:
		j->last_exit = (struct jit_exit *)exit;
		j->ungrouped = j->last_exit->ungrouped;
		break;
	}
}

static void interpret_one(struct jit *j)
{
	j->interpret = j->ungrouped = false;
	j->last_exit = NULL;
	j->count.interp_steps++;
	if (j->counted)
		j->c->sys->loop->clock.virtual_ns++;
	interp_steps(j->c, 1);
	if (j->c->insn)
		j->interp_reason[j->c->insn->mnemonic % LM_ARRAY_SIZE(j->interp_reason)]++;
}

/* Code that is not translated at all, until that changes or something happens. */
static void interpret_stretch(struct jit *j)
{
	struct x86_cpu *c = j->c;
	enum jit_stretch why;

	j->last_exit = NULL;
	while ((why = why_interpreter(c)) != JIT_TRANSLATED) {
		uint64_t before = c->count.instructions;

		interp_steps(c, ENGINE_NO_BUDGET);
		j->stretch[why] += c->count.instructions - before;
		if (x86_events(c))
			break;
	}
}

/* How many instructions of the block were executed before it was left for RIP. */
static unsigned executed(const struct jit *j, const struct jit_block *b)
{
	unsigned n = 0;

	if (j->js->exit == JIT_EXIT_LOOKUP) /* not canonical: the jump faults itself, see undo_jump */
		return (unsigned)(j->js->left_after ? j->js->left_after : b->insns) -
		       !x86_canonical(j->js->rip);
	if (j->js->exit > JIT_EXIT_FAULT)
		return ((const struct jit_exit *)j->js->exit)->insns;
	while (n < b->insns && ((b->gpa + b->info[n].guest) & PAGE_MASK) != (j->js->rip & PAGE_MASK))
		n++;
	return n;
}

/* With a budget: blocks that fit into what is left of it, none chained to the next. */
static void run_counted(struct jit *j, struct jit_block *b)
{
	struct x86_cpu *c = j->c;
	unsigned n;

	j->js->left_after = 0;
	enter_block(j, b);
	n = executed(j, b);
	c->count.instructions += n;
	c->sys->loop->clock.virtual_ns += n;
	after_exit(j);
	j->last_exit = NULL;
	j->jump_wanted = false;
}

static bool chainable(const struct jit *j, const struct jit_exit *x, const struct jit_block *to)
{
	const struct jit_block *from = jit_at(j, x->from);
	uint32_t mode = (from->mode & ~JIT_MODE_UNGROUPED) | (x->ungrouped ? JIT_MODE_UNGROUPED : 0);

	return !x->to && (from->gpa & ~PAGE_MASK) + x->offset == to->gpa && mode == to->mode &&
	       !from->dead && j->notes_seen == j->c->sys->ram->code.notes;
}

/* A block of two pages must be found anew after flushes of either: by way of the jump cache. */
static void chain(struct jit *j, struct jit_exit *x, struct jit_block *to)
{
	if (!jit_crosses(to))
		cache_chain(j, x, to);
	else if (emit_lookup_trampoline(j, x))
		j->jump_wanted = true;
}

/* One step of the dispatcher; c->unwind is armed. */
static void dispatch(struct jit *j)
{
	struct jit_exit *from;
	struct jit_block *b;

	catch_up(j);
	read_code_log(j);
	/* After a poll with events left (a shadow ends, IF is clear): one instruction, then look again. */
	if (j->interpret || x86_events(j->c) || (j->counted && interpreter_only(j->c))) {
		interpret_one(j);
		return;
	}
	if (interpreter_only(j->c)) {
		interpret_stretch(j);
		return;
	}
	from = j->last_exit;
	j->last_exit = NULL;
	b = find_block(j);
	j->ungrouped = false;
	if (!b) {
		interpret_one(j);
		return;
	}
	if (j->counted) {
		run_counted(j, b);
		return;
	}
	if (from && chainable(j, from, b))
		chain(j, from, b);
	if (j->jump_wanted)
		remember_jump(j, b);
	j->jump_wanted = false;
	enter_block(j, b);
	after_exit(j);
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

static void prepare_thread(struct jit *j)
{
	stack_t alt;

	if (jit_current == j)
		return;
	jit_current = j;
	if (!sigaltstack(NULL, &alt) && !(alt.ss_flags & SS_DISABLE))
		return;
	alt = (stack_t){ .ss_size = ALT_STACK_BYTES };
	alt.ss_sp = malloc(ALT_STACK_BYTES);
	if (alt.ss_sp)
		sigaltstack(&alt, NULL);
}

static enum exit_reason run_until_exit(struct jit *j)
{
	struct x86_cpu *c = j->c;

	for (;;) {
		if (setjmp(c->unwind)) {
			j->interpret = false;
			event_deliver_fault(c);
			if (event_only_faults(c))
				return EXIT_KICKED;
			continue;
		}
		if (x86_events(c)) {
			/* The instruction is looked up anew; one in a shadow is not left undone again. */
			j->interpret = c->s.interrupt_shadow;
			x86_event_clear(c, EV_CODE);
			if (c->count.instructions >= j->stop_at)
				return EXIT_BUDGET;
			if (event_poll(c))
				return why_left(c);
		}
		if (c->count.instructions >= j->stop_at)
			return EXIT_BUDGET;
		dispatch(j);
	}
}

/* Blocks that were made without a budget are chained, and do not tell where they were left. */
static void set_counted(struct jit *j, bool counted)
{
	if (j->counted != counted)
		cache_flush(j);
	j->counted = counted;
}

static enum exit_reason jit_run(struct x86_cpu *c, uint64_t max_insns)
{
	struct jit *j = c->engine;
	enum exit_reason why;

	set_counted(j, max_insns != ENGINE_NO_BUDGET);
	j->stop_at = j->counted ? c->count.instructions + max_insns : UINT64_MAX;
	prepare_thread(j);
	__atomic_store_n(&j->in_run, true, __ATOMIC_SEQ_CST);
	why = run_until_exit(j);
	__atomic_store_n(&j->in_run, false, __ATOMIC_SEQ_CST);
	simd_home(c);
	return why;
}

/* ---- The engine ---- */

/* What a vCPU needs at the least, with small tables for little RAM; the guest's RAM comes first. */
#define LEAST_BYTES (UINT64_C(256) * MIB)

static int jit_probe(struct lm_err *err)
{
	return jit_host_check(LEAST_BYTES, err);
}

/* A guest need not know what would be slow; other engines give it what they have. */
static int jit_system_create(struct x86_system *sys, struct lm_err *err)
{
	const uint64_t kept = ~jit_host_vector_features();

	sys->model.features &= jit_host()->features | kept;
	return 0;
}

static void jit_system_destroy(struct x86_system *sys)
{
}

static void on_code_changed(void *opaque)
{
	struct x86_system *sys = opaque;

	for (unsigned k = 0; k < sys->cpu_count; k++)
		if (sys->cpu[k])
			x86_event_raise(sys->cpu[k], EV_CODE);
}

static int share_code_map(struct x86_system *sys, struct lm_err *err)
{
	struct ram *ram = sys->ram;

	if (ram->code.is_code)
		return 0;
	ram->code.changed = on_code_changed;
	ram->code.opaque = sys;
	return code_map_init(&ram->code, ram_high_size(ram) ? RAM_HIGH_START + ram_high_size(ram)
							    : ram_low_top(ram), err);
}

static int jit_vcpu_create(struct x86_cpu *c, struct lm_err *err)
{
	struct jit *j = calloc(1, sizeof(*j));
	int rc;

	c->engine = j;
	if (!j)
		return lm_err_set(err, -ENOMEM, "no memory for the translator of vCPU %u",
				  c->index);
	j->c = c;
	j->host = jit_host();
	rc = interp_engine.vcpu_create(c, err);
	if (!rc)
		rc = share_code_map(c->sys, err);
	if (!rc)
		rc = tables_init(j, err);
	if (!rc)
		rc = cache_init(j, err);
	if (rc < 0)
		return rc;
	/* Below 2 GiB: translated code reads it by an absolute address of 32 bits. */
	j->poll_page = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1,
			    0);
	if (j->poll_page == MAP_FAILED)
		return lm_err_errno(err, -errno, "cannot map the poll page");
	j->js->poll = (uint64_t)j->poll_page;
	j->js->mask31 = 31;
	j->js->mask63 = 63;
	j->js->host_mxcsr = MXCSR_DEFAULT;
	jit_clock_init(&j->clock_by_tsc);
	stubs_emit(j);
	faults_install();
	c->simd_home = simd_home;
	c->on_event = close_poll_page;
	c->on_flush = tables_on_flush;
	return 0;
}

static void jit_vcpu_destroy(struct x86_cpu *c)
{
	struct jit *j = c->engine;

	interp_engine.vcpu_destroy(c);
	if (!j)
		return;
	cache_fini(j);
	tables_fini(j);
	if (j->poll_page)
		munmap(j->poll_page, PAGE_SIZE);
	free(j);
	c->engine = NULL;
}

static void jit_kick(struct x86_cpu *c)
{
	x86_event_raise(c, EV_KICK);
}

static const char *const jit_stretch_name[JIT_STRETCHES] = {
	[JIT_STRETCH_TRACE] = "untranslated.trace",
	[JIT_STRETCH_CHECKS] = "untranslated.access_checks",
	[JIT_STRETCH_TF] = "untranslated.trap_flag",
	[JIT_STRETCH_DF] = "untranslated.direction_flag",
	[JIT_STRETCH_16BIT] = "untranslated.16_bit",
	[JIT_STRETCH_SEGMENTS] = "untranslated.segments",
};

static void print_count(const struct x86_cpu *c, FILE *out, const char *name, uint64_t value)
{
	fprintf(out, "vcpu%u.jit.%s %llu\n", c->index, name, (unsigned long long)value);
}

static void jit_print_stats(const struct x86_cpu *c, FILE *out)
{
	const struct jit *j = c->engine;
	const struct jit_counters *n = &j->count;

	print_count(c, out, "entries", n->entries);
	print_count(c, out, "blocks", n->blocks);
	print_count(c, out, "blocks_dropped", n->invalidated);
	print_count(c, out, "cache_flushes", n->cache_flushes);
	print_count(c, out, "code_bytes", j->cache.used);
	print_count(c, out, "cold_code_bytes", j->cache.cold - j->cache.size / 2);
	print_count(c, out, "table_misses", n->misses);
	print_count(c, out, "table_flushes", n->flushes);
	print_count(c, out, "faults", n->faults);
	if (j->host->checks) {
		print_count(c, out, "checked", n->checked);
		print_count(c, out, "stale", n->stale);
	}
	print_count(c, out, "lookups", n->lookups);
	print_count(c, out, "resolved", n->resolved);
	print_count(c, out, "linked", n->linked);
	print_count(c, out, "polls", n->polls);
	for (unsigned k = 1; k < JIT_STRETCHES; k++)
		print_count(c, out, jit_stretch_name[k], j->stretch[k]);
	print_count(c, out, "interpreted", n->interp_steps);
	for (unsigned k = 0; k < LM_ARRAY_SIZE(j->interp_reason); k++) {
		if (j->interp_reason[k] * 200 < n->interp_steps)
			continue;
		fprintf(out, "vcpu%u.jit.interpreted.%s %llu\n", c->index,
			insn_mnemonic_name((uint16_t)k), (unsigned long long)j->interp_reason[k]);
	}
}

const struct engine_ops jit_engine = {
	.name = "jit",
	.summary = "translator: x86-64 to x86-64, at a fraction of the interpreter's cost",
	.cpus_max = 40, /* each takes 3 TiB of 128 at the least, where there is as much */
	.exact = true,
	.probe = jit_probe,
	.shortfall = jit_host_shortfall,
	.system_create = jit_system_create,
	.system_destroy = jit_system_destroy,
	.vcpu_create = jit_vcpu_create,
	.vcpu_destroy = jit_vcpu_destroy,
	.run = jit_run,
	.kick = jit_kick,
	.state_save = x86_cpu_save,
	.state_load = x86_cpu_load,
	.forget_writes = mmu_flush_all,
	.print_stats = jit_print_stats,
};
