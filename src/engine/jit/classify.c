#include "engine/jit/classify.h"

#include <pthread.h>

#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"

static uint8_t class_of[ZYDIS_MNEMONIC_MAX_VALUE + 1];

struct rule {
	uint16_t mnemonic;
	uint8_t class;
};

/* Everything that has semantics and no row of its own here is copied, system instructions are not. */
static const struct rule rules[] = {
#define M(m, c) { ZYDIS_MNEMONIC_##m, c },
	/* Control flow and the stack: own code. */
	M(JMP, JIT_JUMP) M(CALL, JIT_CALL) M(RET, JIT_RET)
	M(JB, JIT_JCC) M(JBE, JIT_JCC) M(JL, JIT_JCC) M(JLE, JIT_JCC) M(JNB, JIT_JCC)
	M(JNBE, JIT_JCC) M(JNL, JIT_JCC) M(JNLE, JIT_JCC) M(JNO, JIT_JCC) M(JNP, JIT_JCC)
	M(JNS, JIT_JCC) M(JNZ, JIT_JCC) M(JO, JIT_JCC) M(JP, JIT_JCC) M(JS, JIT_JCC)
	M(JZ, JIT_JCC)
	M(JRCXZ, JIT_LOOP) M(JECXZ, JIT_LOOP) M(JCXZ, JIT_INTERP)
	M(LOOP, JIT_LOOP) M(LOOPE, JIT_LOOP) M(LOOPNE, JIT_LOOP)
	M(PUSH, JIT_PUSH) M(POP, JIT_POP) M(LEAVE, JIT_LEAVE) M(ENTER, JIT_INTERP)
	/* Implicit memory operands, several iterations. */
	M(MOVSB, JIT_HELPER) M(MOVSW, JIT_HELPER) M(MOVSQ, JIT_HELPER)
	M(CMPSB, JIT_HELPER) M(CMPSW, JIT_HELPER) M(CMPSQ, JIT_HELPER)
	M(SCASB, JIT_HELPER) M(SCASW, JIT_HELPER) M(SCASD, JIT_HELPER) M(SCASQ, JIT_HELPER)
	M(LODSB, JIT_HELPER) M(LODSW, JIT_HELPER) M(LODSD, JIT_HELPER) M(LODSQ, JIT_HELPER)
	M(STOSB, JIT_HELPER) M(STOSW, JIT_HELPER) M(STOSD, JIT_HELPER) M(STOSQ, JIT_HELPER)
	M(XLAT, JIT_INTERP) M(MASKMOVQ, JIT_INTERP) M(MASKMOVDQU, JIT_INTERP)
	M(VMASKMOVDQU, JIT_INTERP)
	/* DF stays clear while translated code runs. */
	M(CLD, JIT_SKIP) M(STD, JIT_INTERP)
	/* Random numbers and spinning are the host's business; hints touch nothing. */
	M(RDRAND, JIT_INTERP) M(RDSEED, JIT_INTERP) M(PAUSE, JIT_INTERP)
	M(NOP, JIT_SKIP) M(PREFETCH, JIT_SKIP) M(PREFETCHW, JIT_SKIP) M(PREFETCHNTA, JIT_SKIP)
	M(PREFETCHT0, JIT_SKIP) M(PREFETCHT1, JIT_SKIP) M(PREFETCHT2, JIT_SKIP)
	M(CLFLUSH, JIT_INTERP) M(CLFLUSHOPT, JIT_INTERP) M(CLWB, JIT_INTERP)
	/* 64-bit code does not have these. */
	M(AAA, JIT_INTERP) M(AAS, JIT_INTERP) M(AAM, JIT_INTERP) M(AAD, JIT_INTERP)
	M(DAA, JIT_INTERP) M(DAS, JIT_INTERP) M(SALC, JIT_INTERP) M(BOUND, JIT_INTERP)
	M(PUSHA, JIT_INTERP) M(PUSHAD, JIT_INTERP) M(POPA, JIT_INTERP) M(POPAD, JIT_INTERP)
	/* The interrupt flag has a byte of its own. */
	M(CLI, JIT_CLI) M(STI, JIT_STI) M(PUSHFQ, JIT_PUSHF) M(PUSHFD, JIT_PUSHF)
	M(POPFQ, JIT_HELPER) M(POPFD, JIT_HELPER)
	M(STAC, JIT_HELPER_CPL0) M(CLAC, JIT_HELPER_CPL0)
	/* System instructions that are met all the time. */
	M(SYSCALL, JIT_HELPER) M(SYSRET, JIT_HELPER_CPL0) M(IRETQ, JIT_HELPER_CPL0)
	M(IRETD, JIT_HELPER_CPL0) M(SYSENTER, JIT_HELPER) M(SYSEXIT, JIT_HELPER_CPL0)
	M(INVLPG, JIT_HELPER_CPL0) M(SWAPGS, JIT_SWAPGS) M(RDTSC, JIT_HELPER) M(RDTSCP, JIT_HELPER)
	M(RDFSBASE, JIT_READ_BASE) M(RDGSBASE, JIT_READ_BASE)
	M(WRFSBASE, JIT_HELPER) M(WRGSBASE, JIT_HELPER)
	/* Which bits are reserved is the model's; MM would let misaligned operands cross pages. */
	M(LDMXCSR, JIT_INTERP) M(VLDMXCSR, JIT_INTERP)
	/* Whole-state images and exception pointers. */
	M(FNSTENV, JIT_INTERP) M(FLDENV, JIT_INTERP) M(FNSAVE, JIT_INTERP) M(FRSTOR, JIT_INTERP)
	M(FXSAVE, JIT_INTERP) M(FXSAVE64, JIT_INTERP) M(FXRSTOR, JIT_INTERP)
	M(FXRSTOR64, JIT_INTERP) M(XSAVE, JIT_HELPER) M(XSAVE64, JIT_HELPER)
	M(XSAVEC, JIT_HELPER) M(XSAVEC64, JIT_HELPER) M(XSAVEOPT, JIT_HELPER)
	M(XSAVEOPT64, JIT_HELPER) M(XSAVES, JIT_HELPER_CPL0) M(XSAVES64, JIT_HELPER_CPL0)
	M(XRSTOR, JIT_HELPER) M(XRSTOR64, JIT_HELPER) M(XRSTORS, JIT_HELPER_CPL0)
	M(XRSTORS64, JIT_HELPER_CPL0)
	/* Elements with faults of their own. */
	M(VMASKMOVPS, JIT_INTERP) M(VMASKMOVPD, JIT_INTERP) M(VPMASKMOVD, JIT_INTERP)
	M(VPMASKMOVQ, JIT_INTERP) M(VGATHERDPS, JIT_INTERP) M(VGATHERDPD, JIT_INTERP)
	M(VGATHERQPS, JIT_INTERP) M(VGATHERQPD, JIT_INTERP) M(VPGATHERDD, JIT_INTERP)
	M(VPGATHERDQ, JIT_INTERP) M(VPGATHERQD, JIT_INTERP) M(VPGATHERQQ, JIT_INTERP)
#undef M
};

static void init(void)
{
	/* JIT_INTERP is 0: what has no row in these tables. */
#define I(m, fn) class_of[ZYDIS_MNEMONIC_##m] = JIT_COPY;
#include "isa/x86/sem/integer.def"
#include "isa/x86/sem/simd.def"
#include "isa/x86/sem/x87.def"
#undef I
#define I(m, fn) class_of[ZYDIS_MNEMONIC_##m] = JIT_INTERP;
#include "isa/x86/sem/system.def"
#undef I
	for (unsigned k = 0; k < LM_ARRAY_SIZE(rules); k++)
		class_of[rules[k].mnemonic] = rules[k].class;
}

/* BT and its kin with a register index reach beyond their memory operand. */
static bool is_bit_string(const struct insn *i)
{
	return (i->exec == bit_test || i->exec == bit_test_set || i->exec == bit_test_reset ||
		i->exec == bit_test_complement) &&
	       i->op[0].kind == OPK_MEM && i->op[1].kind == OPK_GPR;
}

/* The host's segment registers are not the guest's. */
static bool has_segment_operand(const struct insn *i)
{
	for (unsigned n = 0; n < i->op_count; n++)
		if (i->op[n].kind == OPK_SEG)
			return true;
	return false;
}

static bool accesses_memory_with_high_byte(const struct insn *i)
{
	bool high = false, mem = false;

	for (unsigned n = 0; n < i->op_count; n++) {
		high |= i->op[n].kind == OPK_GPR_HIGH;
		mem |= i->op[n].kind == OPK_MEM;
	}
	return high && mem;
}

struct helper_row {
	insn_exec_fn exec;
	jit_helper helper;
};

static const struct helper_row helpers[] = {
	{ sc_syscall, helper_syscall },
	{ sc_sysret, helper_sysret },
	{ sc_sysenter, helper_sysenter },
	{ sc_sysexit, helper_sysexit },
	{ int_return, helper_iret },
	{ flags_popf, helper_popf },
	{ mov_control, helper_write_cr3 },
	{ control_invlpg, helper_invlpg },
	{ flags_stac, helper_stac },
	{ flags_clac, helper_clac },
	{ cpu_rdtsc, helper_rdtsc },
	{ cpu_rdtscp, helper_rdtscp },
	{ cpu_wrfsbase, helper_wrfsbase },
	{ cpu_wrgsbase, helper_wrgsbase },
	{ xsave_xsave, helper_xsave },
	{ xsave_xsave64, helper_xsave },
	{ xsave_xsaveopt, helper_xsaveopt },
	{ xsave_xsaveopt64, helper_xsaveopt },
	{ xsave_xsavec, helper_xsavec },
	{ xsave_xsavec64, helper_xsavec },
	{ xsave_xsaves, helper_xsavec },
	{ xsave_xsaves64, helper_xsavec },
	{ xsave_xrstor, helper_xrstor },
	{ xsave_xrstor64, helper_xrstor },
	{ xsave_xrstors, helper_xrstors },
	{ xsave_xrstors64, helper_xrstors },
	{ string_movs, helper_movs },
	{ string_stos, helper_stos },
	{ string_lods, helper_lods },
	{ string_scas, helper_scas },
	{ string_cmps, helper_cmps },
};

jit_helper jit_helper_of(const struct insn *i)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(helpers); k++)
		if (helpers[k].exec == i->exec)
			return helpers[k].helper;
	return NULL;
}

static bool is_string(const struct insn *i)
{
	return i->exec == string_movs || i->exec == string_stos || i->exec == string_lods ||
	       i->exec == string_scas || i->exec == string_cmps;
}

static bool plain_addresses(const struct insn *i, unsigned word)
{
	return i->asz == word && i->seg < FS && i->seg != CS;
}

static bool is_selector_read(const struct insn *i)
{
	return i->mnemonic == ZYDIS_MNEMONIC_MOV && i->op[1].kind == OPK_SEG &&
	       i->op[0].kind == OPK_GPR;
}

/* The host may take the prefix for that of TZCNT or LZCNT, which the guest does not have. */
static bool is_prefixed_scan(const struct insn *i)
{
	return i->rep == REP_F3 &&
	       (i->mnemonic == ZYDIS_MNEMONIC_BSF || i->mnemonic == ZYDIS_MNEMONIC_BSR);
}

enum jit_class jit_classify(const struct insn *i, const ZydisDecodedInstruction *z,
			    unsigned word)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init);
	if (i->mnemonic == ZYDIS_MNEMONIC_NOP) /* ENDBR64 and other hints too */
		return JIT_SKIP;
	if (is_bit_string(i))
		return JIT_BITS;
	if (is_selector_read(i))
		return JIT_READ_SELECTOR;
	if (i->exec == mov_control && i->op[0].kind == OPK_CR && i->op[0].reg == 3)
		return JIT_HELPER_CPL0;
	if (i->exec == mov_control && i->op[1].kind == OPK_CR && i->op[1].reg == 2)
		return JIT_READ_CR2;
	if (sem_system_form(i) || accesses_memory_with_high_byte(i) || has_segment_operand(i))
		return JIT_INTERP;
	if (is_string(i)) /* MOVSD is another instruction too */
		return plain_addresses(i, word) ? JIT_HELPER : JIT_INTERP;
	if (is_prefixed_scan(i))
		return JIT_INTERP;
	return class_of[z->mnemonic];
}
