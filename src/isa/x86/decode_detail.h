/* Decoding for whoever needs what Zydis says besides what executes: the translator. */
#ifndef LM_ISA_X86_DECODE_DETAIL_H
#define LM_ISA_X86_DECODE_DETAIL_H

#include <Zydis/Zydis.h>

#include "isa/x86/decode.h"

/* insn_decode with Zydis' own description beside it, which is filled when Zydis knows the instruction. */
enum decode_status insn_decode_detail(struct insn *i, const uint8_t *bytes, unsigned avail,
				      enum x86_code_size size, bool real_mode,
				      const struct x86_model *model, ZydisDecodedInstruction *z,
				      ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT]);

/* Whether a processor with these features (enum x86_feature bits) executes it. */
bool insn_has_features(const ZydisDecodedInstruction *z, uint64_t features);

#endif
