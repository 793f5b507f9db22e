/*
 * A vCPU with hostile everything: random descriptor tables, page tables, state and code in all
 * modes, with events from outside between the pieces of a run. Ports and device memory answer from
 * the input.
 *
 * Beside what the sanitizers see: a run keeps to its budget, allocates nothing, leaves the state
 * within architectural bounds, and what is derived from the state is what the state says.
 */
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"
#include "engine/engine.h"
#include "isa/x86/debug.h"
#include "isa/x86/event.h"
#include "isa/x86/mmu.h"
#include "fuzz.h"

#ifndef FUZZ_ENGINE
#define FUZZ_ENGINE "interp"
#endif

#define RAM_BYTES (2 * MIB)
#define TSC_HZ    UINT64_C(1000000000)
#define PIECES    12  /* of a run, with an event before each */
#define PIECE     400 /* instructions */

/* The guest's memory. */
#define AT_IVT    0x0000u
#define AT_GDT    0x1000u
#define AT_LDT    0x1400u
#define AT_IDT    0x2000u
#define AT_TSS    0x3000u
#define AT_TSS2   0x3400u
#define AT_CODE   0x8000u /* to 0xa000 */
#define CODE_ROOM 0x1800u
#define AT_STACK  0xf000u
#define AT_TABLES 0x10000u

/* Selectors of the sane part of the GDT; the rest comes from the input. */
enum {
	CODE16 = 0x08, CODE32 = 0x10, CODE64 = 0x18, DATA = 0x20, DATA16 = 0x28, TSS = 0x30, LDT = 0x40,
	USER_CODE64 = 0x50, USER_CODE32 = 0x58, USER_DATA = 0x60, TSS2 = 0x68, GDT_SANE = 0x78,
	GDT_END = 0x100,
};

enum mode { REAL, V86, PROTECTED16, PROTECTED32, PAE, COMPATIBILITY, LONG, MODES };

struct machine {
	const struct engine_ops *engine;
	struct x86_system sys;
	struct event_loop loop;
	struct ram ram;
	struct mem_io io;
	struct x86_cpu *c;
	struct fuzz_input *in;
	enum mode mode;
};

static struct machine machine;

size_t __sanitizer_get_current_allocated_bytes(void) __attribute__((weak));

static uint8_t byte(void)
{
	return (uint8_t)fuzz_take(machine.in, 1);
}

static bool one_in(unsigned n)
{
	return byte() % n == 0;
}

/* ---- What is outside the vCPU ---- */

static uint64_t mmio_read(void *opaque, gpa_t gpa, unsigned size)
{
	LM_BUG_ON(!is_pow2(size) || size > 8 || ram_ptr(&machine.ram, gpa, size));
	return fuzz_take(machine.in, size);
}

static void mmio_write(void *opaque, gpa_t gpa, uint64_t value, unsigned size)
{
	LM_BUG_ON(!is_pow2(size) || size > 8 || ram_ptr(&machine.ram, gpa, size));
	LM_BUG_ON(value & ~mask_bytes(size));
}

static uint32_t port_read(void *opaque, uint16_t port, unsigned size)
{
	LM_BUG_ON(!is_pow2(size) || size > 4);
	return (uint32_t)fuzz_take(machine.in, size);
}

static void port_write(void *opaque, uint16_t port, uint32_t value, unsigned size)
{
	LM_BUG_ON(!is_pow2(size) || size > 4);
}

static int pic_ack(void *opaque)
{
	x86_extint_set(machine.c, false);
	return byte();
}

static void eoi(void *opaque, uint8_t vector)
{
}

static void machine_init(struct machine *m)
{
	m->engine = engine_find(FUZZ_ENGINE);
	LM_BUG_ON(ram_init(&m->ram, RAM_BYTES, NULL) || loop_init(&m->loop, true, NULL));
	m->io = (struct mem_io){ mmio_read, mmio_write, port_read, port_write, m };
	m->sys = (struct x86_system){
		.ram = &m->ram, .io = &m->io, .loop = &m->loop, .tsc_hz = TSC_HZ, .cpu_count = 1,
		.pic_ack = pic_ack, .eoi = eoi, .opaque = m,
	};
	pthread_mutex_init(&m->sys.split_lock, NULL);
	model_default(&m->sys.model, 1, TSC_HZ);
	m->c = x86_cpu_create(&m->sys, 0);
	LM_BUG_ON(!m->c || m->engine->vcpu_create(m->c, NULL));
}

/* Once for all runs, or most of the time would go into it; nothing but caches survives a run. */
static void machine_start(struct machine *m, struct fuzz_input *in)
{
	static const struct x86_state zero;

	if (!m->c)
		machine_init(m);
	m->in = in;
	m->loop.clock.virtual_ns = 0;
	memset(m->ram.base, 0, RAM_BYTES);
	ram_note_write(&m->ram, m->ram.base, RAM_BYTES);
	m->c->s = zero;
	m->c->events = 0;
	x86_cpu_reset(m->c, false);
}

/* ---- Memory ---- */

static void put(uint64_t gpa, uint64_t value, unsigned size)
{
	le_store(ram_ptr(&machine.ram, GPA(gpa), size), value, size);
}

static void put_random(uint64_t gpa, unsigned bytes)
{
	for (unsigned k = 0; k < bytes; k++)
		put(gpa + k, byte(), 1);
}

static uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t attr)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(attr & 0xff) << 40 |
	       (uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)(attr >> 8 & 0xf) << 52 |
	       (uint64_t)(base >> 24) << 56;
}

static void put_gdt(void)
{
	bool wide = machine.mode >= COMPATIBILITY;
	static const struct {
		unsigned selector;
		uint32_t base, limit, attr;
	} sane[] = {
		{ CODE16, 0, 0xffff, 0x09b },      { CODE32, 0, 0xfffff, 0xc9b },
		{ CODE64, 0, 0xfffff, 0xa9b },     { DATA, 0, 0xfffff, 0xc93 },
		{ DATA16, 0, 0xffff, 0x093 },      { USER_CODE64, 0, 0xfffff, 0xafb },
		{ USER_CODE32, 0, 0xfffff, 0xcfb }, { USER_DATA, 0, 0xfffff, 0xcf3 },
		{ LDT, AT_LDT, 0xff, 0x082 },      { TSS2, AT_TSS2, 0x67, 0x089 },
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(sane); k++)
		put(AT_GDT + sane[k].selector,
		    descriptor(sane[k].base, sane[k].limit, sane[k].attr), 8);
	put(AT_GDT + TSS, descriptor(AT_TSS, wide || one_in(2) ? 0x2fff : 0x67, 0x08b), 8);
	put_random(AT_GDT + GDT_SANE, GDT_END - GDT_SANE);
	put_random(AT_LDT, 0x20);
	for (unsigned n = byte() % 4; n; n--)
		put(AT_GDT + byte(), byte(), 1);
}

static uint64_t handler(void)
{
	return AT_CODE + (byte() * 16u) % CODE_ROOM;
}

static void put_gate(unsigned vector)
{
	static const uint16_t codes[] = { CODE32, CODE64, CODE16, USER_CODE32 };
	bool wide = machine.mode >= COMPATIBILITY;
	unsigned kind = byte();
	uint8_t type = kind & 1 ? 0x8e : 0xef; /* interrupt gate; trap gate for all */
	uint16_t selector = codes[kind % 32 == 31 ? kind >> 6 : wide];
	uint64_t at = AT_IDT + vector * (wide ? 16u : 8u), to = handler();

	if (kind % 16 == 7) {
		type = 0xe5; /* task gate */
		selector = TSS2;
	} else if (kind % 16 == 9) {
		type = byte();
		selector = (uint16_t)fuzz_take(machine.in, 2);
	}
	put(at, (to & 0xffff) | (uint64_t)selector << 16 | (uint64_t)type << 40, 8);
	if (wide) {
		put(at + 4, kind % 64 == 60 ? byte() : 0, 1); /* IST */
		put(at + 8, kind % 64 == 61 ? fuzz_take(machine.in, 8) : 0, 8);
	}
}

static void put_tss(uint64_t at)
{
	bool wide = machine.mode >= COMPATIBILITY;

	if (wide) {
		for (unsigned k = 4; k < 0x68; k += 8)
			put(at + k, k % 24 == 20 && one_in(8) ? fuzz_take(machine.in, 8) : AT_STACK - 64 * k, 8);
	} else {
		static const uint16_t segments[] = { DATA, CODE32, DATA, DATA, DATA, DATA };

		for (unsigned k = 0; k < 3; k++) {
			put(at + 4 + 8 * k, AT_STACK - 0x400 * k, 4);
			put(at + 8 + 8 * k, DATA, 4);
		}
		put(at + 0x20, handler(), 4);
		put(at + 0x24, one_in(4) ? fuzz_take(machine.in, 4) : FLAG_FIXED, 4);
		put(at + 0x38, AT_STACK - 0x800, 4);
		for (unsigned k = 0; k < 6; k++)
			put(at + 0x48 + 4 * k, one_in(8) ? byte() : segments[k], 4);
		put(at + 0x1c, AT_TABLES, 4);
		put(at + 0x60, LDT, 4);
	}
	put(at + 0x66, one_in(4) ? byte() : 0x68, 2); /* the I/O map */
	if (one_in(4))
		put_random(at, 0x68);
}

/* Maps [0, 2 MiB) to itself, and the LAPIC page; then some entries are damaged. */
static void put_page_tables(void)
{
	const uint64_t rights = 0x67, large = 0x80;
	uint64_t at = AT_TABLES;

	if (machine.mode < PAE) {
		put(at, (at + 0x1000) | rights, 4);
		put(at + 4 * 0x3fb, 0xfec00000 | large | rights, 4);
		for (unsigned k = 0; k < 512; k++)
			put(at + 0x1000 + 4 * k, k << 12 | rights, 4);
	} else {
		uint64_t pd = at + 0x3000, pt = at + 0x4000, apic = at + 0x5000;

		put(at, (at + 0x1000) | (machine.mode == PAE ? 1 : rights), 8);
		if (machine.mode == PAE) {
			put(at, pd | 1, 8);
			put(at + 24, apic | 1, 8);
		} else {
			put(at + 0x1000, pd | rights, 8);
			put(at + 0x1018, apic | rights, 8);
			put(at + 8 * 511, (at + 0x1000) | rights, 8); /* the same once more */
		}
		put(pd, pt | rights, 8);
		put(pd + 8, 0 | large | rights, 8);
		put(apic + 8 * 0x1f7, 0xfee00000 | large | rights, 8);
		for (unsigned k = 0; k < 512; k++)
			put(pt + 8 * k, (uint64_t)k << 12 | rights, 8);
	}
	for (unsigned n = byte() % 8; n; n--) {
		uint64_t where = at + (uint64_t)(byte() % 6) * 0x1000 + byte() % 64 * 8;

		put(where, fuzz_take(machine.in, 8), one_in(2) ? 1 : 8);
	}
}

/* ---- Code ---- */

struct emitter {
	uint8_t *p, *end;
};

static void emit(struct emitter *e, uint64_t value, unsigned bytes)
{
	for (; bytes && e->p < e->end; bytes--, value >>= 8)
		*e->p++ = (uint8_t)value;
}

static void emit_random(struct emitter *e, unsigned bytes)
{
	while (bytes--)
		emit(e, byte(), 1);
}

/* Where guests trip: page and segment ends, device memory, the wrap-arounds, not canonical. */
static uint64_t address(void)
{
	static const uint64_t edges[] = {
		AT_GDT, AT_IDT, AT_TSS, AT_TABLES, AT_CODE, AT_STACK, 0x1ffff8, 0x200000, 0x9fffc,
		0xa0000, 0xbfffd, 0xfee00000, 0xfee00300, 0xfee00380, 0xfffffffc, 0xffff, 0x7ffffffffffc,
		0x800000000000, 0xffff800000000000, 0xfffffffffffffffd, 0xffffff8000008000, 0,
	};
	uint64_t at = edges[byte() % LM_ARRAY_SIZE(edges)];

	return at + (uint64_t)(int8_t)byte() * (one_in(2) ? 1 : 16);
}

static void emit_prefixes(struct emitter *e)
{
	static const uint8_t prefix[] = { 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };

	for (unsigned n = byte() % 8; n > 4; n--)
		emit(e, prefix[byte() % sizeof(prefix)], 1);
	if (machine.mode == LONG && one_in(2))
		emit(e, 0x40 | byte() % 16, 1);
}

/* An opcode of some map with operands that are often registers. */
static void emit_shaped(struct emitter *e)
{
	unsigned map = byte();

	emit_prefixes(e);
	if (map >= 208) { /* VEX */
		emit(e, 0xc4, 1);
		emit(e, 0xe0 | (map & 3), 1);
		emit_random(e, 1);
	} else if (map >= 176) {
		emit(e, map & 1 ? 0x380f : 0x3a0f, 2);
	} else if (map >= 80) {
		emit(e, 0x0f, 1);
	}
	emit_random(e, 1);
	emit(e, one_in(2) ? byte() | 0xc0 : byte(), 1);
	emit_random(e, byte() % 6);
}

/* MOV to a register of something that makes a good pointer, count or operand. */
static void emit_load(struct emitter *e)
{
	uint64_t value = one_in(3) ? fuzz_take(machine.in, 1 + byte() % 8) : address();

	if (machine.mode == LONG && one_in(2)) {
		emit(e, 0x48 | byte() % 2, 1);
		emit(e, 0xb8 | byte() % 8, 1);
		emit(e, value, 8);
	} else {
		emit(e, 0xb8 | byte() % 8, 1);
		emit(e, value, machine.mode <= PROTECTED16 ? 2 : 4);
	}
}

static void emit_msr(struct emitter *e)
{
	static const uint32_t msrs[] = {
		0x10, 0x1b, 0x3a, 0x3b, 0x48, 0x49, 0x8b, 0xfe, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x1a0,
		0x1d9, 0x200, 0x201, 0x250, 0x268, 0x277, 0x2ff, 0x6e0, 0x808, 0x80b, 0x80f, 0x830, 0x832,
		0x838, 0x839, 0x83e, 0x83f, 0xda0, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083,
		0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0x11, 0x12, 0x4b564d00,
		0x4b564d01, 0x4b564d02, 0x4b564d03, 0x4b564d04, 0x4b564d05,
	};
	unsigned width = machine.mode <= PROTECTED16 ? 0x66 : 0x90;
	uint64_t value = one_in(2) ? fuzz_take(machine.in, 8) : address();

	emit(e, width | 0xb900, 2);
	emit(e, msrs[byte() % LM_ARRAY_SIZE(msrs)] ^ (one_in(8) ? byte() : 0), 4);
	emit(e, width | 0xb800, 2);
	emit(e, value, 4);
	emit(e, width | 0xba00, 2);
	emit(e, value >> (one_in(2) ? 32 : 63), 4);
	emit(e, one_in(4) ? 0x320f : 0x300f, 2);
}

/* Opcode bytes, then how many random ones follow (at least a ModRM). */
static const struct {
	uint8_t bytes[3], count, random;
} system_insns[] = {
	{ { 0x0f, 0x22 }, 2, 1 },       /* MOV CR */
	{ { 0x0f, 0x20 }, 2, 1 },       { { 0x0f, 0x23 }, 2, 1 }, /* MOV DR */
	{ { 0x0f, 0x21 }, 2, 1 },       { { 0x0f, 0x01 }, 2, 5 }, /* group 7 */
	{ { 0x0f, 0x00 }, 2, 5 },       /* group 6 */
	{ { 0x0f, 0x02 }, 2, 1 },       { { 0x0f, 0x03 }, 2, 1 }, /* LAR, LSL */
	{ { 0x0f, 0x05 }, 2, 0 },       { { 0x0f, 0x07 }, 2, 0 }, /* SYSCALL, SYSRET */
	{ { 0x48, 0x0f, 0x07 }, 3, 0 }, { { 0x0f, 0x34 }, 2, 0 }, /* SYSENTER */
	{ { 0x0f, 0x35 }, 2, 0 },       { { 0x48, 0x0f, 0x35 }, 3, 0 },
	{ { 0x0f, 0x06 }, 2, 0 },       { { 0x0f, 0xa2 }, 2, 0 }, /* CLTS, CPUID */
	{ { 0x0f, 0xae }, 2, 5 },       { { 0x0f, 0xc7 }, 2, 5 }, /* FXSAVE..., CMPXCHG8B, XSAVES */
	{ { 0x48, 0x0f, 0xae }, 3, 5 }, { { 0x0f, 0x01, 0xd1 }, 3, 0 }, /* XSETBV */
	{ { 0x0f, 0x01, 0xc1 }, 3, 0 }, { { 0x0f, 0x01, 0xf8 }, 3, 0 }, /* VMCALL, SWAPGS */
	{ { 0x0f, 0x01, 0xcb }, 3, 0 }, { { 0xf4 }, 1, 0 },	     /* STAC, HLT */
	{ { 0xcf }, 1, 0 },	     { { 0x48, 0xcf }, 2, 0 },       /* IRET */
	{ { 0xcb }, 1, 0 },	     { { 0xca }, 1, 2 },	     /* RETF */
	{ { 0x48, 0xcb }, 2, 0 },       { { 0xcc }, 1, 0 },
	{ { 0xcd }, 1, 1 },	     { { 0xce }, 1, 0 }, /* INT n, INTO */
	{ { 0xf1 }, 1, 0 },	     { { 0xfa }, 1, 0 }, /* INT1, CLI */
	{ { 0xfb }, 1, 0 },	     { { 0x9c }, 1, 0 }, /* STI, PUSHF */
	{ { 0x9d }, 1, 0 },	     { { 0x8e }, 1, 1 }, /* POPF, MOV Sreg */
	{ { 0x17 }, 1, 0 },	     { { 0x1f }, 1, 0 }, /* POP SS, DS */
	{ { 0x0f, 0xb2 }, 2, 5 },       { { 0xc5 }, 1, 5 }, /* LSS, LDS */
	{ { 0xec }, 1, 0 },	     { { 0xef }, 1, 0 },
	{ { 0xf3, 0x6d }, 2, 0 },       { { 0xf3, 0x6e }, 2, 0 }, /* REP INS, OUTS */
	{ { 0xf3, 0xa5 }, 2, 0 },       { { 0xf3, 0xab }, 2, 0 }, /* REP MOVS, STOS */
	{ { 0xf2, 0xae }, 2, 0 },       { { 0xf3, 0xa6 }, 2, 0 },
	{ { 0xc8 }, 1, 3 },	     { { 0xc9 }, 1, 0 }, /* ENTER, LEAVE */
	{ { 0x62 }, 1, 2 },	     { { 0x63 }, 1, 2 }, /* BOUND, ARPL */
	{ { 0xff }, 1, 5 },	     { { 0x8f }, 1, 5 },
	{ { 0xd9 }, 1, 5 },	     { { 0xdd }, 1, 5 }, /* x87 state */
	{ { 0xdb }, 1, 2 },	     { { 0xdf }, 1, 2 },
	{ { 0x0f, 0x38, 0x82 }, 3, 2 }, { { 0xf0, 0x0f, 0xb1 }, 3, 2 }, /* INVPCID, LOCK CMPXCHG */
	{ { 0x0f, 0xc7, 0x0f }, 3, 0 }, { { 0xf0, 0x0f, 0xc7 }, 3, 5 },
};

static void emit_system(struct emitter *e)
{
	unsigned k = byte() % LM_ARRAY_SIZE(system_insns);

	emit_prefixes(e);
	for (unsigned n = 0; n < system_insns[k].count; n++)
		emit(e, system_insns[k].bytes[n], 1);
	emit_random(e, system_insns[k].random);
}

/* A far jump or call: through a direct pointer, to one of the GDT's selectors. */
static void emit_far(struct emitter *e)
{
	emit(e, one_in(2) ? 0xea : 0x9a, 1);
	emit(e, handler(), machine.mode <= PROTECTED16 ? 2 : 4);
	emit(e, machine.mode <= V86 ? byte() << 4 : byte(), 2);
}

static void emit_jump(struct emitter *e)
{
	emit(e, one_in(2) ? 0xeb : 0x70 | byte() % 16, 1);
	emit_random(e, 1);
}

static void put_code(void)
{
	uint8_t *p = ram_ptr(&machine.ram, GPA(AT_CODE), CODE_ROOM);
	struct emitter e = { p, p + CODE_ROOM };
	bool raw = one_in(8);

	while (e.p < e.end && machine.in->p < machine.in->end) {
		unsigned what = raw ? 0 : byte() % 16;

		if (what == 0)
			emit_random(&e, 4);
		else if (what < 6)
			emit_shaped(&e);
		else if (what < 9)
			emit_load(&e);
		else if (what < 10)
			emit_msr(&e);
		else if (what < 11)
			emit_far(&e);
		else if (what < 12)
			emit_jump(&e);
		else
			emit_system(&e);
	}
	/* The rest repeats it, so that handlers anywhere have code. */
	for (uint8_t *q = e.p; e.p > p && q < e.end; q++)
		*q = q[p - e.p];
}

/* ---- The first state ---- */

static struct x86_segment segment(uint16_t selector, uint16_t attr, uint32_t limit)
{
	return (struct x86_segment){ .selector = selector, .attr = attr, .limit = limit };
}

static void set_segments(struct x86_state *s, uint16_t code, uint16_t code_attr, uint16_t data,
			 uint16_t data_attr, uint32_t limit)
{
	s->seg[CS] = segment(code, code_attr, limit);
	for (unsigned k = 0; k < 6; k++)
		if (k != CS)
			s->seg[k] = segment(data, data_attr, limit);
}

static void set_protected(struct x86_state *s)
{
	bool user = one_in(3);

	s->cr0 |= CR0_PE;
	switch (machine.mode) {
	case PROTECTED16:
		set_segments(s, CODE16, 0x09b, DATA16, 0x093, 0xffff);
		break;
	case LONG:
		set_segments(s, user ? USER_CODE64 | 3 : CODE64, user ? 0xafb : 0xa9b,
			     user ? USER_DATA | 3 : DATA, user ? 0xcf3 : 0xc93, 0xffffffff);
		break;
	default:
		set_segments(s, user ? USER_CODE32 | 3 : CODE32, user ? 0xcfb : 0xc9b,
			     user ? USER_DATA | 3 : DATA, user ? 0xcf3 : 0xc93, 0xffffffff);
	}
	if (machine.mode <= PAE && one_in(4)) { /* not flat */
		unsigned k = byte() % 6;

		if (k != CS)
			s->seg[k].base = (uint32_t)address();
		if (k != CS && k != SS) {
			s->seg[k].limit = (uint32_t)address();
			s->seg[k].attr ^= one_in(2) ? SEG_EXPAND : 0;
		}
	}
	s->tr = segment(TSS, 0x08b, 0x2fff);
	s->tr.base = AT_TSS;
	s->ldtr = segment(LDT, 0x082, 0xff);
	s->ldtr.base = AT_LDT;
}

static void set_paging(struct x86_state *s)
{
	s->cr3 = AT_TABLES;
	s->cr0 |= CR0_PG | (one_in(2) ? CR0_WP : 0);
	s->cr4 |= machine.mode >= PAE ? CR4_PAE : CR4_PSE;
	if (machine.mode >= COMPATIBILITY)
		s->efer |= EFER_LME | EFER_LMA;
	if (machine.mode == PAE)
		for (unsigned k = 0; k < 4; k++)
			s->pdpte[k] = le_load(ram_ptr(&machine.ram, GPA(AT_TABLES + 8 * k), 8), 8) &
				      (0xfffff001);
}

static void set_mode(struct x86_state *s)
{
	set_segments(s, 0, 0x9b, 0, 0x93, 0xffff);
	s->idtr = (struct x86_table_reg){ machine.mode == REAL ? AT_IVT : AT_IDT, 0xfff };
	s->gdtr = (struct x86_table_reg){ AT_GDT, GDT_END - 1 };
	if (machine.mode > V86) {
		set_protected(s);
	} else if (machine.mode == V86) {
		set_protected(s);
		set_segments(s, 0, 0xf3, 0, 0xf3, 0xffff);
		s->rflags |= FLAG_VM;
	}
	if (machine.mode >= PAE || (machine.mode != REAL && one_in(2)))
		set_paging(s);
}

static void set_state(struct x86_state *s)
{
	uint64_t features = fuzz_take(machine.in, 2);

	for (unsigned k = 0; k < 16; k++)
		s->gpr[k] = one_in(4) ? fuzz_take(machine.in, 8) : address();
	s->gpr[RSP] = one_in(8) ? address() : AT_STACK;
	s->rip = AT_CODE;
	set_mode(s);
	s->rflags |= FLAG_FIXED | (fuzz_take(machine.in, 3) &
				   (FLAGS_ARITH | FLAG_DF | FLAG_IF | FLAG_IOPL | FLAG_AC | FLAG_NT));
	s->rflags |= one_in(16) ? FLAG_TF : 0;
	s->cr0 |= CR0_ET | (one_in(2) ? CR0_NE | CR0_MP : 0) | (one_in(8) ? CR0_AM : 0);
	s->cr0 &= ~(CR0_CD | CR0_NW);
	if (features & 1)
		s->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
	if (features & 2 && model_has(&machine.sys.model, F_XSAVE)) {
		s->cr4 |= CR4_OSXSAVE;
		s->xcr0 = XCR0_X87 | XCR0_SSE | (model_has(&machine.sys.model, F_AVX) ? XCR0_AVX : 0);
	}
	s->cr4 |= features & 4 ? CR4_DE | CR4_TSD | CR4_PGE : 0;
	s->cr4 |= features & 8 && model_has(&machine.sys.model, F_FSGSBASE) ? CR4_FSGSBASE : 0;
	s->efer |= features & 16 ? EFER_SCE | EFER_NXE : 0;
	if (features & 32)
		s->mxcsr = 0x1f80 & (uint32_t)fuzz_take(machine.in, 2);
	if (features & 64)
		s->fpu.fcw = 0x40 | (fuzz_take(machine.in, 2) & 0xf3f);
	if (features % 1024 < 32) {
		s->dr[7] = DR7_FIXED | (fuzz_take(machine.in, 4) & DR7_WRITABLE);
		for (unsigned k = 0; k < 4; k++)
			s->dr[k] = machine.mode >= COMPATIBILITY ? AT_CODE + byte() : (uint32_t)address();
	}
	for (unsigned k = 0; k < 16; k++)
		s->vec[k].q[k % 4] = fuzz_take(machine.in, 8);
	s->lstar = s->cstar = s->sysenter_eip = handler();
	s->sysenter_esp = AT_STACK;
	s->sysenter_cs = CODE32;
	s->star = (uint64_t)CODE32 << 32 | (uint64_t)(USER_CODE64 - 16) << 48;
	s->lapic.svr = one_in(2) ? 0x1ff : 0xff;
}

static void set_up(void)
{
	machine.mode = byte() % MODES;
	put_gdt();
	for (unsigned k = 0; k < 256; k++)
		put(AT_IVT + 4 * k, handler(), 4);
	for (unsigned k = 0; k < 256; k++)
		put_gate(k);
	put_tss(AT_TSS);
	put_tss(AT_TSS2);
	put_page_tables();
	set_state(&machine.c->s);
	put_code();
}

/* ---- What must hold ---- */

#define RFLAGS_DEFINED                                                                             \
	(FLAGS_ARITH | FLAG_FIXED | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF |  \
	 FLAG_VM | FLAG_AC | FLAG_VIF | FLAG_VIP | FLAG_ID)

static void check_control(const struct x86_state *s)
{
	LM_BUG_ON(s->rflags & ~(uint64_t)RFLAGS_DEFINED || !(s->rflags & FLAG_FIXED));
	LM_BUG_ON(s->rflags & FLAG_VM && (!(s->cr0 & CR0_PE) || s->efer & EFER_LMA));
	LM_BUG_ON(s->cr0 >> 32 || !(s->cr0 & CR0_ET));
	LM_BUG_ON(s->cr0 & CR0_PG && !(s->cr0 & CR0_PE));
	LM_BUG_ON(s->cr0 & CR0_NW && !(s->cr0 & CR0_CD));
	LM_BUG_ON(!(s->efer & EFER_LMA) != !(s->efer & EFER_LME && s->cr0 & CR0_PG));
	LM_BUG_ON(s->efer & EFER_LMA && !(s->cr4 & CR4_PAE));
	LM_BUG_ON(s->efer & ~(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE));
	LM_BUG_ON(s->cr3 >> machine.sys.model.physical_bits);
	LM_BUG_ON(s->cr4 & CR4_PCIDE && !(s->efer & EFER_LMA));
	LM_BUG_ON(s->xcr0 & ~(XCR0_X87 | XCR0_SSE | XCR0_AVX) || !(s->xcr0 & XCR0_X87));
	LM_BUG_ON(s->xcr0 & XCR0_AVX && !(s->xcr0 & XCR0_SSE));
	LM_BUG_ON((s->dr[6] & ~DR6_WRITABLE) != DR6_FIXED);
	LM_BUG_ON((s->dr[7] & ~DR7_WRITABLE) != DR7_FIXED);
}

static void check_addresses(const struct x86_state *s)
{
	const uint64_t linear[] = {
		s->seg[FS].base, s->seg[GS].base, s->kernel_gs_base, s->lstar, s->cstar, s->sysenter_eip,
		s->sysenter_esp, s->gdtr.base, s->idtr.base, s->ldtr.base, s->tr.base,
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(linear); k++)
		LM_BUG_ON(!x86_canonical(linear[k]));
	for (unsigned k = ES; k <= DS; k++)
		LM_BUG_ON(s->seg[k].base >> 32);
	for (unsigned k = 0; k < 6; k++)
		LM_BUG_ON(s->seg[k].attr & ~0x1fffu);
}

static void check_fpu(const struct x86_fpu *f)
{
	bool pending = f->fsw & ~f->fcw & 0x3f;

	LM_BUG_ON(!(f->fsw & FSW_ES) != !pending);
	LM_BUG_ON(!(f->fsw & 0x8000) != !(f->fsw & FSW_ES)); /* B mirrors ES */
	LM_BUG_ON(f->fop > 0x7ff);
	LM_BUG_ON(machine.c->s.mxcsr >> 16);
}

/* What was derived from the state is what it gives again. */
static void check_derived(struct x86_cpu *c)
{
	const enum x86_code_size code_size = c->code_size;
	const struct x86_tlb *tlb = c->tlb;
	const unsigned cpl = c->cpl, stack_size = c->stack_size, traps = c->guard_traps;
	const bool real = c->real_or_v86, flat = c->flat_data, checks = c->access_checks;

	x86_mode_changed(c);
	LM_BUG_ON(code_size != c->code_size || cpl != c->cpl || stack_size != c->stack_size);
	LM_BUG_ON(real != c->real_or_v86 || flat != c->flat_data || tlb != c->tlb);
	LM_BUG_ON(traps != c->guard_traps || checks != c->access_checks);
}

static void check(struct x86_cpu *c)
{
	machine.engine->state_save(c);
	check_control(&c->s);
	check_addresses(&c->s);
	check_fpu(&c->s.fpu);
	check_derived(c);
}

/* ---- A run ---- */

static void random_event(struct x86_cpu *c)
{
	switch (byte() % 24) {
	case 0:
		lapic_deliver(c, byte(), DELIVERY_FIXED, false);
		break;
	case 1:
		lapic_deliver(c, 0, DELIVERY_NMI, false);
		break;
	case 2:
		x86_extint_set(c, true);
		break;
	case 3:
		x86_event_raise(c, EV_TLB);
		break;
	case 4:
		x86_event_raise(c, EV_KICK);
		break;
	case 5:
		lapic_message(&machine.sys, UINT64_C(0xfee00000) | fuzz_take(machine.in, 2),
			      (uint32_t)fuzz_take(machine.in, 2));
		break;
	case 6:
		machine.loop.clock.virtual_ns += (int64_t)fuzz_take(machine.in, 3);
		break;
	case 7:
		x86_event_raise(c, EV_UNHALT);
		break;
	default:
		break;
	}
	loop_run_timers(&machine.loop);
}

static void run_piece(struct x86_cpu *c)
{
	uint64_t before = c->count.instructions;
	enum exit_reason why = machine.engine->run(c, PIECE);
	uint64_t done = c->count.instructions - before;

	LM_BUG_ON(done > PIECE || (why == EXIT_BUDGET && done != PIECE));
	if (why == EXIT_HALTED)
		LM_BUG_ON(c->s.activity != CPU_HALTED && c->s.activity != CPU_WAIT_FOR_SIPI);
	if (why == EXIT_SHUTDOWN)
		LM_BUG_ON(c->s.activity != CPU_SHUTDOWN);
}

static void fuzz_one(struct fuzz_input *in)
{
	size_t allocated = 0;

	machine_start(&machine, in);
	set_up();
	machine.engine->state_load(machine.c);
	check(machine.c);
	if (__sanitizer_get_current_allocated_bytes)
		allocated = __sanitizer_get_current_allocated_bytes();
	for (unsigned k = 0; k < PIECES && machine.c->s.activity != CPU_SHUTDOWN; k++) {
		random_event(machine.c);
		run_piece(machine.c);
		check(machine.c);
	}
	/* The translator keeps what it translated: its list of blocks grows, up to what its arena holds. */
	if (__sanitizer_get_current_allocated_bytes && strcmp(FUZZ_ENGINE, "jit") != 0)
		LM_BUG_ON(__sanitizer_get_current_allocated_bytes() != allocated);
}
