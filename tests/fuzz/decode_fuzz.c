/*
 * The decoder on random bytes in all modes: whatever it accepts must be within the bounds that the
 * semantics rely on without looking again, and must have a printable form.
 */
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"
#include "isa/x86/decode.h"
#include "fuzz.h"

static const struct {
	enum x86_code_size size;
	bool real_mode;
} modes[] = { { CODE_16, true }, { CODE_16, false }, { CODE_32, false }, { CODE_64, false } };

static void check_operand(const struct insn *i, const struct operand *o)
{
	static const uint8_t registers[] = {
		[OPK_NONE] = 1,
		[OPK_GPR] = 16,
		[OPK_GPR_HIGH] = 4,
		[OPK_SEG] = 6,
		[OPK_CR] = 9,
		[OPK_DR] = 8,
		[OPK_MMX] = 8,
		[OPK_VEC] = 16,
		[OPK_ST] = 8,
	};

	LM_BUG_ON(o->kind > OPK_FAR);
	if (o->kind <= OPK_ST)
		LM_BUG_ON(o->reg >= registers[o->kind]);
	if (o->kind == OPK_GPR)
		LM_BUG_ON(!is_pow2(o->size) || o->size > 8);
	if (o->kind == OPK_VEC)
		LM_BUG_ON(o->size > 32);
	if (o->kind == OPK_MEM) {
		LM_BUG_ON(i->seg > GS || !is_pow2(i->scale) || i->scale > 8);
		LM_BUG_ON(i->base > BASE_RIP && i->base != REG_NONE);
		LM_BUG_ON(i->index > R15 && i->index != REG_NONE);
	}
}

static bool is_size(unsigned bytes, enum x86_code_size mode)
{
	return bytes == 2 || bytes == 4 || (bytes == 8 && mode == CODE_64);
}

static void check_insn(const struct insn *i, unsigned avail, enum x86_code_size size)
{
	uint32_t written, undefined;
	char text[128];

	LM_BUG_ON(!i->exec || !i->length || i->length > avail);
	LM_BUG_ON(i->op_count > INSN_MAX_OPS || i->rep > REP_F2 || i->cc > 15);
	LM_BUG_ON((i->osz != 1 && !is_size(i->osz, size)) || !is_size(i->asz, size));
	for (unsigned k = 0; k < i->op_count; k++)
		check_operand(i, &i->op[k]);
	insn_format(i, size, UINT64_C(0xfffffffffffffff0), text, sizeof(text));
	LM_BUG_ON(!memchr(text, 0, sizeof(text)) || !*text);
	insn_format(i, size, 0, text, 5);
	LM_BUG_ON(!memchr(text, 0, 5));
	insn_flag_effects(i, size, &written, &undefined);
	LM_BUG_ON(!insn_mnemonic_name(i->mnemonic));
}

/* The bytes end exactly at a buffer's end, where the sanitizers see a read behind them. */
static void decode_at_end(const uint8_t *bytes, unsigned avail, unsigned mode,
			  const struct x86_model *model)
{
	uint8_t buf[avail];
	struct insn i;
	enum decode_status status;

	memset(&i, 0xaa, sizeof(i));
	memcpy(buf, bytes, avail);
	status = insn_decode(&i, buf, avail, modes[mode].size, modes[mode].real_mode, model);
	LM_BUG_ON((unsigned)status > DECODE_TOO_LONG);
	LM_BUG_ON(status == DECODE_MORE && avail == INSN_MAX_LENGTH);
	LM_BUG_ON(status == DECODE_UNDEFINED && i.length > avail);
	if (status == DECODE_OK)
		check_insn(&i, avail, modes[mode].size);
}

static void fuzz_one(struct fuzz_input *in)
{
	struct x86_model model;

	model_default(&model, 1, 1000000000);
	if (fuzz_take(in, 1) & 1)
		model.features = fuzz_take(in, 8);
	while (in->p < in->end) {
		unsigned how = (unsigned)fuzz_take(in, 1);
		unsigned avail = 1 + how % INSN_MAX_LENGTH;
		uint8_t bytes[INSN_MAX_LENGTH] = { 0 };

		for (unsigned k = 0; k < avail; k++)
			bytes[k] = (uint8_t)fuzz_take(in, 1);
		if (how & 0x80 && avail > 2) { /* VEX, two-byte and three-byte maps more often */
			static const uint8_t first[] = { 0xc4, 0xc5, 0x0f, 0x66, 0xf3, 0xf2, 0x48 };

			bytes[0] = first[bytes[0] % sizeof(first)];
			if (bytes[0] >= 0x48 && bytes[0] != 0xc4 && bytes[0] != 0xc5)
				bytes[1] = 0x0f;
		}
		for (unsigned m = 0; m < LM_ARRAY_SIZE(modes); m++)
			decode_at_end(bytes, avail, m, &model);
	}
}
