/*
 * Decoded instructions: what Zydis says, in the compact form that executes.
 *
 * An instruction is position-independent: a RIP-relative operand keeps its displacement and a
 * branch its relative distance, so one decoded form serves every virtual address at which a
 * physical page is mapped.
 */
#ifndef LM_ISA_X86_DECODE_H
#define LM_ISA_X86_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "isa/x86/model.h"
#include "isa/x86/state.h"

struct x86_cpu;
struct insn;

/* Carries out one instruction. RIP is advanced by the caller to cpu->next_rip afterwards. */
typedef void (*insn_exec_fn)(struct x86_cpu *c, const struct insn *i);

#define INSN_MAX_LENGTH 15
#define INSN_MAX_OPS    4

/* The mode a code segment gives to decoding (SDM vol. 3A §5.2.1). */
enum x86_code_size { CODE_16 = 2, CODE_32 = 4, CODE_64 = 8 };

enum operand_kind {
	OPK_NONE,
	OPK_GPR,      /* reg = enum x86_gpr */
	OPK_GPR_HIGH, /* AH CH DH BH: reg = 0..3 */
	OPK_SEG,      /* reg = enum x86_sreg */
	OPK_CR,
	OPK_DR,
	OPK_MMX,
	OPK_VEC,      /* XMM or YMM; size tells */
	OPK_ST,       /* reg = i of ST(i) */
	OPK_MEM,      /* the instruction's one memory operand, see struct insn */
	OPK_IMM,      /* insn.imm (second immediate: insn.imm2) */
	OPK_REL,      /* branch distance from the next instruction in insn.imm */
	OPK_FAR,      /* far pointer: offset insn.imm, selector insn.imm2 */
};

struct operand {
	uint8_t kind;
	uint8_t reg;
	uint16_t size; /* bytes */
};

enum insn_rep { REP_NONE, REP_F3, REP_F2 };

/*
 * Instruction classes that CR0, CR4 and XCR0 can switch off. The run loop raises #UD or #NM for
 * them before exec (x86_guard_raise), so semantics need no such checks.
 */
#define GUARD_X87  0x01 /* #NM by CR0.EM or TS */
#define GUARD_MMX  0x02 /* #UD by EM, #NM by TS */
#define GUARD_SSE  0x04 /* #UD by EM or OSFXSR = 0, #NM by TS */
#define GUARD_AVX  0x08 /* #UD by OSXSAVE = 0 or XCR0[2:1] not set, #NM by TS */
#define GUARD_WAIT 0x10 /* FWAIT: #NM by TS together with MP */
#define GUARD_STATE 0x40 /* whole-state images: never traps, but needs the registers in place */
#define GUARD_MF   0x20 /* a pending x87 exception (FSW.ES) is raised first: #MF */

struct insn {
	insn_exec_fn exec;
	uint64_t imm;        /* sign- or zero-extended as the manual says for this form */
	int64_t disp;
	uint16_t imm2;
	uint16_t mnemonic;   /* ZydisMnemonic */
	uint8_t length;
	uint8_t op_count;
	uint8_t osz, asz;    /* effective operand (1 in byte forms) and address size, bytes */
	uint8_t base, index; /* enum x86_gpr, BASE_RIP or REG_NONE; VSIB: index is a vector register */
	uint8_t scale;       /* 1, 2, 4 or 8 */
	uint8_t seg;         /* enum x86_sreg the memory operand goes through */
	uint8_t rep;         /* enum insn_rep */
	bool lock;
	bool vex;            /* VEX-encoded: upper halves are zeroed, three operands */
	uint8_t vlen;        /* vector length in bytes: 16 or 32 */
	uint8_t opcode;      /* last opcode byte */
	uint8_t opcode_map;  /* ZydisOpcodeMap */
	uint8_t modrm;
	uint8_t cc;          /* condition code of Jcc, SETcc, CMOVcc (SDM vol. 1 appendix B) */
	uint8_t guard;       /* GUARD_ bits: which CR0/CR4/XCR0 state it depends on */
	struct operand op[INSN_MAX_OPS];
	uint8_t bytes[16];   /* as fetched, zero-padded */
};

enum decode_status {
	DECODE_OK,
	DECODE_MORE,      /* the bytes end inside the instruction */
	DECODE_UNDEFINED, /* #UD: i->length may be 0 */
	DECODE_TOO_LONG,  /* more than 15 bytes: #GP(0) */
};

/*
 * Decodes at most `avail` bytes (1 to 15) at `bytes`. `real_mode` means real or virtual-8086 mode.
 * A form that the model does not have, or that lamina does not implement, is undefined.
 */
enum decode_status insn_decode(struct insn *i, const uint8_t *bytes, unsigned avail,
			       enum x86_code_size size, bool real_mode,
			       const struct x86_model *model);

/* Intel syntax into buf, for traces; address is that of the instruction. */
void insn_format(const struct insn *i, enum x86_code_size size, uint64_t address, char *buf,
		 unsigned len);

/*
 * The status flags that an instruction writes (as FLAG_ bits, whether defined or not) and those of
 * them whose value the manual leaves undefined.
 */
void insn_flag_effects(const struct insn *i, enum x86_code_size size, uint32_t *written,
		       uint32_t *undefined);

/* "add", "vpaddd", ...; for messages and coverage tables. */
const char *insn_mnemonic_name(uint16_t mnemonic);

#endif
