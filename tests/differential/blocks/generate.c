#include "blocks.h"

#include <string.h>

#define MOST_INSNS 24

struct writer {
	struct dice *d;
	uint8_t *p;
	uint8_t *skip; /* the rel8 of a jump forward that waits for its target */
};

/* RBX RSP RBP RSI RDI R10 R11 R13 */
static const uint8_t pointers[] = { 3, 4, 5, 6, 7, 10, 11, 13 };
/* RAX RCX RDX R8 R9 R12, and the two that translated code does not keep in registers */
static const uint8_t data[] = { 0, 1, 2, 8, 9, 12, 10, 11 };

int is_pointer(unsigned reg)
{
	return memchr(pointers, (int)reg, sizeof(pointers)) != NULL;
}

static void byte(struct writer *w, unsigned b)
{
	*w->p++ = (uint8_t)b;
}

static void dword(struct writer *w, uint32_t v)
{
	memcpy(w->p, &v, 4);
	w->p += 4;
}

static unsigned pointer(struct writer *w)
{
	/* Few different ones, so that accesses come in groups. */
	return pointers[roll(w->d, roll(w->d, 3) ? 3 : sizeof(pointers))];
}

static unsigned value(struct writer *w)
{
	return data[roll(w->d, sizeof(data))];
}

/* ---- Memory operands ---- */

struct operand {
	unsigned base, index, scale;
	int disp;
};

static struct operand operand(struct writer *w)
{
	struct operand m = { pointer(w), 4, 0, 0 };

	if (!roll(w->d, 4)) {
		m.index = roll(w->d, 3) ? INDEX_REG : 9 + (unsigned)roll(w->d, 3);
		m.scale = (unsigned)roll(w->d, 4);
	}
	m.disp = (int)roll(w->d, 17) * 8 - 64;
	if (!roll(w->d, 4))
		m.disp = (int)roll(w->d, 300) - 150;
	return m;
}

static void rex(struct writer *w, unsigned wide, unsigned reg, struct operand m)
{
	byte(w, 0x40 | wide << 3 | (reg >> 3) << 2 | (m.index >> 3) << 1 | m.base >> 3);
}

static void modrm(struct writer *w, unsigned reg, struct operand m)
{
	byte(w, 0x80 | (reg & 7) << 3 | 4);
	byte(w, m.scale << 6 | (m.index & 7) << 3 | (m.base & 7));
	dword(w, (uint32_t)m.disp);
}

/* ---- Instructions ---- */

/* MOV, ADD, ADC, CMP and the like, 64 or 32 bits. */
static void integer(struct writer *w)
{
	static const uint8_t opcodes[] = { 0x8b, 0x8b, 0x8b, 0x89, 0x89, 0x89, 0x03, 0x01, 0x13, 0x39,
					   0x3b, 0x2b, 0x29, 0x11, 0x87, 0x63 };
	unsigned reg = value(w);
	struct operand m = operand(w);

	rex(w, roll(w->d, 3) > 0, reg, m);
	byte(w, opcodes[roll(w->d, sizeof(opcodes))]);
	modrm(w, reg, m);
}

static void bytes_and_words(struct writer *w)
{
	static const uint8_t opcodes[] = { 0x8a, 0x88, 0x02, 0x38 };
	static const uint8_t extended[] = { 0xb6, 0xb7, 0xbe, 0xbf, 0x44, 0x92, 0xc0 };
	unsigned reg = value(w);
	struct operand m = operand(w);

	if (!roll(w->d, 3))
		byte(w, 0x66);
	rex(w, 0, reg, m);
	if (roll(w->d, 2)) {
		byte(w, opcodes[roll(w->d, sizeof(opcodes))]);
	} else {
		byte(w, 0x0f);
		byte(w, extended[roll(w->d, sizeof(extended))]);
	}
	modrm(w, reg, m);
}

static void store_constant(struct writer *w)
{
	struct operand m = operand(w);

	rex(w, 1, 0, m);
	byte(w, 0xc7);
	modrm(w, 0, m);
	dword(w, (uint32_t)roll(w->d, UINT32_MAX));
}

/* Aligned and unaligned moves, and an operation, of XMM0 to XMM7. */
static void sse(struct writer *w)
{
	static const uint8_t opcodes[][2] = { { 0, 0x10 }, { 0, 0x11 }, { 0, 0x28 }, { 0, 0x29 },
					      { 0x66, 0x6f }, { 0xf3, 0x6f }, { 0xf3, 0x7f },
					      { 0x66, 0xef }, { 0xf3, 0x10 }, { 0xf2, 0x11 } };
	const uint8_t *o = opcodes[roll(w->d, sizeof(opcodes) / 2)];
	unsigned reg = (unsigned)roll(w->d, 8);
	struct operand m = operand(w);

	if (o[0])
		byte(w, o[0]);
	rex(w, 0, reg, m);
	byte(w, 0x0f);
	byte(w, o[1]);
	modrm(w, reg, m);
}

/* VMOVUPS, VMOVAPS, VMOVDQU, VPXOR, VANDPS with XMM or YMM. */
static void avx(struct writer *w)
{
	static const uint8_t opcodes[][2] = { { 0, 0x10 }, { 0, 0x11 }, { 0, 0x28 }, { 0, 0x29 },
					      { 2, 0x6f }, { 2, 0x7f }, { 1, 0xef }, { 0, 0x54 } };
	const uint8_t *o = opcodes[roll(w->d, sizeof(opcodes) / 2)];
	unsigned reg = (unsigned)roll(w->d, 8), length = (unsigned)roll(w->d, 2);
	unsigned source = o[1] == 0xef || o[1] == 0x54 ? (unsigned)roll(w->d, 8) : 0;
	struct operand m = operand(w);

	byte(w, 0xc4);
	byte(w, 0x80 | (m.index >> 3 ? 0u : 0x40u) | (m.base >> 3 ? 0u : 0x20u) | 1);
	byte(w, (~source & 15) << 3 | length << 2 | o[0]);
	byte(w, o[1]);
	modrm(w, reg, m);
}

static void stack(struct writer *w)
{
	unsigned reg = roll(w->d, 6) ? value(w) : pointer(w);
	struct operand m;

	switch (roll(w->d, 8)) {
	case 0:
		byte(w, 0x6a); /* push imm8 */
		byte(w, (unsigned)roll(w->d, 256));
		return;
	case 1:
		m = operand(w);
		rex(w, 0, 6, m); /* push [...] */
		byte(w, 0xff);
		modrm(w, 6, m);
		return;
	case 2:
		if (roll(w->d, 3))
			return;
		byte(w, 0xc9); /* leave */
		return;
	default:
		break;
	}
	if (reg >= 8)
		byte(w, 0x41);
	byte(w, (roll(w->d, 2) ? 0x50 : 0x58) + (reg & 7));
}

/* Pointers move by constants and are copied. */
static void move_pointer(struct writer *w)
{
	unsigned reg = pointer(w), from = pointer(w), n = (unsigned)roll(w->d, 5) * 8;

	switch (roll(w->d, 5)) {
	case 0: /* add, sub */
		byte(w, 0x48 | reg >> 3);
		byte(w, 0x83);
		byte(w, 0xc0 | (roll(w->d, 2) ? 5u << 3 : 0) | (reg & 7));
		byte(w, n);
		break;
	case 1: /* lea */
		byte(w, 0x48 | (reg >> 3) << 2 | from >> 3);
		byte(w, 0x8d);
		byte(w, 0x80 | (reg & 7) << 3 | ((from & 7) == 4 ? 4 : from & 7));
		if ((from & 7) == 4)
			byte(w, 0x24);
		dword(w, n - 16);
		break;
	case 2: /* mov */
		byte(w, 0x48 | (from >> 3) << 2 | reg >> 3);
		byte(w, 0x89);
		byte(w, 0xc0 | (from & 7) << 3 | (reg & 7));
		break;
	case 3: /* inc, dec */
		byte(w, 0x48 | reg >> 3);
		byte(w, 0xff);
		byte(w, 0xc0 | (unsigned)roll(w->d, 2) << 3 | (reg & 7));
		break;
	default: /* an addition that is no constant */
		byte(w, 0x48 | (INDEX_REG >> 3) << 2 | reg >> 3);
		byte(w, 0x01);
		byte(w, 0xc0 | (INDEX_REG & 7) << 3 | (reg & 7));
		break;
	}
}

/* An index gets a limit. */
static void bound_index(struct writer *w)
{
	unsigned reg = roll(w->d, 2) ? INDEX_REG : 9 + (unsigned)roll(w->d, 3);

	byte(w, 0x45);
	switch (roll(w->d, 3)) {
	case 0: /* movzx reg32, reg8 */
		byte(w, 0x0f);
		byte(w, 0xb6);
		byte(w, 0xc0 | (reg & 7) << 3 | (reg & 7));
		break;
	case 1: /* and reg32, imm8 */
		byte(w, 0x83);
		byte(w, 0xe0 | (reg & 7));
		byte(w, (unsigned)roll(w->d, 128));
		break;
	default: /* shr reg32, imm8 */
		byte(w, 0xc1);
		byte(w, 0xe8 | (reg & 7));
		byte(w, 24 + (unsigned)roll(w->d, 8));
		break;
	}
}

/* Ends a block: a jump forward over the next instructions, taken or not, or a call of the next. */
static void branch(struct writer *w)
{
	if (w->skip) {
		*w->skip = (uint8_t)(w->p - (w->skip + 1));
		w->skip = NULL;
	} else if (roll(w->d, 3)) {
		byte(w, 0x70 + (unsigned)roll(w->d, 16));
		w->skip = w->p++;
	} else {
		byte(w, 0xe8);
		dword(w, 0);
	}
}

static void one_instruction(struct writer *w)
{
	static void (*const kinds[])(struct writer *) = {
		integer, integer, integer, integer, bytes_and_words, store_constant, sse, avx,
		stack, stack, stack, move_pointer, move_pointer, bound_index, branch,
	};

	kinds[roll(w->d, sizeof(kinds) / sizeof(kinds[0]))](w);
}

unsigned generate(struct dice *d, uint8_t *code)
{
	struct writer w = { d, code, NULL };
	unsigned n = 2 + (unsigned)roll(d, MOST_INSNS);

	while (n--)
		one_instruction(&w);
	if (w.skip)
		branch(&w);
	byte(&w, 0x49); /* dec r15 */
	byte(&w, 0xff);
	byte(&w, 0xcf);
	byte(&w, 0x0f); /* jnz to the start */
	byte(&w, 0x85);
	dword(&w, (uint32_t)(code - (w.p + 4)));
	byte(&w, 0xf4); /* hlt */
	return (unsigned)(w.p - code);
}
