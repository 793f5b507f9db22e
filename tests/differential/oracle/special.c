/* What certain instructions need so that they do more than fault: counts, pointers, valid images. */
#include <Zydis/Zydis.h>
#include <string.h>

#include "base/bits.h"
#include "generate.h"
#include "sandbox.h"

static void set_gpr(struct builder *b, unsigned reg, uint64_t value)
{
	b->c->in.gpr[reg] = b->c->size == CODE_64 ? value : (uint32_t)value;
}

static uint64_t data_address(struct builder *b, unsigned size)
{
	return choose_data_address(&b->r, size, 1);
}

/* ---- Before aiming ---- */

static void string_registers(struct builder *b)
{
	bool repeated = b->c->insn.rep != REP_NONE;
	uint64_t di = data_address(b, repeated ? 128 : 8);
	uint64_t si = rng_chance(&b->r, 50) ? data_address(b, repeated ? 128 : 8)
					    : di + rng_below(&b->r, 64) - 32;

	set_gpr(b, RSI, si - (b->c->insn.seg == FS   ? b->c->in.fs_base
			      : b->c->insn.seg == GS ? b->c->in.gs_base
						     : 0));
	set_gpr(b, RDI, di);
	if (rng_chance(&b->r, 30))
		b->c->in.rflags ^= FLAG_DF;
	if (repeated)
		set_gpr(b, RCX, rng_below(&b->r, rng_chance(&b->r, 80) ? 20 : 600));
}

static void translate_registers(struct builder *b)
{
	set_gpr(b, RBX, data_address(b, 256));
}

static void loop_registers(struct builder *b)
{
	if (rng_chance(&b->r, 80))
		set_gpr(b, RCX, rng_below(&b->r, 3));
}

static void frame_registers(struct builder *b)
{
	set_gpr(b, RBP, data_address(b, 8));
}

static void masked_move_registers(struct builder *b)
{
	set_gpr(b, RDI, data_address(b, 16));
}

/* A dividend whose quotient fits, more often than chance gives it. */
static void dividend(struct builder *b)
{
	uint64_t *g = b->c->in.gpr;

	if (rng_chance(&b->r, 30))
		set_gpr(b, RDX, 0);
	else if (rng_chance(&b->r, 50))
		set_gpr(b, RDX, (uint64_t)((int64_t)g[RAX] >> 63));
	else if (rng_chance(&b->r, 70))
		set_gpr(b, RDX, rng_below(&b->r, 16));
	if (rng_chance(&b->r, 40))
		set_gpr(b, RAX, g[RAX] & 0x7ff);
}

static void shift_registers(struct builder *b)
{
	if (rng_chance(&b->r, 70))
		set_gpr(b, RCX, (b->c->in.gpr[RCX] & ~UINT64_C(0xff)) | rng_below(&b->r, 80));
}

/* A bit index of some hundred bits either way. */
static void bit_registers(struct builder *b)
{
	const struct insn *i = &b->c->insn;

	if (i->op_count == 2 && i->op[1].kind == OPK_GPR && rng_chance(&b->r, 80))
		set_gpr(b, i->op[1].reg, rng_below(&b->r, 4096) - UINT64_C(2048));
}

static void explicit_lengths(struct builder *b)
{
	if (rng_chance(&b->r, 80)) {
		set_gpr(b, RAX, rng_below(&b->r, 40) - UINT64_C(20));
		set_gpr(b, RDX, rng_below(&b->r, 40) - UINT64_C(20));
	}
}

/* The components that both sides have; more would save more on the host. */
static void state_mask(struct builder *b)
{
	set_gpr(b, RAX, rng_below(&b->r, 8));
	set_gpr(b, RDX, 0);
}

bool special_takes_state_mask(const struct insn *i)
{
	switch (i->mnemonic) {
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64:
		return true;
	default:
		return false;
	}
}

/* The same registers cannot address the area as well. */
bool special_unsuitable(const struct insn *i)
{
	bool addresses = i->base == RAX || i->base == RDX || i->index == RAX || i->index == RDX;

	return addresses && special_takes_state_mask(i);
}

/* ---- After aiming ---- */

static void compare_memory(struct builder *b)
{
	const uint64_t *g = b->c->in.gpr;
	unsigned half = b->c->insn.op[0].size / 2;

	if (!b->has_target || !rng_chance(&b->r, 50))
		return;
	if (b->c->insn.mnemonic == ZYDIS_MNEMONIC_CMPXCHG) {
		patch_value(b->c, b->target, g[RAX], b->c->insn.op[0].size);
	} else if (half <= 8) {
		patch_value(b->c, b->target, g[RAX], half);
		patch_value(b->c, b->target + half, g[RDX], half);
	}
}

/* Indirect jumps and calls: the target in the register or in memory. */
static void indirect_target(struct builder *b)
{
	const struct operand *o = &b->c->insn.op[0];

	if (o->kind == OPK_GPR)
		set_gpr(b, o->reg, choose_code_address(b));
	else if (o->kind == OPK_MEM && b->has_target)
		patch_value(b->c, b->target, choose_code_address(b), o->size);
}

static void return_target(struct builder *b)
{
	patch_value(b->c, b->c->in.gpr[RSP], choose_code_address(b), b->c->insn.osz);
}

static void flags_on_stack(struct builder *b)
{
	uint64_t flags = rng_next(&b->r);

	if (rng_chance(&b->r, 90))
		flags &= ~(uint64_t)(FLAG_TF | FLAG_AC);
	patch_value(b->c, b->c->in.gpr[RSP], flags, b->c->insn.osz);
}

/* Equal runs with a rare difference, so that repeated comparisons go on for a while. */
static void equal_runs(struct builder *b)
{
	static const unsigned regs[] = { RSI, RDI };
	uint8_t fill = (uint8_t)b->c->in.gpr[RAX];

	if (b->c->insn.rep == REP_NONE || rng_chance(&b->r, 20))
		return;
	for (unsigned k = 0; k < 2; k++) {
		struct patch *p = add_patch(b->c, b->c->in.gpr[regs[k]] - 64, 128);

		if (!p)
			continue;
		memset(p->bytes, fill, p->len);
		if (rng_chance(&b->r, 70))
			p->bytes[rng_below(&b->r, p->len)] ^= 1;
	}
}

static void control_word(struct builder *b)
{
	if (b->has_target)
		patch_value(b->c, b->target, 0x40 | (rng_next(&b->r) & 0xf3f), 2);
}

static void mxcsr_value(struct builder *b)
{
	if (b->has_target && rng_chance(&b->r, 90))
		patch_value(b->c, b->target, rng_next(&b->r) & 0xffff, 4);
}

static struct patch *big_patch(struct builder *b, unsigned bytes)
{
	struct patch *p;

	if (!b->has_target)
		return NULL;
	b->c->patches = 0;
	p = add_patch(b->c, b->target, bytes);
	if (p)
		for (unsigned k = 0; k < p->len; k += 8) {
			uint64_t v = value_integer(&b->r);

			memcpy(p->bytes + k, &v, LM_MIN(8, p->len - k));
		}
	return p;
}

/* An FXSAVE image; MXCSR mostly valid. */
static void legacy_image(struct builder *b)
{
	struct patch *p = big_patch(b, 512);
	uint32_t mxcsr = (uint32_t)rng_next(&b->r) & 0xffff;

	if (p && p->len >= 32 && rng_chance(&b->r, 90))
		memcpy(p->bytes + 24, &mxcsr, 4);
}

/* Components that a host may have and the model has not. */
#define HOST_COMPONENTS UINT64_C(0xffff8)

/* The same with an XSAVE header: mostly a valid one in the standard form. */
static void extended_image(struct builder *b)
{
	struct patch *p = big_patch(b, 576);
	uint32_t mxcsr = (uint32_t)rng_next(&b->r) & 0xffff;
	uint64_t header[8] = { rng_below(&b->r, 8) };

	if (!p || p->len < 576)
		return;
	if (rng_chance(&b->r, 90))
		memcpy(p->bytes + 24, &mxcsr, 4);
	if (rng_chance(&b->r, 25))
		header[1] = UINT64_C(1) << 63 | rng_below(&b->r, 8) | header[0];
	if (rng_chance(&b->r, 10))
		header[rng_below(&b->r, 8)] = value_integer(&b->r) & ~HOST_COMPONENTS;
	memcpy(p->bytes + 512, header, 64);
}

/* FLDENV and FRSTOR in their 16- and 32-bit protected-mode forms: control word first. */
static void environment(struct builder *b)
{
	struct patch *p = big_patch(b, 108);
	uint16_t control = (uint16_t)(0x40 | (rng_next(&b->r) & 0xf3f));

	if (p && p->len >= 2 && rng_chance(&b->r, 80))
		memcpy(p->bytes, &control, 2);
}

/* ---- The table ---- */

typedef void (*special_fn)(struct builder *b);

static const struct {
	uint16_t mnemonic;
	special_fn registers, memory;
} rows[] = {
	{ ZYDIS_MNEMONIC_MOVSB, string_registers, NULL },
	{ ZYDIS_MNEMONIC_MOVSW, string_registers, NULL },
	{ ZYDIS_MNEMONIC_MOVSD, string_registers, NULL },
	{ ZYDIS_MNEMONIC_MOVSQ, string_registers, NULL },
	{ ZYDIS_MNEMONIC_CMPSB, string_registers, equal_runs },
	{ ZYDIS_MNEMONIC_CMPSW, string_registers, equal_runs },
	{ ZYDIS_MNEMONIC_CMPSD, string_registers, equal_runs },
	{ ZYDIS_MNEMONIC_CMPSQ, string_registers, equal_runs },
	{ ZYDIS_MNEMONIC_SCASB, string_registers, equal_runs },
	{ ZYDIS_MNEMONIC_SCASW, string_registers, equal_runs },
	{ ZYDIS_MNEMONIC_SCASD, string_registers, equal_runs },
	{ ZYDIS_MNEMONIC_SCASQ, string_registers, equal_runs },
	{ ZYDIS_MNEMONIC_LODSB, string_registers, NULL },
	{ ZYDIS_MNEMONIC_LODSW, string_registers, NULL },
	{ ZYDIS_MNEMONIC_LODSD, string_registers, NULL },
	{ ZYDIS_MNEMONIC_LODSQ, string_registers, NULL },
	{ ZYDIS_MNEMONIC_STOSB, string_registers, NULL },
	{ ZYDIS_MNEMONIC_STOSW, string_registers, NULL },
	{ ZYDIS_MNEMONIC_STOSD, string_registers, NULL },
	{ ZYDIS_MNEMONIC_STOSQ, string_registers, NULL },
	{ ZYDIS_MNEMONIC_XLAT, translate_registers, NULL },
	{ ZYDIS_MNEMONIC_LOOP, loop_registers, NULL },
	{ ZYDIS_MNEMONIC_LOOPE, loop_registers, NULL },
	{ ZYDIS_MNEMONIC_LOOPNE, loop_registers, NULL },
	{ ZYDIS_MNEMONIC_JCXZ, loop_registers, NULL },
	{ ZYDIS_MNEMONIC_JECXZ, loop_registers, NULL },
	{ ZYDIS_MNEMONIC_JRCXZ, loop_registers, NULL },
	{ ZYDIS_MNEMONIC_ENTER, frame_registers, NULL },
	{ ZYDIS_MNEMONIC_LEAVE, frame_registers, NULL },
	{ ZYDIS_MNEMONIC_MASKMOVQ, masked_move_registers, NULL },
	{ ZYDIS_MNEMONIC_MASKMOVDQU, masked_move_registers, NULL },
	{ ZYDIS_MNEMONIC_VMASKMOVDQU, masked_move_registers, NULL },
	{ ZYDIS_MNEMONIC_DIV, dividend, NULL },
	{ ZYDIS_MNEMONIC_IDIV, dividend, NULL },
	{ ZYDIS_MNEMONIC_SHL, shift_registers, NULL },
	{ ZYDIS_MNEMONIC_SHR, shift_registers, NULL },
	{ ZYDIS_MNEMONIC_SAR, shift_registers, NULL },
	{ ZYDIS_MNEMONIC_ROL, shift_registers, NULL },
	{ ZYDIS_MNEMONIC_ROR, shift_registers, NULL },
	{ ZYDIS_MNEMONIC_RCL, shift_registers, NULL },
	{ ZYDIS_MNEMONIC_RCR, shift_registers, NULL },
	{ ZYDIS_MNEMONIC_SHLD, shift_registers, NULL },
	{ ZYDIS_MNEMONIC_SHRD, shift_registers, NULL },
	{ ZYDIS_MNEMONIC_BT, bit_registers, NULL },
	{ ZYDIS_MNEMONIC_BTS, bit_registers, NULL },
	{ ZYDIS_MNEMONIC_BTR, bit_registers, NULL },
	{ ZYDIS_MNEMONIC_BTC, bit_registers, NULL },
	{ ZYDIS_MNEMONIC_PCMPESTRI, explicit_lengths, NULL },
	{ ZYDIS_MNEMONIC_PCMPESTRM, explicit_lengths, NULL },
	{ ZYDIS_MNEMONIC_VPCMPESTRI, explicit_lengths, NULL },
	{ ZYDIS_MNEMONIC_VPCMPESTRM, explicit_lengths, NULL },
	{ ZYDIS_MNEMONIC_CMPXCHG, NULL, compare_memory },
	{ ZYDIS_MNEMONIC_CMPXCHG8B, NULL, compare_memory },
	{ ZYDIS_MNEMONIC_CMPXCHG16B, NULL, compare_memory },
	{ ZYDIS_MNEMONIC_JMP, NULL, indirect_target },
	{ ZYDIS_MNEMONIC_CALL, NULL, indirect_target },
	{ ZYDIS_MNEMONIC_RET, NULL, return_target },
	{ ZYDIS_MNEMONIC_POPF, NULL, flags_on_stack },
	{ ZYDIS_MNEMONIC_POPFD, NULL, flags_on_stack },
	{ ZYDIS_MNEMONIC_POPFQ, NULL, flags_on_stack },
	{ ZYDIS_MNEMONIC_FLDCW, NULL, control_word },
	{ ZYDIS_MNEMONIC_FLDENV, NULL, environment },
	{ ZYDIS_MNEMONIC_FRSTOR, NULL, environment },
	{ ZYDIS_MNEMONIC_LDMXCSR, NULL, mxcsr_value },
	{ ZYDIS_MNEMONIC_VLDMXCSR, NULL, mxcsr_value },
	{ ZYDIS_MNEMONIC_FXRSTOR, NULL, legacy_image },
	{ ZYDIS_MNEMONIC_FXRSTOR64, NULL, legacy_image },
	{ ZYDIS_MNEMONIC_XSAVE, state_mask, extended_image },
	{ ZYDIS_MNEMONIC_XSAVE64, state_mask, extended_image },
	{ ZYDIS_MNEMONIC_XSAVEC, state_mask, extended_image },
	{ ZYDIS_MNEMONIC_XSAVEC64, state_mask, extended_image },
	{ ZYDIS_MNEMONIC_XSAVEOPT, state_mask, extended_image },
	{ ZYDIS_MNEMONIC_XSAVEOPT64, state_mask, extended_image },
	{ ZYDIS_MNEMONIC_XRSTOR, state_mask, extended_image },
	{ ZYDIS_MNEMONIC_XRSTOR64, state_mask, extended_image },
};

/* Row number + 1 by mnemonic. */
static uint8_t row_of[ZYDIS_MNEMONIC_MAX_VALUE + 1];

_Static_assert(LM_ARRAY_SIZE(rows) < 255, "row_of");

static unsigned find_row(unsigned mnemonic)
{
	if (!row_of[ZYDIS_MNEMONIC_INVALID]) {
		row_of[ZYDIS_MNEMONIC_INVALID] = 255;
		for (unsigned k = 0; k < LM_ARRAY_SIZE(rows); k++)
			row_of[rows[k].mnemonic] = (uint8_t)(k + 1);
	}
	return row_of[mnemonic];
}

void special_registers(struct builder *b)
{
	unsigned row = find_row(b->c->insn.mnemonic);

	if (row && rows[row - 1].registers)
		rows[row - 1].registers(b);
}

void special_memory(struct builder *b)
{
	unsigned row = find_row(b->c->insn.mnemonic);

	if (row && rows[row - 1].memory)
		rows[row - 1].memory(b);
}
