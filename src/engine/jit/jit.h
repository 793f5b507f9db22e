/*
 * The translator (tier S): guest x86-64 code becomes host x86-64 code that reaches guest memory only
 * through flat tables. See docs/design for the choices.
 *
 * Register plan: all guest GPRs but R10 and R11, the arithmetic flags and all x87/SSE/AVX state live
 * in the host's own registers; host R10 and R11 are scratch; GS base points to the table of the
 * current privilege, below which the vCPU's state page and jump cache are mapped.
 */
#ifndef LM_ENGINE_JIT_H
#define LM_ENGINE_JIT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "engine/jit/host.h"

extern const struct engine_ops jit_engine;

/* ---- The page that translated code addresses as gs:[disp] ---- */

struct jit_state {
	uint64_t gpr[16];        /* R10 and R11: always; the others outside translated code */
	uint64_t host_rsp;
	uint64_t rip;            /* where to go on, at exits */
	uint64_t exit;           /* why: a struct jit_exit *, or one of JIT_EXIT_ */
	uint64_t save_rax;       /* while flags are parked and no other register is free */
	uint64_t save_flags;     /* parked: AH as of LAHF, AL as of SETO */
	uint64_t slow_return;    /* executable address behind a memory check */
	uint64_t seg_base[6];    /* FS and GS */
	uint64_t poll;           /* address of the page that a kick makes unreadable */
	uint64_t target;         /* where enter jumps to */
	uint64_t page_base;      /* gva of the page that the current block is in */
	uint64_t kernel_gs_base; /* IA32_KERNEL_GS_BASE */
	uint64_t slow_gva;
	uint64_t call_target;
	uint64_t insn;           /* for helpers: bytes of the instruction, and how it is encoded */
	uint64_t system_flags;   /* RFLAGS without status flags and IF */
	uint64_t sti_poll;       /* what STI reads first: not readable when an interrupt waits */
	uint64_t behind_sti;     /* offset in the page of what follows the last STI; 0: none was executed */
	uint64_t work;           /* scratch of one instruction */
	uint64_t mask31, mask63; /* PEXT masks: the bits of a bit's number in a word */
	uint64_t kept;           /* a scratch register during a slow path */
	uint64_t left_after;     /* how many instructions of the block, where it was left for another page */
	uint64_t index_mask;     /* PEXT mask: the bits of an address that are its table index */
	uint64_t origin, extent; /* of small tables, as in struct jit */
	uint64_t addend[16];     /* JIT_GROUPS; of the block's groups whose addend left its register */
	uint32_t host_mxcsr, mxcsr; /* the guest's outside translated code */
	uint8_t interrupt_flag;  /* RFLAGS.IF, 0 or 1 */
	uint32_t in_use;         /* XINUSE (SDM vol. 1 §13.6): without XCR0_AVX, upper halves are 0 */
	uint8_t ymm[16][32] __attribute__((aligned(64))); /* outside translated code; see in_use */
	uint8_t xsave[832] __attribute__((aligned(64)));  /* an image in the making */
};

#define JIT_JUMP_ENTRIES 65536u
/* Twice an address and itself rotated right by this add up to 8 times its entry's number ... */
#define JIT_JUMP_ROTATE  13
/* ... and for the second way 4 times the address and this. */
#define JIT_JUMP_ROTATE2 17

/*
 * Indirect jumps by guest-virtual address: where blocks look first, and where an entry goes when
 * another one takes its place there.
 */
struct jit_jump {
	uint64_t tag; /* gva; empty: JIT_NO_TAG, in the first entry of a way JIT_NO_TAG_FIRST */
	uint64_t host;
};

struct jit_jumps {
	struct jit_jump entry[2 * JIT_JUMP_ENTRIES]; /* the first way, then the second */
};

/*
 * Links: direct jumps to other pages. Each has a place below every table, with the target's gva once it is
 * known that in this address space the link's block is what this address has; else 0.
 */
#define JIT_LINKS 262144u

#define JIT_PAGE_BITS 8192u

/*
 * Empty entries have the tag 0, as pages that were never touched do. A jump to 0 looks in the first entry
 * of a way, whose tag is another then: not canonical, and a jump there looks in entry 8 or 16.
 */
#define JIT_NO_TAG       UINT64_C(0)
#define JIT_NO_TAG_FIRST UINT64_C(0x8000000000000020)

/* Below each table: its links, its jump cache, then the state page (the same in all). */
#define JIT_BELOW_JUMPS (sizeof(struct jit_jumps) + 4096)
#define JIT_BELOW       (JIT_LINKS * sizeof(uint64_t) + JIT_BELOW_JUMPS)
#define JS(field)     ((int32_t)offsetof(struct jit_state, field) - 4096)
#define JS_GPR(n)     ((int32_t)(offsetof(struct jit_state, gpr) + 8 * (n)) - 4096)

#define JS_ADDEND(n)  ((int32_t)(offsetof(struct jit_state, addend) + 8 * (n)) - 4096)

/* Exits that are no chainable jump. */
#define JIT_EXIT_LOOKUP 0u /* an indirect jump that the cache does not know */
#define JIT_EXIT_INTERP 1u /* the instruction at rip is the interpreter's */
#define JIT_EXIT_POLL   2u
#define JIT_EXIT_FAULT  3u /* host fault or memory that the tables do not give: interpreter */

/* An indirect jump: where its instruction is in the page, and by how much it moved RSP. */
#define JIT_JUMP_INFO(offset, rsp) ((uint32_t)(offset) | (uint32_t)((rsp) + 8) << 12)

/* ---- Tables ---- */

/* A table has 2^bits read entries and then as many write entries. */
#define JIT_LARGE_BITS        36 /* one for each page of the address space */
#define JIT_TABLE_BYTES(bits) (UINT64_C(16) << (bits))
#define JIT_LARGE_TABLE_BYTES JIT_TABLE_BYTES(JIT_LARGE_BITS)
#define JIT_LOG         65536u

/* Indexes of entries that are set. */
struct jit_log {
	uint32_t count;
	uint64_t index[JIT_LOG];
};

struct jit_table {
	uint8_t *base; /* GS base */
	unsigned bits;
	uint64_t origin, extent; /* as in struct jit */
	struct jit_log local, global;
	uint32_t mode; /* jit_mode that it is for: jumps lead to such blocks, entries are for its width */
	uint32_t jump_log[JIT_JUMP_ENTRIES]; /* entries in use, those of the second way behind the others ... */
	unsigned jump_count;                 /* ... so many; JIT_JUMP_ENTRIES: any may be */
	/* Which pages have jumps remembered: a bit of their hash each, for either half of addresses. */
	uint64_t jump_pages[2][JIT_PAGE_BITS / 64];
	bool jump_half[2]; /* any bit of it is set */
	uint32_t link_log[JIT_LINKS]; /* links with a target here ... */
	unsigned link_count;          /* ... so many; JIT_LINKS: any may have one */
	bool local_jumps;    /* some of them in pages that are not global */
};

/* What an address space (a PCID) has for itself; supervisor accesses without AC are common to all. */
struct jit_space {
	struct jit_table user, ac;
	uint16_t pcid;
	bool in_use;
	uint64_t last_use;
};

#define JIT_SPACES 8u

#define JIT_MANY_ENTRIES ((uint64_t *)1)

/* ---- Blocks ---- */

#define JIT_MAX_INSNS 48u
#define JIT_GROUPS    16u
#define JIT_BRANCHES  4u

struct jit_block;

/* Something in the arena: its offset there in units of 8 bytes; 0: nothing. There are many of these. */
typedef uint32_t jit_ref;

/*
 * A direct jump out of a block that can be chained: always to a target in the same page, to another page
 * by a link.
 */
struct jit_exit {
	uint32_t patch;       /* offset in the code cache of the rel32 ... */
	uint32_t stub;        /* ... and of what it leads to while not chained */
	jit_ref from;         /* the block */
	jit_ref to;           /* the target's block, when chained */
	jit_ref next_in;      /* other exits chained to `to` */
	uint32_t link_frame;  /* of the block that places of its link stand for */
	union {
		uint32_t info; /* of a link: JIT_JUMP_INFO */
		struct {
			uint16_t offset; /* of its target, in the same page */
			uint8_t insns;   /* of the block, executed when it is taken */
		};
	};
	uint32_t link : 28;   /* number of the link */
	uint32_t is_link : 1;
	uint32_t flags_here : 1, flags_parked : 1; /* as in struct flags (translation.h) */
	uint32_t ungrouped : 1; /* the check of a group failed: go on in a block without groups */
};

struct jit_insn_info {
	uint16_t host; /* offset of its code in the block */
	uint16_t guest : 12; /* of the instruction from the block's first one, modulo the size of a page */
	uint16_t parked : 1; /* flags are in the state page when it faults, else in EFLAGS */
};

/*
 * Position-independent: the same block serves every address at which its page is mapped. `code` expects
 * that address in r10 and the flags parked; the others are for jumps from the same page, with the flags in
 * EFLAGS (`chained`) or parked.
 */
struct jit_block;

/* A block among those of a page that its code comes from. */
struct jit_page_link {
	struct jit_block *block;
	struct jit_page_link *next;
};

struct jit_block {
	uint64_t gpa;
	uint64_t second_page; /* gpa, when its one instruction goes on there; else JIT_ONE_PAGE */
	uint32_t mode;
	uint32_t insns;
	uint8_t *code, *chained, *chained_parked, *code_end; /* executable addresses */
	struct jit_block *next_hash;
	struct jit_page_link link[2];
	struct jit_exit *exit; /* of the last instruction, the conditional jumps, the groups */
	unsigned exits;
	jit_ref incoming; /* exits */
	bool dead;
	bool starts_parked; /* where the body has the flags when it polls */
	struct jit_insn_info info[]; /* insns entries, in order */
};

#define JIT_ONE_PAGE UINT64_MAX

static inline bool jit_crosses(const struct jit_block *b)
{
	return b->second_page != JIT_ONE_PAGE;
}

/* Bits of jit_block.mode; the others are jit_mode's. */
#define JIT_MODE_NARROW    (1u << 19) /* 32-bit code */
#define JIT_MODE_UNGROUPED (1u << 24)

/* What a slow path asks jit_miss for. */
#define JIT_ACCESS_WRITE 1u
#define JIT_ACCESS_GROUP 2u /* no exit: JIT_NO_ADDEND */
#define JIT_ACCESS_SIZE(a) ((a) >> 8 & 0xfff)
#define JIT_ACCESS_RIP(a)  ((a) >> 20) /* offset of the instruction in its page */

#define JIT_NO_ADDEND 1u /* addends are multiples of the page size */

/*
 * Operands of 32-bit code are summed with 64 bits: a sum has its entry, as it is, in a table that is for
 * 32-bit code then. So many of 4 GiB below 0 and above can be; not in a page that is nearer to a multiple
 * of 4 GiB than this (group.c).
 */
#define JIT_NARROW_BELOW 1
#define JIT_NARROW_ABOVE 8
#define JIT_NARROW_EDGE  UINT64_C(16384)

#define JIT_HASH  262144u
#define JIT_PAGES 65536u

/* In front of the hash table, for jit_resolve: all that it needs in one cache line. */
struct jit_slot {
	uint64_t gpa;
	uint32_t mode;
	const uint8_t *code;
	const struct jit_block *block; /* NULL: empty */
};

#define JIT_SLOTS 32768u

struct jit_cache {
	struct jit_slot slot[JIT_SLOTS];
	uint8_t *writable, *exec;
	size_t arena_size;
	size_t size, used; /* blocks: in the first half */
	size_t cold;       /* what they rarely need: from the second half on */
	uint32_t links;    /* so many are given out */
	uint8_t *arena;    /* struct jit_block's, one behind the other; zero from arena_used on */
	size_t arena_used;
	struct jit_block *hash[JIT_HASH];
	struct jit_page_link *page[JIT_PAGES]; /* by frame */
	struct jit_block **by_address;    /* in order of code */
	size_t blocks, blocks_room;
	uint8_t *common_end;              /* executable: blocks start here */
};

/* Why no code is translated for now. */
enum jit_stretch {
	JIT_TRANSLATED,
	JIT_STRETCH_TRACE,
	JIT_STRETCH_CHECKS,   /* #AC or data breakpoints */
	JIT_STRETCH_TF,
	JIT_STRETCH_DF,
	JIT_STRETCH_16BIT,    /* 16-bit, virtual-8086 and real mode */
	JIT_STRETCH_SEGMENTS, /* 32-bit code with segments that are not flat */
	JIT_STRETCHES,
};

/* CLOCK_MONOTONIC by the TSC (clock.c); one for each vCPU, used on its thread. */
struct jit_clock {
	bool usable;
	uint64_t tsc;         /* when the clock was read ... */
	int64_t ns;           /* ... and what it said */
	uint64_t window;      /* so many ticks from there on the TSC serves; 0: not at all */
	uint64_t ns_per_tick; /* in units of 2^-32 */
	uint64_t base_tsc;    /* since when ns_per_tick is measured */
	int64_t base_ns;
	int64_t last;         /* the latest reading */
};

struct jit_counters {
	uint64_t entries, blocks, interp_steps, misses, flushes, invalidated, cache_flushes,
		checked, stale, faults, lookups, resolved, linked, polls;
};

struct jit {
	struct jit_state *js;
	struct jit_table supervisor;
	struct jit_space space[JIT_SPACES];
	unsigned spaces;          /* so many are mapped */
	struct jit_space *now;
	uint64_t **write_entry;   /* by frame: the only one that leads there, or JIT_MANY_ENTRIES */
	uint64_t clock;           /* for last_use */
	uint64_t notes_seen;
	struct jit_cache cache;
	/* Common code, executable addresses. */
	const uint8_t *enter, *exit_common, *exit_parked, *exit_fault, *slow_common, *jump_miss;
	const uint8_t *link_miss, *jump_dead, *helper_common;
	uint8_t *poll_page;
	struct x86_cpu *c;
	bool log_full; /* a table has set more entries than its log holds: flush all */
	struct jit_counters count;
	uint64_t interp_reason[2048]; /* by mnemonic */
	uint64_t stretch[JIT_STRETCHES]; /* instructions */
	struct jit_exit *last_exit; /* the chainable exit that was taken */
	bool interpret;             /* the instruction at RIP is the interpreter's */
	bool jump_wanted;           /* an indirect jump missed: remember its target */
	bool ungrouped;             /* the next block is to be one without groups */
	const struct jit_host *host;
	/*
	 * Entries are host address minus guest address minus origin. Large tables: origin is 0, as is extent.
	 * Small ones: RAM begins at origin + 1 and has less than extent bytes, which tells if an entry is
	 * another page's.
	 */
	unsigned table_bits;
	uint64_t origin, extent;
	bool counted;               /* run() has a budget: until stop_at */
	uint64_t stop_at;
	bool in_code, in_run;       /* atomic */
	struct jit_clock clock_by_tsc;
};

/* clock.c */
void jit_clock_init(struct jit_clock *k);
/* As clock_gettime(CLOCK_MONOTONIC), in nanoseconds. */
int64_t jit_clock_ns(struct jit_clock *k);

static inline void *jit_at(const struct jit *j, jit_ref ref)
{
	return ref ? j->cache.arena + 8 * (size_t)ref : NULL;
}

static inline jit_ref jit_ref_to(const struct jit *j, const void *p)
{
	return p ? (jit_ref)((size_t)((const uint8_t *)p - j->cache.arena) / 8) : 0;
}

/* cache.c */
int cache_init(struct jit *j, struct lm_err *err);
void cache_fini(struct jit *j);
struct jit_block *cache_find(struct jit *j, uint64_t gpa, uint32_t mode);
/* The code of such a block that does not depend on a second page, or NULL. */
const uint8_t *cache_find_code(struct jit *j, uint64_t gpa, uint32_t mode);
void cache_add(struct jit *j, struct jit_block *b, size_t bytes);
struct jit_block *cache_at(struct jit *j, const uint8_t *host);
void cache_chain(struct jit *j, struct jit_exit *x, struct jit_block *to);
void cache_set_target(struct jit *j, struct jit_exit *x, const uint8_t *target);
void cache_drop_page(struct jit *j, uint64_t gpa);
void cache_flush(struct jit *j);
/* Zeroed memory for a block, NULL when there is none; of which cache_add keeps so many bytes. */
struct jit_block *cache_room(struct jit *j, size_t bytes);

/* table.c */
int tables_init(struct jit *j, struct lm_err *err);
void tables_fini(struct jit *j);
/* The table of a TLB set in the current address space. */
static inline struct jit_table *table_of(struct jit *j, unsigned set)
{
	if (set == TLB_USER)
		return &j->now->user;
	return set == TLB_SUPERVISOR ? &j->supervisor : &j->now->ac;
}
void tables_flush(struct jit *j);
/*
 * Makes the table of the current privilege fit the present mode, before it is used; the second form
 * makes it the table that translated code uses, too.
 */
void tables_adopt_mode(struct jit *j);
void tables_enter(struct jit *j);
/* x86_cpu.on_flush. Between blocks: their code relies on entries that it saw. */
void tables_on_flush(struct x86_cpu *c, const struct tlb_flush *f);
/* Entries by which the page is written. Between blocks. */
void tables_drop_writes(struct jit *j, uint64_t gpa);
void table_remember_jump(struct jit_table *t, uint64_t gva, const uint8_t *host, bool global);
/* A remembered block depends on another page as well. */
void table_remember_page(struct jit_table *t, uint64_t gva, bool global);
/* All tables forget the link. */
void tables_drop_link(struct jit *j, uint32_t link);
/* The addend for an access in the current TLB set, filling the entry; 0: fault, device, code page. */
uint64_t table_fill(struct jit *j, uint64_t gva, bool write);
static inline uint64_t table_index(const struct jit_table *t, uint64_t gva, bool write)
{
	return (gva << (52 - t->bits) >> (64 - t->bits)) | (uint64_t)write << t->bits;
}

/* The same without filling; for a table's own accesses. */
static inline uint64_t table_entry(const struct jit_table *t, uint64_t gva, bool write)
{
	uint64_t e = ((const uint64_t *)t->base)[table_index(t, gva, write)];

	return t->extent && gva + e >= t->extent ? 0 : e;
}

/* link.c */
void link_set(struct jit_table *t, uint32_t link, uint64_t gva);
void link_clear(struct jit_table *t, uint32_t link);
void links_forget(struct jit_table *t);
/* Those to `pages` pages from the page number `first` on. */
void links_forget_pages(struct jit_table *t, uint64_t first, uint64_t pages);

/* check.c: looks at the entry that the guest is about to use, if there is one. A bug ends the process. */
void check_entry(struct jit *j, uint64_t sum, bool write);
/* The linear address that an operand's sum means; false: none that an entry may stand for. table.c. */
bool table_linear(const struct jit_table *t, uint64_t sum, uint64_t *gva);

/* translate.c */

/* What to translate. */
struct jit_source {
	uint64_t gpa;
	uint64_t second_page; /* as in struct jit_block */
	uint32_t mode;
	const uint8_t *code;
	unsigned room;        /* bytes of code: to the end of the page, or of both pages' copy */
	unsigned max_insns;
};

struct jit_block *translate(struct jit *j, const struct jit_source *from);
/* The instruction at the source is cut off by the end of its page. */
bool translate_wants_more(struct jit *j, const struct jit_source *from);
/* Sends a chainable exit to where its target is looked up each time; false: no room. */
bool emit_lookup_trampoline(struct jit *j, struct jit_exit *x);

/* stubs.c */
void stubs_emit(struct jit *j);
/* Called by the slow path of a memory check, on the host's stack. */
uint64_t jit_miss(struct jit *j, uint64_t gva, uint32_t access);
/*
 * Called where an indirect jump to js->rip is in neither way of the jump cache: the code to go on with,
 * remembered from now on; NULL: the dispatcher must look. resolve.c.
 */
const uint8_t *jit_resolve(struct jit *j);
/* The same where a link has no place for js->rip, or is not chained; it may be from now on. */
const uint8_t *jit_follow_link(struct jit *j, struct jit_exit *x);
/* What of the vCPU's state blocks are made for, and their greatest length. */
uint32_t jit_mode(const struct jit *j, unsigned longest);

/* What 32-bit code is translated for: CS, SS, DS and ES are flat, as they mostly are. */
static inline bool jit_has_flat_segments(const struct x86_cpu *c)
{
	const struct x86_segment *cs = &c->s.seg[CS];

	return c->flat_data && c->stack_size == 4 && !cs->base && cs->limit == UINT32_MAX;
}

static inline bool jit_may_use_all(const struct x86_segment *s)
{
	const uint16_t rw = SEG_P | SEG_S | SEG_WRITABLE;

	return s->limit == UINT32_MAX &&
	       (s->attr & (rw | SEG_CODE | SEG_EXPAND | SEG_UNUSABLE)) == rw;
}

/* 32-bit code finds its registers zero-extended (narrow.c). */
static inline void jit_narrow_registers(struct jit_state *js)
{
	for (unsigned r = 0; r < 8; r++)
		js->gpr[r] = (uint32_t)js->gpr[r];
}

/*
 * What is added to offsets in FS or GS. Where 32-bit code may not use all of the segment, that is an
 * address for which no table has an entry, and the interpreter looks at the access.
 */
#define JIT_NO_SEGMENT (UINT64_C(1) << 46)
static inline uint64_t jit_segment_base(const struct x86_cpu *c, unsigned seg)
{
	const struct x86_segment *s = &c->s.seg[seg];

	if (c->code_size == CODE_64)
		return s->base;
	return jit_may_use_all(s) ? (uint32_t)s->base : JIT_NO_SEGMENT;
}

/* gs.c: GS base, which is the table that translated code uses. */
void gs_set(const struct jit *j, const uint8_t *base);

/* fault.c */
/* Once a process; faults elsewhere go on to the handlers that were there before. */
void faults_install(void);
extern __thread struct jit *jit_current;

#endif
