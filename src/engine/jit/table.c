/*
 * The flat tables: one 8-byte entry for each 4 KiB page of the 48-bit address space and kind of
 * access. An entry is host address minus guest address, 0 where the slow path must look: not yet
 * translated, not RAM, not permitted, or (writes) a page with translated code.
 *
 * Where a host does not let us reserve terabytes, tables are small: pages whose numbers are congruent
 * share an entry, and no tag tells whose it is. A table has more entries than RAM has pages, so with another
 * page's entry an address leads outside of RAM, and whoever uses an entry looks whether it does.
 * Distances are from the byte before RAM, so that no entry is 0.
 *
 * This file runs in the middle of translated code, with the guest's SIMD state in the registers: it
 * is compiled to use general registers only and calls nothing outside such files.
 */
#include "engine/jit/jit.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "isa/x86/mmu.h"
#include "mem/code_map.h"

static void set_entry(struct jit *j, struct jit_table *t, uint64_t index, uint64_t addend,
		      bool global)
{
	struct jit_log *log = global ? &t->global : &t->local;
	uint64_t *entry = (uint64_t *)t->base + index;

	/* The log of a small table names what took an entry over as well: it may be local, or global. */
	if (!*entry || (t->extent && *entry != addend)) {
		if (log->count == JIT_LOG) {
			j->log_full = true;
			return;
		}
		log->index[log->count++] = index;
	}
	*entry = addend;
}

static bool walk(struct x86_cpu *c, uint64_t gva, bool write, unsigned set, struct page_walk *w)
{
	uint32_t error;

	return mmu_walk(c, GVA(gva), write ? ACCESS_WRITE : ACCESS_READ, set, false, w, &error);
}

/* False: the page became code meanwhile. */
static bool set_write_entry(struct jit *j, struct jit_table *t, uint64_t gva,
			    const struct page_walk *w, uint64_t addend)
{
	struct code_map *map = &j->c->sys->ram->code;
	uint64_t index = table_index(t, gva, true), frame = w->gpa.v >> PAGE_SHIFT;
	uint64_t *entry = (uint64_t *)t->base + index;

	set_entry(j, t, index, addend, w->global);
	if (frame < map->frames) {
		uint64_t **known = &j->write_entry[frame];

		*known = !*known || *known == entry ? entry : JIT_MANY_ENTRIES;
	}
	if (code_map_keep_shortcut(map, w->gpa))
		return true;
	*entry = 0;
	return false;
}

/* ---- Write entries to a page that becomes code ---- */

static void drop_writes(struct jit_table *t, const struct jit_log *log, uint64_t hva)
{
	uint64_t *entries = (uint64_t *)t->base, mask = (PAGE_SIZE << t->bits) - 1;

	for (uint32_t k = 0; k < log->count; k++) {
		uint64_t index = log->index[k];

		if (index >> t->bits && !((entries[index] + (index << PAGE_SHIFT) + t->origin - hva) & mask))
			entries[index] = 0;
	}
}

static void drop_writes_everywhere(struct jit *j, uint64_t hva)
{
	drop_writes(&j->supervisor, &j->supervisor.local, hva);
	drop_writes(&j->supervisor, &j->supervisor.global, hva);
	for (unsigned k = 0; k < j->spaces; k++) {
		struct jit_space *space = &j->space[k];

		drop_writes(&space->user, &space->user.local, hva);
		drop_writes(&space->user, &space->user.global, hva);
		drop_writes(&space->ac, &space->ac.local, hva);
		drop_writes(&space->ac, &space->ac.global, hva);
	}
}

/* An entry that is known alone is in a table at some index, and may lead to another page by now. */
void tables_drop_writes(struct jit *j, uint64_t gpa)
{
	uint64_t **known = &j->write_entry[gpa >> PAGE_SHIFT];
	uint64_t hva = (uint64_t)ram_ptr(j->c->sys->ram, GPA(gpa), PAGE_SIZE);

	if (*known == JIT_MANY_ENTRIES)
		drop_writes_everywhere(j, hva);
	else if (*known)
		**known = 0;
	*known = NULL;
}

static bool is_narrow(const struct jit_table *t)
{
	return t->mode & JIT_MODE_NARROW;
}

bool table_linear(const struct jit_table *t, uint64_t sum, uint64_t *gva)
{
	uint64_t part = (sum >> 32) + JIT_NARROW_BELOW;

	*gva = is_narrow(t) ? (uint32_t)sum : sum;
	if (is_narrow(t))
		return (uint32_t)part <= JIT_NARROW_BELOW + JIT_NARROW_ABOVE;
	return x86_canonical(sum);
}

/* No entry may lead to such a page in a table for 32-bit code. */
static bool is_at_edge(const struct jit_table *t, uint64_t sum)
{
	return is_narrow(t) && (uint32_t)(sum + JIT_NARROW_EDGE) < 2 * JIT_NARROW_EDGE;
}

uint64_t table_fill(struct jit *j, uint64_t sum, bool write)
{
	struct x86_cpu *c = j->c;
	unsigned set = (unsigned)(c->tlb - c->tlb_set);
	struct jit_table *t = table_of(j, set);
	struct page_walk w;
	const uint8_t *page;
	uint64_t addend, gva;

	if (j->host->checks && table_entry(t, sum, write))
		return table_entry(t, sum, write);
	j->count.misses++;
	if (c->access_checks || !table_linear(t, sum, &gva) || is_at_edge(t, sum) || !walk(c, gva, write, set, &w))
		return 0;
	page = mmu_page(c, &w, ACCESS_READ);
	if (!page || lapic_owns(c, w.gpa))
		return 0;
	mmu_note_large_page(c, GVA(gva), w.page_bytes);
	addend = (uint64_t)page - (sum & ~PAGE_MASK) - t->origin;
	if (t->extent && sum + addend >= t->extent) /* not RAM, but as good as it */
		return 0;
	set_entry(j, t, table_index(t, sum, false), addend, w.global);
	if (mmu_writes_directly(c, &w, set, page, write) && set_write_entry(j, t, sum, &w, addend))
		return addend;
	return write ? 0 : addend;
}

/*
 * A group's leader reads or writes the page and may fault; a later member may not have been reached
 * when something faults before it, so no page becomes dirty for its sake.
 */
static uint64_t fill_for_group(struct jit *j, uint64_t gva, bool write)
{
	const struct jit_table *t = table_of(j, (unsigned)(j->c->tlb - j->c->tlb_set));
	uint64_t addend = table_fill(j, gva, false);

	return addend && (!write || table_entry(t, gva, true)) ? addend : JIT_NO_ADDEND;
}

/* With checks every access comes here, else those without an entry. */
uint64_t jit_miss(struct jit *j, uint64_t gva, uint32_t access)
{
	uint64_t addend = 0;

	if (j->host->checks)
		check_entry(j, gva, access & JIT_ACCESS_WRITE);

	if (access & JIT_ACCESS_GROUP)
		return fill_for_group(j, gva, access & JIT_ACCESS_WRITE);
	if ((gva & PAGE_MASK) + JIT_ACCESS_SIZE(access) <= PAGE_SIZE)
		addend = table_fill(j, gva, access & JIT_ACCESS_WRITE);
	if (addend)
		return addend;
	j->js->rip = j->js->page_base + JIT_ACCESS_RIP(access);
	j->js->exit = JIT_EXIT_FAULT;
	return 0;
}

/* ---- Remembered jumps ---- */

static struct jit_jumps *jumps_of(const struct jit_table *t)
{
	return (struct jit_jumps *)(t->base - JIT_BELOW_JUMPS);
}

/* The second way's entries follow those of the first. */
static struct jit_jump *logged_jump(const struct jit_table *t, unsigned k)
{
	return &jumps_of(t)->entry[t->jump_log[k]];
}

static bool is_empty(const struct jit_jump *jump)
{
	return jump->tag == JIT_NO_TAG || jump->tag == JIT_NO_TAG_FIRST;
}

static void empty_jump(const struct jit_table *t, struct jit_jump *jump)
{
	bool first = (jump - jumps_of(t)->entry) % JIT_JUMP_ENTRIES == 0;

	jump->tag = first ? JIT_NO_TAG_FIRST : JIT_NO_TAG;
}

static void forget_jumps(struct jit_table *t)
{
	if (t->jump_count == JIT_JUMP_ENTRIES)
		for (unsigned k = 0; k < 2 * JIT_JUMP_ENTRIES; k++)
			empty_jump(t, &jumps_of(t)->entry[k]);
	else
		for (unsigned k = 0; k < t->jump_count; k++)
			empty_jump(t, logged_jump(t, k));
	t->jump_count = 0;
	links_forget(t);
	for (unsigned half = 0; half < 2; half++) {
		for (unsigned k = 0; t->jump_half[half] && k < JIT_PAGE_BITS / 64; k++)
			t->jump_pages[half][k] = 0;
		t->jump_half[half] = false;
	}
	t->local_jumps = false;
}

static uint64_t rotate_right(uint64_t v, unsigned n)
{
	return v >> n | v << (64 - n);
}

/* As emit_lookup computes them. */
static unsigned first_way(uint64_t gva)
{
	return (2 * gva + rotate_right(gva, JIT_JUMP_ROTATE)) / 8 % JIT_JUMP_ENTRIES;
}

static unsigned second_way(uint64_t gva)
{
	return (4 * gva + rotate_right(gva, JIT_JUMP_ROTATE2)) / 8 % JIT_JUMP_ENTRIES;
}

static unsigned page_hash(uint64_t gva)
{
	uint64_t page = gva >> PAGE_SHIFT;

	return (page ^ page >> 13 ^ page >> 26) % JIT_PAGE_BITS;
}

static bool may_have_jumps(const struct jit_table *t, uint64_t gva)
{
	unsigned n = page_hash(gva);

	return t->jump_half[gva >> 63] && t->jump_pages[gva >> 63][n / 64] >> n % 64 & 1;
}

/* A block that goes on in the next page depends on that one too. */
static void forget_jumps_to(struct jit_table *t, uint64_t gva, uint64_t bytes)
{
	uint64_t first = (gva >> PAGE_SHIFT) - 1, pages = (bytes >> PAGE_SHIFT) + 1;

	if (t->jump_count == JIT_JUMP_ENTRIES) {
		forget_jumps(t);
		return;
	}
	links_forget_pages(t, first, pages);
	for (unsigned k = 0; k < t->jump_count; k++) {
		struct jit_jump *jump = logged_jump(t, k);

		if ((jump->tag >> PAGE_SHIFT) - first < pages)
			empty_jump(t, jump);
	}
}

static void set_jump(struct jit_table *t, struct jit_jump *to, struct jit_jump jump)
{
	if (is_empty(to) && t->jump_count < JIT_JUMP_ENTRIES)
		t->jump_log[t->jump_count++] = (uint32_t)(to - jumps_of(t)->entry);
	*to = jump;
}

void table_remember_jump(struct jit_table *t, uint64_t gva, const uint8_t *host, bool global)
{
	struct jit_jumps *jumps = jumps_of(t);
	struct jit_jump *to = &jumps->entry[first_way(gva)];

	if (!is_empty(to) && to->tag != gva)
		set_jump(t, &jumps->entry[JIT_JUMP_ENTRIES + second_way(to->tag)], *to);
	set_jump(t, to, (struct jit_jump){ gva, (uint64_t)host });
	table_remember_page(t, gva, global);
}

void table_remember_page(struct jit_table *t, uint64_t gva, bool global)
{
	unsigned n = page_hash(gva);

	t->jump_half[gva >> 63] = true;
	t->jump_pages[gva >> 63][n / 64] |= UINT64_C(1) << n % 64;
	t->local_jumps |= !global;
}

void tables_drop_link(struct jit *j, uint32_t link)
{
	link_clear(&j->supervisor, link);
	for (unsigned k = 0; k < j->spaces; k++) {
		link_clear(&j->space[k].user, link);
		link_clear(&j->space[k].ac, link);
	}
}

/* ---- Flushes ---- */

static void clear_logged(struct jit_table *t, struct jit_log *log)
{
	uint64_t *entries = (uint64_t *)t->base;

	for (uint32_t k = 0; k < log->count; k++)
		entries[log->index[k]] = 0;
	log->count = 0;
}

static void flush_table(struct jit_table *t)
{
	clear_logged(t, &t->local);
	clear_logged(t, &t->global);
	forget_jumps(t);
}

static void flush_space(struct jit_space *space)
{
	flush_table(&space->user);
	flush_table(&space->ac);
}

void tables_flush(struct jit *j)
{
	flush_table(&j->supervisor);
	for (unsigned k = 0; k < j->spaces; k++)
		flush_space(&j->space[k]);
	j->log_full = false;
	j->count.flushes++;
}

void tables_adopt_mode(struct jit *j)
{
	struct jit_table *t = table_of(j, (unsigned)(j->c->tlb - j->c->tlb_set));
	uint32_t mode = jit_mode(j, JIT_MAX_INSNS), changed = t->mode ^ mode;

	if (!changed)
		return;
	if (changed & JIT_MODE_NARROW)
		flush_table(t);
	else
		forget_jumps(t);
	t->mode = mode;
}

void tables_enter(struct jit *j)
{
	tables_adopt_mode(j);
	gs_set(j, table_of(j, (unsigned)(j->c->tlb - j->c->tlb_set))->base);
}

/* The log keeps the index; clearing an entry twice does no harm. */
static void clear_entries(struct jit_table *t, uint64_t sum, uint64_t pages)
{
	uint64_t *entries = (uint64_t *)t->base;

	for (uint64_t k = 0; k < pages; k++) {
		entries[table_index(t, sum + (k << PAGE_SHIFT), false)] = 0;
		entries[table_index(t, sum + (k << PAGE_SHIFT), true)] = 0;
	}
}

static void flush_range(struct jit_table *t, uint64_t gva, uint64_t bytes)
{
	uint64_t pages = bytes >> PAGE_SHIFT;

	if (!is_narrow(t))
		clear_entries(t, gva, pages);
	for (int64_t n = -JIT_NARROW_BELOW; is_narrow(t) && n <= JIT_NARROW_ABOVE; n++)
		clear_entries(t, (uint32_t)gva + (uint64_t)(n * (int64_t)(4 * GIB)), pages);
	if (pages > 1 ? t->jump_half[gva >> 63] : may_have_jumps(t, gva))
		forget_jumps_to(t, gva, bytes);
}

static bool has_global(const struct jit_space *space)
{
	return space->user.global.count || space->ac.global.count;
}

/* Ranges as wide as a gigabyte page are not worth going through. */
#define WIDEST_RANGE (UINT64_C(4) << 20)

static void flush_range_everywhere(struct jit *j, uint64_t gva, uint64_t bytes)
{
	if (bytes > WIDEST_RANGE) {
		tables_flush(j);
		return;
	}
	flush_range(&j->supervisor, gva, bytes);
	for (unsigned k = 0; k < j->spaces; k++) {
		struct jit_space *space = &j->space[k];

		if (space != j->now && !has_global(space))
			continue;
		flush_range(&space->user, gva, bytes);
		flush_range(&space->ac, gva, bytes);
	}
}

/* ---- Address spaces ---- */

/* The space of a PCID, else one that is free or was not used for the longest time. */
static struct jit_space *choose_space(struct jit *j, uint16_t pcid)
{
	struct jit_space *best = &j->space[0];

	for (unsigned k = 0; k < j->spaces; k++) {
		struct jit_space *space = &j->space[k];

		if (space->in_use && space->pcid == pcid)
			return space;
		if (space->last_use < best->last_use)
			best = space;
	}
	return best;
}

static void flush_local_entries(struct jit_table *t)
{
	clear_logged(t, &t->local);
	if (t->local_jumps)
		forget_jumps(t);
}

static void switch_space(struct jit *j, uint16_t pcid, bool keep)
{
	struct jit_space *to = choose_space(j, pcid);

	if (!keep || !to->in_use || to->pcid != pcid)
		flush_space(to);
	to->pcid = pcid;
	to->in_use = true;
	to->last_use = ++j->clock;
	j->now = to;
	flush_local_entries(&j->supervisor);
}

void tables_on_flush(struct x86_cpu *c, const struct tlb_flush *f)
{
	struct jit *j = c->engine;

	j->last_exit = NULL;
	switch (f->kind) {
	case TLB_FLUSH_ALL:
		tables_flush(j);
		break;
	case TLB_FLUSH_RANGE:
		flush_range_everywhere(j, f->gva, f->bytes);
		break;
	case TLB_SWITCH:
		switch_space(j, f->pcid, f->keep);
		break;
	}
}

/* ---- Life ---- */

static int map_table(const struct jit *j, struct jit_table *t, int state_fd, struct lm_err *err)
{
	uint64_t bytes = JIT_TABLE_BYTES(j->table_bits) + JIT_BELOW;
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			  -1, 0);

	if (p == MAP_FAILED)
		return lm_err_errno(err, -errno, "cannot reserve a translation table of %llu MiB",
				    (unsigned long long)(bytes / MIB));
	t->base = p + JIT_BELOW;
	t->bits = j->table_bits;
	t->origin = j->origin;
	t->extent = j->extent;
	madvise(p, bytes, MADV_NOHUGEPAGE);
	if (mmap(t->base - 4096, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, state_fd,
		 0) == MAP_FAILED)
		return lm_err_errno(err, -errno, "cannot map the state of translated code");
	empty_jump(t, &jumps_of(t)->entry[0]);
	empty_jump(t, &jumps_of(t)->entry[JIT_JUMP_ENTRIES]);
	return 0;
}

#define SMALL_SPACES 3u

/* All vCPUs together may reserve two thirds of 128 TiB. */
static unsigned affordable_spaces(const struct jit *j)
{
	if (j->extent)
		return SMALL_SPACES;
	unsigned tables = 80 / LM_MAX(j->c->sys->cpu_count, 1u);
	unsigned spaces = tables > 3 ? (tables - 1) / 2 : 1;

	return LM_MIN(spaces, JIT_SPACES);
}

static int map_write_entries(struct jit *j, struct lm_err *err)
{
	uint64_t bytes = j->c->sys->ram->code.frames * sizeof(*j->write_entry);

	j->write_entry = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (j->write_entry != MAP_FAILED)
		return 0;
	j->write_entry = NULL;
	return lm_err_errno(err, -errno, "no memory for the map of written pages");
}

static int map_space(struct jit *j, int state_fd, struct lm_err *err)
{
	struct jit_space *space = &j->space[j->spaces];
	int rc = map_table(j, &space->user, state_fd, err);

	if (!rc)
		rc = map_table(j, &space->ac, state_fd, err);
	if (!rc)
		j->spaces++;
	return rc;
}

static int map_tables(struct jit *j, int state_fd, struct lm_err *err)
{
	int rc = map_write_entries(j, err);

	if (!rc)
		rc = map_table(j, &j->supervisor, state_fd, err);

	if (!rc)
		rc = map_space(j, state_fd, err);
	/* More are welcome and not necessary. */
	while (!rc && j->spaces < affordable_spaces(j) && !map_space(j, state_fd, NULL))
		;
	return rc;
}

/* More entries than RAM has pages. */
static void choose_size(struct jit *j)
{
	const struct ram *ram = j->c->sys->ram;

	j->table_bits = JIT_LARGE_BITS;
	if (j->host->space)
		return;
	j->origin = (uint64_t)ram->base - 1;
	j->extent = ram->size + 1;
	for (j->table_bits = 0; PAGE_SIZE << j->table_bits <= ram->size; j->table_bits++)
		;
}

int tables_init(struct jit *j, struct lm_err *err)
{
	int fd = memfd_create("lamina-jit-state", MFD_CLOEXEC), rc;

	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return lm_err_errno(err, -errno, "cannot create the state of translated code");
	choose_size(j);
	rc = map_tables(j, fd, err);
	close(fd);
	if (rc < 0)
		return rc;
	j->js = (struct jit_state *)(j->supervisor.base - 4096);
	j->js->index_mask = (LM_BIT(j->table_bits) - 1) << PAGE_SHIFT;
	j->js->origin = j->origin;
	j->js->extent = j->extent;
	j->now = &j->space[0];
	return 0;
}

static void unmap_table(struct jit_table *t)
{
	if (t->base)
		munmap(t->base - JIT_BELOW, JIT_TABLE_BYTES(t->bits) + JIT_BELOW);
}

void tables_fini(struct jit *j)
{
	if (j->write_entry)
		munmap(j->write_entry, j->c->sys->ram->code.frames * sizeof(*j->write_entry));
	unmap_table(&j->supervisor);
	for (unsigned k = 0; k < JIT_SPACES; k++) {
		unmap_table(&j->space[k].user);
		unmap_table(&j->space[k].ac);
	}
}
