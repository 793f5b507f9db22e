/*
 * The flat tables: one 8-byte entry for each 4 KiB page of the 48-bit address space and kind of
 * access. An entry is host address minus guest address, 0 where the slow path must look: not yet
 * translated, not RAM, not permitted, or (writes) a page with translated code.
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

#define INDEX_BITS 36

static uint64_t index_of(uint64_t gva, bool write)
{
	return (gva << 16 >> 28) | (uint64_t)write << JIT_WRITE_BIT;
}

static void set_entry(struct jit *j, struct jit_table *t, uint64_t index, uint64_t addend,
		      bool global)
{
	struct jit_log *log = global ? &t->global : &t->local;
	uint64_t *entry = (uint64_t *)t->base + index;

	if (!*entry) {
		if (log->count == JIT_LOG) {
			j->log_full = true;
			return;
		}
		log->index[log->count++] = index;
	}
	*entry = addend;
}

static bool may_write(const struct x86_cpu *c, const struct page_walk *w, unsigned set)
{
	if (!w->dirty || code_map_has(&c->sys->ram->code, w->gpa))
		return false;
	return w->writable || (set != TLB_USER && !(c->s.cr0 & CR0_WP));
}

static bool walk(struct x86_cpu *c, uint64_t gva, bool write, unsigned set, struct page_walk *w)
{
	uint32_t error;

	return mmu_walk(c, GVA(gva), write ? ACCESS_WRITE : ACCESS_READ, set, false, w, &error);
}

uint64_t table_fill(struct jit *j, uint64_t gva, bool write)
{
	struct x86_cpu *c = j->c;
	unsigned set = (unsigned)(c->tlb - c->tlb_set);
	struct page_walk w;
	const uint8_t *page;
	uint64_t addend;

	j->count.misses++;
	if (c->access_checks || !x86_canonical(gva) || !walk(c, gva, write, set, &w))
		return 0;
	page = ram_ptr(c->sys->ram, GPA(w.gpa.v & ~PAGE_MASK), PAGE_SIZE);
	if (!page || lapic_owns(c, w.gpa))
		return 0;
	if (w.page_bytes != PAGE_SIZE) {
		c->large_low = LM_MIN(c->large_low, gva & ~(w.page_bytes - 1));
		c->large_high = LM_MAX(c->large_high, gva | (w.page_bytes - 1));
	}
	addend = (uint64_t)page - (gva & ~PAGE_MASK);
	set_entry(j, &j->table[set], index_of(gva, false), addend, w.global);
	if (may_write(c, &w, set))
		set_entry(j, &j->table[set], index_of(gva, true), addend, w.global);
	else if (write)
		return 0;
	return addend;
}

uint64_t jit_miss(struct jit *j, uint64_t gva, uint32_t access)
{
	unsigned size = access >> 8;
	uint64_t addend = 0;

	if ((gva & PAGE_MASK) + size <= PAGE_SIZE)
		addend = table_fill(j, gva, access & 1);
	if (addend)
		return addend;
	if (access & 2) /* flags were saved and RAX with them */
		j->js->gpr[RAX] = j->js->save_rax;
	j->js->rip = fault_rip(cache_at(j, (const uint8_t *)j->js->slow_return),
			       (const uint8_t *)j->js->slow_return);
	j->js->exit = JIT_EXIT_FAULT;
	return 0;
}

/* ---- Flushes ---- */

struct jit_jump *table_jumps(const struct jit_table *t)
{
	return (struct jit_jump *)(t->base - JIT_BELOW);
}

static void forget_jumps(struct jit_table *t)
{
	struct jit_jump *jump = table_jumps(t);

	for (unsigned k = 0; k < JIT_JUMP_ENTRIES; k++)
		jump[k].gva = JIT_NO_GVA;
	t->jump_pages = 0;
	t->local_jumps = false;
}

void tables_forget_jumps(struct jit *j)
{
	for (unsigned set = 0; set < TLB_SETS; set++)
		forget_jumps(&j->table[set]);
}

static uint64_t page_bit(uint64_t gva)
{
	uint64_t page = gva >> PAGE_SHIFT;

	return UINT64_C(1) << ((page ^ page >> 6 ^ page >> 12) & 63);
}

void table_remember_jump(struct jit_table *t, uint64_t gva, const uint8_t *host, bool global)
{
	struct jit_jump *jump = &table_jumps(t)[gva % JIT_JUMP_ENTRIES];

	jump->gva = gva;
	jump->host = (uint64_t)host;
	t->jump_pages |= page_bit(gva);
	t->local_jumps |= !global;
}

static void clear_logged(struct jit_table *t, struct jit_log *log)
{
	uint64_t *entries = (uint64_t *)t->base;

	for (uint32_t k = 0; k < log->count; k++)
		entries[log->index[k]] = 0;
	log->count = 0;
}

void tables_flush(struct jit *j)
{
	for (unsigned set = 0; set < TLB_SETS; set++) {
		clear_logged(&j->table[set], &j->table[set].local);
		clear_logged(&j->table[set], &j->table[set].global);
		forget_jumps(&j->table[set]);
	}
	j->count.flushes++;
}

void tables_flush_local(struct jit *j)
{
	for (unsigned set = 0; set < TLB_SETS; set++) {
		clear_logged(&j->table[set], &j->table[set].local);
		if (j->table[set].local_jumps)
			forget_jumps(&j->table[set]);
	}
}

/* The log keeps the index; clearing an entry twice does no harm. */
void tables_flush_page(struct jit *j, uint64_t gva)
{
	for (unsigned set = 0; set < TLB_SETS; set++) {
		uint64_t *entries = (uint64_t *)j->table[set].base;

		entries[index_of(gva, false)] = 0;
		entries[index_of(gva, true)] = 0;
		if (j->table[set].jump_pages & page_bit(gva))
			forget_jumps(&j->table[set]);
	}
}

/* ---- Life ---- */

static int map_table(struct jit_table *t, int state_fd, struct lm_err *err)
{
	uint8_t *p = mmap(NULL, JIT_TABLE_BYTES + JIT_BELOW, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return lm_err_errno(err, -errno, "cannot reserve a translation table of 1 TiB");
	t->base = p + JIT_BELOW;
	madvise(p, JIT_TABLE_BYTES + JIT_BELOW, MADV_NOHUGEPAGE);
	if (mmap(t->base - 4096, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, state_fd,
		 0) == MAP_FAILED)
		return lm_err_errno(err, -errno, "cannot map the state of translated code");
	forget_jumps(t);
	return 0;
}

int tables_init(struct jit *j, struct lm_err *err)
{
	int fd = memfd_create("lamina-jit-state", MFD_CLOEXEC), rc = 0;

	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return lm_err_errno(err, -errno, "cannot create the state of translated code");
	for (unsigned set = 0; !rc && set < TLB_SETS; set++)
		rc = map_table(&j->table[set], fd, err);
	close(fd);
	j->js = rc < 0 ? NULL : (struct jit_state *)(j->table[0].base - 4096);
	return rc;
}

void tables_fini(struct jit *j)
{
	for (unsigned set = 0; set < TLB_SETS; set++)
		if (j->table[set].base)
			munmap(j->table[set].base - JIT_BELOW, JIT_TABLE_BYTES + JIT_BELOW);
}
