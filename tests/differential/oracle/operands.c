/* Memory operands and branch targets. */
#include <string.h>

#include "base/bits.h"
#include "generate.h"
#include "mem/addr.h"
#include "sandbox.h"

/* ---- Addressing forms ---- */

static const uint8_t overrides[] = { 0x26, 0x2e, 0x36, 0x3e };

/* [base], [base + disp], [rip + disp] or, outside 64-bit mode, [disp]. */
static void choose_plain(struct builder *b, struct address_form *a, bool wide)
{
	unsigned base = rng_below(&b->r, wide ? 16 : 8);

	if ((base & 7) == 4)
		base ^= 1;
	a->rm = base & 7;
	a->rex_bits = base >> 3;
	a->mod = (uint8_t)rng_below(&b->r, 3);
	a->disp_bytes = a->mod == 0 ? (a->rm == 5 ? 4 : 0) : a->mod == 1 ? 1 : 4;
}

static void choose_sib(struct builder *b, struct address_form *a, bool wide, bool vector_index)
{
	unsigned base = rng_below(&b->r, wide ? 16 : 8), index = rng_below(&b->r, wide ? 16 : 8);

	a->has_sib = true;
	a->rm = 4;
	a->mod = (uint8_t)rng_below(&b->r, 3);
	if (!vector_index && index == base && index != 4)
		index ^= 1;
	a->sib = (uint8_t)(rng_below(&b->r, 4) << 6 | (index & 7) << 3 | (base & 7));
	a->rex_bits = (uint8_t)(base >> 3 | index >> 3 << 1);
	a->disp_bytes = a->mod == 0 ? ((base & 7) == 5 ? 4 : 0) : a->mod == 1 ? 1 : 4;
}

/* 16-bit addressing cannot reach the sandbox: it shows its address by the page fault. */
static void choose_16bit(struct builder *b, struct address_form *a)
{
	a->rm = rng_below(&b->r, 8) & 7;
	a->mod = (uint8_t)rng_below(&b->r, 3);
	a->disp_bytes = a->mod == 0 ? (a->rm == 6 ? 2 : 0) : a->mod;
}

void choose_address_form(struct builder *b, struct address_form *a)
{
	bool wide = b->form->size == CODE_64;

	memset(a, 0, sizeof(*a));
	a->short_address = rng_chance(&b->r, wide ? 8 : 2);
	if (rng_chance(&b->r, 3))
		a->segment = overrides[rng_below(&b->r, 4)];
	else if (wide && rng_chance(&b->r, 6))
		a->segment = (uint8_t)(0x64 + rng_below(&b->r, 2));
	if (!wide && a->short_address && !b->form->vsib)
		choose_16bit(b, a);
	else if (b->form->vsib || rng_chance(&b->r, 45))
		choose_sib(b, a, wide, b->form->vsib);
	else
		choose_plain(b, a, wide);
	if (!wide && b->form->vsib)
		a->short_address = false;
}

/* ---- Data addresses ---- */

static uint64_t odd_address(struct rng *r, unsigned size)
{
	switch (rng_below(r, 8)) {
	case 0: /* across the pages' border */
	case 1:
		return BOX_DATA + PAGE_SIZE - 1 - rng_below(r, size + 1);
	case 2: /* up to the hole, or over its edge */
		return BOX_DATA + BOX_DATA_BYTES - rng_below(r, 2 * size + 1);
	case 3:
		return BOX_DATA - rng_below(r, size + 1);
	case 4:
		return BOX_CONST + rng_below(r, BOX_CONST_BYTES);
	case 5:
		return BOX_CODE + rng_below(r, BOX_CODE_BYTES);
	case 6: /* both borders of the canonical range */
		return UINT64_C(0x800000000000) - size + rng_below(r, 2 * size + 1);
	default:
		return rng_chance(r, 50) ? rng_next(r) : UINT64_C(0xffff800000000000) - rng_below(r, size + 1);
	}
}

uint64_t choose_data_address(struct rng *r, unsigned size, unsigned alignment)
{
	unsigned room;

	if (rng_chance(r, 4))
		return odd_address(r, LM_MIN(size, 512));
	room = BOX_DATA_BYTES - LM_MIN(size, 4096);
	if (rng_chance(r, 92) || alignment < 2)
		return BOX_DATA + rng_below(r, room + 1) / alignment * alignment;
	return BOX_DATA + rng_below(r, room + 1);
}

/* ---- Aiming ---- */

static uint64_t segment_base(const struct oracle_case *c)
{
	if (c->insn.seg == FS)
		return c->in.fs_base;
	return c->insn.seg == GS ? c->in.gs_base : 0;
}

static int64_t random_displacement(struct builder *b)
{
	if (b->disp_bytes == 1)
		return (int8_t)rng_next(&b->r);
	if (rng_chance(&b->r, 50))
		return (int8_t)rng_next(&b->r);
	return (int32_t)rng_next(&b->r);
}

static void store_displacement(struct builder *b, int64_t disp)
{
	memcpy(b->c->bytes + b->disp_at, &disp, b->disp_bytes);
	memcpy(b->c->insn.bytes + b->disp_at, &disp, b->disp_bytes);
	b->c->insn.disp = disp;
}

/* Vector indices: element offsets of a few hundred bytes either way around the target. */
static void set_vector_index(struct builder *b)
{
	struct oracle_case *c = b->c;
	unsigned reg = c->insn.index;
	int32_t element[8];

	for (unsigned k = 0; k < 8; k++)
		element[k] = (int32_t)(rng_next(&b->r) % 128) - 64;
	if ((b->form->opcode & 1) && b->form->key.mnemonic) { /* qword indices */
		for (unsigned k = 0; k < 4; k++) {
			int64_t wide = element[k];

			memcpy(element + 2 * k, &wide, 8);
		}
	}
	memcpy(c->in.fp.xmm[reg].q, element, 16);
	memcpy(c->in.fp.ymm_high[reg].q, element + 4, 16);
}

/* What base and displacement must add up to. */
static uint64_t without_index(struct builder *b, bool base_free)
{
	struct oracle_case *c = b->c;
	const struct insn *i = &c->insn;
	uint64_t rest = b->target - segment_base(c);

	if (b->form->vsib) {
		set_vector_index(b);
		return rest;
	}
	if (i->index == REG_NONE)
		return rest;
	if (!base_free || rng_chance(&b->r, 50))
		c->in.gpr[i->index] = (uint64_t)(int8_t)rng_next(&b->r) &
				      (c->size == CODE_64 ? UINT64_MAX : 0xffffffff);
	return rest - c->in.gpr[i->index] * i->scale;
}

void aim_memory_operand(struct builder *b)
{
	struct oracle_case *c = b->c;
	const struct insn *i = &c->insn;
	bool base_free = i->base < BASE_RIP;
	uint64_t rest = without_index(b, base_free);
	int64_t disp = b->disp_bytes ? random_displacement(b) : 0;

	if (i->asz == 2)
		return;
	if (i->base == BASE_RIP)
		disp = (int32_t)(rest - (c->in.rip + i->length));
	else if (!base_free)
		disp = b->disp_bytes == 8 ? (int64_t)rest : (int32_t)rest;
	if (b->disp_bytes)
		store_displacement(b, disp);
	if (!base_free)
		return;
	rest -= (uint64_t)disp;
	if (i->asz == 4 && c->size == CODE_64)
		rest = (rest & 0xffffffff) | rng_next(&b->r) << 32;
	if (c->size != CODE_64)
		rest &= 0xffffffff;
	c->in.gpr[i->base] = rest;
}

/* ---- Branch targets: not within the instruction or its landing jump ---- */

uint64_t choose_code_address(struct builder *b)
{
	const struct oracle_case *c = b->c;
	uint64_t end = c->in.rip + c->length, target;

	do {
		if (rng_chance(&b->r, 8))
			target = odd_address(&b->r, 8);
		else if (rng_chance(&b->r, 50))
			target = BOX_CODE + rng_below(&b->r, BOX_CODE_BYTES);
		else
			target = end + rng_below(&b->r, 256) - 128;
	} while (target >= c->in.rip && target < end + LANDING_BYTES && target != end);
	return target;
}

/* ---- Patches ---- */

struct patch *add_patch(struct oracle_case *c, uint64_t address, unsigned len)
{
	struct patch *p = &c->patch[c->patches];

	if (address < BOX_DATA || address >= BOX_DATA + BOX_DATA_BYTES || c->patches == MAX_PATCHES)
		return NULL;
	p->address = (uint32_t)address;
	p->len = (uint16_t)LM_MIN(LM_MIN(len, sizeof(p->bytes)), BOX_DATA + BOX_DATA_BYTES - address);
	c->patches++;
	return p;
}

void patch_value(struct oracle_case *c, uint64_t address, uint64_t value, unsigned size)
{
	struct patch *p = add_patch(c, address, size);

	if (p)
		memcpy(p->bytes, &value, size);
}
