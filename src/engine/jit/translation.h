/* Translation of one block: what its stages share. translate.c calls them in this order. */
#ifndef LM_ENGINE_JIT_TRANSLATION_H
#define LM_ENGINE_JIT_TRANSLATION_H

#include "engine/jit/classify.h"
#include "engine/jit/emit.h"
#include "engine/jit/jit.h"

#define NO_GROUP (-1)

/*
 * The memory operand of an instruction or its place on the stack, when the address is a sum of
 * 64-bit registers and a constant: `plain`. All else has its address computed as the guest wrote it.
 */
struct access {
	struct place guest; /* in guest registers, before the instruction; or an offset from the page */
	uint16_t size;      /* bytes; 0: no access */
	uint16_t reach;     /* the index register adds up to so much; its group knows it by this alone */
	bool plain, write;
	bool aligned;       /* faults when misaligned: cannot cross a page */
	bool leader;        /* the first of its group: may fault still, if its address is not canonical */
	int8_t group;
};

/* One guest instruction on its way through. */
struct item {
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct insn i;
	enum jit_class class;
	const uint8_t *bytes; /* as 64-bit code has it: the guest's, or `recoded` */
	uint8_t host_length;  /* of these */
	uint8_t word;         /* bytes of a pointer and of what the stack holds: 8, or 4 (narrow.c) */
	uint8_t recoded[INSN_MAX_LENGTH + 1];
	uint64_t rip;         /* as offset in the page, as are all code addresses here */
	bool flags_live_in;  /* flags from before are read by this or a later instruction, or seen */
	bool flags_needed;   /* it works with them, or leaves some that are live */
	bool flags_written;  /* any of them */
	uint8_t address_regs; /* bit 0: R10, bit 1: R11 in the memory operand's address */
	uint8_t data_regs;    /* the same among other register operands */
	uint8_t written_regs; /* of these, written */
	struct access access;
};

/* Accesses to one page that a single check precedes (group.c). */
struct group {
	struct place first; /* the lowest byte, in registers as they are in front of `check` */
	uint32_t span; /* bytes, from there */
	bool write;    /* any of them */
	bool stored;   /* the addend is in its slot of the state page too */
	unsigned check, last; /* items: of the check, and of the last access */
};

/* Where the guest's arithmetic flags are (flags.c); nowhere: dead. */
struct flags {
	bool here, parked;
};

/* A slow path to be emitted behind the block. */
struct slow {
	uint8_t *cross, *miss;       /* rel32s that jump here; NULL: unused */
	uint8_t *other;              /* the same where a small table has another page's entry */
	const uint8_t *again, *back; /* behind the check for crossing; behind both */
	struct place first;          /* of the lowest byte, for `plain` */
	uint32_t access;             /* JIT_ACCESS_ bits */
	uint32_t span;
	unsigned item;
	uint8_t dest;        /* which scratch register gets the addend */
	bool plain;          /* else h10 holds the address */
	bool reload;         /* `again` expects the address of `first` in dest */
	bool keep;           /* the other scratch register is in use */
	struct flags flags;  /* in front of the check */
	int8_t group;
};

/* A jump out of the block to an address known now; its target is emitted in the cold part. */
struct side {
	uint8_t *jump;  /* its rel32 */
	uint64_t rip;
	unsigned item;  /* which instruction's it is */
	unsigned insns; /* how many of the block are executed by then */
	struct flags flags;
};

/* A direct jump to another page (link.c), and where it leaves for jit_follow_link. */
struct link {
	struct jit_exit *exit;
	uint8_t *other, *jump; /* rel32s: in this address space it is not known; it is not chained */
};

/* The indirect jump at the end of the block: the rel32 for where the jump cache's first way misses. */
struct lookup {
	uint8_t *miss;
	uint32_t info; /* JIT_JUMP_INFO */
};

struct translation {
	struct jit *j;
	unsigned word;    /* bytes: 8, or 4 in 32-bit code */
	struct emit e;    /* to the hot part of the cache, then to the cold one */
	struct item item[JIT_MAX_INSNS];
	unsigned count;
	struct slow slow[JIT_MAX_INSNS * 2];
	unsigned slows;
	struct group group[JIT_GROUPS];
	unsigned groups;
	int8_t held[2]; /* the group whose addend h10 or h11 holds, or NO_GROUP */
	unsigned now;   /* the item that is emitted */
	struct flags flags;
	int32_t rsp_late; /* how far RSP has moved in the guest and not yet in its register */
	struct side side[JIT_BRANCHES + 2];
	unsigned sides;
	struct link link[JIT_BRANCHES + 2];
	unsigned links;
	struct lookup lookup;
	unsigned branches; /* conditional jumps */
	struct jit_block *block;
	unsigned exits;
};

/* analyse.c: decodes into t->item, decides what is done with each instruction, and finds live flags. */
void analyse_block(struct translation *t, const uint8_t *p, unsigned room, uint64_t offset,
		   unsigned max_insns);
/* The explicit memory operand that is accessed, or NULL. */
const ZydisDecodedOperand *memory_operand(const struct item *it);
bool is_legacy_prefix(uint8_t b);
/* A copy of the bytes, to be changed, that the instruction has from now on. */
uint8_t *item_recode(struct item *it);
bool is_lea_rip(const struct item *it);
bool ends_block(const struct item *it);

/* narrow.c: an instruction of 32-bit code as 64-bit code; JIT_INTERP where there is no such thing. */
enum jit_class narrow_recode(struct item *it);

/* group.c: which accesses share a check. */
void find_groups(struct translation *t);
/* In front of an item. */
bool has_group_check(const struct translation *t, unsigned item);

/* scratch.c: h10 and h11, and the addends in them. */
/* Both may be overwritten from here on; one alone. */
void scratch_free_all(struct translation *t);
void scratch_free(struct translation *t, unsigned reg);
/* A register to overwrite, not `but` (which may be NO_REG). */
unsigned scratch_take(struct translation *t, unsigned but);
void scratch_hold(struct translation *t, unsigned reg, int group);
bool scratch_is_held(const struct translation *t, unsigned reg);
/* The register with the group's addend. */
unsigned scratch_addend(struct translation *t, int group);
/* One that nobody uses, nor the place; or NO_REG. */
unsigned scratch_spare(const struct translation *t, struct place m);

/* memory.c */
/* Where a guest register that bit 1 (R10) or 2 (R11) names lives: offset from GS base. */
int32_t reg_slot(unsigned bit);
/*
 * Makes the access of an instruction possible and says where it is in the host's memory: [place] is
 * valid until the next scratch register is taken. With `data`, that is one which the place does not
 * use.
 */
struct place emit_access(struct translation *t, const struct item *it, unsigned *data);
/* The same for an explicit operand of a word that is read, beside the access on the stack. */
struct place emit_read_operand(struct translation *t, const struct item *it,
			       const ZydisDecodedOperand *m);
/* For what is none of these, when both scratch registers are free. h10 = an operand's address; */
void emit_address(struct translation *t, const struct item *it, const ZydisDecodedOperand *m);
/* h10 += base of FS or GS; h11 is clobbered. */
void emit_segment(struct translation *t, const ZydisDecodedOperand *m);
/* h10, a gva, becomes the host's address. */
void emit_translate(struct translation *t, unsigned size, bool write);
/* Those that belong in front of the instruction that comes now. */
void emit_group_checks(struct translation *t);
void emit_slow_paths(struct translation *t);

/* flags.c; `temp` keeps RAX and may be NO_REG. */
/* From EFLAGS to the state page and back, without looking where they are. */
void emit_store_flags(struct emit *e, unsigned temp);
void emit_load_flags(struct emit *e, unsigned temp);
void flags_park(struct translation *t, unsigned temp);
/* In front of code for the present item that changes EFLAGS. */
void flags_clobber(struct translation *t, unsigned temp);
/* In front of the guest's instruction, which may need them. */
void flags_provide(struct translation *t, const struct item *it, unsigned temp);
void flags_after(struct translation *t, const struct item *it);
/* At the start of the body; in the cold part. */
void emit_entries(struct translation *t);
void emit_cold_entry(struct translation *t);

/* copy.c: an instruction as it is, with its memory operand replaced. */
void emit_copy(struct translation *t, const struct item *it);

/* stack.c: the stack and the interrupt flag. */
/*
 * Between pushes and pops of a group, which do not fault any more, RSP moves once for all. Where it
 * is read and where something may fault it is in its register.
 */
void emit_late_rsp(struct translation *t);
bool works_with_late_rsp(const struct item *it);
void emit_push(struct translation *t, const struct item *it);
/* Pushes the address of what is at an offset from the start of the block's page, and gives the register with it. */
unsigned emit_push_address(struct translation *t, const struct item *it, uint64_t offset);
void emit_pop(struct translation *t, const struct item *it);
void emit_leave(struct translation *t, const struct item *it);
void emit_pushf(struct translation *t, const struct item *it);
void emit_set_interrupt_flag(struct emit *e, unsigned value);
void emit_sti(struct translation *t, const struct item *it);

/* system.c */
void emit_helper(struct translation *t, const struct item *it);
void emit_swapgs(struct translation *t);
void emit_read_cr2(struct translation *t, const struct item *it);
void emit_read_selector(struct translation *t, const struct item *it);
void emit_read_base(struct translation *t, const struct item *it);

/* bits.c */
void emit_bit_string(struct translation *t, const struct item *it);

/* listing.c: tells about a finished block whoever asked. */
void list_translation(const struct translation *t);

/* branch.c: ways out of the block. */
/* reg = gva of what is at an offset from the start of the block's page. */
void emit_page_relative(struct emit *e, unsigned reg, uint64_t offset);
/* The same for code, which wraps at 4 GiB where it has 32 bits. */
void emit_code_address(struct translation *t, unsigned reg, uint64_t offset);
/* A word from or to memory; reg = place + 0, a word. */
static inline void emit_load_word(struct translation *t, unsigned reg, struct place m)
{
	emit_sized(&t->e, t->word == 8, 0x8b, reg, m);
}

static inline void emit_store_word(struct translation *t, unsigned reg, struct place m)
{
	emit_sized(&t->e, t->word == 8, 0x89, reg, m);
}

static inline void emit_lea_word(struct translation *t, unsigned reg, struct place m)
{
	emit_sized(&t->e, t->word == 8, 0x8d, reg, m);
}

/*
 * Jumps to the gva in h10 by the jump cache, with the flags parked. info is a JIT_JUMP_INFO of the
 * instruction, which the dispatcher needs where the target is not canonical: it faults then, not its
 * target.
 */
void emit_lookup(struct jit *j, struct emit *e, uint32_t info);
/* The same for its second way, in the stub behind the first: falls through when it is not there. */
void emit_second_lookup(const struct jit *j, struct emit *e);
/* To the dispatcher. */
void emit_leave_to(struct translation *t, uint64_t rip, uint64_t exit);
void emit_direct(struct translation *t, uint64_t rip, uint32_t info);
void emit_branch(struct translation *t, const struct item *it);
/* Behind the block: where its conditional jumps go. */
/* An exit whose jump has its rel32 there and whose stub comes next. */
void set_places(const struct translation *t, struct jit_exit *x, const uint8_t *rel32);
void emit_side_exits(struct translation *t);
/* Of a direct jump or call. */
uint64_t relative_target(const struct item *it);
void emit_loop(struct translation *t, const struct item *it);
void emit_jump(struct translation *t, const struct item *it);
void emit_call(struct translation *t, const struct item *it);
void emit_ret(struct translation *t, const struct item *it);

#endif
