/* What the translator does with an instruction, by its mnemonic. */
#ifndef LM_ENGINE_JIT_CLASSIFY_H
#define LM_ENGINE_JIT_CLASSIFY_H

#include <Zydis/Zydis.h>

#include "engine/jit/helper.h"

enum jit_class {
	JIT_INTERP, /* the interpreter executes it */
	JIT_COPY,   /* itself, with its memory operand replaced */
	JIT_SKIP,   /* nothing to do */
	JIT_PUSH,
	JIT_POP,
	JIT_LEAVE,
	JIT_BITS,
	JIT_JUMP,
	JIT_JCC,
	JIT_LOOP, /* and JRCXZ, JECXZ */
	JIT_CALL,
	JIT_RET,
	JIT_PUSHF,
	JIT_READ_BASE,
	JIT_READ_SELECTOR, /* MOV from a segment register to another */
	JIT_HELPER, /* jit_helper_of */
	JIT_CLI, /* from here on: at CPL 0 */
	JIT_STI,
	JIT_SWAPGS,
	JIT_READ_CR2,
	JIT_HELPER_CPL0,
};

/* For JIT_HELPER and JIT_HELPER_CPL0. */
jit_helper jit_helper_of(const struct insn *i);

enum jit_class jit_classify(const struct insn *i, const ZydisDecodedInstruction *z,
			    unsigned word);

#endif
