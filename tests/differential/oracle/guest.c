/*
 * Runs a case on an engine: a vCPU in user mode as a Linux process sees it, with the sandbox mapped
 * at the same addresses and rights as on the host. Exceptions are taken through an IDT whose gates
 * lead to one address a vector; vector, error code and the interrupted state are read back from
 * there and from the kernel stack, so the engine needs no hook.
 */
#include "guest.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "engine/engine.h"
#include "event/loop.h"
#include "mem/ram.h"
#include "sandbox.h"

/* ---- Guest-physical layout ---- */

enum {
	AT_PML4 = 0x1000,
	AT_PDPT_LOW = 0x2000,
	AT_PD_LOW = 0x3000,
	AT_PT_LOW = 0x4000,
	AT_PDPT_HIGH = 0x5000,
	AT_PD_HIGH = 0x6000, /* the first 2 MiB of RAM as the kernel's half */
	AT_GDT = 0x8000,
	AT_IDT = 0x9000,
	AT_TSS = 0xa000,
	AT_HANDLERS = 0xb000, /* 256 of 16 bytes */
	AT_STACK = 0xc000,
	AT_STACK_TOP = 0xd000,
	AT_CODE = 0x10000,
	AT_DATA = 0x20000,
	AT_CONST = 0x30000,
	AT_EXIT = 0x40000,
};

#define KERNEL_HALF UINT64_C(0xffff800000000000)

#define PTE_P  UINT64_C(0x01)
#define PTE_W  UINT64_C(0x02)
#define PTE_U  UINT64_C(0x04)
#define PTE_A  UINT64_C(0x20)
#define PTE_D  UINT64_C(0x40)
#define PTE_PS UINT64_C(0x80)
#define PTE_NX (UINT64_C(1) << 63)

/* Linux's GDT: selectors and descriptor bits 8-15 and 20-23 in x86_segment form. */
#define SEL_KERNEL_CS 0x10
#define SEL_USER_CS32 0x23
#define SEL_USER_DATA 0x2b
#define SEL_USER_CS64 0x33
#define SEL_TSS       0x40
#define GDT_BYTES     128
#define ATTR_CODE64   0xafb
#define ATTR_CODE32   0xcfb
#define ATTR_DATA     0xcf3
#define ATTR_NULL     SEG_UNUSABLE

#define GATE_INTERRUPT 0x8e
#define USER_GATES     0x60 /* DPL 3: INT3 and INTO */

#define HANDLER_BYTES 16
#define MAX_CHUNKS    1024 /* calls of run() that one repeated instruction may take */

static struct {
	struct ram ram;
	struct mem_io io;
	struct event_loop loop;
	struct x86_system sys;
	struct x86_cpu *cpu;
	const struct engine_ops *engine;
	struct x86_state base; /* what every case starts from */
	uint8_t *code, *data;
} guest;

/* ---- What lies outside RAM: nothing ---- */

static uint64_t nothing_mmio(void *opaque, gpa_t gpa, unsigned size)
{
	return UINT64_MAX;
}

static void nothing_mmio_write(void *opaque, gpa_t gpa, uint64_t value, unsigned size)
{
}

static uint32_t nothing_port(void *opaque, uint16_t port, unsigned size)
{
	return UINT32_MAX;
}

static void nothing_port_write(void *opaque, uint16_t port, uint32_t value, unsigned size)
{
}

static int no_interrupt(void *opaque)
{
	return -1;
}

static void no_eoi(void *opaque, uint8_t vector)
{
}

/* ---- Tables ---- */

static uint8_t *at(uint64_t gpa)
{
	return ram_ptr(&guest.ram, GPA(gpa), 1);
}

static void set_entry(uint64_t table, unsigned n, uint64_t value)
{
	memcpy(at(table + 8 * n), &value, 8);
}

static void map_page(uint64_t gva, uint64_t gpa, uint64_t rights)
{
	set_entry(AT_PT_LOW, gva >> PAGE_SHIFT & 511, gpa | PTE_P | PTE_U | PTE_A | PTE_D | rights);
}

static void build_page_tables(void)
{
	const uint64_t table = PTE_P | PTE_W | PTE_U | PTE_A;

	_Static_assert(BOX_BASE >> 21 == (BOX_BASE + BOX_BYTES - 1) >> 21, "one page table");
	set_entry(AT_PML4, 0, AT_PDPT_LOW | table);
	set_entry(AT_PDPT_LOW, 0, AT_PD_LOW | table);
	set_entry(AT_PD_LOW, BOX_BASE >> 21, AT_PT_LOW | table);
	set_entry(AT_PML4, KERNEL_HALF >> 39 & 511, AT_PDPT_HIGH | table);
	set_entry(AT_PDPT_HIGH, 0, AT_PD_HIGH | table);
	set_entry(AT_PD_HIGH, 0, PTE_P | PTE_W | PTE_A | PTE_D | PTE_PS);
	for (unsigned k = 0; k < BOX_CODE_BYTES; k += PAGE_SIZE)
		map_page(BOX_CODE + k, AT_CODE + k, 0);
	for (unsigned k = 0; k < BOX_DATA_BYTES; k += PAGE_SIZE)
		map_page(BOX_DATA + k, AT_DATA + k, PTE_W | PTE_NX);
	map_page(BOX_CONST, AT_CONST, PTE_NX);
	map_page(BOX_EXIT, AT_EXIT, 0);
}

static uint64_t descriptor(uint64_t base, uint64_t limit, uint64_t attr)
{
	return (limit & 0xffff) | (base & 0xffffff) << 16 | (attr & 0xff) << 40 |
	       (limit >> 16 & 15) << 48 | (attr >> 8 & 15) << 52 | (base >> 24 & 0xff) << 56;
}

static void build_gdt(void)
{
	const uint64_t tss = KERNEL_HALF + AT_TSS;

	set_entry(AT_GDT, 1, descriptor(0, 0xfffff, 0xc9b));
	set_entry(AT_GDT, SEL_KERNEL_CS / 8, descriptor(0, 0xfffff, 0xa9b));
	set_entry(AT_GDT, 3, descriptor(0, 0xfffff, 0xc93));
	set_entry(AT_GDT, SEL_USER_CS32 / 8, descriptor(0, 0xfffff, ATTR_CODE32));
	set_entry(AT_GDT, SEL_USER_DATA / 8, descriptor(0, 0xfffff, ATTR_DATA));
	set_entry(AT_GDT, SEL_USER_CS64 / 8, descriptor(0, 0xfffff, ATTR_CODE64));
	set_entry(AT_GDT, SEL_TSS / 8, descriptor(tss, 0x67, 0x08b));
	set_entry(AT_GDT, SEL_TSS / 8 + 1, tss >> 32);
}

/* Every handler is a jump to itself. */
static void build_idt(void)
{
	uint64_t stack = KERNEL_HALF + AT_STACK_TOP;

	memcpy(at(AT_TSS + 4), &stack, 8); /* RSP0 */
	memset(at(AT_TSS + 0x66), 0xff, 2); /* no I/O bitmap */
	for (unsigned v = 0; v < 256; v++) {
		uint64_t to = KERNEL_HALF + AT_HANDLERS + v * HANDLER_BYTES;
		uint64_t rights = v == VEC_BP || v == VEC_OF ? GATE_INTERRUPT | USER_GATES
							     : GATE_INTERRUPT;

		set_entry(AT_IDT, 2 * v,
			  (to & 0xffff) | SEL_KERNEL_CS << 16 | rights << 40 |
				  (to >> 16 & 0xffff) << 48);
		set_entry(AT_IDT, 2 * v + 1, to >> 32);
		memcpy(at(AT_HANDLERS + v * HANDLER_BYTES), "\xeb\xfe", 2);
	}
}

/* ---- The state of a process ---- */

static struct x86_segment segment(uint16_t selector, uint16_t attr)
{
	return (struct x86_segment){ selector, attr, 0xffffffff, 0 };
}

static void set_base_state(struct x86_state *s)
{
	s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	s->cr3 = AT_PML4;
	s->cr4 = CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT |
		 CR4_UMIP | CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP;
	s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	s->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	s->gdtr = (struct x86_table_reg){ KERNEL_HALF + AT_GDT, GDT_BYTES - 1 };
	s->idtr = (struct x86_table_reg){ KERNEL_HALF + AT_IDT, 4095 };
	s->tr = (struct x86_segment){ SEL_TSS, 0x8b, 0x67, KERNEL_HALF + AT_TSS };
	s->ldtr = (struct x86_segment){ 0, SEG_UNUSABLE | 0x82, 0, 0 };
	s->activity = CPU_ACTIVE;
}

static void load_segments(struct x86_state *s, const struct oracle_case *c)
{
	bool wide = c->size == CODE_64;

	s->seg[CS] = wide ? segment(SEL_USER_CS64, ATTR_CODE64) : segment(SEL_USER_CS32, ATTR_CODE32);
	s->seg[SS] = segment(SEL_USER_DATA, ATTR_DATA);
	s->seg[DS] = s->seg[ES] = wide ? segment(0, ATTR_NULL) : segment(SEL_USER_DATA, ATTR_DATA);
	s->seg[FS] = s->seg[GS] = segment(0, ATTR_NULL);
	s->seg[FS].base = c->in.fs_base;
	s->seg[GS].base = c->in.gs_base;
}

static void load_fp(struct x86_state *s, const struct xsave_image *x)
{
	unsigned top = x->fsw >> 11 & 7;

	s->fpu = (struct x86_fpu){
		.fcw = x->fcw, .fsw = x->fsw, .ftw = x->ftw, .fop = x->fop, .fip = x->fip, .fdp = x->fdp,
	};
	for (unsigned k = 0; k < 8; k++)
		s->fpu.st[(top + k) & 7] = (struct f80){ x->st[k].sig, x->st[k].se };
	s->mxcsr = x->mxcsr;
	for (unsigned k = 0; k < 16; k++) {
		memcpy(&s->vec[k].q[0], x->xmm[k].q, 16);
		memcpy(&s->vec[k].q[2], x->ymm_high[k].q, 16);
	}
}

static void store_fp(const struct x86_state *s, struct xsave_image *x)
{
	unsigned top = s->fpu.fsw >> 11 & 7;

	memset(x, 0, offsetof(struct xsave_image, xmm));
	x->fcw = s->fpu.fcw;
	x->fsw = s->fpu.fsw;
	x->ftw = s->fpu.ftw;
	x->fop = s->fpu.fop;
	x->fip = s->fpu.fip;
	x->fdp = s->fpu.fdp;
	for (unsigned k = 0; k < 8; k++) {
		x->st[k].sig = s->fpu.st[(top + k) & 7].sig;
		x->st[k].se = s->fpu.st[(top + k) & 7].se;
	}
	x->mxcsr = s->mxcsr;
	for (unsigned k = 0; k < 16; k++) {
		memcpy(x->xmm[k].q, &s->vec[k].q[0], 16);
		memcpy(x->ymm_high[k].q, &s->vec[k].q[2], 16);
	}
}

static void load_case(struct x86_state *s, const struct oracle_case *c)
{
	memcpy(s, &guest.base, offsetof(struct x86_state, lapic));
	memcpy(s->gpr, c->in.gpr, sizeof(s->gpr));
	s->rip = c->in.rip;
	s->rflags = c->in.rflags;
	load_segments(s, c);
	load_fp(s, &c->in.fp);
}

/* ---- The state afterwards ---- */

/* The exception's frame (SDM vol. 3A §6.14.2): error code if any, RIP, CS, RFLAGS, RSP, SS. */
static void read_exception(const struct x86_state *s, struct outcome *o)
{
	const uint8_t *frame = at(s->gpr[RSP] - KERNEL_HALF);
	uint64_t field[6];

	memcpy(field, frame, sizeof(field));
	o->excepted = true;
	o->vector = (uint8_t)((s->rip - KERNEL_HALF - AT_HANDLERS) / HANDLER_BYTES);
	o->error = 0;
	o->cr2 = s->cr2;
	if (s->gpr[RSP] == KERNEL_HALF + AT_STACK_TOP - sizeof(field)) {
		o->error = (uint32_t)field[0];
		memmove(field, field + 1, 5 * sizeof(field[0]));
	}
	o->after.rip = field[0];
	o->after.sreg[CS] = (uint16_t)field[1];
	o->after.rflags = field[2];
	o->after.gpr[RSP] = field[3];
	o->after.sreg[SS] = (uint16_t)field[4];
}

/* A single step that is due at this boundary: its delivery belongs to the next instruction. */
static void read_pending_trap(const struct x86_state *s, struct outcome *o)
{
	o->excepted = true;
	o->vector = VEC_DB;
	o->error = 0;
	o->cr2 = s->cr2;
}

static void read_outcome(const struct x86_state *s, struct outcome *o)
{
	memcpy(o->after.gpr, s->gpr, sizeof(o->after.gpr));
	o->after.rip = s->rip;
	o->after.rflags = s->rflags;
	o->after.fs_base = s->seg[FS].base;
	o->after.gs_base = s->seg[GS].base;
	for (unsigned k = 0; k < 6; k++)
		o->after.sreg[k] = s->seg[k].selector;
	o->excepted = o->hung = false;
	if (SEG_DPL(s->seg[SS].attr) == 0 && s->seg[CS].selector == SEL_KERNEL_CS)
		read_exception(s, o);
	else if (s->pending_debug)
		read_pending_trap(s, o);
	store_fp(s, &o->after.fp);
}

/* A repeated string instruction may stop anywhere between two iterations: run it to its end. */
static bool stopped_between_iterations(const struct oracle_case *c, const struct x86_state *s)
{
	return c->decodes && c->insn.rep != REP_NONE && s->rip == c->in.rip &&
	       s->seg[CS].selector != SEL_KERNEL_CS;
}

static void guest_execute(const struct oracle_case *c, struct outcome *o)
{
	struct x86_cpu *cpu = guest.cpu;
	uint64_t before;

	sandbox_place(c, guest.code, guest.data);
	ram_note_write(&guest.ram, guest.code + (c->in.rip - BOX_CODE), c->length + LANDING_BYTES);
	load_case(&cpu->s, c);
	guest.engine->state_load(cpu);
	for (unsigned k = 0; k < MAX_CHUNKS; k++) {
		before = cpu->s.gpr[RCX];
		guest.engine->run(cpu, 1);
		guest.engine->state_save(cpu);
		if (!stopped_between_iterations(c, &cpu->s) || cpu->s.gpr[RCX] == before)
			break;
	}
	read_outcome(&cpu->s, o);
}

static void guest_restore(const struct oracle_case *c)
{
	sandbox_clear(c, guest.code, guest.data);
	ram_note_write(&guest.ram, guest.code + (c->in.rip - BOX_CODE), c->length + LANDING_BYTES);
}

struct executor guest_executor = {
	.execute = guest_execute,
	.restore = guest_restore,
};

const struct x86_model *guest_model(void)
{
	return &guest.sys.model;
}

/* ---- Setting up ---- */

static int build_machine(struct lm_err *err)
{
	int r = ram_init(&guest.ram, 16 * MIB, err);

	if (!r)
		r = loop_init(&guest.loop, true, err);
	if (r)
		return r;
	guest.io = (struct mem_io){ nothing_mmio, nothing_mmio_write, nothing_port,
				    nothing_port_write, NULL };
	guest.sys.ram = &guest.ram;
	guest.sys.io = &guest.io;
	guest.sys.loop = &guest.loop;
	guest.sys.tsc_hz = UINT64_C(1000000000);
	guest.sys.cpu_count = 1;
	guest.sys.pic_ack = no_interrupt;
	guest.sys.eoi = no_eoi;
	pthread_mutex_init(&guest.sys.split_lock, NULL);
	model_default(&guest.sys.model, 1, guest.sys.tsc_hz);
	return 0;
}

static int create_cpu(const char *engine, struct lm_err *err)
{
	guest.engine = engine_find(engine);
	if (!guest.engine)
		return lm_err_set(err, -ENOENT, "no engine is called %s", engine);
	if (guest.engine->probe(err))
		return lm_err_wrap(err, "engine %s", engine);
	guest.cpu = x86_cpu_create(&guest.sys, 0);
	if (!guest.cpu)
		return lm_err_set(err, -ENOMEM, "no memory for a vCPU");
	guest_executor.name = guest.engine->name;
	return guest.engine->vcpu_create(guest.cpu, err);
}

int guest_init(const char *engine, struct lm_err *err)
{
	int r = build_machine(err);

	if (!r)
		r = create_cpu(engine, err);
	if (r)
		return r;
	build_page_tables();
	build_gdt();
	build_idt();
	guest.code = at(AT_CODE);
	guest.data = at(AT_DATA);
	guest_executor.data = guest.data;
	memset(guest.code, BOX_FILL, BOX_CODE_BYTES);
	memcpy(guest.data, sandbox.pristine_data, BOX_DATA_BYTES);
	memcpy(at(AT_CONST), sandbox.pristine_const, BOX_CONST_BYTES);
	memcpy(at(AT_EXIT), (const void *)(uintptr_t)BOX_EXIT, BOX_EXIT_BYTES);
	guest.base = guest.cpu->s;
	set_base_state(&guest.base);
	return 0;
}
