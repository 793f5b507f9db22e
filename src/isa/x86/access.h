/*
 * Guest memory as instructions see it: segmentation, paging, alignment, atomicity, MMIO.
 *
 * All of these throw (#GP, #SS, #PF, #AC) by x86_raise. A naturally aligned access of up to 8
 * bytes is one host access; reads acquire and writes release, which gives x86's memory order on
 * every host. A page-crossing access checks both pages before it changes anything.
 */
#ifndef LM_ISA_X86_ACCESS_H
#define LM_ISA_X86_ACCESS_H

#include "isa/x86/cpu.h"

enum mem_access { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC };

/* Privilege of an access: the CPL's, or the system's own (descriptor tables, TSS, events). */
enum mem_privilege { PRIV_CPL, PRIV_SYSTEM };

/* ---- Effective addresses and segmentation (SDM vol. 3A ch. 5) ---- */

/* The offset of the instruction's memory operand, cut to its address size. */
uint64_t x86_offset(const struct x86_cpu *c, const struct insn *i);

/* Linear address of seg:offset after all checks for [offset, offset + size). */
gva_t x86_linear(struct x86_cpu *c, unsigned seg, uint64_t offset, unsigned size,
		 enum mem_access access);

/* ---- By linear address; size 1 to 8 for values ---- */

uint64_t lin_read(struct x86_cpu *c, gva_t gva, unsigned size);
void lin_write(struct x86_cpu *c, gva_t gva, uint64_t value, unsigned size);

/*
 * Read with the intent to write: faults exactly as a write would, so that a following lin_write
 * or lin_cas to the same bytes cannot fault.
 */
uint64_t lin_read_rmw(struct x86_cpu *c, gva_t gva, unsigned size);

/* Atomically replaces `expected` by `desired`; size 1, 2, 4, 8. False: memory held another value. */
bool lin_cas(struct x86_cpu *c, gva_t gva, uint64_t expected, uint64_t desired, unsigned size);

/* CMPXCHG16B: 16 aligned bytes; on failure *expected gets what memory holds. */
bool lin_cas16(struct x86_cpu *c, gva_t gva, unsigned __int128 *expected,
	       unsigned __int128 desired);

/* Blocks of up to 1024 bytes; all pages are checked before the first byte moves. */
void lin_read_block(struct x86_cpu *c, gva_t gva, void *buf, unsigned len);
void lin_write_block(struct x86_cpu *c, gva_t gva, const void *buf, unsigned len);

/*
 * Elements of gathers, masked moves and half precision vectors: no #AC (SDM vol. 2 tables 2-21 and
 * 2-26). The write must follow a lin_probe of the same bytes.
 */
uint64_t lin_read_element(struct x86_cpu *c, gva_t gva, unsigned size);
void lin_write_element(struct x86_cpu *c, gva_t gva, uint64_t value, unsigned size);

/* Checks that [gva, gva + len) can be accessed so, and nothing else. */
void lin_probe(struct x86_cpu *c, gva_t gva, unsigned len, enum mem_access access);

/* The host address of a RAM page piece for block moves within one page, or NULL (MMIO, checks on). */
uint8_t *lin_host(struct x86_cpu *c, gva_t gva, enum mem_access access);

/* ---- System accesses: supervisor whatever the CPL (descriptor tables, TSS, event stacks) ---- */

uint64_t sys_read(struct x86_cpu *c, gva_t gva, unsigned size);
void sys_write(struct x86_cpu *c, gva_t gva, uint64_t value, unsigned size);
/* Atomically replaces `expected` by `desired` (accessed and busy bits); size 1, 2, 4, 8. */
bool sys_cas(struct x86_cpu *c, gva_t gva, uint64_t expected, uint64_t desired, unsigned size);

/* ---- By segment and offset ---- */

static inline uint64_t seg_read(struct x86_cpu *c, unsigned seg, uint64_t offset, unsigned size)
{
	return lin_read(c, x86_linear(c, seg, offset, size, ACCESS_READ), size);
}

static inline void seg_write(struct x86_cpu *c, unsigned seg, uint64_t offset, uint64_t value,
			     unsigned size)
{
	lin_write(c, x86_linear(c, seg, offset, size, ACCESS_WRITE), value, size);
}

/* ---- The instruction's memory operand ---- */

/* Linear address of the memory operand, checked for `size` bytes. */
static inline gva_t mem_operand(struct x86_cpu *c, const struct insn *i, unsigned size,
				enum mem_access access)
{
	return x86_linear(c, i->seg, x86_offset(c, i), size, access);
}

/* ---- Registers ---- */

static inline uint64_t gpr_read(const struct x86_cpu *c, unsigned reg, unsigned size)
{
	return c->s.gpr[reg] & mask_bytes(size);
}

static inline void gpr_write(struct x86_cpu *c, unsigned reg, uint64_t value, unsigned size)
{
	uint64_t *r = &c->s.gpr[reg];

	if (size >= 4)
		*r = value & mask_bytes(size);
	else
		*r = (*r & ~mask_bytes(size)) | (value & mask_bytes(size));
}

/* ---- The instruction's operands ---- */

uint64_t op_read_other(struct x86_cpu *c, const struct insn *i, unsigned n);
void op_write_other(struct x86_cpu *c, const struct insn *i, unsigned n, uint64_t value);

/* Value of operand n (GPR, AH.., memory, immediate, segment), zero-extended from its size. */
static inline uint64_t op_read(struct x86_cpu *c, const struct insn *i, unsigned n)
{
	const struct operand *o = &i->op[n];

	if (o->kind == OPK_GPR)
		return gpr_read(c, o->reg, o->size);
	if (o->kind == OPK_IMM)
		return i->imm;
	return op_read_other(c, i, n);
}

/* Writes operand n (GPR: 32-bit writes clear the upper half; memory). */
static inline void op_write(struct x86_cpu *c, const struct insn *i, unsigned n, uint64_t value)
{
	const struct operand *o = &i->op[n];

	if (o->kind == OPK_GPR)
		gpr_write(c, o->reg, value, o->size);
	else
		op_write_other(c, i, n, value);
}

uint64_t rmw_read_other(struct x86_cpu *c, const struct insn *i);
bool rmw_write_other(struct x86_cpu *c, const struct insn *i, uint64_t old, uint64_t value);

/*
 * Read-modify-write of operand 0, atomic when the instruction has LOCK:
 *     do { old = rmw_read(c, i); new = f(old); } while (!rmw_write(c, i, old, new));
 * After the loop nothing can fault; flags are set then.
 */
static inline uint64_t rmw_read(struct x86_cpu *c, const struct insn *i)
{
	if (i->op[0].kind == OPK_GPR)
		return gpr_read(c, i->op[0].reg, i->op[0].size);
	return rmw_read_other(c, i);
}

static inline bool rmw_write(struct x86_cpu *c, const struct insn *i, uint64_t old, uint64_t value)
{
	if (i->op[0].kind != OPK_GPR)
		return rmw_write_other(c, i, old, value);
	gpr_write(c, i->op[0].reg, value, i->op[0].size);
	return true;
}

/* ---- The stack; size is 2, 4 or 8. RSP moves only after the access succeeded. ---- */

void stack_push(struct x86_cpu *c, uint64_t value, unsigned size);
uint64_t stack_pop(struct x86_cpu *c, unsigned size);
/* Reads the element `index` bytes above the top without moving RSP. */
uint64_t stack_peek(struct x86_cpu *c, unsigned index, unsigned size);
/* Adds bytes to SP/ESP/RSP as the stack size says. */
void stack_adjust(struct x86_cpu *c, int64_t bytes);

#endif
