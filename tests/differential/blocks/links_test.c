/*
 * A function that begins with a direct jump to another page, while that page is mapped anew, mapped at
 * other addresses, in other address spaces, or has other code: each call must go where the page tables
 * say now. Both engines, so the interpreter shows that the test is right.
 */
#include <stdio.h>
#include <string.h>

#include "../../unit/check.h"
#include "../../unit/x86_box.h"
#include "engine/engine.h"

#define MAIN    0x80000u
#define RESULTS 0xc0000u
#define JUMP    0x100000u /* frame with the function; its second page is one of: */
#define ONE     0x101000u
#define TWO     0x102000u
#define TABLE   0x20000u  /* of WINDOW, and behind it that of the second address space */
#define OTHER   0x30000u  /* tables of the second address space */
#define WINDOW  0x40000000u
#define ALIAS   0x40008000u
#define TARGET  0x10u     /* in the second page: where the jump goes */
#define PRESENT 0x23u

struct program {
	uint8_t *p;
	uint32_t expected[80];
	unsigned calls;
};

static void bytes(struct program *g, const void *code, size_t n)
{
	memcpy(g->p, code, n);
	g->p += n;
}

#define CODE(g, ...) bytes((g), (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* mov rax (0) or rcx (1), value */
static void load(struct program *g, unsigned reg, uint64_t value)
{
	CODE(g, 0x48, (uint8_t)(0xb8 + reg));
	bytes(g, &value, sizeof(value));
}

/* Calls what is at gva, which is to return the number, often enough for all shortcuts to be made. */
static void calls(struct program *g, uint64_t gva, uint32_t expected)
{
	for (unsigned k = 0; k < 3; k++) {
		load(g, 0, gva);
		CODE(g, 0xff, 0xd0);                   /* call rax */
		CODE(g, 0x89, 0x03, 0x48, 0x83, 0xc3, 4); /* mov [rbx], eax; add rbx, 4 */
		g->expected[g->calls++] = expected;
	}
}

static void store(struct program *g, uint64_t gva, uint64_t value)
{
	load(g, 0, value);
	load(g, 1, gva);
	CODE(g, 0x48, 0x89, 0x01); /* mov [rcx], rax */
}

static void set_page(struct program *g, uint64_t table, uint64_t gva, uint32_t frame)
{
	store(g, table + 8 * (gva >> PAGE_SHIFT & 511), frame | PRESENT);
}

static void invalidate(struct program *g, uint64_t gva)
{
	load(g, 1, gva);
	CODE(g, 0x0f, 0x01, 0x39); /* invlpg [rcx] */
}

static void switch_to(struct program *g, uint64_t cr3)
{
	load(g, 0, cr3);
	CODE(g, 0x0f, 0x22, 0xd8); /* mov cr3, rax */
}

#define NO_FLUSH (UINT64_C(1) << 63)

static void write_program(struct program *g)
{
	calls(g, WINDOW, 1);
	set_page(g, TABLE, WINDOW + PAGE_SIZE, TWO);
	invalidate(g, WINDOW + PAGE_SIZE);
	calls(g, WINDOW, 2);
	set_page(g, TABLE, WINDOW + PAGE_SIZE, ONE);
	switch_to(g, BOX_PML4); /* flushes */
	calls(g, WINDOW, 1);
	for (unsigned k = 0; k < 3; k++) { /* the same code at two addresses */
		calls(g, ALIAS, 2);
		calls(g, WINDOW, 1);
	}
	switch_to(g, OTHER | 1);
	calls(g, WINDOW, 2);
	switch_to(g, BOX_PML4 | NO_FLUSH);
	calls(g, WINDOW, 1);
	switch_to(g, OTHER | 1 | NO_FLUSH);
	calls(g, WINDOW, 2);
	store(g, TWO + TARGET + 1, UINT64_C(0xc300000003)); /* mov eax, 3; ret */
	calls(g, WINDOW, 3);
	switch_to(g, BOX_PML4 | NO_FLUSH);
	calls(g, WINDOW, 1);
	calls(g, ALIAS, 3);
	calls(g, WINDOW, 1);
	switch_to(g, OTHER | 1 | NO_FLUSH);
	store(g, ONE + TARGET + 1, UINT64_C(0xc300000004));
	calls(g, WINDOW, 3); /* the jump leads to this space's page from now on, */
	switch_to(g, BOX_PML4 | NO_FLUSH);
	calls(g, WINDOW, 4); /* and the other one must not follow */
	CODE(g, 0xf4);
}

/* mov eax, number; ret */
static void put_function(struct x86_box *b, uint32_t frame, uint32_t number)
{
	box_put(b, frame + TARGET, 0xb8, 1);
	box_put(b, frame + TARGET + 1, number, 4);
	box_put(b, frame + TARGET + 5, 0xc3, 1);
}

/* WINDOW's tables: JUMP and the given frame one behind the other, at two addresses. */
static void put_tables(struct x86_box *b, uint32_t root, uint32_t table, uint32_t frame)
{
	box_put(b, root + 0x1000 + 8, table | 7, 8);
	box_put(b, table, (table + 0x1000) | 7, 8);
	box_put(b, table + 0x1000, JUMP | PRESENT, 8);
	box_put(b, table + 0x1000 + 8, frame | PRESENT, 8);
	box_put(b, table + 0x1000 + 8 * 8, JUMP | PRESENT, 8);
	box_put(b, table + 0x1000 + 8 * 9, TWO | PRESENT, 8);
}

static void put_memory(struct x86_box *b)
{
	uint8_t *root = ram_ptr(&b->ram, GPA(BOX_PML4), 0x2000);

	memcpy(ram_ptr(&b->ram, GPA(OTHER), 0x2000), root, 0x2000);
	box_put(b, OTHER, (OTHER + 0x1000) | 7, 8);
	put_tables(b, BOX_PML4, TABLE - 0x1000, ONE);
	put_tables(b, OTHER, TABLE + 0x1000, TWO);
	box_put(b, JUMP, 0xe9, 1); /* jmp to TARGET in the next page */
	box_put(b, JUMP + 1, PAGE_SIZE + TARGET - 5, 4);
	put_function(b, ONE, 1);
	put_function(b, TWO, 2);
}

static void run_with(const char *engine)
{
	const struct engine_ops *ops = engine_find(engine);
	struct x86_box b;
	struct program g = { 0 };
	struct x86_cpu *c;

	box_init(&b, 1);
	c = b.sys.cpu[0];
	LM_BUG_ON(ops->vcpu_create(c, NULL));
	box_long(&b, c);
	put_memory(&b);
	/* With AC, every address space has a table of its own. */
	c->s.cr4 |= CR4_PCIDE | CR4_SMAP;
	c->s.rflags |= FLAG_AC;
	g.p = ram_ptr(&b.ram, GPA(MAIN), 0x1000);
	write_program(&g);
	c->s.rip = MAIN;
	c->s.gpr[RBX] = RESULTS;
	ops->state_load(c);
	CHECK_EQ(ops->run(c, ENGINE_NO_BUDGET), EXIT_HALTED);
	ops->state_save(c);
	CHECK_EQ(c->s.gpr[RBX], RESULTS + 4 * g.calls);
	for (unsigned k = 0; k < g.calls; k++)
		CHECK_EQ(box_get(&b, RESULTS + 4 * k, 4), g.expected[k]);
	ops->vcpu_destroy(c);
	box_fini(&b);
}

int main(void)
{
	run_with("interp");
	if (engine_find("jit")->probe(NULL))
		printf("the translator is skipped: this host cannot run it\n");
	else
		run_with("jit");
	return check_done();
}
