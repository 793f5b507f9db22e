/* Translation of one block: what its stages share. translate.c calls them in this order. */
#ifndef LM_ENGINE_JIT_TRANSLATION_H
#define LM_ENGINE_JIT_TRANSLATION_H

#include "engine/jit/classify.h"
#include "engine/jit/emit.h"
#include "engine/jit/jit.h"

/* One guest instruction on its way through. */
struct item {
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct insn i;
	enum jit_class class;
	const uint8_t *bytes;
	uint64_t rip;         /* as offset in the page, as are all code addresses here */
	bool flags_live_in;  /* flags from before are read by this or a later instruction */
	uint8_t address_regs; /* bit 0: R10, bit 1: R11 in the memory operand's address */
	uint8_t data_regs;    /* the same among other register operands */
	uint8_t written_regs; /* of these, written */
};

/* A slow path to be emitted behind the block. */
struct slow {
	uint8_t *from[2]; /* rel32s that jump here; NULL: unused */
	const uint8_t *back;
	uint32_t access;  /* bit 0 write, bit 1 flags saved, bits 8-15 size */
	bool misaligned[2]; /* from[k] comes from the alignment check: look at the page first */
	const uint8_t *check_again;
};

struct translation {
	struct jit *j;
	struct emit e;
	struct item item[JIT_MAX_INSNS];
	unsigned count;
	struct slow slow[JIT_MAX_INSNS * 2];
	unsigned slows;
	struct jit_block *block;
	unsigned exits;
};

/* analyse.c: decodes into t->item, decides what is done with each instruction, and finds live flags. */
void analyse_block(struct translation *t, const uint8_t *p, unsigned room, uint64_t offset,
		   unsigned max_insns);
/* The explicit memory operand that is accessed, or NULL. */
const ZydisDecodedOperand *memory_operand(const struct item *it);
bool is_legacy_prefix(uint8_t b);
bool is_lea_rip(const struct item *it);
bool ends_block(const struct item *it);

/* memory.c */
/* Where a guest register that bit 1 (R10) or 2 (R11) names lives: offset from GS base. */
int32_t reg_slot(unsigned bit);
/* h10 = the memory operand's address, all registers but h10 and h11 as the guest has them. */
void emit_address(struct translation *t, const struct item *it, const ZydisDecodedOperand *m);
/* h10 += base of FS or GS; h11 is clobbered. */
void emit_segment(struct translation *t, const ZydisDecodedOperand *m);
/*
 * With h10 = gva: h10 becomes the host address (folded) after the table gave its addend. Flags are
 * kept when `live`. `aligned` accesses cannot cross a page.
 */
void emit_translate(struct translation *t, unsigned size, bool write, bool live, bool aligned);
void emit_slow_paths(struct translation *t);
/* To and from the state page, by way of RAX, which keeps its value. */
void emit_save_flags(struct emit *e);
void emit_restore_flags(struct emit *e);

/* copy.c: an instruction as it is, with its memory operand replaced. */
void emit_copy(struct translation *t, const struct item *it);

/* stack.c: the stack and the interrupt flag. */
/* h10 = host address of the 8 bytes below the top of the stack. */
void emit_stack_write(struct translation *t, const struct item *it);
void emit_push(struct translation *t, const struct item *it);
void emit_pop(struct translation *t, const struct item *it);
void emit_leave(struct translation *t, const struct item *it);
void emit_pushf(struct translation *t, const struct item *it);
void emit_set_interrupt_flag(struct emit *e, unsigned value);
void emit_sti(struct translation *t);

/* system.c */
void emit_helper(struct translation *t, const struct item *it);
void emit_swapgs(struct translation *t);
void emit_read_base(struct translation *t, const struct item *it);

/* bits.c */
void emit_bit_string(struct translation *t, const struct item *it);

/* branch.c: ways out of the block. */
/* reg = gva of what is at an offset from the start of the block's page. */
void emit_page_relative(struct emit *e, unsigned reg, uint64_t offset);
/*
 * Jumps to the gva in h10 by the jump cache. info is a JIT_JUMP_INFO of the instruction, which the
 * dispatcher needs where the target is not canonical: it faults then, not its target.
 */
void emit_lookup(struct jit *j, struct emit *e, uint32_t info);
void emit_leave_to(struct translation *t, uint64_t rip, uint64_t exit);
void emit_direct(struct translation *t, uint64_t rip, uint32_t info);
void emit_branch(struct translation *t, const struct item *it);
void emit_jump(struct translation *t, const struct item *it);
void emit_call(struct translation *t, const struct item *it);
void emit_ret(struct translation *t, const struct item *it);

#endif
