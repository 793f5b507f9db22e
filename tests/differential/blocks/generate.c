#include "blocks.h"

#include <string.h>

#include "base/bits.h"

#define MOST_INSNS 24
#define LONGEST_SKIP 100 /* of a rel8, before one more instruction */

struct writer {
	struct dice *d;
	uint8_t *p;
	uint8_t *skip; /* the rel8 of a jump forward that waits for its target */
	bool narrow;   /* 32-bit code */
	const uint32_t *apart; /* of each register, as in struct program */
};

/* RBX RSP RBP RSI RDI R10 R11 R13 */
static const uint8_t pointers[] = { 3, 4, 5, 6, 7, 10, 11, 13 };
/* RAX RCX RDX R8 R9 R12, and the two that translated code does not keep in registers */
static const uint8_t data[] = { 0, 1, 2, 8, 9, 12, 10, 11 };
/* Of the pointers and data, 32-bit code has the first so many. */
#define NARROW_POINTERS 4u
#define NARROW_DATA     3u

int is_pointer(unsigned reg, bool narrow)
{
	return memchr(pointers, (int)reg, narrow ? NARROW_POINTERS : sizeof(pointers)) != NULL;
}

static void byte(struct writer *w, unsigned b)
{
	*w->p++ = (uint8_t)b;
}

/* A REX prefix, in 64-bit code. */
static void prefix(struct writer *w, unsigned b)
{
	if (!w->narrow)
		byte(w, b);
}

static void dword(struct writer *w, uint32_t v)
{
	memcpy(w->p, &v, 4);
	w->p += 4;
}

static unsigned pointer(struct writer *w)
{
	/* Few different ones, so that accesses come in groups. */
	return pointers[roll(w->d, roll(w->d, 3) ? 3 : w->narrow ? NARROW_POINTERS : sizeof(pointers))];
}

static unsigned value(struct writer *w)
{
	return data[roll(w->d, w->narrow ? NARROW_DATA : sizeof(data))];
}

static unsigned index_reg(const struct writer *w)
{
	return w->narrow ? NARROW_INDEX_REG : INDEX_REG;
}

/* One that may be small, or be anything. */
static unsigned any_index(struct writer *w, unsigned sides)
{
	if (roll(w->d, sides))
		return index_reg(w);
	return w->narrow ? value(w) : 9 + (unsigned)roll(w->d, 3);
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
		m.index = any_index(w, 3);
		m.scale = (unsigned)roll(w->d, 4);
	}
	m.disp = (int)roll(w->d, 17) * 8 - 64;
	if (!roll(w->d, 4))
		m.disp = (int)roll(w->d, 300) - 150;
	m.disp += (int)w->apart[m.base];
	return m;
}

static void rex(struct writer *w, unsigned wide, unsigned reg, struct operand m)
{
	prefix(w, 0x40 | wide << 3 | (reg >> 3) << 2 | (m.index >> 3) << 1 | m.base >> 3);
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
					   0x3b, 0x2b, 0x29, 0x11, 0x87, 0x63 /* wide only */ };
	unsigned reg = value(w);
	struct operand m = operand(w);

	rex(w, roll(w->d, 3) > 0, reg, m);
	byte(w, opcodes[roll(w->d, sizeof(opcodes) - w->narrow)]);
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
		prefix(w, 0x48 | reg >> 3);
		byte(w, 0x83);
		byte(w, 0xc0 | (roll(w->d, 2) ? 5u << 3 : 0) | (reg & 7));
		byte(w, n);
		break;
	case 1: /* lea */
		prefix(w, 0x48 | (reg >> 3) << 2 | from >> 3);
		byte(w, 0x8d);
		byte(w, 0x80 | (reg & 7) << 3 | ((from & 7) == 4 ? 4 : from & 7));
		if ((from & 7) == 4)
			byte(w, 0x24);
		dword(w, n - 16);
		break;
	case 2: /* mov */
		prefix(w, 0x48 | (from >> 3) << 2 | reg >> 3);
		byte(w, 0x89);
		byte(w, 0xc0 | (from & 7) << 3 | (reg & 7));
		break;
	case 3: /* inc, dec */
		if (w->narrow) {
			byte(w, 0x40 | (unsigned)roll(w->d, 2) << 3 | reg);
			break;
		}
		prefix(w, 0x48 | reg >> 3);
		byte(w, 0xff);
		byte(w, 0xc0 | (unsigned)roll(w->d, 2) << 3 | (reg & 7));
		break;
	default: /* an addition that is no constant */
		prefix(w, 0x48 | (index_reg(w) >> 3) << 2 | reg >> 3);
		byte(w, 0x01);
		byte(w, 0xc0 | (index_reg(w) & 7) << 3 | (reg & 7));
		break;
	}
}

/* An index gets a limit. */
static void bound_index(struct writer *w)
{
	unsigned reg = any_index(w, 2);

	prefix(w, 0x45);
	switch (w->narrow ? 1 + roll(w->d, 2) : roll(w->d, 3)) {
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

/* ---- Flags ---- */

static void two_registers(struct writer *w, unsigned opcode)
{
	unsigned to = value(w), from = value(w);

	prefix(w, 0x48 | (from >> 3) << 2 | to >> 3);
	byte(w, opcode);
	byte(w, 0xc0 | (from & 7) << 3 | (to & 7));
}

static void one_register(struct writer *w, unsigned opcode, unsigned extension)
{
	unsigned reg = value(w);

	prefix(w, (roll(w->d, 2) ? 0x48 : 0x40) | reg >> 3);
	byte(w, opcode);
	byte(w, 0xc0 | extension << 3 | (reg & 7));
}

static void move_conditionally(struct writer *w)
{
	unsigned to = value(w), from = value(w);

	prefix(w, 0x48 | (to >> 3) << 2 | from >> 3);
	byte(w, 0x0f);
	byte(w, 0x40 | (unsigned)roll(w->d, 16));
	byte(w, 0xc0 | (to & 7) << 3 | (from & 7));
}

static void set_conditionally(struct writer *w)
{
	unsigned reg = value(w);

	prefix(w, 0x40 | reg >> 3);
	byte(w, 0x0f);
	byte(w, 0x90 | (unsigned)roll(w->d, 16));
	byte(w, 0xc0 | (reg & 7));
}

/* Counts of 0, whose shifts leave flags alone, and of 1: no flag but A is undefined. */
static void shift(struct writer *w)
{
	static const uint8_t extensions[] = { 0, 1, 2, 3, 4, 5, 7 };
	static const uint8_t counts[] = { 0, 1, 64 };
	unsigned count = counts[roll(w->d, sizeof(counts))];
	unsigned extension = extensions[roll(w->d, sizeof(extensions))];

	if (roll(w->d, 2)) {
		byte(w, 0xb1); /* mov cl, imm8 */
		byte(w, count);
		one_register(w, 0xd3, extension);
	} else {
		one_register(w, 0xc1, extension);
		byte(w, count);
	}
}

/* BT, SETC, and a writer of what BT leaves undefined. */
static void bit_test(struct writer *w)
{
	unsigned reg = value(w);

	prefix(w, 0x48 | reg >> 3);
	byte(w, 0x0f);
	byte(w, 0xba);
	byte(w, 0xe0 | (unsigned)roll(w->d, 4) << 3 | (reg & 7));
	byte(w, (unsigned)roll(w->d, 64));
	byte(w, 0x0f);
	byte(w, roll(w->d, 2) ? 0x92 : 0x94);
	byte(w, 0xc2);
	two_registers(w, 0x39);
}

/* The whole of them, without A, which is undefined now and then. */
static void flags_image(struct writer *w)
{
	/* pushfq; setc dl; and qword [rsp], ... */
	static const uint8_t push[] = { 0x9c, 0x0f, 0x92, 0xc2, 0x48, 0x81, 0x24, 0x24, 0xc5, 0x08, 0, 0 };
	static const uint8_t narrow[] = { 0x9c, 0x0f, 0x92, 0xc2, 0x81, 0x24, 0x24, 0xc5, 0x08, 0, 0 };
	static const uint8_t load[] = { 0x9f, 0x9e, 0xb4, 0 }; /* lahf; sahf; mov ah, 0 */
	static const uint8_t pop[] = { 0x9c, 0x9d };           /* pushfq; popfq */
	const struct {
		const uint8_t *bytes;
		unsigned n;
	} rows[] = { { w->narrow ? narrow : push, w->narrow ? sizeof(narrow) : sizeof(push) }, { load, sizeof(load) }, { pop, sizeof(pop) } };
	unsigned row = (unsigned)roll(w->d, LM_ARRAY_SIZE(rows));

	for (unsigned k = 0; k < rows[row].n; k++)
		byte(w, rows[row].bytes[k]);
}

static void flags(struct writer *w)
{
	static const uint8_t opcodes[] = { 0x01, 0x11, 0x11, 0x19, 0x31, 0x39, 0x39, 0x85 };
	static const uint8_t carry[] = { 0xf5, 0xf8, 0xf9 }; /* cmc, clc, stc */

	switch (roll(w->d, 10)) {
	case 0 ... 2:
		two_registers(w, opcodes[roll(w->d, sizeof(opcodes))]);
		break;
	case 3:
		one_register(w, 0xff, (unsigned)roll(w->d, 2)); /* inc, dec */
		break;
	case 4:
		shift(w);
		break;
	case 5:
		bit_test(w);
		break;
	case 6:
		byte(w, carry[roll(w->d, sizeof(carry))]);
		break;
	case 7:
		move_conditionally(w);
		break;
	case 8:
		set_conditionally(w);
		break;
	default:
		flags_image(w);
		break;
	}
}

/* 32-bit code: a DS prefix instead of REX. */
const uint8_t faulting[2][FAULTS][4] = {
	{
		[FAULT_LOAD] = { 0x48, 0x8b, 0x04, 0x25 },   /* mov rax, [disp32] */
		[FAULT_STORE] = { 0x48, 0x89, 0x04, 0x25 },  /* mov [disp32], rax */
		[FAULT_DIVIDE] = { 0x48, 0xf7, 0x34, 0x25 }, /* div qword [disp32] */
		[FAULT_ALIGN] = { 0x0f, 0x28, 0x04, 0x25 },  /* movaps xmm0, [disp32] */
	}, {
		[FAULT_LOAD] = { 0x3e, 0x8b, 0x04, 0x25 },
		[FAULT_STORE] = { 0x3e, 0x89, 0x04, 0x25 },
		[FAULT_DIVIDE] = { 0x3e, 0xf7, 0x34, 0x25 },
		[FAULT_ALIGN] = { 0x0f, 0x28, 0x04, 0x25 },
	},
};

/* The handler's IRET gives back the flags that the exception saw. */
static void fault(struct writer *w)
{
	unsigned kind = (unsigned)roll(w->d, FAULTS);

	for (unsigned k = 0; k < 4; k++)
		byte(w, faulting[w->narrow][kind][k]);
	dword(w, kind == FAULT_LOAD || kind == FAULT_STORE ? NOT_PRESENT : ZEROS);
}

/* ---- To other pages and by way of registers ---- */

static void call_function(struct writer *w)
{
	byte(w, 0xb8); /* mov eax, imm32 */
	dword(w, FUNCTIONS + 16 * (unsigned)roll(w->d, FUNCTION_COUNT));
	byte(w, 0xff); /* call rax */
	byte(w, 0xd0);
}

/* LEA of the address behind, and there by JMP, CALL, or PUSH and RET. */
static void jump_to_next(struct writer *w)
{
	static const uint8_t jumps[][2] = { { 0xff, 0xe0 }, { 0xff, 0xd0 }, { 0x50, 0xc3 } };
	const uint8_t *jump = jumps[roll(w->d, 3)];

	if (w->narrow) {
		byte(w, 0xe8); /* call next; pop eax; add eax, 6 */
		dword(w, 0);
		byte(w, 0x58);
		byte(w, 0x83);
		byte(w, 0xc0);
		byte(w, 6);
	} else {
		byte(w, 0x48); /* lea rax, [rip + 2] */
		byte(w, 0x8d);
		byte(w, 0x05);
		dword(w, 2);
	}
	byte(w, jump[0]);
	byte(w, jump[1]);
}

/* MOVS, STOS, LODS, SCAS, CMPS: C code in the middle. */
static void string(struct writer *w)
{
	static const uint8_t opcodes[] = { 0xa5, 0xab, 0xa5, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xa6, 0xa7 };

	prefix(w, 0x48);
	byte(w, opcodes[roll(w->d, sizeof(opcodes))]);
}

/* Where no code can be: the jump itself faults. */
static void jump_nowhere(struct writer *w)
{
	static const uint32_t low[] = { 0, 1, 0x8000 };

	if (w->narrow || roll(w->d, 8))
		return;
	byte(w, 0x48); /* mov rax, imm64 */
	byte(w, 0xb8);
	dword(w, low[roll(w->d, LM_ARRAY_SIZE(low))]);
	dword(w, 0x80000000);
	byte(w, 0xff); /* jmp rax */
	byte(w, 0xe0);
}

/* What only 32-bit code has: AAA and the like, PUSHA and POPA, moves by an offset alone, 0x82. */
static void old(struct writer *w)
{
	static const uint8_t adjust[] = { 0x27, 0x2f, 0x37, 0x3f };

	switch (w->narrow ? roll(w->d, 6) : 6) {
	case 0:
		byte(w, adjust[roll(w->d, sizeof(adjust))]);
		break;
	case 1:
		byte(w, 0x60);
		if (roll(w->d, 4))
			byte(w, 0x61);
		break;
	case 2:
		byte(w, 0x82);
		byte(w, 0xc0 | (unsigned)roll(w->d, 8) << 3 | value(w));
		byte(w, (unsigned)roll(w->d, 256));
		break;
	case 3: /* mov eax, es: */
		byte(w, 0x8c);
		byte(w, 0xc0);
		break;
	case 4: /* lea eax, [disp32] */
		byte(w, 0x8d);
		byte(w, 0x05);
		dword(w, (uint32_t)roll(w->d, UINT32_MAX));
		break;
	case 5:
		byte(w, 0xa0 + (unsigned)roll(w->d, 4));
		dword(w, 0x200000 + (uint32_t)roll(w->d, 0x6000));
		break;
	default:
		break;
	}
}

static void leave_block(struct writer *w)
{
	static void (*const ways[])(struct writer *) = {
		call_function, jump_to_next, string, jump_nowhere,
	};

	ways[roll(w->d, LM_ARRAY_SIZE(ways))](w);
}

void write_functions(uint8_t *code, bool narrow)
{
	static const uint8_t functions[2][FUNCTION_COUNT][16] = { {
		{ 0xc3 },                                                       /* ret */
		{ 0x48, 0xff, 0xc2, 0xc3 },                                     /* inc rdx; ret */
		{ 0x48, 0x89, 0x54, 0x24, 0xf8, 0x48, 0x83, 0xd2, 0x00, 0xc3 }, /* mov [rsp-8], rdx; adc rdx, 0; ret */
		{ 0x0f, 0x92, 0xc2, 0x48, 0x39, 0xc8, 0xc3 },                   /* setc dl; cmp rax, rcx; ret */
		{ 0x52, 0x74, 0x01, 0x90, 0x5a, 0xc3 },                         /* push rdx; jz over nop; pop rdx; ret */
	}, {
		{ 0xc3 },
		{ 0x42, 0xc3 },
		{ 0x89, 0x54, 0x24, 0xf8, 0x83, 0xd2, 0x00, 0xc3 },
		{ 0x0f, 0x92, 0xc2, 0x39, 0xc8, 0xc3 },
		{ 0x52, 0x74, 0x01, 0x90, 0x5a, 0xc3 },
	} };

	memcpy(code, functions[narrow], sizeof(functions[narrow]));
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
		flags, flags, flags, flags, leave_block, fault, old,
	};

	kinds[roll(w->d, sizeof(kinds) / sizeof(kinds[0]))](w);
}

/* Goes on at the start until the counter is 0: by JNZ, or by a jump behind one more access. */
static void loop(struct writer *w, const uint8_t *start)
{
	bool jump = roll(w->d, 2);

	if (w->narrow) {
		byte(w, 0xff); /* dec dword [...] */
		byte(w, 0x0d);
		dword(w, NARROW_COUNTER);
	} else {
		byte(w, 0x49); /* dec r15 */
		byte(w, 0xff);
		byte(w, 0xcf);
	}
	if (jump) {
		byte(w, 0x74); /* jz over it */
		w->skip = w->p++;
		store_constant(w);
		byte(w, 0xe9); /* jmp */
	} else {
		byte(w, 0x0f); /* jnz */
		byte(w, 0x85);
	}
	dword(w, (uint32_t)(start - (w->p + 4)));
	if (jump)
		branch(w);
}

/*
 * Half of 32-bit programs have registers that are far from what they point to, some of them near the ends
 * of the 4 GiB. All have the same distance, so that a copy of one does not lead to just anywhere.
 */
static void move_apart(struct dice *d, struct program *p)
{
	static const uint32_t ways[] = { 0x40000000, 0x80000000, 0xc0000000, 0x201000, 0x203000, 0xffff9000 };
	uint32_t way = p->narrow && roll(d, 2) ? ways[roll(d, sizeof(ways) / sizeof(ways[0]))] : 0;

	for (unsigned k = 0; k < sizeof(pointers); k++)
		p->apart[pointers[k]] = roll(d, 3) ? way : 0;
}

void generate(struct dice *d, struct program *p)
{
	struct writer w = { d, p->code, NULL, p->narrow, p->apart };
	unsigned n = 2 + (unsigned)roll(d, MOST_INSNS);

	move_apart(d, p);
	while (n--) {
		one_instruction(&w);
		if (w.skip && w.p - w.skip > LONGEST_SKIP)
			branch(&w);
	}
	if (w.skip)
		branch(&w);
	loop(&w, p->code);
	byte(&w, 0xf4); /* hlt */
	p->length = (unsigned)(w.p - p->code);
}
