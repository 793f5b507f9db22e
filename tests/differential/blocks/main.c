/*
 * blocks [--cases N] [--seed S] [--case K] [--kicks 1] [--narrow 1]
 *
 * Runs loops of random instructions, most of which access memory at the edges of pages or work with
 * flags, by the translator and by the interpreter: registers, memory and page tables must be the same
 * afterwards. Single instructions are the oracle's; here it is about what the translator makes of
 * several. The pages differ in rights and in what is present, and one contains code. With --kicks
 * another thread makes translated code leave at its polls, wherever it happens to be. With --narrow the
 * loops are 32-bit code in compatibility mode, among it pointers that reach their pages by wrapping.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../unit/x86_box.h"
#include "blocks.h"
#include "engine/engine.h"

#define CODE       0x80000u  /* one to one, as all of these 2 MiB, read-only */
#define START      0x900u    /* of the code in its page, unless it goes on in the next */
#define CODE_PAGES 3u        /* two for the code, then FUNCTIONS */
#define SHARED     0x8000u   /* a page of code that is data too */
#define HANDLER    0x8e00u   /* of every exception: HLT; out of the reach of stores at the edges */
#define HANDLE_DE  0x8e10u   /* HLT likewise, unless it is one of the faulting instructions */
#define HANDLE_GP  0x8e30u
#define HANDLE_PF  0x8e50u
#define WRITABLE   0x20000000u /* gva of the same 2 MiB, for the processor's own stores */
#define IST_TOP    0xa000u
#define PT         0x20000u
#define NARROW_PD  0x21000u
#define CODE_SELECTOR 0x40u /* of 32-bit code */
#define DATA       0x200000u /* gva of PAGES pages, all others of these 2 MiB are not present */
#define FRAMES     0x100000u
#define PAGES      8u
#define TSS_IST1   36
#define TOP        0xffe00000u /* gva of the same 2 MiB as DATA */
#define TOP_PAGES  (512 - PAGES) /* here they are the pages at the end, too */
#define BUDGET     2000u
#define FLAGS_SEEN (FLAG_CF | FLAG_PF | FLAG_ZF | FLAG_SF | FLAG_OF)

#define PTE_RW     0x63u /* present, writable, accessed and dirty */

struct options {
	uint64_t cases, seed, one;
	bool single, kicks, narrow;
};

struct runner {
	struct x86_box box;
	struct x86_cpu *cpu;
	const struct engine_ops *engine;
	struct x86_segment start_cs; /* the handler's is another */
	uint64_t executed; /* instructions of the last case, if counted */
};

static struct runner interp, jit;
static uint64_t excepted; /* cases that ended in an exception */
static uint64_t endless;  /* cases that were left out */

/* In order of addresses; frames are not, so that nobody gets away with crossing a page. */
static const struct page {
	uint32_t frame, bits;
} pages[PAGES] = {
	{ FRAMES + 0x3000, PTE_RW },  { FRAMES, PTE_RW },
	{ FRAMES + 0x5000, 0x03 }, /* not accessed, not dirty */
	{ FRAMES + 0x7000, PTE_RW },  { FRAMES + 0x4000, 0x21 }, /* read-only */
	{ FRAMES + 0x1000, PTE_RW },  { 0, 0 },
	{ SHARED, PTE_RW },
};

/* Skips the faulting instruction where it is one of ours, else goes to HANDLER. */
static void write_handlers(struct x86_box *b, bool narrow)
{
	static uint8_t divide[] = {
		0x50, 0x48, 0x8b, 0x44, 0x24, 0x08, /* push rax; mov rax, [rsp + 8] */
		0x81, 0x38, 0, 0, 0, 0,             /* cmp dword [rax], faulting[FAULT_DIVIDE] */
		0x58, 0x75, 0xe1,                   /* pop rax; jne HANDLER */
		0x48, 0x83, 0x04, 0x24, FAULTING_BYTES, 0x48, 0xcf, /* add qword [rsp], 8; iretq */
	};
	static const uint8_t protection[] = {
		0x50, 0x48, 0x8b, 0x44, 0x24, 0x10, /* push rax; mov rax, [rsp + 16] */
		0x81, 0x38, 0x0f, 0x28, 0x04, 0x25, /* cmp dword [rax], faulting[FAULT_ALIGN] */
		0x58, 0x75, 0xc1,                   /* pop rax; jne HANDLER */
		0x48, 0x83, 0xc4, 0x08, 0x48, 0x83, 0x04, 0x24, FAULTING_BYTES, 0x48, 0xcf,
	};
	static const uint8_t page[] = {
		0x50, 0x0f, 0x20, 0xd0,             /* push rax; mov rax, cr2 */
		0x48, 0x3d, 0x00, 0x00, 0x30, 0x00, /* cmp rax, NOT_PRESENT */
		0x58, 0x75, 0xa3,                   /* pop rax; jne HANDLER */
		0x48, 0x83, 0xc4, 0x08, 0x48, 0x83, 0x04, 0x24, FAULTING_BYTES, 0x48, 0xcf,
	};

	memcpy(divide + 8, faulting[narrow][FAULT_DIVIDE], 4);
	box_put(b, HANDLER, 0xf4, 1);
	memcpy(ram_ptr(&b->ram, GPA(HANDLE_DE), sizeof(divide)), divide, sizeof(divide));
	memcpy(ram_ptr(&b->ram, GPA(HANDLE_GP), sizeof(protection)), protection, sizeof(protection));
	memcpy(ram_ptr(&b->ram, GPA(HANDLE_PF), sizeof(page)), page, sizeof(page));
}

static void fill_pages(struct x86_box *b, bool narrow)
{
	static uint64_t content[PAGES * PAGE_SIZE / 8];
	struct dice d = { 1 };

	for (unsigned k = 0; !content[0] && k < LM_ARRAY_SIZE(content); k++)
		content[k] = roll(&d, UINT64_MAX);
	memcpy(ram_ptr(&b->ram, GPA(FRAMES), sizeof(content)), content, sizeof(content));
	memset(ram_ptr(&b->ram, GPA(SHARED), PAGE_SIZE), 0, PAGE_SIZE);
	write_handlers(b, narrow);
	ram_note_write(&b->ram, ram_ptr(&b->ram, GPA(SHARED), PAGE_SIZE), PAGE_SIZE);
	for (unsigned k = 0; k < PAGES; k++) {
		box_put(b, PT + 8 * k, pages[k].frame | pages[k].bits, 8);
		box_put(b, PT + 8 * (TOP_PAGES + k), pages[k].frame | pages[k].bits, 8);
	}
}

/* At the end of 4 GiB too, whose page directory comes behind the first; CS and data are flat. */
static void init_narrow(struct runner *r)
{
	struct x86_segment *seg = r->cpu->s.seg;

	box_put(&r->box, BOX_PML4 + 0x1000 + 8 * 3, NARROW_PD | 7, 8);
	box_put(&r->box, NARROW_PD + 8 * ((TOP >> 21) & 511), PT | 7, 8);
	for (unsigned k = 0; k < 6; k++)
		seg[k] = (struct x86_segment){ seg[k].selector, 0xc93, UINT32_MAX, 0 };
	seg[CS].attr = 0xc9b;
	seg[CS].selector = CODE_SELECTOR;
	box_put(&r->box, BOX_GDT + CODE_SELECTOR, UINT64_C(0x00cf9b000000ffff), 8);
}

static void init_runner(struct runner *r, const char *engine, bool narrow)
{
	r->engine = engine_find(engine);
	box_init(&r->box, 1);
	r->cpu = r->box.sys.cpu[0];
	LM_BUG_ON(r->engine->vcpu_create(r->cpu, NULL));
	box_long(&r->box, r->cpu);
	r->cpu->s.cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	r->cpu->s.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	box_put(&r->box, BOX_PML4 + 0x2000 + 8 * (DATA >> 21), PT | 7, 8);
	box_put(&r->box, BOX_PML4 + 0x2000, 0x81, 8);
	box_put(&r->box, BOX_PML4 + 0x2000 + 8 * (WRITABLE >> 21), 0x83, 8);
	for (unsigned v = 0; v < 32; v++)
		box_set_gate(&r->box, r->cpu, v, HANDLER, 0x8e, 1);
	box_set_gate(&r->box, r->cpu, 0, HANDLE_DE, 0x8e, 1);
	box_set_gate(&r->box, r->cpu, 13, HANDLE_GP, 0x8e, 1);
	box_set_gate(&r->box, r->cpu, 14, HANDLE_PF, 0x8e, 1);
	box_put(&r->box, BOX_TSS + TSS_IST1, WRITABLE + IST_TOP, 8);
	if (narrow)
		init_narrow(r);
	r->start_cs = r->cpu->s.seg[CS];
}

/* ---- One case ---- */

static uint64_t start_address(struct dice *d, bool narrow)
{
	uint64_t start = narrow && !roll(d, 3) ? TOP + TOP_PAGES * PAGE_SIZE : DATA;
	uint64_t edge = start + PAGE_SIZE * (1 + roll(d, PAGES - 1));

	switch (roll(d, 60)) {
	case 0 ... 5:
		return edge + roll(d, 400) - 200;
	case 6:
		/* The end of canonical ones, or the 4 GiB. */
		return (narrow ? 0 : UINT64_C(0x800000000000)) + roll(d, 64) - 32;
	case 7 ... 19:
		return edge + 8 * roll(d, 64) - 256;
	default:
		return start + PAGE_SIZE * roll(d, 2) + 8 * roll(d, 512);
	}
}

/* In 32-bit code the index may be negative: the sum of an operand wraps then. */
static void set_narrow_registers(struct runner *r, const struct program *p, struct dice *d)
{
	uint64_t *gpr = r->cpu->s.gpr;

	for (unsigned k = 0; k < 8; k++)
		gpr[k] = (uint32_t)(gpr[k] - p->apart[k]);
	gpr[NARROW_INDEX_REG] = (uint32_t)(roll(d, 32) - 8);
	box_put(&r->box, NARROW_COUNTER - WRITABLE, 1 + roll(d, 6), 4);
}

static void set_registers(struct runner *r, const struct program *p, struct dice d)
{
	struct x86_cpu *c = r->cpu;

	for (unsigned k = 0; k < 16; k++)
		c->s.gpr[k] = is_pointer(k, p->narrow) ? start_address(&d, p->narrow) : roll(&d, UINT64_MAX);
	c->s.gpr[INDEX_REG] = roll(&d, 24);
	c->s.gpr[COUNTER_REG] = 1 + roll(&d, 6);
	if (p->narrow)
		set_narrow_registers(r, p, &d);
	for (unsigned k = 0; k < 8; k++)
		for (unsigned n = 0; n < 4; n++)
			c->s.vec[k].q[n] = roll(&d, UINT64_MAX);
	c->s.rflags = 2;
	c->s.cr2 = 0;
	c->s.activity = CPU_ACTIVE;
}

/*
 * Half of the cases are counted: no block is chained to another then. False: the case does not end, as
 * when it overwrites its own handlers.
 */
static bool run_case(struct runner *r, struct dice d, const struct program *program)
{
	bool counted = roll(&d, 2), bounded = counted || r == &interp;
	enum exit_reason why;
	unsigned start = roll(&d, 3) ? START : (unsigned)(PAGE_SIZE - roll(&d, program->length));
	uint8_t *p = ram_ptr(&r->box.ram, GPA(CODE), CODE_PAGES * PAGE_SIZE);

	memset(p, 0, CODE_PAGES * PAGE_SIZE);
	memcpy(p + start, program->code, program->length);
	write_functions(p + (FUNCTIONS - CODE), program->narrow);
	ram_note_write(&r->box.ram, p, CODE_PAGES * PAGE_SIZE);
	fill_pages(&r->box, program->narrow);
	set_registers(r, program, d);
	r->cpu->s.rip = CODE + start;
	r->cpu->s.seg[CS] = r->start_cs;
	r->engine->state_load(r->cpu);
	r->executed = r->cpu->count.instructions;
	do
		why = r->engine->run(r->cpu, bounded ? BUDGET : ENGINE_NO_BUDGET);
	while (why == EXIT_KICKED && r != &interp);
	r->engine->state_save(r->cpu);
	r->executed = counted ? r->cpu->count.instructions - r->executed : 0;
	return why == EXIT_HALTED;
}

/* ---- Comparison ---- */

static bool same_memory(uint32_t gpa, unsigned length)
{
	return !memcmp(ram_ptr(&interp.box.ram, GPA(gpa), length),
		       ram_ptr(&jit.box.ram, GPA(gpa), length), length);
}

/*
 * Processors may set A for accesses that do not happen. The translator looks at alignment behind the
 * page tables, so it sets D for a store that ends in #GP.
 */
static bool same_page_tables(bool general_protection)
{
	uint64_t ignored = 0x20 | (general_protection ? 0x40 : 0);

	for (unsigned k = 0; k < PAGES; k++)
		if ((box_get(&interp.box, PT + 8 * k, 8) ^ box_get(&jit.box, PT + 8 * k, 8)) & ~ignored)
			return false;
	return true;
}

/* Flags that are dead in the interrupted code may be others: the image of RFLAGS is not compared. */
static const char *difference(void)
{
	const struct x86_state *a = &interp.cpu->s, *b = &jit.cpu->s;
	bool faulted = a->rip == HANDLER + 1;

	if (a->rip != b->rip)
		return "RIP";
	if (memcmp(a->gpr, b->gpr, sizeof(a->gpr)))
		return "a register";
	if (memcmp(a->vec, b->vec, sizeof(a->vec)))
		return "a vector register";
	if (interp.executed != jit.executed)
		return "the number of instructions";
	if (a->cr2 != b->cr2)
		return "CR2";
	if (!faulted && (a->rflags ^ b->rflags) & FLAGS_SEEN)
		return "flags";
	if (faulted && (!same_memory(IST_TOP - 16, 16) || !same_memory(IST_TOP - 40, 16) ||
			!same_memory((uint32_t)a->gpr[RSP] & 0xffff, 8)))
		return "the exception's frame";
	if (!same_page_tables(faulted && interp.cpu->fault.vector == 13))
		return "page tables";
	return same_memory(FRAMES, PAGES * PAGE_SIZE) && same_memory(SHARED, PAGE_SIZE) ? NULL
										       : "memory";
}

static void print_case(const struct program *p, const char *what)
{
	const struct x86_state *a = &interp.cpu->s, *b = &jit.cpu->s;

	printf("%s differs; code:", what);
	for (unsigned k = 0; k < p->length; k++)
		printf(" %02x", p->code[k]);
	printf("\nrip %" PRIx64 " and %" PRIx64 ", rflags %" PRIx64 " and %" PRIx64 "\n", a->rip,
	       b->rip, a->rflags, b->rflags);
	printf("cr2 %" PRIx64 " and %" PRIx64 "; interrupted at %" PRIx64 " and %" PRIx64 "\n", a->cr2, b->cr2,
	       box_get(&interp.box, IST_TOP - 40, 8), box_get(&jit.box, IST_TOP - 40, 8));
	for (unsigned r = 0; r < 16; r++)
		printf("r%u %016" PRIx64 " and %016" PRIx64 "%s\n", r, a->gpr[r], b->gpr[r],
		       a->gpr[r] != b->gpr[r] ? "  <" : "");
}

static bool agree(const struct options *o, uint64_t number)
{
	struct dice d = { (o->seed << 32 ^ number) * UINT64_C(0x9e3779b97f4a7c15) | 1 };
	struct program p = { .narrow = o->narrow };
	const char *what;

	generate(&d, &p);
	if (!run_case(&interp, d, &p)) {
		endless++;
		return true;
	}
	run_case(&jit, d, &p);
	what = difference();
	excepted += interp.cpu->s.rip == HANDLER + 1;
	if (what || o->single)
		print_case(&p, what ? what : "nothing");
	if (what)
		printf("rerun: blocks --seed %" PRIu64 " --case %" PRIu64 "%s\n", o->seed, number,
		       o->narrow ? " --narrow 1" : "");
	return !what;
}

static struct options parse(int argc, char **argv)
{
	struct options o = { .cases = 20000, .seed = 1 };

	for (int k = 1; k + 1 < argc; k += 2) {
		uint64_t value = strtoull(argv[k + 1], NULL, 0);

		if (!strcmp(argv[k], "--cases"))
			o.cases = value;
		else if (!strcmp(argv[k], "--seed"))
			o.seed = value;
		else if (!strcmp(argv[k], "--case"))
			o.one = value, o.single = true;
		else if (!strcmp(argv[k], "--kicks"))
			o.kicks = value;
		else if (!strcmp(argv[k], "--narrow"))
			o.narrow = value;
	}
	return o;
}

static void *kick_on(void *cpu)
{
	for (;;) {
		jit.engine->kick(cpu);
		usleep(20);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct options o = parse(argc, argv);
	pthread_t kicker;

	if (engine_find("jit")->probe(NULL)) {
		printf("skipped: this host cannot run the translator\n");
		return 77;
	}
	init_runner(&interp, "interp", o.narrow);
	init_runner(&jit, "jit", o.narrow);
	if (o.kicks)
		LM_BUG_ON(pthread_create(&kicker, NULL, kick_on, jit.cpu));
	if (o.single)
		return !agree(&o, o.one);
	for (uint64_t n = 0; n < o.cases; n++)
		if (!agree(&o, n))
			return 1;
	printf("%" PRIu64 " cases, %" PRIu64 " ended in exceptions, %" PRIu64 " not at all\n", o.cases,
	       excepted, endless);
	return 0;
}
