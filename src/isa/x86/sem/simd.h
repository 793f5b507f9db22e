/*
 * What the MMX, SSE and AVX groups share: operands as vectors of 8, 16 or 32 bytes.
 *
 * One function carries out the legacy and the VEX form of an instruction, and the MMX form where
 * the mnemonic is the same. The forms differ in three things, all handled here (SDM vol. 1
 * §14.1.3, §14.9, vol. 2A §2.3):
 *   - the first source is the destination (legacy) or operand 1 (VEX): simd_first();
 *   - a 16-byte memory operand of a legacy form must be aligned, unless the instruction says
 *     otherwise and uses vec_read_unaligned();
 *   - bytes above the destination's width are kept (legacy) or cleared (VEX): vec_write().
 * Lane loops run over all 32 bytes whatever the width: the trip count is then a constant.
 */
#ifndef LM_ISA_X86_SEM_SIMD_H
#define LM_ISA_X86_SEM_SIMD_H

#include "base/bits.h"
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/x87.h"

/* MXCSR (SDM vol. 1 §10.2.3): the bits that exist, DAZ included, and the value after reset. */
#define MXCSR_MASK    0x0000ffffu
#define MXCSR_INITIAL 0x00001f80u

/* Two sources and a result. */
struct vec_pair {
	union x86_vec a, b, r;
};

/* Number of the operand that is the first source. */
static inline unsigned simd_first(const struct insn *i)
{
	return i->vex;
}

/* Bytes in which lanes do not see each other: 8 for MMX, else 16. */
static inline unsigned simd_block(const struct insn *i)
{
	return i->op[0].kind == OPK_MMX ? 8 : 16;
}

/* Bytes the destination register holds. */
static inline unsigned simd_width(const struct insn *i)
{
	if (i->op[0].kind == OPK_MMX)
		return 8;
	return i->op[0].size > 16 ? 32 : 16;
}

/* Raises #GP(0) unless gva is a multiple of `size`, a power of two. */
static inline void simd_check_aligned(struct x86_cpu *c, gva_t gva, unsigned size)
{
	if (gva.v & (size - 1))
		x86_raise_gp(c, 0);
}

/* Memory of 1, 2, 4, 8, 16 or 32 bytes; what lies above is zero. */
void vec_load(struct x86_cpu *c, gva_t gva, union x86_vec *v, unsigned size);
void vec_store(struct x86_cpu *c, gva_t gva, const union x86_vec *v, unsigned size);

/* Operand n: the whole register, or memory zero-extended from the operand's size. */
void vec_read(struct x86_cpu *c, const struct insn *i, unsigned n, union x86_vec *v);
void vec_read_unaligned(struct x86_cpu *c, const struct insn *i, unsigned n, union x86_vec *v);
void vec_read_aligned(struct x86_cpu *c, const struct insn *i, unsigned n, union x86_vec *v);

/* The low 4 or 8 bytes of operand n: vector, MMX, general register or memory. */
uint64_t vec_read_low(struct x86_cpu *c, const struct insn *i, unsigned n, unsigned size);

/* Writes operand 0, a vector or MMX register, with the rules for what lies above. */
void vec_write(struct x86_cpu *c, const struct insn *i, const union x86_vec *v);
void vec_write_reg(struct x86_cpu *c, const struct insn *i, unsigned reg, unsigned size,
		   const union x86_vec *v);

/* First and second source. */
static inline void vec_read_pair(struct x86_cpu *c, const struct insn *i, struct vec_pair *p)
{
	vec_read(c, i, simd_first(i), &p->a);
	vec_read(c, i, simd_first(i) + 1, &p->b);
}

/*
 * The transition to MMX state that every MMX instruction but EMMS makes (SDM vol. 1 §9.5.1).
 * Writing an MMX register implies it; instructions that only read one call it after their last
 * possible fault.
 */
void mmx_enter(struct x86_cpu *c);
void mmx_write(struct x86_cpu *c, unsigned reg, uint64_t value);

/* mmx_enter when one of the operands is an MMX register. */
void mmx_enter_for(struct x86_cpu *c, const struct insn *i);

/*
 * Ends SSE arithmetic: ORs the flags into MXCSR, then raises #XM (#UD without OSXMMEXCPT) when one
 * of them is unmasked. To be called before the destination is written.
 */
void simd_fp_finish(struct x86_cpu *c, const struct fp_env *env);

/* ---- Definitions of whole groups, one line for each instruction ---- */

/* For every lane of `field`: the result is an expression of the sources' lanes a and b. */
#define SIMD_LANES2(name, field, expr)                                                             \
	void name(struct x86_cpu *c, const struct insn *i)                                         \
	{                                                                                          \
		struct vec_pair p;                                                                 \
                                                                                                   \
		vec_read_pair(c, i, &p);                                                           \
		for (unsigned k = 0; k < LM_ARRAY_SIZE(p.a.field); k++) {                          \
			const __typeof__(p.a.field[0]) a = p.a.field[k], b = p.b.field[k];         \
			p.r.field[k] = (__typeof__(p.a.field[0]))(expr);                           \
		}                                                                                  \
		vec_write(c, i, &p.r);                                                             \
	}

/* The same with one source, operand 1. */
#define SIMD_LANES1(name, field, expr)                                                             \
	void name(struct x86_cpu *c, const struct insn *i)                                         \
	{                                                                                          \
		union x86_vec v;                                                                   \
                                                                                                   \
		vec_read(c, i, 1, &v);                                                             \
		for (unsigned k = 0; k < LM_ARRAY_SIZE(v.field); k++) {                            \
			const __typeof__(v.field[0]) a = v.field[k];                               \
			v.field[k] = (__typeof__(v.field[0]))(expr);                               \
		}                                                                                  \
		vec_write(c, i, &v);                                                               \
	}

/* ---- Saturation ---- */

static inline int32_t clamp(int32_t v, int32_t low, int32_t high)
{
	return v < low ? low : v > high ? high : v;
}

static inline int8_t saturate_i8(int32_t v)
{
	return (int8_t)clamp(v, INT8_MIN, INT8_MAX);
}

static inline uint8_t saturate_u8(int32_t v)
{
	return (uint8_t)clamp(v, 0, UINT8_MAX);
}

static inline int16_t saturate_i16(int32_t v)
{
	return (int16_t)clamp(v, INT16_MIN, INT16_MAX);
}

static inline uint16_t saturate_u16(int32_t v)
{
	return (uint16_t)clamp(v, 0, UINT16_MAX);
}

#endif
