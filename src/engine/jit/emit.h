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

/* lea to, [base + disp32]. */
static inline void emit_lea(struct emit *e, unsigned to, unsigned base, int32_t disp)
{
	emit_u8(e, rex(true, to, 0, base));
	emit_u8(e, 0x8d);
	emit_u8(e, modrm(2, to, base));
	if ((base & 7) == 4)
		emit_u8(e, 0x24);
	emit_u32(e, (uint32_t)disp);
}

/* mov reg, [r10] and mov [r10], reg: 64-bit. */
static inline void emit_load_h10(struct emit *e, unsigned reg)
{
	emit_u8(e, rex(true, reg, 0, H10));
	emit_u8(e, 0x8b);
	emit_u8(e, modrm(0, reg, H10));
}

static inline void emit_store_h10(struct emit *e, unsigned reg)
{
	emit_u8(e, rex(true, reg, 0, H10));
	emit_u8(e, 0x89);
	emit_u8(e, modrm(0, reg, H10));
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

/* Points the rel32 at `at` (writable address) to the current position. */
static inline void patch_here(struct emit *e, uint8_t *at)
{
	int32_t rel = (int32_t)(e->p - (at + 4));

	if (!e->full)
		memcpy(at, &rel, 4);
}

#endif
