/*
 * 32-bit instructions that the translator copies: in 64-bit code they are the same instructions, with the same
 * operands. All opcodes of the four maps, with prefixes and a few ModRM bytes.
 */
#include "check.h"
#include "engine/jit/translation.h"
#include "isa/x86/decode_detail.h"

static struct x86_model model;
static unsigned copied, interpreted;

static bool same_operand(const struct operand *a, const struct operand *b)
{
	return a->kind == b->kind && (a->kind == OPK_MEM || a->kind == OPK_IMM || a->reg == b->reg) &&
	       a->size == b->size;
}

static bool same(const struct insn *a, const struct insn *b)
{
	if (a->mnemonic != b->mnemonic || a->op_count != b->op_count || a->exec != b->exec ||
	    a->lock != b->lock || a->rep != b->rep || a->imm != b->imm)
		return false;
	/* LEA's second operand has the size of an address; the result is cut off. */
	for (unsigned n = 0; n < (a->mnemonic == ZYDIS_MNEMONIC_LEA ? 1 : a->op_count); n++)
		if (!same_operand(&a->op[n], &b->op[n]))
			return false;
	return true;
}

static bool is_copied(const struct item *it)
{
	return it->class == JIT_COPY || it->class == JIT_SKIP || it->class == JIT_BITS;
}

static void report(const uint8_t *bytes, const struct item *it)
{
	fprintf(stderr, "32-bit code %02x %02x %02x %02x %02x (%s) is another instruction in 64-bit code\n",
		bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], insn_mnemonic_name(it->i.mnemonic));
}

/* The address of a memory operand and LEA's constant are encoded anew when code is emitted. */
static void check(const uint8_t *bytes)
{
	static struct item it;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	struct insn wide;
	bool ok;

	if (insn_decode_detail(&it.i, bytes, INSN_MAX_LENGTH, CODE_32, false, &model, &it.z, it.ops) != DECODE_OK)
		return;
	it.bytes = bytes;
	it.host_length = it.i.length;
	it.word = 4;
	it.class = jit_classify(&it.i, &it.z, 4);
	it.class = narrow_recode(&it);
	interpreted += it.class == JIT_INTERP;
	if (!is_copied(&it) || !(it.z.attributes & ZYDIS_ATTRIB_HAS_MODRM ? true : it.i.opcode < 0xa0 || it.i.opcode > 0xa3))
		return;
	copied++;
	ok = insn_decode_detail(&wide, it.bytes, it.host_length, CODE_64, false, &model, &z, ops) == DECODE_OK &&
	     same(&it.i, &wide) && wide.length == it.host_length;
	if (!ok)
		report(bytes, &it);
	CHECK(ok);
}

static void check_opcode(unsigned prefix, const uint8_t *map, unsigned map_bytes, unsigned opcode)
{
	static const uint8_t modrms[] = { 0x01, 0x0a, 0x41, 0x84, 0x05, 0xc0, 0xca, 0xd3, 0xe1, 0xee, 0xf7, 0xf8 };
	uint8_t bytes[16];

	for (unsigned k = 0; k < sizeof(modrms); k++) {
		unsigned n = 0;

		memset(bytes, 0x12, sizeof(bytes));
		if (prefix)
			bytes[n++] = (uint8_t)prefix;
		memcpy(bytes + n, map, map_bytes);
		n += map_bytes;
		bytes[n++] = (uint8_t)opcode;
		bytes[n] = modrms[k];
		check(bytes);
	}
}

static void test_legacy(void)
{
	static const uint8_t prefixes[] = { 0, 0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x2e, 0x26 };
	static const uint8_t maps[4][2] = { { 0 }, { 0x0f }, { 0x0f, 0x38 }, { 0x0f, 0x3a } };

	for (unsigned p = 0; p < sizeof(prefixes); p++)
		for (unsigned m = 0; m < 4; m++)
			for (unsigned o = 0; o < 256; o++)
				check_opcode(prefixes[p], maps[m], m < 2 ? m : 2, o);
}

static void test_vex(void)
{
	for (unsigned second = 0; second < 256; second++) {
		for (unsigned o = 0; o < 256; o++) {
			const uint8_t two[] = { 0xc5, (uint8_t)second };

			check_opcode(0, two, 2, o);
			for (unsigned map = 1; map <= 3; map++) {
				const uint8_t three[] = { 0xc4, (uint8_t)(0xc0 | (second & 0x20) | map),
							  (uint8_t)second };

				check_opcode(0, three, 3, o);
			}
		}
	}
}

/* TZCNT and LZCNT are BSF and BSR to processors without them, which ignore the prefix. */
static void test_scans(void)
{
	static const struct {
		uint8_t bytes[4];
		uint64_t feature;
		uint16_t with, without;
	} rows[] = {
		{ { 0xf3, 0x0f, 0xbc, 0xc1 }, LM_BIT(F_BMI1), ZYDIS_MNEMONIC_TZCNT, ZYDIS_MNEMONIC_BSF },
		{ { 0xf3, 0x0f, 0xbd, 0xc1 }, LM_BIT(F_LZCNT), ZYDIS_MNEMONIC_LZCNT, ZYDIS_MNEMONIC_BSR },
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(rows); k++) {
		struct x86_model less = model;
		struct insn i;

		less.features &= ~rows[k].feature;
		CHECK_EQ(insn_decode(&i, rows[k].bytes, 4, CODE_64, false, &model), DECODE_OK);
		CHECK_EQ(i.mnemonic, rows[k].with);
		CHECK_EQ(insn_decode(&i, rows[k].bytes, 4, CODE_64, false, &less), DECODE_OK);
		CHECK_EQ(i.mnemonic, rows[k].without);
	}
}

int main(void)
{
	model_default(&model, 1, 1);
	test_legacy();
	test_vex();
	test_scans();
	printf("%u copied, %u interpreted\n", copied, interpreted);
	return check_done();
}
