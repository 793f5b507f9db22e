/*
 * String instructions (SDM vol. 2: MOVS, CMPS, SCAS, LODS, STOS; REP prefixes vol. 2 "REP").
 *
 * A repeated instruction executes iterations up to a bounded number per call, committing registers
 * after each one or each block, and says so (c->repeat) when more are to come: RIP stays, and
 * interrupts, traps and faults between iterations find a restartable state.
 */
#include "isa/x86/debug.h"
#include "isa/x86/sem/sem.h"

/* So many bytes or iterations at the most before the run loop looks up again. */
#define CHUNK 4096u

static inline unsigned element_size(const struct insn *i)
{
	return i->osz;
}

static inline int64_t step(const struct x86_cpu *c, unsigned size)
{
	return c->s.rflags & FLAG_DF ? -(int64_t)size : (int64_t)size;
}

static inline uint64_t index_read(const struct x86_cpu *c, const struct insn *i, unsigned reg)
{
	return gpr_read(c, reg, i->asz);
}

static inline void index_add(struct x86_cpu *c, const struct insn *i, unsigned reg, int64_t bytes)
{
	gpr_write(c, reg, c->s.gpr[reg] + (uint64_t)bytes, i->asz);
}

/* One instruction at a time when something watches every iteration. */
static inline bool watched(const struct x86_cpu *c)
{
	return c->s.rflags & FLAG_TF || debug_data_armed(c);
}

typedef void (*iteration_fn)(struct x86_cpu *c, const struct insn *i);

/*
 * `compares`: the repetition also ends by ZF (REPE: while set, REPNE: while clear). Until it ends the
 * flags are those from before the instruction: SDM vol. 2 REP says so of faults, and Intel's
 * processors do so for traps and interrupts too.
 */
static void repeat(struct x86_cpu *c, const struct insn *i, iteration_fn once, bool compares)
{
	const struct lazy_flags before = c->lf;
	unsigned budget = watched(c) ? 1 : CHUNK;

	if (i->rep == REP_NONE) {
		once(c, i);
		return;
	}
	for (uint64_t count = index_read(c, i, RCX); count; budget--) {
		c->lf = before;
		if (!budget) {
			c->repeat = true;
			return;
		}
		once(c, i);
		gpr_write(c, RCX, --count, i->asz);
		if (compares && flag_zero(c) != (i->rep == REP_F3))
			return;
	}
}

/* ---- Single iterations. CMPS reads (E)DI first, as processors do: the faults show it. ---- */

static void movs_once(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = element_size(i);
	uint64_t v = seg_read(c, i->seg, index_read(c, i, RSI), size);

	seg_write(c, ES, index_read(c, i, RDI), v, size);
	index_add(c, i, RSI, step(c, size));
	index_add(c, i, RDI, step(c, size));
}

static void stos_once(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = element_size(i);

	seg_write(c, ES, index_read(c, i, RDI), c->s.gpr[RAX] & mask_bytes(size), size);
	index_add(c, i, RDI, step(c, size));
}

static void lods_once(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = element_size(i);

	gpr_write(c, RAX, seg_read(c, i->seg, index_read(c, i, RSI), size), size);
	index_add(c, i, RSI, step(c, size));
}

static void cmps_once(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = element_size(i);
	uint64_t b = seg_read(c, ES, index_read(c, i, RDI), size);
	uint64_t a = seg_read(c, i->seg, index_read(c, i, RSI), size);

	flags_sub(c, a, b, a - b, size);
	index_add(c, i, RSI, step(c, size));
	index_add(c, i, RDI, step(c, size));
}

static void scas_once(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = element_size(i);
	uint64_t a = gpr_read(c, RAX, size);
	uint64_t b = seg_read(c, ES, index_read(c, i, RDI), size);

	flags_sub(c, a, b, a - b, size);
	index_add(c, i, RDI, step(c, size));
}

/* ---- Blocks: forward MOVS and STOS within one page of RAM each, where no limit can bite ---- */

/* How many whole elements from `linear` stay within its page, count and the address size. */
static uint64_t elements_in_page(const struct insn *i, uint64_t offset, uint64_t linear,
				 uint64_t count, unsigned size)
{
	uint64_t room = PAGE_SIZE - (linear & PAGE_MASK);
	uint64_t wrap = mask_bytes(i->asz) - offset;

	return LM_MIN(count, LM_MIN(room, wrap) / size);
}

static bool block_allowed(const struct x86_cpu *c, const struct insn *i)
{
	return i->rep != REP_NONE && c->flat_data && !(c->s.rflags & FLAG_DF) && !watched(c);
}

/* Iteration order matters when the destination starts inside the source. */
static void copy_elements(uint8_t *to, const uint8_t *from, uint64_t bytes, unsigned size)
{
	if (to <= from || to >= from + bytes) {
		memmove(to, from, bytes);
		return;
	}
	for (uint64_t k = 0; k < bytes; k += size)
		le_store(to + k, le_load(from + k, size), size); /* an element may overlap its copy */
}

static bool movs_block(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = element_size(i);
	uint64_t count = index_read(c, i, RCX);
	uint64_t si = index_read(c, i, RSI), di = index_read(c, i, RDI), n;
	const uint8_t *from;
	uint8_t *to;
	gva_t src, dst;

	if (!count)
		return false;
	if (i->seg >= FS && c->code_size != CODE_64)
		return false;
	src = x86_linear(c, i->seg, si, size, ACCESS_READ);
	from = lin_host(c, src, ACCESS_READ);
	dst = x86_linear(c, ES, di, size, ACCESS_WRITE);
	n = elements_in_page(i, si, src.v, count, size);
	n = elements_in_page(i, di, dst.v, n, size);
	if (n < 2)
		return false;
	to = lin_host(c, dst, ACCESS_WRITE);
	if (!from || !to)
		return false;
	__atomic_thread_fence(__ATOMIC_RELEASE); /* stores of the block may pass each other, no more */
	copy_elements(to, from, n * size, size);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	index_add(c, i, RSI, (int64_t)(n * size));
	index_add(c, i, RDI, (int64_t)(n * size));
	gpr_write(c, RCX, count - n, i->asz);
	return true;
}

static void fill_elements(uint8_t *to, uint64_t value, uint64_t n, unsigned size)
{
	if (size == 1) {
		memset(to, (int)(value & 0xff), n);
		return;
	}
	for (uint64_t k = 0; k < n; k++)
		memcpy(to + k * size, &value, size);
}

static bool stos_block(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = element_size(i);
	uint64_t count = index_read(c, i, RCX), di = index_read(c, i, RDI), n;
	uint8_t *to;
	gva_t dst;

	if (!count)
		return false;
	dst = x86_linear(c, ES, di, size, ACCESS_WRITE);
	n = elements_in_page(i, di, dst.v, count, size);
	if (n < 2)
		return false;
	to = lin_host(c, dst, ACCESS_WRITE);
	if (!to)
		return false;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	fill_elements(to, c->s.gpr[RAX], n, size);
	index_add(c, i, RDI, (int64_t)(n * size));
	gpr_write(c, RCX, count - n, i->asz);
	return true;
}

/* A block, then come back for the rest; otherwise iterations. */
static void repeat_blocks(struct x86_cpu *c, const struct insn *i, iteration_fn once,
			  bool (*block)(struct x86_cpu *, const struct insn *))
{
	if (!block_allowed(c, i) || !block(c, i)) {
		repeat(c, i, once, false);
		return;
	}
	if (index_read(c, i, RCX))
		c->repeat = true;
}

/* ---- Instructions ---- */

void string_movs(struct x86_cpu *c, const struct insn *i)
{
	repeat_blocks(c, i, movs_once, movs_block);
}

void string_stos(struct x86_cpu *c, const struct insn *i)
{
	repeat_blocks(c, i, stos_once, stos_block);
}

void string_lods(struct x86_cpu *c, const struct insn *i)
{
	repeat(c, i, lods_once, false);
}

void string_cmps(struct x86_cpu *c, const struct insn *i)
{
	repeat(c, i, cmps_once, true);
}

void string_scas(struct x86_cpu *c, const struct insn *i)
{
	repeat(c, i, scas_once, true);
}
