/*
 * From bytes to struct insn: Zydis decodes, the .def tables name the semantics, and the tables
 * below say which CPUID feature and which CR0/CR4/XCR0 state a form depends on.
 */
#include "isa/x86/decode_detail.h"

#include <Zydis/Zydis.h>
#include <pthread.h>
#include <string.h>

#include "isa/x86/sem/sem.h"

/* ---- Semantics by mnemonic ---- */

static const insn_exec_fn semantics[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define I(mnemonic, fn) [ZYDIS_MNEMONIC_##mnemonic] = fn,
#include "isa/x86/sem/integer.def"
#include "isa/x86/sem/system.def"
#include "isa/x86/sem/x87.def"
#include "isa/x86/sem/simd.def"
#undef I
};

/*
 * A few mnemonics name two things: MOVSD and CMPSD are string instructions in the one-byte opcode
 * map and SSE2 ones elsewhere; others have system forms.
 */
static insn_exec_fn semantics_of(const struct insn *i, const ZydisDecodedInstruction *z)
{
	insn_exec_fn system_form = sem_system_form(i);

	if (system_form)
		return system_form;
	if (z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
		if (z->mnemonic == ZYDIS_MNEMONIC_MOVSD)
			return string_movs;
		if (z->mnemonic == ZYDIS_MNEMONIC_CMPSD)
			return string_cmps;
	}
	return semantics[z->mnemonic];
}

/* ---- CPUID features by instruction set ---- */

enum { ALWAYS = F_COUNT, NEVER };

/* Sets that stand in neither list are not part of any lamina CPU model. */
static const struct {
	uint16_t isa_set;
	uint8_t feature;
} set_features[] = {
	{ ZYDIS_ISA_SET_I86, ALWAYS },
	{ ZYDIS_ISA_SET_I186, ALWAYS },
	{ ZYDIS_ISA_SET_I286PROTECTED, ALWAYS },
	{ ZYDIS_ISA_SET_I286REAL, ALWAYS },
	{ ZYDIS_ISA_SET_I386, ALWAYS },
	{ ZYDIS_ISA_SET_I486, ALWAYS },
	{ ZYDIS_ISA_SET_I486REAL, ALWAYS },
	{ ZYDIS_ISA_SET_PENTIUMREAL, ALWAYS },
	{ ZYDIS_ISA_SET_PPRO, ALWAYS },
	{ ZYDIS_ISA_SET_CMOV, ALWAYS },
	{ ZYDIS_ISA_SET_FAT_NOP, ALWAYS },
	{ ZYDIS_ISA_SET_PAUSE, ALWAYS },
	{ ZYDIS_ISA_SET_PREFETCH_NOP, ALWAYS },
	{ ZYDIS_ISA_SET_AMD3DNOW, ALWAYS }, /* PREFETCHW; the arithmetic has no semantics */
	{ ZYDIS_ISA_SET_RDPMC, ALWAYS },
	{ ZYDIS_ISA_SET_X87, ALWAYS },
	{ ZYDIS_ISA_SET_FCMOV, ALWAYS },
	{ ZYDIS_ISA_SET_LONGMODE, ALWAYS },
	{ ZYDIS_ISA_SET_AMD, ALWAYS }, /* SYSCALL, SYSRET outside long mode: they check */
	{ ZYDIS_ISA_SET_VTX, ALWAYS }, /* VMCALL; the others have no semantics */
	{ ZYDIS_ISA_SET_SVM, ALWAYS }, /* VMMCALL, likewise */
	{ ZYDIS_ISA_SET_SMAP, F_SMAP },
	{ ZYDIS_ISA_SET_CLFSH, ALWAYS },
	{ ZYDIS_ISA_SET_FXSAVE, ALWAYS },
	{ ZYDIS_ISA_SET_FXSAVE64, ALWAYS },
	{ ZYDIS_ISA_SET_PENTIUMMMX, F_MMX },
	{ ZYDIS_ISA_SET_SSE, F_SSE },
	{ ZYDIS_ISA_SET_SSEMXCSR, F_SSE },
	{ ZYDIS_ISA_SET_SSE_PREFETCH, F_SSE },
	{ ZYDIS_ISA_SET_SSE2, F_SSE2 },
	{ ZYDIS_ISA_SET_SSE2MMX, F_SSE2 },
	{ ZYDIS_ISA_SET_SSE3, F_SSE3 },
	{ ZYDIS_ISA_SET_SSE3X87, F_SSE3 },
	{ ZYDIS_ISA_SET_SSSE3, F_SSSE3 },
	{ ZYDIS_ISA_SET_SSSE3MMX, F_SSSE3 },
	{ ZYDIS_ISA_SET_SSE4, F_SSE4_1 },
	{ ZYDIS_ISA_SET_SSE42, F_SSE4_2 },
	{ ZYDIS_ISA_SET_AES, F_AES },
	{ ZYDIS_ISA_SET_AVXAES, F_AES },
	{ ZYDIS_ISA_SET_PCLMULQDQ, F_PCLMULQDQ },
	{ ZYDIS_ISA_SET_AVX, F_AVX },
	{ ZYDIS_ISA_SET_AVX2, F_AVX2 },
	{ ZYDIS_ISA_SET_AVX2GATHER, F_AVX2 },
	{ ZYDIS_ISA_SET_F16C, F_F16C },
	{ ZYDIS_ISA_SET_FMA, F_FMA },
	{ ZYDIS_ISA_SET_BMI1, F_BMI1 },
	{ ZYDIS_ISA_SET_BMI2, F_BMI2 },
	{ ZYDIS_ISA_SET_ADOX_ADCX, F_ADX },
	{ ZYDIS_ISA_SET_SHA, F_SHA },
	{ ZYDIS_ISA_SET_RDRAND, F_RDRAND },
	{ ZYDIS_ISA_SET_RDSEED, F_RDSEED },
	{ ZYDIS_ISA_SET_MOVBE, F_MOVBE },
	{ ZYDIS_ISA_SET_POPCNT, F_POPCNT },
	{ ZYDIS_ISA_SET_LZCNT, F_LZCNT },
	{ ZYDIS_ISA_SET_CMPXCHG16B, F_CX16 },
	{ ZYDIS_ISA_SET_XSAVE, F_XSAVE },
	{ ZYDIS_ISA_SET_XSAVEOPT, F_XSAVEOPT },
	{ ZYDIS_ISA_SET_XSAVEC, F_XSAVEC },
	{ ZYDIS_ISA_SET_XSAVES, F_XSAVES },
	{ ZYDIS_ISA_SET_RDWRFSGS, F_FSGSBASE },
	{ ZYDIS_ISA_SET_INVPCID, F_INVPCID },
	{ ZYDIS_ISA_SET_RDTSCP, F_RDTSCP },
	{ ZYDIS_ISA_SET_RDPID, F_RDPID },
	{ ZYDIS_ISA_SET_CLFLUSHOPT, F_CLFLUSHOPT },
	{ ZYDIS_ISA_SET_CLWB, F_CLWB },
	{ ZYDIS_ISA_SET_LAHF, F_LAHF_LM },
};

static uint8_t feature_of_set[ZYDIS_ISA_SET_MAX_VALUE + 1];
/*
 * TZCNT and LZCNT are BSF and BSR with a prefix that processors without the features ignore (SDM vol. 2,
 * the same names).
 */
#define COUNTS_TRAILING 1u
#define COUNTS_LEADING  2u
static ZydisDecoder decoders[4][4]; /* real, 16, 32, 64; COUNTS_ bits */

static void init_decoder(ZydisDecoder *d, ZydisMachineMode mode, ZydisStackWidth stack, unsigned counts)
{
	ZydisDecoderInit(d, mode, stack);
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_TZCNT, !!(counts & COUNTS_TRAILING));
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_LZCNT, !!(counts & COUNTS_LEADING));
	/* Hint NOPs that these extensions give a meaning are NOPs on our models. */
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	ZydisDecoderEnableMode(d, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
}

static void init_tables(void)
{
	memset(feature_of_set, NEVER, sizeof(feature_of_set));
	for (unsigned k = 0; k < LM_ARRAY_SIZE(set_features); k++)
		feature_of_set[set_features[k].isa_set] = set_features[k].feature;
	for (unsigned n = 0; n < 4; n++) {
		init_decoder(&decoders[0][n], ZYDIS_MACHINE_MODE_REAL_16, ZYDIS_STACK_WIDTH_16, n);
		init_decoder(&decoders[1][n], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16, n);
		init_decoder(&decoders[2][n], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32, n);
		init_decoder(&decoders[3][n], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64, n);
	}
}

/* The formatter and the 32-bit default operand sizes need the mode; compatibility = legacy. */
static const ZydisDecoder *decoder_for(enum x86_code_size size, bool real_mode, unsigned counts)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init_tables);
	switch (size) {
	case CODE_64:
		return &decoders[3][counts];
	case CODE_32:
		return &decoders[2][counts];
	default:
		return &decoders[real_mode ? 0 : 1][counts];
	}
}

bool insn_has_features(const ZydisDecodedInstruction *z, uint64_t features)
{
	uint8_t f = feature_of_set[z->meta.isa_set];

	return f == ALWAYS || (f != NEVER && features >> f & 1);
}

static bool in_model(const ZydisDecodedInstruction *z, const struct x86_model *model)
{
	if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    z->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
		return false;
	if (z->meta.isa_set == ZYDIS_ISA_SET_LAHF && z->machine_mode != ZYDIS_MACHINE_MODE_LONG_64)
		return true;
	/* The 256-bit form of VPCLMULQDQ and VAES has an own set; so do AVX2's 256-bit forms. */
	return insn_has_features(z, model->features);
}

/* ---- Operands ---- */

static uint8_t gpr_number(ZydisRegister r)
{
	if (r == ZYDIS_REGISTER_NONE)
		return REG_NONE;
	if (r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP || r == ZYDIS_REGISTER_IP)
		return BASE_RIP;
	if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
		return (uint8_t)(r - ZYDIS_REGISTER_RAX);
	if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
		return (uint8_t)(r - ZYDIS_REGISTER_EAX);
	if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15W)
		return (uint8_t)(r - ZYDIS_REGISTER_AX);
	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
		return (uint8_t)(r - ZYDIS_REGISTER_AL);
	return (uint8_t)(r - ZYDIS_REGISTER_SPL + RSP); /* SPL..DIL, R8B..R15B */
}

static uint8_t vector_number(ZydisRegister r)
{
	return (uint8_t)(r >= ZYDIS_REGISTER_YMM0 ? r - ZYDIS_REGISTER_YMM0 : r - ZYDIS_REGISTER_XMM0);
}

static void set_register(struct operand *o, ZydisRegister r)
{
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8:
		if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH) {
			o->kind = OPK_GPR_HIGH;
			o->reg = (uint8_t)(r - ZYDIS_REGISTER_AH);
			return;
		}
		/* fallthrough */
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		o->kind = OPK_GPR;
		o->reg = gpr_number(r);
		return;
	case ZYDIS_REGCLASS_SEGMENT:
		o->kind = OPK_SEG;
		o->reg = (uint8_t)(r - ZYDIS_REGISTER_ES);
		return;
	case ZYDIS_REGCLASS_CONTROL:
		o->kind = OPK_CR;
		o->reg = (uint8_t)(r - ZYDIS_REGISTER_CR0);
		return;
	case ZYDIS_REGCLASS_DEBUG:
		o->kind = OPK_DR;
		o->reg = (uint8_t)(r - ZYDIS_REGISTER_DR0);
		return;
	case ZYDIS_REGCLASS_MMX:
		o->kind = OPK_MMX;
		o->reg = (uint8_t)(r - ZYDIS_REGISTER_MM0);
		return;
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
		o->kind = OPK_VEC;
		o->reg = vector_number(r);
		return;
	case ZYDIS_REGCLASS_X87:
		o->kind = OPK_ST;
		o->reg = (uint8_t)(r - ZYDIS_REGISTER_ST0);
		return;
	default:
		o->kind = OPK_NONE;
		return;
	}
}

/* SIB with mod 0 and base 101 has no base whatever REX.B says; Zydis 4.0 forgets so after a 67 prefix. */
static bool sib_without_base(const ZydisDecodedInstruction *z)
{
	return z->attributes & ZYDIS_ATTRIB_HAS_SIB && !z->raw.modrm.mod && z->raw.sib.base == 5;
}

static void set_memory(struct insn *i, const ZydisDecodedInstruction *z,
		       const ZydisDecodedOperandMem *m)
{
	ZydisRegisterClass index_class = ZydisRegisterGetClass(m->index);

	i->base = gpr_number(m->base);
	i->index = index_class == ZYDIS_REGCLASS_XMM || index_class == ZYDIS_REGCLASS_YMM
			   ? vector_number(m->index)
			   : gpr_number(m->index);
	i->scale = m->scale ? m->scale : 1;
	i->disp = m->disp.value;
	if (sib_without_base(z)) {
		i->base = REG_NONE;
		i->disp = z->raw.disp.value;
	}
	i->seg = (uint8_t)(m->segment - ZYDIS_REGISTER_ES);
}

static void set_immediate(struct insn *i, const ZydisDecodedOperandImm *imm, bool second)
{
	if (second)
		i->imm2 = (uint16_t)imm->value.u;
	else
		i->imm = imm->value.u;
}

static void set_operand(struct insn *i, unsigned n, const ZydisDecodedInstruction *instruction,
			const ZydisDecodedOperand *z, bool *have_imm)
{
	struct operand *o = &i->op[n];

	o->size = (uint16_t)(z->size / 8);
	switch (z->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		set_register(o, z->reg.value);
		break;
	case ZYDIS_OPERAND_TYPE_MEMORY:
		o->kind = OPK_MEM;
		set_memory(i, instruction, &z->mem);
		break;
	case ZYDIS_OPERAND_TYPE_POINTER:
		o->kind = OPK_FAR;
		i->imm = z->ptr.offset;
		i->imm2 = z->ptr.segment;
		break;
	case ZYDIS_OPERAND_TYPE_IMMEDIATE:
		o->kind = z->imm.is_relative ? OPK_REL : OPK_IMM;
		set_immediate(i, &z->imm, *have_imm);
		*have_imm = true;
		break;
	default:
		o->kind = OPK_NONE;
		break;
	}
}

/*
 * Implicit memory operands (string instructions, XLAT, MASKMOVQ) have no operand of ours; only the
 * segment that a prefix can choose matters. ES:(E)DI cannot be overridden.
 */
static void set_implicit_segment(struct insn *i, const ZydisDecodedInstruction *z,
				 const ZydisDecodedOperand *ops)
{
	for (unsigned n = z->operand_count_visible; n < z->operand_count; n++) {
		const ZydisDecodedOperandMem *m = &ops[n].mem;

		if (ops[n].type != ZYDIS_OPERAND_TYPE_MEMORY || m->base == ZYDIS_REGISTER_NONE)
			continue;
		if (gpr_number(m->base) == RSP || gpr_number(m->base) == RBP)
			continue;
		if (m->segment != ZYDIS_REGISTER_ES || gpr_number(m->base) != RDI)
			i->seg = (uint8_t)(m->segment - ZYDIS_REGISTER_ES);
	}
}

static uint8_t last_repeat_prefix(const ZydisDecodedInstruction *z)
{
	uint8_t rep = REP_NONE;

	for (unsigned k = 0; k < z->raw.prefix_count; k++) {
		if (z->raw.prefixes[k].value == 0xf3)
			rep = REP_F3;
		else if (z->raw.prefixes[k].value == 0xf2)
			rep = REP_F2;
	}
	return rep;
}

/* ---- Guards ---- */

static bool has_operand(const struct insn *i, enum operand_kind kind)
{
	for (unsigned n = 0; n < i->op_count; n++)
		if (i->op[n].kind == kind)
			return true;
	return false;
}

static uint8_t x87_guard(ZydisMnemonic m)
{
	switch (m) {
	case ZYDIS_MNEMONIC_FWAIT:
		return GUARD_WAIT | GUARD_MF;
	case ZYDIS_MNEMONIC_FNINIT:
	case ZYDIS_MNEMONIC_FNCLEX:
	case ZYDIS_MNEMONIC_FNSTCW:
	case ZYDIS_MNEMONIC_FNSTSW:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FENI8087_NOP:
	case ZYDIS_MNEMONIC_FDISI8087_NOP:
	case ZYDIS_MNEMONIC_FSETPM287_NOP:
		return GUARD_X87;
	default:
		return GUARD_X87 | GUARD_MF;
	}
}

static bool is_x87_opcode(const ZydisDecodedInstruction *z)
{
	bool escape = z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && z->opcode >= 0xd8 &&
		      z->opcode <= 0xdf;

	return (escape && z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY) ||
	       z->mnemonic == ZYDIS_MNEMONIC_FWAIT;
}

/* Integer work that lives in SSE's opcode space and touches no SSE state. */
static bool stateless_sse(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_MFENCE:
	case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_CRC32:
	case ZYDIS_MNEMONIC_POPCNT:
		return true;
	default:
		return z->meta.isa_set == ZYDIS_ISA_SET_SSE_PREFETCH;
	}
}

/* With a memory source no operand shows that these depend on MXCSR. */
static bool converts_to_gpr(const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_CVTSS2SI:
	case ZYDIS_MNEMONIC_CVTTSS2SI:
	case ZYDIS_MNEMONIC_CVTSD2SI:
	case ZYDIS_MNEMONIC_CVTTSD2SI:
		return true;
	default:
		return false;
	}
}

static uint8_t guard_of(const struct insn *i, const ZydisDecodedInstruction *z)
{
	uint8_t guard = 0;

	if (is_x87_opcode(z)) /* Zydis' sets do not tell: FCOMI and FISTTP m32 are in others */
		return x87_guard(z->mnemonic);
	switch (z->meta.isa_set) {
	case ZYDIS_ISA_SET_FXSAVE:
	case ZYDIS_ISA_SET_FXSAVE64:
		return GUARD_X87;
	case ZYDIS_ISA_SET_XSAVE:
	case ZYDIS_ISA_SET_XSAVEC:
	case ZYDIS_ISA_SET_XSAVEOPT:
	case ZYDIS_ISA_SET_XSAVES:
		return GUARD_STATE;
	case ZYDIS_ISA_SET_SSEMXCSR:
		return GUARD_SSE;
	case ZYDIS_ISA_SET_AVX:
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVX2GATHER:
	case ZYDIS_ISA_SET_F16C:
	case ZYDIS_ISA_SET_FMA:
		return GUARD_AVX;
	default:
		break;
	}
	if (stateless_sse(z))
		return 0;
	if (converts_to_gpr(z))
		return GUARD_SSE;
	if (has_operand(i, OPK_MMX) || z->mnemonic == ZYDIS_MNEMONIC_EMMS)
		guard |= GUARD_MMX | GUARD_MF;
	if (has_operand(i, OPK_VEC))
		guard |= i->vex ? GUARD_AVX : GUARD_SSE;
	return guard;
}

/* ---- The decoder ---- */

static enum decode_status status_of(ZyanStatus s)
{
	if (s == ZYDIS_STATUS_NO_MORE_DATA)
		return DECODE_MORE;
	if (s == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
		return DECODE_TOO_LONG;
	return DECODE_UNDEFINED;
}

static void set_fields(struct insn *i, const ZydisDecodedInstruction *z)
{
	i->mnemonic = (uint16_t)z->mnemonic;
	i->length = z->length;
	i->osz = z->operand_width / 8;
	i->asz = z->address_width / 8;
	i->rep = last_repeat_prefix(z);
	i->lock = z->attributes & ZYDIS_ATTRIB_HAS_LOCK;
	i->vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
	i->vlen = z->avx.vector_length == 256 ? 32 : 16;
	i->opcode = z->opcode;
	i->opcode_map = (uint8_t)z->opcode_map;
	i->modrm = (uint8_t)(z->raw.modrm.mod << 6 | z->raw.modrm.reg << 3 | z->raw.modrm.rm);
	i->cc = z->opcode & 15;
	i->base = i->index = REG_NONE;
	i->scale = 1;
	i->seg = DS;
}

enum decode_status insn_decode_detail(struct insn *i, const uint8_t *bytes, unsigned avail,
				      enum x86_code_size size, bool real_mode,
				      const struct x86_model *model, ZydisDecodedInstruction *z,
				      ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT])
{
	unsigned counts = (model_has(model, F_BMI1) ? COUNTS_TRAILING : 0) |
			  (model_has(model, F_LZCNT) ? COUNTS_LEADING : 0);
	bool have_imm = false;
	ZyanStatus s;

	memset(i, 0, sizeof(*i));
	s = ZydisDecoderDecodeFull(decoder_for(size, real_mode, counts), bytes, avail, z, ops);
	if (!ZYAN_SUCCESS(s)) {
		memcpy(i->bytes, bytes, LM_MIN(avail, INSN_MAX_LENGTH));
		return status_of(s);
	}
	set_fields(i, z);
	memcpy(i->bytes, bytes, z->length);
	i->op_count = (uint8_t)LM_MIN(z->operand_count_visible, INSN_MAX_OPS);
	for (unsigned n = 0; n < i->op_count; n++)
		set_operand(i, n, z, &ops[n], &have_imm);
	set_implicit_segment(i, z, ops);
	i->guard = guard_of(i, z);
	i->exec = semantics_of(i, z);
	return i->exec && in_model(z, model) ? DECODE_OK : DECODE_UNDEFINED;
}

enum decode_status insn_decode(struct insn *i, const uint8_t *bytes, unsigned avail,
			       enum x86_code_size size, bool real_mode,
			       const struct x86_model *model)
{
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;

	return insn_decode_detail(i, bytes, avail, size, real_mode, model, &z, ops);
}

/* For what was decoded before: as it was then. */
static const ZydisDecoder *decoder_again(const struct insn *i, enum x86_code_size size)
{
	bool scan = i->mnemonic == ZYDIS_MNEMONIC_BSF || i->mnemonic == ZYDIS_MNEMONIC_BSR;

	return decoder_for(size, false, scan ? 0 : COUNTS_TRAILING | COUNTS_LEADING);
}

void insn_format(const struct insn *i, enum x86_code_size size, uint64_t address, char *buf,
		 unsigned len)
{
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	ZydisFormatter formatter;

	buf[0] = 0;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder_again(i, size), i->bytes, 15, &z, ops)))
		return;
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterFormatInstruction(&formatter, &z, ops, z.operand_count_visible, buf, len,
					address, NULL);
}

/* OF is defined for shifts and rotates by one only; the manual's tables say it in words. */
static bool is_shift(const struct insn *i)
{
	return i->exec == shift_left || i->exec == shift_right || i->exec == shift_arithmetic ||
	       i->exec == rotate_left || i->exec == rotate_right || i->exec == rotate_carry_left ||
	       i->exec == rotate_carry_right || i->exec == shift_double_left ||
	       i->exec == shift_double_right;
}

void insn_flag_effects(const struct insn *i, enum x86_code_size size, uint32_t *written,
		       uint32_t *undefined)
{
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;

	*written = *undefined = 0;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder_again(i, size), i->bytes, 15, &z, ops)) ||
	    !z.cpu_flags)
		return;
	*undefined = z.cpu_flags->undefined & FLAGS_ARITH;
	*written = (z.cpu_flags->modified | z.cpu_flags->set_0 | z.cpu_flags->set_1) & FLAGS_ARITH;
	if (is_shift(i)) {
		*undefined |= FLAG_OF | (*undefined & FLAG_AF);
		*written = 0; /* a count of zero leaves all as it was */
	}
	*written |= *undefined;
}

const char *insn_mnemonic_name(uint16_t mnemonic)
{
	return ZydisMnemonicGetString((ZydisMnemonic)mnemonic);
}
