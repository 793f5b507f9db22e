/* x86-64 machine code into a buffer: the few instructions that the translator adds. */
#ifndef LM_ENGINE_JIT_EMIT_H
#define LM_ENGINE_JIT_EMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Host registers that translated code owns; the guest's own R10 and R11 live in memory. */
#define H10 10
#define H11 11

/*
 * The code cache has a writable and an executable mapping; `p` writes, and code runs at
 * p + to_exec. Overflow sets `full` and writes nothing more.
 */
struct emit {
	uint8_t *p, *end;
	intptr_t to_exec;
	bool full;
};

static inline void emit_bytes(struct emit *e, const void *bytes, unsigned n)
{
	if (e->end - e->p < (intptr_t)n) {
		e->full = true;
		return;
	}
	memcpy(e->p, bytes, n);
	e->p += n;
}

static inline void emit_u8(struct emit *e, unsigned b)
{
	uint8_t byte = (uint8_t)b;

	emit_bytes(e, &byte, 1);
}

static inline void emit_u32(struct emit *e, uint32_t v)
{
	emit_bytes(e, &v, 4);
}

static inline void emit_u64(struct emit *e, uint64_t v)
{
	emit_bytes(e, &v, 8);
}

#define EMIT(e, ...)                                                                               \
	do {                                                                                       \
		static const uint8_t bytes_[] = { __VA_ARGS__ };                                   \
		emit_bytes((e), bytes_, sizeof(bytes_));                                           \
	} while (0)

static inline uint8_t rex(bool w, unsigned reg, unsigned index, unsigned base)
{
	return (uint8_t)(0x40 | w << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3);
}

static inline uint8_t modrm(unsigned mod, unsigned reg, unsigned rm)
{
	return (uint8_t)(mod << 6 | (reg & 7) << 3 | (rm & 7));
}

/* opcode reg, gs:[disp32] (or the other way, by opcode), 64-bit. */
static inline void emit_gs(struct emit *e, unsigned opcode, unsigned reg, int32_t disp)
{
	emit_u8(e, 0x65);
	emit_u8(e, rex(true, reg, 0, 0));
	emit_u8(e, opcode);
	emit_u8(e, modrm(0, reg, 4));
	emit_u8(e, 0x25);
	emit_u32(e, (uint32_t)disp);
}

static inline void emit_load_gs(struct emit *e, unsigned reg, int32_t disp)
{
	emit_gs(e, 0x8b, reg, disp);
}

static inline void emit_store_gs(struct emit *e, unsigned reg, int32_t disp)
{
	emit_gs(e, 0x89, reg, disp);
}

/* mov qword gs:[disp], imm32 */
static inline void emit_store_gs_imm(struct emit *e, int32_t disp, uint32_t imm)
{
	emit_u8(e, 0x65);
	emit_u8(e, rex(true, 0, 0, 0));
	emit_u8(e, 0xc7);
	emit_u8(e, modrm(0, 0, 4));
	emit_u8(e, 0x25);
	emit_u32(e, (uint32_t)disp);
	emit_u32(e, imm);
}

/* mov reg, imm by the shortest form. */
static inline void emit_mov_imm(struct emit *e, unsigned reg, uint64_t v)
{
	if (v <= UINT32_MAX) {
		if (reg >= 8)
			emit_u8(e, 0x41);
		emit_u8(e, 0xb8 + (reg & 7));
		emit_u32(e, (uint32_t)v);
	} else if ((int64_t)v == (int32_t)v) {
		emit_u8(e, rex(true, 0, 0, reg));
		emit_u8(e, 0xc7);
		emit_u8(e, modrm(3, 0, reg));
		emit_u32(e, (uint32_t)v);
	} else {
		emit_u8(e, rex(true, 0, 0, reg));
		emit_u8(e, 0xb8 + (reg & 7));
		emit_u64(e, v);
	}
}

/* mov to, from (64-bit). */
static inline void emit_mov(struct emit *e, unsigned to, unsigned from)
{
	emit_u8(e, rex(true, from, 0, to));
	emit_u8(e, 0x89);
	emit_u8(e, modrm(3, from, to));
}

/* ---- Memory operands ---- */

#define NO_REG 0xff

/* [base + index * scale + disp]; base or index may be NO_REG, the index is never RSP. */
struct place {
	uint8_t base, index, scale;
	int32_t disp;
};

static inline struct place at_base(unsigned base, int32_t disp)
{
	return (struct place){ (uint8_t)base, NO_REG, 1, disp };
}

static inline uint8_t rex_place(bool w, unsigned reg, struct place m)
{
	return rex(w, reg, m.index == NO_REG ? 0 : m.index, m.base == NO_REG ? 0 : m.base);
}

static inline unsigned mod_of(struct place m)
{
	if (m.base == NO_REG || (!m.disp && (m.base & 7) != 5))
		return 0;
	return m.disp == (int8_t)m.disp ? 1 : 2;
}

/* ModRM, SIB and displacement. */
static inline void emit_place(struct emit *e, unsigned reg, struct place m)
{
	unsigned mod = mod_of(m), scale = m.scale == 8 ? 3 : m.scale / 2u;
	bool sib = m.index != NO_REG || m.base == NO_REG || (m.base & 7) == 4;

	emit_u8(e, modrm(mod, reg, sib ? 4 : m.base));
	if (sib)
		emit_u8(e, modrm(scale, m.index == NO_REG ? 4 : m.index,
				 m.base == NO_REG ? 5 : m.base));
	if (mod == 1)
		emit_u8(e, (uint8_t)m.disp);
	else if (mod == 2 || m.base == NO_REG)
		emit_u32(e, (uint32_t)m.disp);
}

/* A 64-bit instruction with a one-byte opcode and a memory operand. */
static inline void emit_with_place(struct emit *e, unsigned opcode, unsigned reg, struct place m)
{
	emit_u8(e, rex_place(true, reg, m));
	emit_u8(e, opcode);
	emit_place(e, reg, m);
}

/* The same with 64 bits, or with 32. */
static inline void emit_sized(struct emit *e, bool wide, unsigned opcode, unsigned reg, struct place m)
{
	emit_u8(e, rex_place(wide, reg, m));
	emit_u8(e, opcode);
	emit_place(e, reg, m);
}

static inline void emit_load(struct emit *e, unsigned reg, struct place m)
{
	emit_with_place(e, 0x8b, reg, m);
}

static inline void emit_store(struct emit *e, unsigned reg, struct place m)
{
	emit_with_place(e, 0x89, reg, m);
}

static inline void emit_lea(struct emit *e, unsigned to, struct place m)
{
	emit_with_place(e, 0x8d, to, m);
}

/* lea reg, [reg + n]: an addition that changes no flag. */
static inline void emit_add(struct emit *e, unsigned reg, int32_t n)
{
	emit_lea(e, reg, at_base(reg, n));
}

/* test reg8, imm8 and test reg32, imm32. */
static inline void emit_test8(struct emit *e, unsigned reg, unsigned mask)
{
	if (reg >= 4)
		emit_u8(e, rex(false, 0, 0, reg));
	emit_u8(e, 0xf6);
	emit_u8(e, modrm(3, 0, reg));
	emit_u8(e, mask);
}

static inline void emit_test32(struct emit *e, unsigned reg, uint32_t mask)
{
	if (reg >= 8)
		emit_u8(e, rex(false, 0, 0, reg));
	emit_u8(e, 0xf7);
	emit_u8(e, modrm(3, 0, reg));
	emit_u32(e, mask);
}

static inline void emit_test_self(struct emit *e, unsigned reg)
{
	emit_u8(e, rex(true, reg, 0, reg));
	emit_u8(e, 0x85);
	emit_u8(e, modrm(3, reg, reg));
}

/* Group 1 with a 32-bit register and immediate: `extension` is 4 for AND, 7 for CMP. */
static inline void emit_group1(struct emit *e, unsigned extension, unsigned reg, uint32_t imm)
{
	if (reg >= 8)
		emit_u8(e, rex(false, 0, 0, reg));
	emit_u8(e, 0x81);
	emit_u8(e, modrm(3, extension, reg));
	emit_u32(e, imm);
}

/* shl and shr reg64, n: `extension` is 4 or 5. */
static inline void emit_shift(struct emit *e, unsigned extension, unsigned reg, unsigned n)
{
	emit_u8(e, rex(true, 0, 0, reg));
	emit_u8(e, 0xc1);
	emit_u8(e, modrm(3, extension, reg));
	emit_u8(e, n);
}

/* pext to, from, gs:[disp]; no flag changes. */
static inline void emit_pext_gs(struct emit *e, unsigned to, unsigned from, int32_t disp)
{
	emit_u8(e, 0x65);
	emit_u8(e, 0xc4);
	emit_u8(e, (to & 8 ? 0u : 0x80u) | 0x62);
	emit_u8(e, 0x82u | (~from & 15u) << 3);
	emit_u8(e, 0xf5);
	emit_u8(e, modrm(0, to, 4));
	emit_u8(e, 0x25);
	emit_u32(e, (uint32_t)disp);
}

/* mov reg, gs:[reg * 8] */
static inline void emit_table_load(struct emit *e, unsigned reg)
{
	emit_u8(e, 0x65);
	emit_load(e, reg, (struct place){ NO_REG, (uint8_t)reg, 8, 0 });
}

/* jmp rel32 to an executable address. */
static inline void emit_jmp(struct emit *e, const uint8_t *target)
{
	emit_u8(e, 0xe9);
	emit_u32(e, (uint32_t)(target - (e->p + e->to_exec + 4)));
}

/* jcc rel32 to be patched: the writable address of the rel32. */
static inline uint8_t *emit_jcc_rel32(struct emit *e, unsigned cc)
{
	emit_u8(e, 0x0f);
	emit_u8(e, 0x80 | cc);
	emit_u32(e, 0);
	return e->full ? NULL : e->p - 4;
}

/* jmp rel32 to be patched. */
static inline uint8_t *emit_jmp_rel32(struct emit *e)
{
	emit_u8(e, 0xe9);
	emit_u32(e, 0);
	return e->full ? NULL : e->p - 4;
}

static inline void emit_jcc(struct emit *e, unsigned cc, const uint8_t *target)
{
	emit_u8(e, 0x0f);
	emit_u8(e, 0x80 | cc);
	emit_u32(e, (uint32_t)(target - (e->p + e->to_exec + 4)));
}

/* lea reg, [rip + ...]: an executable address. */
static inline uint8_t *emit_lea_here(struct emit *e, unsigned reg)
{
	emit_u8(e, rex(true, reg, 0, 0));
	emit_u8(e, 0x8d);
	emit_u8(e, modrm(0, reg, 5));
	emit_u32(e, 0);
	return e->full ? NULL : e->p - 4;
}

/* Points the rel32 at `at` (writable address) to the current position. */
static inline void patch_here(struct emit *e, uint8_t *at)
{
	int32_t rel = (int32_t)(e->p - (at + 4));

	if (at && !e->full)
		memcpy(at, &rel, 4);
}

#endif
