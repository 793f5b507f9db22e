/* What the x87 groups share: the register stack, tags, and the status word (SDM vol. 1 ch. 8). */
#ifndef LM_ISA_X86_SEM_X87_H
#define LM_ISA_X86_SEM_X87_H

#include "base/bits.h"
#include "isa/x86/sem/sem.h"

/* Status word (SDM vol. 1 §8.1.3). */
#define FSW_IE        0x0001u
#define FSW_SF        0x0040u
#define FSW_C0        0x0100u
#define FSW_C1        0x0200u
#define FSW_C2        0x0400u
#define FSW_TOP       0x3800u
#define FSW_TOP_SHIFT 11
#define FSW_C3        0x4000u
#define FSW_B         0x8000u
#define FSW_CC        (FSW_C0 | FSW_C1 | FSW_C2 | FSW_C3)

/* Control word (§8.1.5): bit 6 is reserved and reads as one. */
#define FCW_WRITABLE 0x1f3fu
#define FCW_FIXED    0x0040u
#define FCW_INITIAL  0x037fu

#define FOP_MASK 0x07ffu

/* The real indefinite (§4.8.3.7), the masked response to invalid operands. */
#define X87_INDEFINITE ((struct f80){ .sig = UINT64_C(0xc000000000000000), .se = 0xffff })

/* ---- The register stack: n counts from TOP ---- */

static inline unsigned x87_top(const struct x86_cpu *c)
{
	return (c->s.fpu.fsw & FSW_TOP) >> FSW_TOP_SHIFT;
}

static inline unsigned x87_physical(const struct x86_cpu *c, unsigned n)
{
	return (x87_top(c) + n) & 7;
}

static inline bool x87_empty(const struct x86_cpu *c, unsigned n)
{
	return !(c->s.fpu.ftw >> x87_physical(c, n) & 1);
}

static inline struct f80 x87_st(const struct x86_cpu *c, unsigned n)
{
	return c->s.fpu.st[x87_physical(c, n)];
}

/* Writes ST(n) and tags it as not empty. */
static inline void x87_set_st(struct x86_cpu *c, unsigned n, struct f80 value)
{
	unsigned r = x87_physical(c, n);

	c->s.fpu.st[r] = value;
	c->s.fpu.ftw |= (uint8_t)(1u << r);
}

static inline void x87_free(struct x86_cpu *c, unsigned n)
{
	c->s.fpu.ftw &= (uint8_t)~(1u << x87_physical(c, n));
}

/* Moves TOP by `by` (modulo 8); tags stay. */
static inline void x87_rotate(struct x86_cpu *c, unsigned by)
{
	unsigned top = (x87_top(c) + by) & 7;

	c->s.fpu.fsw = (uint16_t)((c->s.fpu.fsw & ~FSW_TOP) | top << FSW_TOP_SHIFT);
}

static inline void x87_pop(struct x86_cpu *c)
{
	x87_free(c, 0);
	x87_rotate(c, 1);
}

/* ST(7), which becomes ST(0), must be empty. */
static inline void x87_push(struct x86_cpu *c, struct f80 value)
{
	x87_rotate(c, 7);
	x87_set_st(c, 0, value);
}

/* ---- Status ---- */

/* Replaces the condition code bits in `mask`. */
static inline void x87_set_cc(struct x86_cpu *c, unsigned mask, unsigned bits)
{
	c->s.fpu.fsw = (uint16_t)((c->s.fpu.fsw & ~mask) | bits);
}

/* Recomputes ES and B from the flags and masks; to be called when either has changed. */
void x87_summarize(struct x86_cpu *c);

/* FNINIT (§8.1.1); the registers' contents stay. */
void x87_init(struct x86_cpu *c);

/*
 * Notes i as the last non-control instruction: FOP, FIP, and FDP when it has a memory operand
 * (§8.1.8). After the last possible fault.
 */
void x87_track(struct x86_cpu *c, const struct insn *i);

/* ---- How a non-control instruction ends: flags, then the result ---- */

static inline struct fp_env x87_env(const struct x86_cpu *c)
{
	return fp_env_from_fcw(c->s.fpu.fcw);
}

/* ORs the flags into FSW and sets C1 to "rounded up". True: an unmasked one forbids the result. */
bool x87_report(struct x86_cpu *c, const struct fp_env *env);

/*
 * Stack overflow or underflow: IE, SF and C1 (§8.5.1.1). True: masked, deliver indefinites; else
 * the instruction changes nothing more.
 */
bool x87_stack_overflow(struct x86_cpu *c);
bool x87_stack_underflow(struct x86_cpu *c);

/* ST(n) = value, then `pops` pops, unless env holds an unmasked exception that forbids it. */
void x87_deliver(struct x86_cpu *c, const struct fp_env *env, unsigned n, struct f80 value,
		 unsigned pops);

/* The end of an instruction with an empty source: ST(n) = indefinite, then the pops, if masked. */
void x87_deliver_underflow(struct x86_cpu *c, unsigned n, unsigned pops);

#endif
