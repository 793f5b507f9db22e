/*
 * Helpers: C functions that carry out the usual case of an instruction in the middle of translated
 * code. The guest's vector and x87 registers stay in the host's, so helpers are compiled to use
 * general registers only and call nothing else.
 *
 * On entry js->gpr has RAX, RCX, RDX, RSI, RDI, RSP and R8 to R11 (no others), js->save_flags the
 * flags, js->rip the instruction's address and js->insn what helper_word made. True: done, and
 * translated code goes on at js->rip with what these hold now. False: nothing is changed (a string
 * instruction: iterations may be done), and the interpreter executes the instruction.
 */
#ifndef LM_ENGINE_JIT_HELPER_H
#define LM_ENGINE_JIT_HELPER_H

#include "engine/jit/jit.h"

typedef bool (*jit_helper)(struct jit *j);

/* js->insn: the offset in the page in bits 0 to 11, then these. */
static inline uint64_t helper_word(const struct insn *i, uint64_t offset)
{
	return offset | (uint64_t)i->length << 16 | (uint64_t)i->osz << 24 | (uint64_t)i->rep << 32;
}

static inline unsigned helper_length(const struct jit_state *js)
{
	return js->insn >> 16 & 0xff;
}

static inline unsigned helper_operand_size(const struct jit_state *js)
{
	return js->insn >> 24 & 0xff;
}

static inline enum insn_rep helper_prefix(const struct jit_state *js)
{
	return (enum insn_rep)(js->insn >> 32 & 3);
}

static inline bool helper_repeats(const struct jit_state *js)
{
	return js->insn >> 32 & 3;
}

/*
 * The host address of a guest byte by the current table, which is filled where it can be; 0: the
 * interpreter must look.
 */
static inline uint8_t *helper_host(struct jit *j, uint64_t gva, bool write)
{
	const struct x86_cpu *c = j->c;
	uint64_t addend;

	if (!x86_canonical(gva))
		return NULL;
	addend = table_entry(table_of(j, (unsigned)(c->tlb - c->tlb_set)), gva, write);
	if (!addend)
		addend = table_fill(j, gva, write);
	return addend ? (uint8_t *)(gva + addend + j->origin) : NULL;
}

/* privilege.c */
bool helper_syscall(struct jit *j);
bool helper_sysret(struct jit *j);
bool helper_sysenter(struct jit *j);
bool helper_sysexit(struct jit *j);
bool helper_iret(struct jit *j);
bool helper_popf(struct jit *j);
bool helper_stac(struct jit *j);
bool helper_clac(struct jit *j);
bool helper_rdtsc(struct jit *j);
bool helper_rdtscp(struct jit *j);
/* js->work: the operand's value. */
bool helper_wrfsbase(struct jit *j);
bool helper_wrgsbase(struct jit *j);

/* js->work: the value, the address. */
bool helper_write_cr3(struct jit *j);
bool helper_invlpg(struct jit *j);

/* strings.c: with addresses of the code's width and DF clear. */
bool helper_movs(struct jit *j);
bool helper_stos(struct jit *j);
bool helper_lods(struct jit *j);
bool helper_scas(struct jit *j);
bool helper_cmps(struct jit *j);

/* xsave.c: js->work is the linear address of the area. */
bool helper_xsave(struct jit *j);
bool helper_xsaveopt(struct jit *j);
bool helper_xsavec(struct jit *j);
bool helper_xrstor(struct jit *j);
bool helper_xrstors(struct jit *j);

#endif
