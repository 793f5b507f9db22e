/*
 * The code that all blocks share: entering and leaving translated code, the slow path of memory
 * checks, and helpers. Emitted once at the start of the code cache, in reach of every block.
 */
#include "engine/jit/translation.h"

#include <stddef.h>

/* R10 and R11 never leave memory; RSP is loaded last and saved first. */
static bool in_host_register(unsigned reg)
{
	return reg != R10 && reg != R11 && reg != RSP;
}

static bool clobbered_by_c(unsigned reg)
{
	return reg == RAX || reg == RCX || reg == RDX || reg == RSI || reg == RDI || reg == R8 ||
	       reg == R9;
}

static const uint8_t *here(const struct emit *e)
{
	return e->p + e->to_exec;
}

enum vectors { VECTORS_SSE, VECTORS_XMM, VECTORS_YMM };

/* movdqu or vmovdqu (F3.0F or VEX.F3.0F, 6F or 7F) of all vector registers from or to the state page. */
static void emit_vectors(struct emit *e, bool save, enum vectors v)
{
	for (unsigned r = 0; r < 16; r++) {
		if (v == VECTORS_SSE) {
			EMIT(e, 0x65, 0xf3);
			emit_u8(e, rex(false, r, 0, 0));
			emit_u8(e, 0x0f);
		} else {
			EMIT(e, 0x65, 0xc5);
			emit_u8(e, (r < 8 ? 0xfau : 0x7au) | (v == VECTORS_YMM ? 4u : 0));
		}
		emit_u8(e, save ? 0x7f : 0x6f);
		emit_u8(e, modrm(0, r, 4));
		emit_u8(e, 0x25);
		emit_u32(e, (uint32_t)(JS(ymm) + 32 * (int)r));
	}
}

/*
 * Upper halves are saved and loaded only when they are in use. Loading zeros would be the same to the
 * guest, but not to processors on which legacy SSE and AVX instructions in turn cost a hundred times
 * more while upper halves count as in use.
 */
static void emit_vectors_in_use(const struct jit *j, struct emit *e, bool save)
{
	uint8_t *narrow, *over;

	if (!j->host->avx) {
		emit_vectors(e, save, VECTORS_SSE);
		return;
	}
	EMIT(e, 0x65, 0xf7, 0x04, 0x25); /* test dword gs:[in_use], XCR0_AVX */
	emit_u32(e, (uint32_t)JS(in_use));
	emit_u32(e, XCR0_AVX);
	narrow = emit_jcc_rel32(e, 4);
	emit_vectors(e, save, VECTORS_YMM);
	EMIT(e, 0xe9, 0, 0, 0, 0);
	over = e->p - 4;
	patch_here(e, narrow);
	emit_vectors(e, save, VECTORS_XMM);
	patch_here(e, over);
}

/* in_use = XINUSE; clobbers RAX, RCX and RDX. */
static void emit_read_in_use(struct jit *j, struct emit *e)
{
	if (j->host->xgetbv1) {
		emit_mov_imm(e, RCX, 1);
		EMIT(e, 0x0f, 0x01, 0xd0); /* xgetbv */
	} else {
		emit_mov_imm(e, RAX, XCR0_AVX);
	}
	EMIT(e, 0x65, 0x89, 0x04, 0x25); /* mov gs:[in_use], eax */
	emit_u32(e, (uint32_t)JS(in_use));
}

/* LDMXCSR (ext 2) or STMXCSR (ext 3) of gs:[disp]. */
static void emit_mxcsr(struct emit *e, unsigned ext, int32_t disp)
{
	EMIT(e, 0x65, 0x0f, 0xae);
	emit_u8(e, modrm(0, ext, 4));
	emit_u8(e, 0x25);
	emit_u32(e, (uint32_t)disp);
}

/*
 * C code may use the vector registers, and MXCSR must not be the guest's then. x87 is used by nobody
 * but the guest and stays.
 */
static void emit_simd_save(struct jit *j, struct emit *e)
{
	if (j->host->avx)
		emit_read_in_use(j, e);
	emit_vectors_in_use(j, e, true);
	emit_mxcsr(e, 3, JS(mxcsr));
	emit_mxcsr(e, 2, JS(host_mxcsr));
	if (j->host->avx)
		EMIT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
}

static void emit_simd_load(const struct jit *j, struct emit *e)
{
	emit_mxcsr(e, 2, JS(mxcsr));
	emit_vectors_in_use(j, e, false);
}

/* void enter(void): the System V function that runs translated code until an exit. */
static void emit_enter(struct jit *j, struct emit *e)
{
	j->enter = here(e);
	EMIT(e, 0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57); /* push rbx..r15 */
	EMIT(e, 0x48, 0x83, 0xec, 0x08);                                     /* sub rsp, 8 */
	emit_store_gs(e, RSP, JS(host_rsp));
	emit_simd_load(j, e);
	for (unsigned r = 0; r < 16; r++)
		if (in_host_register(r))
			emit_load_gs(e, r, JS_GPR(r));
	emit_load_gs(e, RSP, JS_GPR(RSP));
	emit_load_gs(e, H10, JS(rip));
	EMIT(e, 0x65, 0xff, 0x24, 0x25); /* jmp gs:[target] */
	emit_u32(e, (uint32_t)JS(target));
}

/* With r10 = rip, as offset from the page's base, and r11 = exit. */
static void emit_exits(struct jit *j, struct emit *e)
{
	uint8_t *to_exit;

	/* A jump to a block that is no more: r10 = target, flags parked. */
	j->jump_dead = here(e);
	emit_mov_imm(e, H11, JIT_EXIT_LOOKUP);
	EMIT(e, 0xe9, 0, 0, 0, 0);
	to_exit = e->p - 4;

	j->exit_common = here(e);
	emit_store_flags(e, NO_REG);
	j->exit_parked = here(e);
	emit_store_gs(e, H11, JS(exit));
	emit_load_gs(e, H11, JS(page_base));
	EMIT(e, 0x4f, 0x8d, 0x14, 0x1a); /* lea r10, [r10 + r11] */
	emit_load_gs(e, H11, JS(exit));
	patch_here(e, to_exit);
	emit_store_gs(e, H10, JS(rip));
	emit_store_gs(e, H11, JS(exit));
	for (unsigned r = 0; r < 16; r++)
		if (in_host_register(r))
			emit_store_gs(e, r, JS_GPR(r));
	emit_store_gs(e, RSP, JS_GPR(RSP));
	/* The fault handler comes here with everything stored. */
	j->exit_fault = here(e);
	emit_load_gs(e, RSP, JS(host_rsp));
	emit_simd_save(j, e);
	EMIT(e, 0x48, 0x83, 0xc4, 0x08);
	EMIT(e, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
}

/*
 * With r10 = gva, r11 = kind of access (struct slow in translate.c), slow_return set. Gives the
 * addend in r11, or leaves translated code with the instruction not done.
 */
static void emit_slow(struct jit *j, struct emit *e)
{
	uint8_t *failed;

	j->slow_common = here(e);
	emit_store_gs(e, H10, JS(slow_gva));
	for (unsigned r = 0; r < 16; r++)
		if (clobbered_by_c(r))
			emit_store_gs(e, r, JS_GPR(r));
	emit_store_gs(e, RSP, JS_GPR(RSP));
	emit_load_gs(e, RSP, JS(host_rsp));
	emit_mov_imm(e, RDI, (uint64_t)j);
	emit_mov(e, RSI, H10);
	emit_mov(e, RDX, H11);
	emit_mov_imm(e, RAX, (uint64_t)jit_miss);
	EMIT(e, 0xff, 0xd0);             /* call rax */
	emit_mov(e, H11, RAX);
	EMIT(e, 0x48, 0x85, 0xc0);       /* test rax, rax */
	EMIT(e, 0x0f, 0x84, 0, 0, 0, 0); /* jz failed */
	failed = e->p - 4;
	for (unsigned r = 0; r < 16; r++)
		if (clobbered_by_c(r))
			emit_load_gs(e, r, JS_GPR(r));
	emit_load_gs(e, RSP, JS_GPR(RSP));
	emit_load_gs(e, H10, JS(slow_gva));
	EMIT(e, 0x65, 0xff, 0x24, 0x25); /* jmp gs:[slow_return] */
	emit_u32(e, (uint32_t)JS(slow_return));
	patch_here(e, failed);
	for (unsigned r = 0; r < 16; r++)
		if (in_host_register(r) && !clobbered_by_c(r))
			emit_store_gs(e, r, JS_GPR(r));
	emit_jmp(e, j->exit_fault);
}

/* What C functions may change. Flags are parked. */
static void emit_save_for_c(struct emit *e)
{
	for (unsigned r = 0; r < 16; r++)
		if (clobbered_by_c(r))
			emit_store_gs(e, r, JS_GPR(r));
	emit_store_gs(e, RSP, JS_GPR(RSP));
	emit_load_gs(e, RSP, JS(host_rsp));
}

static void emit_load_after_c(struct emit *e)
{
	for (unsigned r = 0; r < 16; r++)
		if (clobbered_by_c(r))
			emit_load_gs(e, r, JS_GPR(r));
	emit_load_gs(e, RSP, JS_GPR(RSP));
}

/* After emit_save_for_c: out of translated code, everything stored. */
static void emit_leave_from_c(struct jit *j, struct emit *e, uint64_t exit)
{
	emit_mov_imm(e, H11, exit);
	emit_store_gs(e, H11, JS(exit));
	for (unsigned r = 0; r < 16; r++)
		if (in_host_register(r) && !clobbered_by_c(r))
			emit_store_gs(e, r, JS_GPR(r));
	emit_jmp(e, j->exit_fault);
}

/* With r10 = a target: to the code that `function`, called with what r11 holds, has for it. */
static void emit_ask(struct jit *j, struct emit *e, uint64_t function)
{
	uint8_t *failed;

	emit_store_gs(e, H10, JS(rip));
	emit_save_for_c(e);
	emit_mov_imm(e, RDI, (uint64_t)j);
	emit_mov(e, RSI, H11);
	emit_mov_imm(e, RAX, function);
	EMIT(e, 0xff, 0xd0);             /* call rax */
	emit_store_gs(e, RAX, JS(target));
	EMIT(e, 0x48, 0x85, 0xc0);       /* test rax, rax */
	EMIT(e, 0x0f, 0x84, 0, 0, 0, 0); /* jz failed */
	failed = e->p - 4;
	emit_load_after_c(e);
	emit_load_gs(e, H10, JS(rip));
	EMIT(e, 0x65, 0xff, 0x24, 0x25); /* jmp gs:[target] */
	emit_u32(e, (uint32_t)JS(target));
	patch_here(e, failed);
	emit_leave_from_c(j, e, JIT_EXIT_LOOKUP);
}

static void emit_jump_misses(struct jit *j, struct emit *e)
{
	/* A jump that the cache does not know: r10 = target, r11 = JIT_JUMP_INFO, flags parked. */
	j->jump_miss = here(e);
	emit_second_lookup(j, e);
	emit_ask(j, e, (uint64_t)jit_resolve);
	/* A link that is not known to be right: r10 = target, r11 = its struct jit_exit, flags parked. */
	j->link_miss = here(e);
	emit_ask(j, e, (uint64_t)jit_follow_link);
}

/* With r10 = helper_word and r11 = the helper; flags parked. */
static void emit_helper_call(struct jit *j, struct emit *e)
{
	uint8_t *failed;

	j->helper_common = here(e);
	emit_store_gs(e, H10, JS(insn));
	emit_save_for_c(e);
	EMIT(e, 0x41, 0x81, 0xe2);       /* and r10d, 0xfff */
	emit_u32(e, 0xfff);
	emit_gs(e, 0x03, H10, JS(page_base)); /* add r10, gs:[page_base] */
	emit_store_gs(e, H10, JS(rip));
	emit_mov_imm(e, RDI, (uint64_t)j);
	EMIT(e, 0x41, 0xff, 0xd3);       /* call r11 */
	EMIT(e, 0x84, 0xc0);             /* test al, al */
	EMIT(e, 0x0f, 0x84, 0, 0, 0, 0); /* jz failed */
	failed = e->p - 4;
	emit_load_after_c(e);
	emit_load_gs(e, H10, JS(rip));
	emit_lookup(j, e, JIT_JUMP_INFO(0, 0)); /* helpers go on at canonical addresses only */
	patch_here(e, failed);
	emit_leave_from_c(j, e, JIT_EXIT_INTERP);
}

void stubs_emit(struct jit *j)
{
	struct emit e = {
		.p = j->cache.writable,
		.end = j->cache.writable + j->cache.size,
		.to_exec = j->cache.exec - j->cache.writable,
	};

	emit_enter(j, &e);
	emit_exits(j, &e);
	emit_jump_misses(j, &e);
	emit_slow(j, &e);
	emit_helper_call(j, &e);
	j->cache.used = (size_t)(e.p - j->cache.writable + 63) & ~(size_t)63;
	j->cache.common_end = j->cache.exec + j->cache.used;
}
