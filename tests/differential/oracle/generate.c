#include "generate.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"
#include "mem/addr.h"
#include "sandbox.h"

#define POOL_IMAGES 64
#define GENERAL_PERCENT 40 /* cases of integer instructions, which are few forms */

/* ---- Images of the floating-point and vector state ---- */

static const uint16_t all_masked = 0x3f;

/* ES and B follow from the flags and masks (SDM vol. 1 §8.1.3.3). */
static void set_x87_control(struct rng *r, struct xsave_image *x)
{
	x->fcw = (uint16_t)(0x40 | all_masked | rng_below(r, 4) << 10 | rng_below(r, 4) << 8);
	if (rng_chance(r, 15))
		x->fcw &= (uint16_t)~rng_below(r, 64);
	if (rng_chance(r, 50))
		x->fcw = (x->fcw & ~0x300) | 0x300;
	x->fsw = (uint16_t)(rng_next(r) & 0x4700); /* condition codes */
	if (rng_chance(r, 30))
		x->fsw |= (uint16_t)(rng_next(r) & 0x7f);
	if (rng_chance(r, 40))
		x->fsw |= (uint16_t)(rng_below(r, 8) << 11);
	if (x->fsw & ~x->fcw & 0x3f) {
		if (rng_chance(r, 80))
			x->fsw &= x->fcw | ~0x3f;
		else
			x->fsw |= 0x8080;
	}
	x->ftw = rng_chance(r, 70) ? 0xff : (uint8_t)rng_next(r);
}

static void set_mxcsr(struct rng *r, struct xsave_image *x)
{
	x->mxcsr = (uint32_t)(0x1f80 | rng_below(r, 4) << 13);
	if (rng_chance(r, 50))
		x->mxcsr |= (uint32_t)(rng_next(r) & 0x803f);
	if (rng_chance(r, 20))
		x->mxcsr |= 0x40;
	if (rng_chance(r, 12))
		x->mxcsr &= ~(uint32_t)(rng_below(r, 64) << 7);
}

static void set_st(struct rng *r, struct xsave_image *x, unsigned k)
{
	if (rng_chance(r, 6)) { /* as MMX instructions leave it */
		x->st[k].sig = value_integer(r);
		x->st[k].se = 0xffff;
	} else {
		value_f80(r, &x->st[k].sig, &x->st[k].se);
	}
}

static void fill_image(struct rng *r, struct xsave_image *x)
{
	memset(x, 0, sizeof(*x));
	set_x87_control(r, x);
	set_mxcsr(r, x);
	x->xstate_bv = XCR0_X87 | XCR0_SSE | XCR0_AVX;
	for (unsigned k = 0; k < 8; k++)
		set_st(r, x, k);
	for (unsigned k = 0; k < 16; k++) {
		values_fill(r, (enum element)rng_below(r, EL_F80), x->xmm[k].q, 16);
		values_fill(r, (enum element)rng_below(r, EL_F80), x->ymm_high[k].q, 16);
	}
}

static void refresh_vectors(struct builder *b)
{
	struct xsave_image *x = &b->c->in.fp;
	const struct insn *i = &b->c->insn;

	for (unsigned n = 0; n < i->op_count; n++) {
		if (i->op[n].kind != OPK_VEC)
			continue;
		values_fill(&b->r, b->form->element, x->xmm[i->op[n].reg].q, 16);
		values_fill(&b->r, b->form->element, x->ymm_high[i->op[n].reg].q, 16);
	}
	set_mxcsr(&b->r, x);
}

static void refresh_x87(struct builder *b)
{
	struct xsave_image *x = &b->c->in.fp;

	set_x87_control(&b->r, x);
	for (unsigned k = 0; k < 8; k++)
		set_st(&b->r, x, k);
}

static bool uses_x87(const struct insn *i)
{
	return i->guard & (GUARD_X87 | GUARD_MMX);
}

static void set_fp(struct generator *g, struct builder *b)
{
	struct oracle_case *c = b->c;

	c->in.fp = g->pool[rng_below(&b->r, POOL_IMAGES)];
	if (!c->decodes || !b->form)
		return;
	if (c->insn.guard & (GUARD_SSE | GUARD_AVX))
		refresh_vectors(b);
	if (uses_x87(&c->insn))
		refresh_x87(b);
}

/* ---- Integer registers ---- */

static uint64_t random_flags(struct rng *r)
{
	uint64_t random = rng_next(r);
	uint64_t f = FLAG_FIXED | FLAG_IF | (random & FLAGS_ARITH);

	if (rng_chance(r, 15))
		f |= FLAG_DF;
	if (rng_chance(r, 5))
		f |= FLAG_AC;
	if (rng_chance(r, 2))
		f |= FLAG_TF;
	if (rng_chance(r, 5))
		f |= random & (FLAG_NT | FLAG_ID | FLAG_RF);
	return f;
}

static uint64_t random_segment_base(struct rng *r)
{
	if (rng_chance(r, 60))
		return BOX_DATA + rng_below(r, 4096);
	return rng_next(r) >> (17 + rng_below(r, 40));
}

static void set_registers(struct builder *b)
{
	struct registers *in = &b->c->in;
	bool wide = b->c->size == CODE_64;

	for (unsigned k = 0; k < 16; k++) {
		in->gpr[k] = value_integer(&b->r);
		if (rng_chance(&b->r, 10))
			in->gpr[k] = BOX_DATA + rng_below(&b->r, BOX_DATA_BYTES);
	}
	if (rng_chance(&b->r, 5))
		in->gpr[rng_below(&b->r, 16)] = in->gpr[rng_below(&b->r, 16)];
	in->gpr[RSP] = choose_data_address(&b->r, 16, rng_chance(&b->r, 80) ? 8 : 1);
	in->rflags = random_flags(&b->r);
	in->fs_base = wide ? random_segment_base(&b->r) : 0;
	in->gs_base = wide ? random_segment_base(&b->r) : 0;
	if (!wide) {
		for (unsigned k = 0; k < 8; k++)
			in->gpr[k] &= 0xffffffff;
		for (unsigned k = 8; k < 16; k++)
			in->gpr[k] = 0;
	}
}

/* ---- Encoding ---- */

/* 67, segment overrides and LOCK, in any order, before the mandatory prefixes. */
static unsigned put_prefixes(struct builder *b, const struct address_form *a, uint8_t *to)
{
	const struct form *f = b->form;
	unsigned n = 0;

	if (a->segment)
		to[n++] = a->segment;
	if (a->short_address)
		to[n++] = 0x67;
	if (f->lockable && rng_chance(&b->r, 25))
		to[n++] = 0xf0;
	return n;
}

static unsigned put_legacy_opcode(struct builder *b, uint8_t rex, uint8_t *to)
{
	const struct form *f = b->form;
	unsigned n = 0;

	if (f->prefix66)
		to[n++] = 0x66;
	if (f->prefix_rep)
		to[n++] = f->prefix_rep;
	if (f->size == CODE_64) {
		/* A REX prefix would make SPL.. of AH..; a form with AH.. must have none. */
		bool high = false;

		for (unsigned k = 0; k < f->key.op_count; k++)
			high |= f->key.op[k].kind == OPK_GPR_HIGH;
		rex |= (uint8_t)(f->w << 3);
		if (!high && (rex || rng_chance(&b->r, 10)))
			to[n++] = 0x40 | rex;
	}
	if (f->map)
		to[n++] = 0x0f;
	if (f->map >= 2)
		to[n++] = f->map == 2 ? 0x38 : 0x3a;
	to[n++] = f->opcode;
	return n;
}

/* Two bytes where they can say it, mostly. R, X, B and vvvv stand inverted. */
static unsigned put_vex_opcode(struct builder *b, uint8_t rex, uint8_t *to)
{
	const struct form *f = b->form;
	unsigned registers = f->size == CODE_64 ? 16 : 8;
	uint8_t vvvv = f->vvvv_free ? (uint8_t)(rng_below(&b->r, registers) ^ 15) : 15;
	uint8_t last = (uint8_t)(vvvv << 3 | f->vex_l << 2 | f->vex_pp);

	if (f->map == 1 && !f->w && !(rex & 3) && rng_chance(&b->r, 70)) {
		to[0] = 0xc5;
		to[1] = (uint8_t)((rex & 4 ? 0 : 0x80) | last);
		to[2] = f->opcode;
		return 3;
	}
	to[0] = 0xc4;
	to[1] = (uint8_t)((~rex & 7) << 5 | f->map);
	to[2] = (uint8_t)(f->w << 7 | last);
	to[3] = f->opcode;
	return 4;
}

static unsigned pick_modrm(struct builder *b)
{
	uint64_t mask = b->form->modrm;
	unsigned skip = rng_below(&b->r, (unsigned)__builtin_popcountll(mask));

	while (skip--)
		mask &= mask - 1;
	return (unsigned)__builtin_ctzll(mask);
}

static unsigned put_modrm(struct builder *b, const struct address_form *a, unsigned reg_rm, uint8_t *to)
{
	uint8_t *const start = to;

	if (!b->form->memory) {
		*to = (uint8_t)(0xc0 | reg_rm);
		return 1;
	}
	*to++ = (uint8_t)(a->mod << 6 | (reg_rm & 0x38) | a->rm);
	if (a->has_sib)
		*to++ = a->sib;
	return (unsigned)(to - start);
}

/* REX.R, X and B as far as they name registers; what they do elsewhere is for the random bytes. */
static uint8_t random_rex(struct builder *b, const struct address_form *a)
{
	uint8_t rex = 0;

	if (b->form->size != CODE_64)
		return 0;
	if (rng_chance(&b->r, 50))
		rex = rng_next(&b->r) & 4;
	if (b->form->memory)
		return rex | a->rex_bits;
	if (rng_chance(&b->r, 50))
		rex |= rng_next(&b->r) & 1;
	return rex;
}

static void random_tail(struct builder *b, uint8_t *to)
{
	uint64_t v = rng_chance(&b->r, 60) ? rng_next(&b->r) : value_integer(&b->r);

	memcpy(to, &v, 8);
}

/* String instructions and LOOP take them; others ignore them. */
static void choose_idle_prefixes(struct builder *b, struct address_form *a)
{
	static const uint8_t overrides[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65 };

	a->short_address = b->form->size == CODE_64 && rng_chance(&b->r, 5);
	if (rng_chance(&b->r, 5))
		a->segment = overrides[rng_below(&b->r, b->form->size == CODE_64 ? 6 : 4)];
}

static void encode(struct builder *b)
{
	const struct form *f = b->form;
	struct oracle_case *c = b->c;
	struct address_form a = { 0 };
	unsigned reg_rm = f->has_modrm ? pick_modrm(b) : 0;
	uint8_t buf[32] = { 0 }, rex;
	unsigned n;

	if (f->memory)
		choose_address_form(b, &a);
	else if (!f->far_address)
		choose_idle_prefixes(b, &a);
	rex = random_rex(b, &a);
	n = put_prefixes(b, &a, buf);
	n += f->key.vex ? put_vex_opcode(b, rex, buf + n) : put_legacy_opcode(b, rex, buf + n);
	if (f->has_modrm)
		n += put_modrm(b, &a, reg_rm, buf + n);
	b->disp_at = n;
	b->disp_bytes = f->far_address ? (f->size == CODE_64 ? 8 : 4) : a.disp_bytes;
	n += b->disp_bytes;
	random_tail(b, buf + n);
	c->length = LM_MIN(n + f->tail, INSN_MAX_LENGTH);
	memcpy(c->bytes, buf, 15);
}

/* ---- Place and branch distance ---- */

static void place(struct builder *b)
{
	struct oracle_case *c = b->c;
	unsigned where = rng_below(&b->r, 100);

	c->landing = true;
	c->in.rip = BOX_CODE + 512 + rng_below(&b->r, BOX_CODE_BYTES - 1024);
	if (where < 3 && c->length > 1) { /* across the pages' border */
		c->in.rip = BOX_CODE + PAGE_SIZE - 1 - rng_below(&b->r, c->length - 1);
	} else if (where < 5) { /* the hole follows */
		c->in.rip = BOX_CODE + BOX_CODE_BYTES - c->length;
		c->landing = false;
	}
}

/* The fetch runs into the hole. */
static void truncate_case(struct builder *b)
{
	struct oracle_case *c = b->c;
	unsigned missing = 1 + rng_below(&b->r, c->length - 1);

	c->length -= missing;
	c->in.rip = BOX_CODE + BOX_CODE_BYTES - c->length;
	c->landing = false;
}

static void set_distance(struct builder *b)
{
	struct oracle_case *c = b->c;
	unsigned bytes = b->form->tail;
	int64_t distance = (int64_t)(choose_code_address(b) - (c->in.rip + c->length));
	uint64_t end = c->in.rip + c->length, target;

	if (bytes == 1)
		distance = (int8_t)distance;
	target = end + (uint64_t)distance;
	if (target >= c->in.rip && target < end + LANDING_BYTES && target != end)
		distance = 32;
	memcpy(c->bytes + c->length - bytes, &distance, bytes);
}

/* ---- One case ---- */

static bool redecode(struct generator *g, struct oracle_case *c)
{
	uint8_t window[16];

	memset(window, BOX_FILL, sizeof(window));
	memcpy(window, c->bytes, c->length);
	return insn_decode(&c->insn, window, INSN_MAX_LENGTH, c->size, false, g->model) == DECODE_OK;
}

static unsigned memory_bytes(const struct insn *i)
{
	for (unsigned n = 0; n < i->op_count; n++)
		if (i->op[n].kind == OPK_MEM)
			return i->op[n].size ? i->op[n].size : 64;
	return 8;
}

static unsigned memory_alignment(struct rng *r, unsigned bytes)
{
	if (bytes > 64)
		return 64;
	if (!is_pow2(bytes) || (bytes < 16 && rng_chance(r, 50)))
		return 1;
	return bytes;
}

static void aim(struct builder *b)
{
	struct oracle_case *c = b->c;
	unsigned bytes = memory_bytes(&c->insn);
	struct patch *p;

	b->target = choose_data_address(&b->r, bytes, memory_alignment(&b->r, bytes));
	b->has_target = true;
	aim_memory_operand(b);
	p = add_patch(c, b->target, LM_MIN(bytes, 64));
	if (p)
		values_fill(&b->r, b->form->element, p->bytes, p->len);
}

static bool build_from_form(struct generator *g, struct builder *b)
{
	struct oracle_case *c = b->c;
	const struct form *f = b->form;

	encode(b);
	place(b);
	set_registers(b);
	if (f->branch && f->key.op_count && f->key.op[0].kind == OPK_REL)
		set_distance(b);
	c->decodes = redecode(g, c);
	if (!c->decodes || c->insn.length != c->length || excluded_reason(&c->insn, c->size) ||
	    special_unsuitable(&c->insn))
		return false;
	set_fp(g, b);
	special_registers(b);
	if (f->memory || f->far_address)
		aim(b);
	special_memory(b);
	if (rng_chance(&b->r, 1) && c->length > 1 && !f->branch)
		truncate_case(b);
	return true;
}

static const struct form *pick_form(struct generator *g, struct rng *r)
{
	unsigned n = g->general && rng_chance(r, GENERAL_PERCENT) ? rng_below(r, g->general)
								  : rng_below(r, g->choices);

	return &g->forms->form[g->choice[n]];
}

/* ---- Random bytes ---- */

static void random_bytes(struct builder *b)
{
	static const uint8_t prefixes[] = { 0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26,
					    0x64, 0x65, 0x40, 0x48, 0x41, 0x44, 0x4f };
	uint8_t *p = b->c->bytes;
	uint64_t v = rng_next(&b->r), w = rng_next(&b->r);
	unsigned n = 0;

	memcpy(p, &v, 8);
	memcpy(p + 8, &w, 8);
	while (n < 4 && rng_chance(&b->r, 35))
		p[n++] = prefixes[rng_below(&b->r, LM_ARRAY_SIZE(prefixes))];
	switch (rng_below(&b->r, 6)) {
	case 0:
		p[n] = 0x0f;
		break;
	case 1:
		p[n] = 0x0f;
		p[n + 1] = rng_chance(&b->r, 50) ? 0x38 : 0x3a;
		break;
	case 2:
		p[n] = 0xc5;
		break;
	case 3:
		p[n] = 0xc4;
		p[n + 1] = (uint8_t)((p[n + 1] & 0xe0) | rng_below(&b->r, 4));
		break;
	default:
		break;
	}
	b->c->length = INSN_MAX_LENGTH;
}

static void random_registers(struct builder *b)
{
	struct oracle_case *c = b->c;

	set_registers(b);
	for (unsigned k = 0; k < 16; k++)
		if (rng_chance(&b->r, 50))
			c->in.gpr[k] = choose_data_address(&b->r, 16, 16);
	if (rng_chance(&b->r, 90))
		c->in.gpr[RCX] &= 0xff;
	if (c->size != CODE_64)
		for (unsigned k = 0; k < 16; k++)
			c->in.gpr[k] &= k < 8 ? 0xffffffff : 0;
}

unsigned prefix_bytes(const uint8_t *bytes, enum x86_code_size size)
{
	static const char prefixes[] = "\x66\x67\xf0\xf2\xf3\x2e\x36\x3e\x26\x64\x65";
	unsigned n = 0;

	while (n < 12 && ((size == CODE_64 && (bytes[n] & 0xf0) == 0x40) ||
			  (bytes[n] && strchr(prefixes, bytes[n]))))
		n++;
	return n;
}

/*
 * What Zydis refuses and hosts may take: EVEX, AVX-512's mask instructions in VEX's opcode space
 * whatever register they name, and LOCK MOV CR0, which is AMD's other name for CR8.
 */
static bool host_may_take(const uint8_t *bytes, enum x86_code_size size)
{
	unsigned n = prefix_bytes(bytes, size), map, opcode;

	if (bytes[n] == 0x62)
		return true;
	if (bytes[n] == 0x0f && (bytes[n + 1] | 2) == 0x22)
		return memchr(bytes, 0xf0, n) != NULL;
	if (bytes[n] != 0xc4 && bytes[n] != 0xc5)
		return false;
	map = bytes[n] == 0xc5 ? 1 : bytes[n + 1] & 31;
	opcode = bytes[n] == 0xc5 ? bytes[n + 2] : bytes[n + 3];
	if (map == 3)
		return opcode >= 0x30 && opcode <= 0x33;
	return map == 1 && ((opcode >= 0x41 && opcode <= 0x4b) || (opcode >= 0x90 && opcode <= 0x99));
}

/* Traps after the instruction, so that wherever it goes the host comes back. */
static enum generated build_random(struct generator *g, struct builder *b)
{
	struct oracle_case *c = b->c;
	enum decode_status status;

	random_bytes(b);
	if (g->bytes)
		memcpy(c->bytes, g->bytes, INSN_MAX_LENGTH);
	c->in.rip = BOX_CODE + 512 + rng_below(&b->r, BOX_CODE_BYTES - 1024);
	c->landing = false;
	status = insn_decode(&c->insn, c->bytes, INSN_MAX_LENGTH, c->size, false, g->model);
	c->decodes = status == DECODE_OK;
	if (excluded_reason(&c->insn, c->size) || special_takes_state_mask(&c->insn))
		return CASE_SKIPPED;
	if (!c->decodes && (c->insn.length || host_may_take(c->bytes, c->size)))
		return CASE_HOST_ONLY;
	random_registers(b);
	c->in.rflags |= FLAG_TF;
	set_fp(g, b);
	return CASE_OK;
}

enum generated generate_case(struct generator *g, uint64_t number, struct oracle_case *c)
{
	struct builder b = { .r = rng_seed(g->seed, number), .c = c };

	c->number = number;
	if (rng_chance(&b.r, g->random_percent)) {
		c->form = NULL;
		c->patches = 0;
		c->size = pick_form(g, &b.r)->size;
		return build_random(g, &b);
	}
	for (unsigned tries = 0; tries < 100; tries++) {
		b.form = pick_form(g, &b.r);
		b.has_target = false;
		c->form = (struct form *)b.form;
		c->size = b.form->size;
		c->patches = 0;
		if (build_from_form(g, &b))
			return CASE_OK;
	}
	return CASE_SKIPPED;
}

void generator_init(struct generator *g)
{
	struct rng r = rng_seed(g->seed, UINT64_MAX - 1);

	g->pool = aligned_alloc(64, POOL_IMAGES * sizeof(*g->pool));
	if (!g->pool)
		LM_BUG("no memory");
	for (unsigned k = 0; k < POOL_IMAGES; k++)
		fill_image(&r, &g->pool[k]);
}
