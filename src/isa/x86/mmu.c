/* Paging (SDM vol. 3A ch. 4) and the TLB. */
#include "isa/x86/mmu.h"

#include "isa/x86/fault.h"

/* Bits of paging-structure entries (SDM vol. 3A §4.3-4.5). */
#define PTE_P      UINT64_C(0x001)
#define PTE_W      UINT64_C(0x002)
#define PTE_U      UINT64_C(0x004)
#define PTE_A      UINT64_C(0x020)
#define PTE_D      UINT64_C(0x040)
#define PTE_LARGE  UINT64_C(0x080)
#define PTE_G      UINT64_C(0x100)
#define PTE_NX     (UINT64_C(1) << 63)
#define PTE_ADDR   UINT64_C(0x000ffffffffff000)

/* One paging mode: how many levels there are and how wide their entries and indexes. */
struct paging_mode {
	uint8_t levels;
	uint8_t entry_bytes;
	uint8_t index_bits;
};

static const struct paging_mode mode_32bit = { 2, 4, 10 };
static const struct paging_mode mode_pae = { 2, 8, 9 }; /* below the PDPTE registers */
static const struct paging_mode mode_4level = { 4, 8, 9 };

/* What one step of a walk sees. */
struct walk_state {
	const struct paging_mode *mode;
	uint64_t table;       /* gpa of the current table */
	uint64_t entry;
	uint8_t *entry_hva;
	unsigned level;       /* 1 is the page table */
	bool writable, user, nx;
};

static unsigned level_shift(const struct walk_state *w)
{
	return PAGE_SHIFT + (w->level - 1) * w->mode->index_bits;
}

static uint64_t physical_mask(const struct x86_cpu *c)
{
	return (UINT64_C(1) << c->sys->model.physical_bits) - 1;
}

static uint64_t load_entry(const uint8_t *p, unsigned bytes)
{
	if (bytes == 4)
		return __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
	return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
}

/* Sets bits in an entry that must still hold `old`; false: it changed, walk again. */
static bool set_entry_bits(const struct walk_state *w, uint8_t *p, uint64_t old, uint64_t bits)
{
	if (w->mode->entry_bytes == 4) {
		uint32_t was = (uint32_t)old;

		return __atomic_compare_exchange_n((uint32_t *)p, &was, was | (uint32_t)bits,
						   false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	return __atomic_compare_exchange_n((uint64_t *)p, &old, old | bits, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* A table that is not in RAM reads as not present. */
static bool read_entry(struct x86_cpu *c, struct walk_state *w, gva_t gva)
{
	uint64_t index = bits_get(gva.v, level_shift(w), w->mode->index_bits);

	w->entry_hva = ram_ptr(c->sys->ram, GPA(w->table + index * w->mode->entry_bytes),
			       w->mode->entry_bytes);
	w->entry = w->entry_hva ? load_entry(w->entry_hva, w->mode->entry_bytes) : 0;
	return w->entry & PTE_P;
}

static bool is_leaf(const struct x86_cpu *c, const struct walk_state *w)
{
	if (w->level == 1)
		return true;
	if (!(w->entry & PTE_LARGE))
		return false;
	if (w->mode == &mode_32bit)
		return c->s.cr4 & CR4_PSE;
	return w->level == 2 || (w->level == 3 && model_has(&c->sys->model, F_PDPE1GB));
}

/* Reserved bits of a present entry (SDM vol. 3A §4.3, §4.4.2, §4.5.4). */
static bool reserved_bits_set(const struct x86_cpu *c, const struct walk_state *w, bool leaf)
{
	uint64_t reserved;

	if (w->mode == &mode_32bit)
		return leaf && w->level == 2 && w->entry & (UINT64_C(1) << 21);
	reserved = PTE_ADDR & ~physical_mask(c);
	if (!x86_long_mode(c))
		reserved |= UINT64_C(0x7ff0000000000000);
	if (!(c->s.efer & EFER_NXE))
		reserved |= PTE_NX;
	if (leaf && w->level > 1)
		reserved |= ((UINT64_C(1) << level_shift(w)) - 1) & ~UINT64_C(0x1fff);
	if (!leaf && w->level > 2)
		reserved |= PTE_LARGE;
	return w->entry & reserved;
}

/* The physical address a leaf gives; 4 MiB pages keep address bits 32-39 in bits 13-20 (PSE-36). */
static uint64_t leaf_address(const struct x86_cpu *c, const struct walk_state *w, gva_t gva)
{
	uint64_t offset_mask = (UINT64_C(1) << level_shift(w)) - 1;
	uint64_t base = w->entry & PTE_ADDR;

	if (w->mode == &mode_32bit && w->level == 2)
		base = (w->entry & 0xffc00000) | bits_get(w->entry, 13, 8) << 32;
	return ((base & ~offset_mask) | (gva.v & offset_mask)) & physical_mask(c);
}

static bool smap_forbids(const struct x86_cpu *c, unsigned set)
{
	return c->s.cr4 & CR4_SMAP && set == TLB_SUPERVISOR;
}

/* Access rights (SDM vol. 3A §4.6.1) with the privilege of a TLB set. */
static bool allowed(const struct x86_cpu *c, const struct walk_state *w, enum mem_access access,
		    unsigned set)
{
	if (access == ACCESS_EXEC && w->nx)
		return false;
	if (set == TLB_USER)
		return w->user && (access != ACCESS_WRITE || w->writable);
	if (w->user && access == ACCESS_EXEC && c->s.cr4 & CR4_SMEP)
		return false;
	if (w->user && access != ACCESS_EXEC && smap_forbids(c, set))
		return false;
	return access != ACCESS_WRITE || w->writable || !(c->s.cr0 & CR0_WP);
}

static uint32_t error_code(const struct x86_cpu *c, enum mem_access access, unsigned set,
			   uint32_t why)
{
	bool fetch_reported = c->s.cr4 & CR4_SMEP ||
			      (c->s.efer & EFER_NXE && c->s.cr4 & CR4_PAE);

	if (access == ACCESS_WRITE)
		why |= PF_WRITE;
	if (set == TLB_USER)
		why |= PF_USER;
	if (access == ACCESS_EXEC && fetch_reported)
		why |= PF_FETCH;
	return why;
}

/* Puts the walk at its first table; false: the PAE PDPTE register is not present. */
static bool walk_start(const struct x86_cpu *c, struct walk_state *w, gva_t gva)
{
	*w = (struct walk_state){ .writable = true, .user = true };
	if (x86_long_mode(c)) {
		w->mode = &mode_4level;
		w->table = c->s.cr3 & PTE_ADDR;
	} else if (c->s.cr4 & CR4_PAE) {
		uint64_t pdpte = c->s.pdpte[bits_get(gva.v, 30, 2)];

		w->mode = &mode_pae;
		w->table = pdpte & PTE_ADDR;
		w->level = w->mode->levels;
		return pdpte & PTE_P;
	} else {
		w->mode = &mode_32bit;
		w->table = c->s.cr3 & 0xfffff000;
	}
	w->level = w->mode->levels;
	return true;
}

static void accumulate_rights(struct walk_state *w)
{
	w->writable &= (w->entry & PTE_W) != 0;
	w->user &= (w->entry & PTE_U) != 0;
	if (w->mode->entry_bytes == 8)
		w->nx |= (w->entry & PTE_NX) != 0;
}

struct visited {
	uint8_t *hva[4];
	uint64_t entry[4];
	unsigned count;
};

/* All upper entries get A, the leaf gets A and on a write D; false: an entry changed meanwhile. */
static bool set_accessed_dirty(const struct ram *ram, const struct walk_state *w,
			       const struct visited *v, bool write)
{
	for (unsigned k = 0; k < v->count; k++) {
		uint64_t bits = PTE_A;

		if (k == v->count - 1 && write)
			bits |= PTE_D;
		if ((v->entry[k] & bits) == bits)
			continue;
		if (!set_entry_bits(w, v->hva[k], v->entry[k], bits))
			return false;
		ram_mark_dirty(ram, v->hva[k], w->mode->entry_bytes);
	}
	return true;
}

enum walk_result { WALK_OK, WALK_NOT_PRESENT, WALK_RESERVED };

static enum walk_result walk_tables(struct x86_cpu *c, struct walk_state *w, struct visited *v,
				    gva_t gva)
{
	v->count = 0;
	if (!walk_start(c, w, gva))
		return WALK_NOT_PRESENT;
	for (;; w->level--) {
		bool leaf;

		if (!read_entry(c, w, gva))
			return WALK_NOT_PRESENT;
		leaf = is_leaf(c, w);
		if (reserved_bits_set(c, w, leaf))
			return WALK_RESERVED;
		accumulate_rights(w);
		v->hva[v->count] = w->entry_hva;
		v->entry[v->count++] = w->entry;
		if (leaf)
			return WALK_OK;
		w->table = w->entry & (w->mode == &mode_32bit ? 0xfffff000 : PTE_ADDR);
	}
}

static void describe(const struct x86_cpu *c, const struct walk_state *w, gva_t gva, bool write,
		     struct page_walk *walk)
{
	*walk = (struct page_walk){
		.gpa = GPA(leaf_address(c, w, gva)),
		.page_bytes = UINT64_C(1) << level_shift(w),
		.writable = w->writable,
		.user = w->user,
		.executable = !w->nx,
		.global = w->entry & PTE_G && c->s.cr4 & CR4_PGE,
		.dirty = write || w->entry & PTE_D,
	};
}

static void translate_unpaged(gva_t gva, struct page_walk *walk)
{
	*walk = (struct page_walk){
		.gpa = GPA(gva.v & 0xffffffff),
		.page_bytes = PAGE_SIZE,
		.writable = true,
		.user = true,
		.executable = true,
		.dirty = true,
	};
}

bool mmu_walk(struct x86_cpu *c, gva_t gva, enum mem_access access, unsigned set, bool probe,
	      struct page_walk *walk, uint32_t *error)
{
	bool write = access == ACCESS_WRITE;
	struct walk_state w;
	struct visited v;

	if (!(c->s.cr0 & CR0_PG)) {
		translate_unpaged(gva, walk);
		return true;
	}
	do {
		enum walk_result r = walk_tables(c, &w, &v, gva);

		if (r == WALK_NOT_PRESENT) {
			*error = error_code(c, access, set, 0);
			return false;
		}
		if (r == WALK_RESERVED) {
			*error = error_code(c, access, set, PF_PRESENT | PF_RSVD);
			return false;
		}
		if (!probe && !allowed(c, &w, access, set)) {
			*error = error_code(c, access, set, PF_PRESENT);
			return false;
		}
	} while (!probe && !set_accessed_dirty(c->sys->ram, &w, &v, write));
	describe(c, &w, gva, write && !probe, walk);
	return true;
}

/* ---- The TLB ---- */

void mmu_note_large_page(struct x86_cpu *c, gva_t gva, uint64_t page_bytes)
{
	struct x86_large_pages *large = &c->large[gva.v >> 63];

	if (page_bytes == PAGE_SIZE)
		return;
	large->low = LM_MIN(large->low, align_down(gva.v, page_bytes));
	large->high = LM_MAX(large->high, gva.v | (page_bytes - 1));
	large->bytes = LM_MAX(large->bytes, page_bytes);
}

/* While writes are noted there are shortcuts to marked pages only. */
static bool noted_as_written(const struct ram *ram, const uint8_t *page, bool write)
{
	if (LM_LIKELY(!ram->dirty.on))
		return true;
	if (write)
		ram_mark_dirty(ram, page, PAGE_SIZE);
	return dirty_has(&ram->dirty, (uint64_t)(page - ram->base));
}

bool mmu_writes_directly(const struct x86_cpu *c, const struct page_walk *walk, unsigned set,
			 const uint8_t *page, bool write)
{
	if (!walk->dirty || !(walk->writable || (set != TLB_USER && !(c->s.cr0 & CR0_WP))))
		return false;
	if (!noted_as_written(c->sys->ram, page, write))
		return false;
	return code_map_allow_shortcut(&c->sys->ram->code, walk->gpa);
}

uint8_t *mmu_page(struct x86_cpu *c, struct page_walk *walk, enum mem_access access)
{
	gpa_t start = GPA(walk->gpa.v & ~PAGE_MASK);
	uint8_t *page = ram_ptr(c->sys->ram, start, PAGE_SIZE);
	const struct ram_window *w;

	if (LM_LIKELY(page != NULL))
		return page;
	w = ram_window_at(c->sys->ram, start, &page);
	if (!w || (w->read_only ? access == ACCESS_WRITE : access == ACCESS_EXEC))
		return NULL;
	if (w->read_only)
		walk->dirty = false;
	return page;
}

static void fill(struct x86_cpu *c, gva_t gva, enum mem_access access, unsigned set,
		 const struct page_walk *walk, const uint8_t *page_hva)
{
	struct x86_tlb *tlb = &c->tlb_set[set];
	struct tlb_entry *e = tlb_slot(tlb, gva.v);
	uint64_t tag = tlb_tag(tlb, gva.v);

	if (e->read_tag != tag && e->write_tag != tag && e->exec_tag != tag)
		e->read_tag = e->write_tag = e->exec_tag = TLB_NO_TAG;
	e->addend = (uintptr_t)page_hva - (uintptr_t)(gva.v & ~PAGE_MASK);
	e->gpa = walk->gpa.v & ~PAGE_MASK;
	if (access == ACCESS_EXEC) {
		e->exec_tag = tag;
		return;
	}
	e->read_tag = tag;
	e->write_tag = mmu_writes_directly(c, walk, set, page_hva, access == ACCESS_WRITE) ? tag : TLB_NO_TAG;
	if (e->write_tag == tag && !code_map_keep_shortcut(&c->sys->ram->code, walk->gpa))
		e->write_tag = TLB_NO_TAG;
}

static bool hit(const struct tlb_entry *e, uint64_t tag, enum mem_access access)
{
	switch (access) {
	case ACCESS_READ:
		return e->read_tag == tag;
	case ACCESS_WRITE:
		return e->write_tag == tag;
	default:
		return e->exec_tag == tag;
	}
}

uint8_t *mmu_translate(struct x86_cpu *c, gva_t gva, enum mem_access access, unsigned set,
		       gpa_t *gpa)
{
	const struct tlb_entry *e = tlb_slot(&c->tlb_set[set], gva.v);
	struct page_walk walk;
	uint32_t error;
	uint8_t *page;

	/* Entries for pages with code have no write tag: this is the way of every write to them. */
	if (hit(e, tlb_tag(&c->tlb_set[set], gva.v), access)) {
		*gpa = GPA(e->gpa | (gva.v & PAGE_MASK));
		return (uint8_t *)(gva.v + e->addend);
	}
	if (!mmu_walk(c, gva, access, set, false, &walk, &error))
		x86_raise_pf(c, gva, error);
	c->count.tlb_misses++;
	*gpa = walk.gpa;
	page = mmu_page(c, &walk, access);
	if (!page || lapic_owns(c, walk.gpa))
		return NULL;
	if (access == ACCESS_WRITE) {
		ram_mark_dirty(c->sys->ram, page, PAGE_SIZE);
		code_map_note(&c->sys->ram->code, walk.gpa, 1);
	}
	mmu_note_large_page(c, gva, walk.page_bytes);
	if (!c->access_checks || access == ACCESS_EXEC)
		fill(c, gva, access, set, &walk, page);
	return page + (gva.v & PAGE_MASK);
}

static void flush_set(struct x86_tlb *tlb)
{
	tlb->generation++;
	if (tlb->generation != TLB_NO_TAG)
		return;
	tlb->generation = 0;
	for (unsigned k = 0; k < TLB_ENTRIES; k++)
		tlb->entry[k].read_tag = tlb->entry[k].write_tag = tlb->entry[k].exec_tag =
			TLB_NO_TAG;
}

void mmu_drop_tlb(struct x86_cpu *c)
{
	for (unsigned set = 0; set < TLB_SETS; set++)
		flush_set(&c->tlb_set[set]);
	c->fetch.page = FETCH_NONE;
}

static void tell_engine(struct x86_cpu *c, const struct tlb_flush *f)
{
	if (c->on_flush)
		c->on_flush(c, f);
}

void mmu_flush_all(struct x86_cpu *c)
{
	mmu_drop_tlb(c);
	for (unsigned k = 0; k < LM_ARRAY_SIZE(c->large); k++)
		c->large[k] = (struct x86_large_pages){ UINT64_MAX, 0, 0 };
	tell_engine(c, &(struct tlb_flush){ .kind = TLB_FLUSH_ALL });
}

void mmu_flush_page(struct x86_cpu *c, gva_t gva)
{
	const struct x86_large_pages *large = &c->large[gva.v >> 63];
	uint64_t bytes = PAGE_SIZE;

	if (gva.v >= large->low && gva.v <= large->high)
		bytes = large->bytes;
	if (bytes > PAGE_SIZE)
		mmu_drop_tlb(c);
	for (unsigned set = 0; set < TLB_SETS; set++) {
		struct tlb_entry *e = tlb_slot(&c->tlb_set[set], gva.v);

		e->read_tag = e->write_tag = e->exec_tag = TLB_NO_TAG;
	}
	c->fetch.page = FETCH_NONE;
	tell_engine(c, &(struct tlb_flush){
		.kind = TLB_FLUSH_RANGE, .gva = align_down(gva.v, bytes), .bytes = bytes });
}

/* These entries carry neither PCIDs nor G: all must go. */
void mmu_cr3_changed(struct x86_cpu *c, bool keep)
{
	mmu_drop_tlb(c);
	tell_engine(c, &(struct tlb_flush){
		.kind = TLB_SWITCH,
		.pcid = c->s.cr4 & CR4_PCIDE ? (uint16_t)(c->s.cr3 & CR3_PCID) : 0,
		.keep = keep,
	});
}

/* SDM vol. 3A §4.4.1: bits 1-2, 5-8 and those above MAXPHYADDR are reserved. */
bool mmu_load_pdptes(struct x86_cpu *c, uint64_t cr3)
{
	uint64_t reserved = UINT64_C(0x1e6) | ~(physical_mask(c) | PAGE_MASK);
	uint64_t pdpte[4];

	if (!ram_read(c->sys->ram, GPA(cr3 & 0xffffffe0), pdpte, sizeof(pdpte)))
		memset(pdpte, 0, sizeof(pdpte));
	for (unsigned k = 0; k < 4; k++)
		if (pdpte[k] & PTE_P && pdpte[k] & reserved)
			return false;
	memcpy(c->s.pdpte, pdpte, sizeof(pdpte));
	return true;
}

bool mmu_probe(struct x86_cpu *c, gva_t gva, gpa_t *gpa)
{
	struct page_walk walk;
	uint32_t error;

	if (!mmu_walk(c, gva, ACCESS_READ, TLB_SUPERVISOR_AC, true, &walk, &error))
		return false;
	*gpa = walk.gpa;
	return true;
}
