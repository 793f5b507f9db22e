/* Paging (SDM vol. 3A ch. 4): the page walk of every mode, and the TLB in front of it. */
#ifndef LM_ISA_X86_MMU_H
#define LM_ISA_X86_MMU_H

#include "isa/x86/access.h"

struct page_walk {
	gpa_t gpa;           /* of the byte asked for */
	uint64_t page_bytes; /* 4 KiB, 2 MiB, 4 MiB or 1 GiB */
	bool writable, user, executable, global;
	bool dirty;          /* D is set in the leaf: writes need no further walk */
};

/*
 * Walks for an access (without paging: there is nothing to walk), setting A and D bits atomically in guest memory. Returns true, or false
 * with *error set to the #PF error code. `set` (TLB_USER ...) is the privilege of the access. With
 * `probe`, bits are not set and rights are not checked (debuggers, backtraces).
 */
bool mmu_walk(struct x86_cpu *c, gva_t gva, enum mem_access access, unsigned set, bool probe,
	      struct page_walk *walk, uint32_t *error);

/*
 * The host address of a byte for an access in TLB set `set` (TLB_USER ...), through the TLB; raises
 * #PF. NULL when the page is not RAM: *gpa is then the device address.
 */
uint8_t *mmu_translate(struct x86_cpu *c, gva_t gva, enum mem_access access, unsigned set,
		       gpa_t *gpa);

/*
 * The page that a walk ends in: RAM, or a window beside it (mem/ram.h) as far as the access can have
 * it. NULL: device memory. A window that is read-only makes the walk forbid shortcuts for writes.
 */
uint8_t *mmu_page(struct x86_cpu *c, struct page_walk *walk, enum mem_access access);

/* To be told of each page that an engine puts into tables of its own; page_bytes as in page_walk. */
void mmu_note_large_page(struct x86_cpu *c, gva_t gva, uint64_t page_bytes);

/*
 * Whether writes to the page need not come by mmu_translate, where A and D bits, write protection and
 * code pages are looked after. Who makes a shortcut asks code_map_keep_shortcut when it is made.
 * `page` is its host address; `write`: the access for which we were asked is one, so that the page is
 * marked as written where that is noted.
 */
bool mmu_writes_directly(const struct x86_cpu *c, const struct page_walk *walk, unsigned set,
			 const uint8_t *page, bool write);

/* The TLB alone: nothing is stale for the guest, and engines are not told. */
void mmu_drop_tlb(struct x86_cpu *c);

void mmu_flush_all(struct x86_cpu *c);
void mmu_flush_page(struct x86_cpu *c, gva_t gva);

/* After a write of CR3 (non-PAE and long mode: `keep` is bit 63 under PCID). */
void mmu_cr3_changed(struct x86_cpu *c, bool keep);

/* PAE: loads and checks the four PDPTEs from cr3; false: reserved bits set, raise #GP(0). */
bool mmu_load_pdptes(struct x86_cpu *c, uint64_t cr3);

/* For tools: guest-virtual to guest-physical without side effects; false when not mapped. */
bool mmu_probe(struct x86_cpu *c, gva_t gva, gpa_t *gpa);

#endif
