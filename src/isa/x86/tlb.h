/*
 * The software TLB: direct-mapped, one set of entries for each kind of access right.
 *
 * A tag is the page's linear address with the TLB generation in its low 12 bits; a flush is a new
 * generation. Entries exist for RAM pages only, so MMIO always takes the slow path. When every
 * access must be looked at (#AC, data breakpoints), entries are not filled.
 */
#ifndef LM_ISA_X86_TLB_H
#define LM_ISA_X86_TLB_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/addr.h"

#define TLB_ENTRIES 1024u
#define TLB_NO_TAG  UINT64_C(0xfff) /* generation 0xfff is never current */

/* Which set is in force: user; supervisor; supervisor with EFLAGS.AC set under SMAP. */
enum { TLB_USER, TLB_SUPERVISOR, TLB_SUPERVISOR_AC, TLB_SETS };

struct tlb_entry {
	uint64_t read_tag, write_tag, exec_tag;
	uintptr_t addend; /* hva = gva + addend */
	uint64_t gpa;     /* of the page */
};

struct x86_tlb {
	uint64_t generation; /* 0 to 0xffe */
	struct tlb_entry entry[TLB_ENTRIES];
};

/* What a flush takes away (SDM vol. 3A §4.10.4). */
enum tlb_flush_kind {
	TLB_FLUSH_ALL,
	TLB_FLUSH_RANGE,  /* the pages of [gva, gva + bytes) in the current address space, and global ones */
	TLB_SWITCH,       /* CR3 was loaded: another address space, or the same without its old entries */
};

struct tlb_flush {
	enum tlb_flush_kind kind;
	uint64_t gva, bytes; /* TLB_FLUSH_RANGE */
	uint16_t pcid;       /* TLB_SWITCH: of the new space; 0 without PCIDs */
	bool keep;           /* TLB_SWITCH: what was known about it stays valid */
};

static inline struct tlb_entry *tlb_slot(struct x86_tlb *tlb, uint64_t gva)
{
	return &tlb->entry[(gva >> PAGE_SHIFT) % TLB_ENTRIES];
}

static inline uint64_t tlb_tag(const struct x86_tlb *tlb, uint64_t gva)
{
	return (gva & ~PAGE_MASK) | tlb->generation;
}

#endif
