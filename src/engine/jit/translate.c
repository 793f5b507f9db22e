/*
 * Translation of one block: straight-line 64-bit code up to a jump, the end of the page, or an
 * instruction that is the interpreter's.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "engine/jit/classify.h"
#include "engine/jit/emit.h"
#include "engine/jit/jit.h"
#include "isa/x86/sem/sem.h"

/* One guest instruction on its way through. */
struct item {
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct insn i;
	enum jit_class class;
	const uint8_t *bytes;
	uint64_t rip;
	bool flags_live_in;  /* flags from before are read by this or a later instruction */
	uint8_t address_regs; /* bit 0: R10, bit 1: R11 in the memory operand's address */
	uint8_t data_regs;    /* the same among other register operands */
	uint8_t written_regs; /* of these, written */
};

/* A slow path to be emitted behind the block. */
struct slow {
	uint8_t *from[2]; /* rel32s that jump here; NULL: unused */
	const uint8_t *back;
	uint32_t access;  /* bit 0 write, bit 1 flags saved, bits 8-15 size */
	bool misaligned[2]; /* from[k] comes from the alignment check: look at the page first */
	const uint8_t *check_again;
};

struct translation {
	struct jit *j;
	struct emit e;
	struct item item[JIT_MAX_INSNS];
	unsigned count;
	struct slow slow[JIT_MAX_INSNS * 2];
	unsigned slows;
	struct jit_block *block;
	unsigned exits;
};

#define ARITH_FLAGS                                                                                \
	(ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_AF | ZYDIS_CPUFLAG_ZF |               \
	 ZYDIS_CPUFLAG_SF | ZYDIS_CPUFLAG_OF)

/* ---- Decoding and analysis ---- */

static __thread ZydisDecoder decoder;

static uint8_t r10_r11_bit(ZydisRegister r)
{
	ZydisRegister full = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, r);

	return full == ZYDIS_REGISTER_R10 ? 1 : full == ZYDIS_REGISTER_R11 ? 2 : 0;
}

static void find_scratch_registers(struct item *it)
{
	for (unsigned n = 0; n < it->z.operand_count; n++) {
		const ZydisDecodedOperand *o = &it->ops[n];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			it->address_regs |= r10_r11_bit(o->mem.base) | r10_r11_bit(o->mem.index);
		} else if (o->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			it->data_regs |= r10_r11_bit(o->reg.value);
			if (o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
				it->written_regs |= r10_r11_bit(o->reg.value);
		}
	}
}

/* The explicit memory operand that is accessed, or NULL. */
static const ZydisDecodedOperand *memory_operand(const struct item *it)
{
	for (unsigned n = 0; n < it->z.operand_count_visible; n++)
		if (it->ops[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    it->ops[n].mem.type == ZYDIS_MEMOP_TYPE_MEM)
			return &it->ops[n];
	return NULL;
}

static bool is_legacy_prefix(uint8_t b)
{
	return b == 0x66 || b == 0xf2 || b == 0xf3 || b == 0xf0 || b == 0x67 || b == 0x2e ||
	       b == 0x36 || b == 0x3e || b == 0x26 || b == 0x64 || b == 0x65;
}

/*
 * Translated code may touch memory through the operand that is replaced and through nothing else:
 * the guest's addresses mean other memory to the host.
 */
static bool has_other_memory(const struct item *it, const ZydisDecodedOperand *m)
{
	for (unsigned n = 0; n < it->z.operand_count; n++) {
		const ZydisDecodedOperand *o = &it->ops[n];

		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && o != m &&
		    o->mem.type != ZYDIS_MEMOP_TYPE_AGEN)
			return true;
	}
	return false;
}

/* A REX prefix that is not the last one counts for nothing, and would do so for the one we add. */
static bool has_stray_rex(const struct item *it)
{
	unsigned n = 0;

	while (is_legacy_prefix(it->bytes[n]))
		n++;
	return (it->bytes[n] & 0xf0) == 0x40 &&
	       ((it->bytes[n + 1] & 0xf0) == 0x40 || is_legacy_prefix(it->bytes[n + 1]));
}

static bool is_lea_rip(const struct item *it)
{
	return it->z.mnemonic == ZYDIS_MNEMONIC_LEA && it->z.raw.modrm.mod == 0 &&
	       it->z.raw.modrm.rm == 5;
}

/* What the encoder below cannot express goes to the interpreter. */
static enum jit_class refine(const struct item *it)
{
	const ZydisDecodedOperand *m = memory_operand(it);
	unsigned size = m ? m->size / 8 : 0;

	if (has_stray_rex(it) || (is_lea_rip(it) && it->i.osz == 2))
		return JIT_INTERP;
	if (it->class == JIT_COPY && has_other_memory(it, m))
		return JIT_INTERP;
	if (it->class == JIT_COPY && m) {
		if (it->data_regs == 3 || size > 32 || !size)
			return JIT_INTERP;
		if (m->mem.segment == ZYDIS_REGISTER_NONE)
			return JIT_INTERP;
	}
	if ((it->class == JIT_PUSH || it->class == JIT_POP) && (it->i.osz != 8 || m))
		return JIT_INTERP;
	if ((it->class == JIT_CALL || it->class == JIT_RET || it->class == JIT_JUMP ||
	     it->class == JIT_LEAVE) && it->i.osz != 8)
		return JIT_INTERP;
	return it->class;
}

static bool decode_item(struct translation *t, struct item *it, const uint8_t *p, unsigned room,
			uint64_t rip)
{
	struct x86_cpu *c = t->j->c;

	memset(it, 0, offsetof(struct item, z));
	if (insn_decode(&it->i, p, LM_MIN(room, INSN_MAX_LENGTH), CODE_64, false,
			&c->sys->model) != DECODE_OK)
		return false;
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, p, it->i.length, &it->z, it->ops)))
		return false;
	it->bytes = p;
	it->rip = rip;
	it->address_regs = it->data_regs = it->written_regs = 0;
	find_scratch_registers(it);
	it->class = jit_classify(&it->i, &it->z, it->ops);
	it->class = refine(it);
	if (it->i.guard & c->guard_traps)
		it->class = JIT_INTERP;
	if (it->class >= JIT_CLI && c->cpl)
		it->class = JIT_INTERP;
	return true;
}

static bool ends_block(const struct item *it)
{
	return it->class == JIT_JUMP || it->class == JIT_JCC || it->class == JIT_CALL ||
	       it->class == JIT_RET || it->class == JIT_INTERP;
}

static void decode_block(struct translation *t, const uint8_t *p, unsigned room, uint64_t gva,
			 unsigned max_insns)
{
	while (t->count < max_insns && room) {
		struct item *it = &t->item[t->count];

		if (!decode_item(t, it, p, room, gva))
			return;
		t->count++;
		if (ends_block(it))
			return;
		p += it->i.length;
		room -= it->i.length;
		gva += it->i.length;
	}
}

/* Shifts and rotates by a count of zero leave all flags alone. */
static bool may_leave_flags(const struct item *it)
{
	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
		return true;
	default:
		return false;
	}
}

/*
 * After STI one more instruction runs before an interrupt is taken (SDM vol. 2 STI): that one must
 * be in the block, where nothing is taken.
 */
static void check_shadows(struct translation *t)
{
	for (unsigned k = 0; k < t->count; k++) {
		bool followed = k + 1 < t->count && t->item[k + 1].class != JIT_INTERP;

		if (t->item[k].class == JIT_STI && !followed) {
			t->item[k].class = JIT_INTERP;
			t->count = k + 1;
		}
	}
}

/* Those that write flags and that the host faults behind the memory check: the fault shows flags. */
static bool may_fault_late(const struct item *it)
{
	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
	case ZYDIS_MNEMONIC_COMISS:
	case ZYDIS_MNEMONIC_COMISD:
	case ZYDIS_MNEMONIC_UCOMISS:
	case ZYDIS_MNEMONIC_UCOMISD:
	case ZYDIS_MNEMONIC_VCOMISS:
	case ZYDIS_MNEMONIC_VCOMISD:
	case ZYDIS_MNEMONIC_VUCOMISS:
	case ZYDIS_MNEMONIC_VUCOMISD:
	case ZYDIS_MNEMONIC_PTEST:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPISTRI:
		return true;
	default:
		return false;
	}
}

static void find_live_flags(struct translation *t)
{
	uint32_t live = ARITH_FLAGS;

	for (unsigned k = t->count; k-- > 0;) {
		struct item *it = &t->item[k];
		const ZydisAccessedFlags *f = it->z.cpu_flags;
		uint32_t written = 0, read = 0;

		if (f) {
			written = f->modified | f->set_0 | f->set_1 | f->undefined;
			read = f->tested;
		}
		if (it->class == JIT_INTERP || it->class == JIT_PUSHF || may_fault_late(it))
			read = ARITH_FLAGS;
		if (it->class >= JIT_CLI)
			written = 0;
		if (!may_leave_flags(it))
			live &= ~written;
		live |= read & ARITH_FLAGS;
		it->flags_live_in = live != 0;
	}
}

/* ---- Memory operands ---- */

static int32_t reg_slot(unsigned bit)
{
	return bit == 1 ? JS_GPR(10) : JS_GPR(11);
}

/* REX.X and REX.B of an instruction, however they are encoded. */
static unsigned extension_bits(const struct item *it)
{
	unsigned n = 0;

	while (is_legacy_prefix(it->bytes[n]))
		n++;
	if (!it->i.vex)
		return (it->bytes[n] & 0xf0) == 0x40 ? it->bytes[n] & 3u : 0;
	if (it->bytes[n] == 0xc5)
		return 0;
	return ~it->bytes[n + 1] >> 5 & 3u;
}

/* h10 = the memory operand's address, all registers but h10 and h11 as the guest has them. */
static void emit_address(struct translation *t, const struct item *it, const ZydisDecodedOperand *m)
{
	struct emit *e = &t->e;
	bool narrow = it->z.address_width == 32;

	if (!(it->z.attributes & ZYDIS_ATTRIB_HAS_MODRM)) { /* MOV with a 64-bit offset */
		emit_mov_imm(e, H10, (uint64_t)m->mem.disp.value);
		return;
	}
	if (it->z.raw.modrm.mod == 0 && it->z.raw.modrm.rm == 5) {
		uint64_t a = it->rip + it->i.length + (uint64_t)m->mem.disp.value;

		emit_mov_imm(e, H10, narrow ? (uint32_t)a : a);
		return;
	}
	if (it->address_regs & 1)
		emit_load_gs(e, H10, JS_GPR(10));
	if (it->address_regs & 2)
		emit_load_gs(e, H11, JS_GPR(11));
	if (narrow)
		emit_u8(e, 0x67);
	emit_u8(e, 0x4c | extension_bits(it)); /* REX.W, reg = r10 */
	emit_u8(e, 0x8d);
	emit_u8(e, modrm(it->z.raw.modrm.mod, H10, it->z.raw.modrm.rm));
	emit_bytes(e, it->bytes + it->z.raw.modrm.offset + 1,
		   (it->z.raw.modrm.rm == 4 ? 1u : 0u) + it->z.raw.disp.size / 8u);
}

static void emit_segment(struct translation *t, const ZydisDecodedOperand *m)
{
	unsigned seg = (unsigned)(m->mem.segment - ZYDIS_REGISTER_ES);

	if (seg < FS)
		return;
	emit_load_gs(&t->e, H11, (int32_t)(JS(seg_base) + 8 * (int)seg));
	EMIT(&t->e, 0x4f, 0x8d, 0x14, 0x1a); /* lea r10, [r10 + r11] */
}

static uint8_t *emit_jcc_slow(struct emit *e, unsigned cc)
{
	emit_u8(e, 0x0f);
	emit_u8(e, 0x80 | cc);
	emit_u32(e, 0);
	return e->full ? NULL : e->p - 4;
}

static void emit_save_flags(struct emit *e)
{
	emit_store_gs(e, RAX, JS(save_rax));
	EMIT(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	emit_store_gs(e, RAX, JS(save_flags));
}

static void emit_restore_flags(struct emit *e)
{
	emit_load_gs(e, RAX, JS(save_flags));
	EMIT(e, 0x04, 0x7f, 0x9e); /* add al, 0x7f; sahf */
	emit_load_gs(e, RAX, JS(save_rax));
}

/* test r10b, size - 1 and so on: out of line unless the access surely stays in its page. */
static void emit_crossing_check(struct translation *t, struct slow *s, unsigned size)
{
	struct emit *e = &t->e;

	if (size == 1)
		return;
	if (size <= 8 && is_pow2(size)) {
		EMIT(e, 0x41, 0xf6, 0xc2); /* test r10b, imm8 */
		emit_u8(e, size - 1);
		s->from[0] = emit_jcc_slow(e, 5);
		s->misaligned[0] = true;
		s->check_again = e->p + e->to_exec;
		return;
	}
	EMIT(e, 0x45, 0x89, 0xd3);             /* mov r11d, r10d */
	EMIT(e, 0x41, 0x81, 0xe3);             /* and r11d, 0xfff */
	emit_u32(e, 0xfff);
	EMIT(e, 0x41, 0x81, 0xfb);             /* cmp r11d, 4096 - size */
	emit_u32(e, 4096 - size);
	s->from[0] = emit_jcc_slow(e, 7);
}

/*
 * With h10 = gva: h10 becomes the host address (folded) after the table gave its addend. Flags are
 * kept when `live`. `aligned` accesses cannot cross a page.
 */
static void emit_translate(struct translation *t, unsigned size, bool write, bool live, bool aligned)
{
	struct emit *e = &t->e;
	struct slow *s = &t->slow[t->slows++];

	*s = (struct slow){ .access = (uint32_t)write | (uint32_t)live << 1 | size << 8 };
	if (live)
		emit_save_flags(e);
	if (!aligned)
		emit_crossing_check(t, s, size);
	emit_mov(e, H11, H10);
	EMIT(e, 0x49, 0xc1, 0xe3, 0x10); /* shl r11, 16 */
	EMIT(e, 0x49, 0xc1, 0xeb, 0x1c); /* shr r11, 28 */
	if (write) {
		EMIT(e, 0x49, 0x0f, 0xba, 0xeb); /* bts r11, 36 */
		emit_u8(e, JIT_WRITE_BIT);
	}
	EMIT(e, 0x65, 0x4e, 0x8b, 0x1c, 0xdd, 0, 0, 0, 0); /* mov r11, gs:[r11 * 8] */
	EMIT(e, 0x4d, 0x85, 0xdb);                         /* test r11, r11 */
	s->from[1] = emit_jcc_slow(e, 4);
	s->back = e->p + e->to_exec;
	if (live)
		emit_restore_flags(e);
	EMIT(e, 0x4f, 0x8d, 0x14, 0x1a); /* lea r10, [r10 + r11] */
}

/* The out-of-line parts. */
static void emit_slow_paths(struct translation *t)
{
	struct emit *e = &t->e;

	for (unsigned k = 0; k < t->slows; k++) {
		struct slow *s = &t->slow[k];
		unsigned size = s->access >> 8;

		if (s->from[0])
			patch_here(e, s->from[0]);
		if (s->misaligned[0]) {
			EMIT(e, 0x45, 0x89, 0xd3);
			EMIT(e, 0x41, 0x81, 0xe3);
			emit_u32(e, 0xfff);
			EMIT(e, 0x41, 0x81, 0xfb);
			emit_u32(e, 4096 - size);
			EMIT(e, 0x0f, 0x86); /* jbe: within the page */
			emit_u32(e, (uint32_t)(s->check_again - (e->p + e->to_exec + 4)));
		}
		patch_here(e, s->from[1]);
		EMIT(e, 0x4c, 0x8d, 0x1d); /* lea r11, [rip + back] */
		emit_u32(e, (uint32_t)(s->back - (e->p + e->to_exec + 4)));
		emit_store_gs(e, H11, JS(slow_return));
		emit_mov_imm(e, H11, s->access);
		emit_jmp(e, t->j->slow_common);
	}
}

/* ---- Copied instructions ---- */

static bool is_kept_prefix(uint8_t b)
{
	return b == 0x66 || b == 0xf2 || b == 0xf3 || b == 0xf0;
}

static unsigned skip_prefixes(struct translation *t, const struct item *it)
{
	unsigned n = 0;

	for (; is_legacy_prefix(it->bytes[n]); n++)
		if (is_kept_prefix(it->bytes[n]))
			emit_u8(&t->e, it->bytes[n]);
	return n;
}

/* Else ModRM.reg is a part of the opcode, whatever REX.R or VEX.R say. */
static bool reg_is_operand(const struct item *it)
{
	for (unsigned n = 0; n < it->z.operand_count; n++)
		if (it->ops[n].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			return true;
	return false;
}

/* The register number of a data operand R10 or R11 becomes H11, into which it was loaded. */
static unsigned moved(unsigned reg)
{
	return reg == R10 ? H11 : reg;
}

static void emit_tail(struct translation *t, const struct item *it)
{
	unsigned end = it->z.raw.modrm.offset + 1u + (it->z.raw.modrm.rm == 4 &&
		       it->z.raw.modrm.mod != 3 ? 1u : 0u) + it->z.raw.disp.size / 8u;

	emit_bytes(&t->e, it->bytes + end, it->i.length - end);
}

static void emit_legacy_with_h10(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	unsigned n = skip_prefixes(t, it);
	bool has_rex = (it->bytes[n] & 0xf0) == 0x40;
	unsigned w = has_rex ? it->bytes[n] >> 3 & 1 : 0, r = has_rex ? it->bytes[n] >> 2 & 1 : 0;
	unsigned reg = r << 3 | it->z.raw.modrm.reg;

	if (has_rex)
		n++;
	if (it->data_regs && reg_is_operand(it))
		reg = moved(reg);
	emit_u8(e, 0x41 | w << 3 | (reg >> 3) << 2); /* B: r10 */
	emit_bytes(e, it->bytes + n, it->z.raw.modrm.offset - n);
	emit_u8(e, modrm(0, reg, H10));
	emit_tail(t, it);
}

/* VEX fields from either encoding; R and vvvv as numbers, not inverted. */
struct vex_fields {
	unsigned size, r, map, w, vvvv, l_pp;
};

static struct vex_fields vex_fields(const uint8_t *p)
{
	struct vex_fields f;

	if (p[0] == 0xc5) {
		f = (struct vex_fields){ 2, ~p[1] >> 7 & 1u, 1, 0, ~p[1] >> 3 & 15u, p[1] & 7u };
		return f;
	}
	f = (struct vex_fields){ 3,	     ~p[1] >> 7 & 1u,  p[1] & 31u,
				 p[2] >> 7, ~p[2] >> 3 & 15u, p[2] & 7u };
	return f;
}

static void emit_vex_with_h10(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	unsigned n = skip_prefixes(t, it);
	struct vex_fields f = vex_fields(it->bytes + n);
	unsigned reg = f.r << 3 | it->z.raw.modrm.reg;

	if (it->data_regs) {
		if (reg_is_operand(it))
			reg = moved(reg);
		f.vvvv = moved(f.vvvv);
	}
	emit_u8(e, 0xc4);
	emit_u8(e, (reg & 8 ? 0u : 0x80u) | 0x40u | f.map); /* X clear, B set: r10 */
	emit_u8(e, f.w << 7 | (~f.vvvv & 15u) << 3 | f.l_pp);
	n += f.size;
	emit_bytes(e, it->bytes + n, it->z.raw.modrm.offset - n);
	emit_u8(e, modrm(0, reg, H10));
	emit_tail(t, it);
}

/* MOV AL/eAX/rAX with a 64-bit offset: the ordinary MOV instead. */
static void emit_moffs_with_h10(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	unsigned n = skip_prefixes(t, it);
	unsigned w = (it->bytes[n] & 0xf8) == 0x48;
	static const uint8_t opcode[4] = { 0x8a, 0x8b, 0x88, 0x89 };

	emit_u8(e, 0x41 | w << 3);
	emit_u8(e, opcode[it->z.opcode & 3]);
	emit_u8(e, modrm(0, RAX, H10));
}

static bool is_aligned_form(const struct item *it, unsigned size)
{
	return size == 16 && !it->i.vex && it->i.guard & GUARD_SSE;
}

/*
 * Legacy SSE with a 16-byte operand faults when misaligned (the host's own #GP, since pages are
 * congruent), except for the MOVU forms.
 */
static bool cannot_cross(const struct item *it, unsigned size)
{
	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		return true;
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return false;
	default:
		return is_aligned_form(it, size);
	}
}

static void emit_copy_with_memory(struct translation *t, const struct item *it,
				  const ZydisDecodedOperand *m)
{
	struct emit *e = &t->e;
	unsigned size = m->size / 8;
	bool write = m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;

	emit_address(t, it, m);
	emit_segment(t, m);
	emit_translate(t, size, write, it->flags_live_in, cannot_cross(it, size));
	if (it->data_regs)
		emit_load_gs(e, H11, reg_slot(it->data_regs));
	if (!(it->z.attributes & ZYDIS_ATTRIB_HAS_MODRM))
		emit_moffs_with_h10(t, it);
	else if (it->i.vex)
		emit_vex_with_h10(t, it);
	else
		emit_legacy_with_h10(t, it);
	if (it->written_regs)
		emit_store_gs(e, H11, reg_slot(it->written_regs));
}

/* LEA of a RIP-relative address is a constant here. */
static bool emit_lea_rip(struct translation *t, const struct item *it)
{
	unsigned reg = (unsigned)it->i.op[0].reg;
	uint64_t a;

	if (!is_lea_rip(it))
		return false;
	a = it->rip + it->i.length + (uint64_t)it->ops[1].mem.disp.value;
	if (it->z.address_width == 32 || it->i.osz == 4)
		a = (uint32_t)a;
	emit_mov_imm(&t->e, reg, a);
	return true;
}

static void emit_copy(struct translation *t, const struct item *it)
{
	const ZydisDecodedOperand *m = memory_operand(it);
	uint8_t used = it->data_regs | it->address_regs; /* addresses: LEA */

	if (m) {
		emit_copy_with_memory(t, it, m);
		return;
	}
	if (used & 1)
		emit_load_gs(&t->e, H10, JS_GPR(10));
	if (used & 2)
		emit_load_gs(&t->e, H11, JS_GPR(11));
	if (!emit_lea_rip(t, it))
		emit_bytes(&t->e, it->bytes, it->i.length);
	if (it->written_regs & 1)
		emit_store_gs(&t->e, H10, JS_GPR(10));
	if (it->written_regs & 2)
		emit_store_gs(&t->e, H11, JS_GPR(11));
}

/* ---- The stack ---- */

static void emit_stack_write(struct translation *t, const struct item *it)
{
	emit_lea(&t->e, H10, RSP, -8);
	emit_translate(t, 8, true, it->flags_live_in, false);
}

static void emit_push(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	const struct operand *o = &it->i.op[0];

	emit_stack_write(t, it);
	if (o->kind == OPK_IMM) {
		emit_mov_imm(e, H11, it->i.imm);
		emit_store_h10(e, H11);
	} else if (it->data_regs) {
		emit_load_gs(e, H11, reg_slot(it->data_regs));
		emit_store_h10(e, H11);
	} else {
		emit_store_h10(e, o->reg);
	}
	emit_lea(e, RSP, RSP, -8);
}

static void emit_pop(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	unsigned reg = it->i.op[0].reg;

	emit_mov(e, H10, RSP);
	emit_translate(t, 8, false, it->flags_live_in, false);
	if (reg == R10 || reg == R11) {
		emit_load_h10(e, H11);
		emit_store_gs(e, H11, JS_GPR(reg));
	} else {
		emit_load_h10(e, reg);
	}
	if (reg != RSP)
		emit_lea(e, RSP, RSP, 8);
}

static void emit_leave(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;

	emit_mov(e, H10, RBP);
	emit_translate(t, 8, false, it->flags_live_in, false);
	emit_load_h10(e, H11);
	emit_lea(e, RSP, RBP, 8);
	emit_mov(e, RBP, H11);
}

/* ---- The interrupt flag ---- */

static void emit_set_interrupt_flag(struct emit *e, unsigned value)
{
	EMIT(e, 0x65, 0xc6, 0x04, 0x25); /* mov byte gs:[disp], imm8 */
	emit_u32(e, (uint32_t)JS(interrupt_flag));
	emit_u8(e, value);
}

/* An interrupt that waits makes the read fault, and the interpreter does it properly. */
static void emit_sti(struct translation *t)
{
	emit_load_gs(&t->e, H11, JS(sti_poll));
	EMIT(&t->e, 0x45, 0x8b, 0x1b); /* mov r11d, [r11] */
	emit_set_interrupt_flag(&t->e, 1);
}

/* movzx reg32, byte gs:[disp] */
static void emit_load_byte(struct emit *e, unsigned reg, int32_t disp)
{
	emit_u8(e, 0x65);
	emit_u8(e, rex(false, reg, 0, 0));
	EMIT(e, 0x0f, 0xb6);
	emit_u8(e, modrm(0, reg, 4));
	emit_u8(e, 0x25);
	emit_u32(e, (uint32_t)disp);
}

/* RFLAGS is put together in h11, kept while the stack is translated, and stored. */
static void emit_pushf(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;

	emit_save_flags(e);
	emit_load_byte(e, H11, JS(save_flags) + 1); /* AH */
	emit_load_byte(e, H10, JS(save_flags));     /* OF */
	EMIT(e, 0x41, 0xc1, 0xe2, 11);              /* shl r10d, 11 */
	EMIT(e, 0x45, 0x09, 0xd3);                  /* or r11d, r10d */
	emit_load_byte(e, H10, JS(interrupt_flag));
	EMIT(e, 0x41, 0xc1, 0xe2, 9);               /* shl r10d, 9 */
	EMIT(e, 0x45, 0x09, 0xd3);
	emit_gs(e, 0x0b, H11, JS(system_flags));    /* or r11, gs:[...] */
	emit_store_gs(e, H11, JS(work));
	emit_restore_flags(e);
	emit_stack_write(t, it);
	emit_load_gs(e, H11, JS(work));
	emit_store_h10(e, H11);
	emit_lea(e, RSP, RSP, -8);
}

/* ---- Leaving the block ---- */

static void emit_leave_to(struct translation *t, uint64_t rip, uint64_t exit)
{
	emit_mov_imm(&t->e, H10, rip);
	emit_mov_imm(&t->e, H11, exit);
	emit_jmp(&t->e, t->j->exit_common);
}

/*
 * A jump whose rel32 is at `patch`: to a stub behind the block, and within the page straight to the
 * target's block once that exists.
 */
static void emit_exit_stub(struct translation *t, uint8_t *patch, uint64_t rip)
{
	struct emit *e = &t->e;
	struct jit_exit *x = &t->block->exit[t->exits++];

	patch_here(e, patch);
	if (rip >> PAGE_SHIFT != t->block->gva >> PAGE_SHIFT) {
		emit_mov_imm(e, H10, rip);
		emit_jmp(e, t->j->jump_common);
		return;
	}
	x->patch = patch;
	x->stub = e->p + e->to_exec;
	x->rip = rip;
	emit_leave_to(t, rip, (uint64_t)x);
}

static void emit_direct(struct translation *t, uint64_t rip)
{
	struct emit *e = &t->e;

	emit_u8(e, 0xe9);
	emit_u32(e, 0);
	if (!e->full)
		emit_exit_stub(t, e->p - 4, rip);
}

static uint64_t relative_target(const struct item *it)
{
	return it->rip + it->i.length + it->i.imm;
}

static void emit_jcc(struct translation *t, const struct item *it)
{
	uint8_t *taken = emit_jcc_slow(&t->e, it->i.cc);

	emit_direct(t, it->rip + it->i.length);
	if (taken)
		emit_exit_stub(t, taken, relative_target(it));
}

/* h10 = the target of an indirect jump or call. */
static void emit_indirect_target(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	const ZydisDecodedOperand *m = memory_operand(it);

	if (m) {
		emit_address(t, it, m);
		emit_segment(t, m);
		emit_translate(t, 8, false, it->flags_live_in, false);
		emit_load_h10(e, H10);
	} else if (it->data_regs) {
		emit_load_gs(e, H10, reg_slot(it->data_regs));
	} else {
		emit_mov(e, H10, it->i.op[0].reg);
	}
}

static void emit_jump(struct translation *t, const struct item *it)
{
	if (it->i.op[0].kind == OPK_REL) {
		emit_direct(t, relative_target(it));
		return;
	}
	emit_indirect_target(t, it);
	emit_jmp(&t->e, t->j->jump_common);
}

static void emit_call(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	bool direct = it->i.op[0].kind == OPK_REL;

	if (!direct) {
		emit_indirect_target(t, it);
		emit_store_gs(e, H10, JS(call_target));
	}
	emit_stack_write(t, it);
	emit_mov_imm(e, H11, it->rip + it->i.length);
	emit_store_h10(e, H11);
	emit_lea(e, RSP, RSP, -8);
	if (direct) {
		emit_direct(t, relative_target(it));
		return;
	}
	emit_load_gs(e, H10, JS(call_target));
	emit_jmp(e, t->j->jump_common);
}

static void emit_ret(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	unsigned released = it->i.op_count ? it->i.imm & 0xffff : 0;

	emit_mov(e, H10, RSP);
	emit_translate(t, 8, false, it->flags_live_in, false);
	emit_load_h10(e, H10);
	emit_lea(e, RSP, RSP, 8 + (int32_t)released);
	emit_jmp(e, t->j->jump_common);
}

/* ---- The block ---- */

/* Loads from the page that a kick makes unreadable. */
static void emit_poll(struct translation *t)
{
	emit_load_gs(&t->e, H11, JS(poll));
	EMIT(&t->e, 0x45, 0x8b, 0x1b); /* mov r11d, [r11] */
}

static void emit_item(struct translation *t, const struct item *it)
{
	switch (it->class) {
	case JIT_COPY:
		emit_copy(t, it);
		break;
	case JIT_SKIP:
		break;
	case JIT_PUSH:
		emit_push(t, it);
		break;
	case JIT_POP:
		emit_pop(t, it);
		break;
	case JIT_LEAVE:
		emit_leave(t, it);
		break;
	case JIT_JUMP:
		emit_jump(t, it);
		break;
	case JIT_JCC:
		emit_jcc(t, it);
		break;
	case JIT_CALL:
		emit_call(t, it);
		break;
	case JIT_RET:
		emit_ret(t, it);
		break;
	case JIT_CLI:
		emit_set_interrupt_flag(&t->e, 0);
		break;
	case JIT_STI:
		emit_sti(t);
		break;
	case JIT_PUSHF:
		emit_pushf(t, it);
		break;
	case JIT_INTERP:
		emit_leave_to(t, it->rip, JIT_EXIT_INTERP);
		break;
	}
}

static void emit_block(struct translation *t)
{
	const struct item *last = &t->item[t->count - 1];
	uint8_t *start = t->e.p;

	emit_poll(t);
	for (unsigned k = 0; k < t->count; k++) {
		t->block->info[k] = (struct jit_insn_info){
			(uint16_t)(k ? t->e.p - start : 0),
			(uint16_t)(t->item[k].rip - t->block->gva),
		};
		emit_item(t, &t->item[k]);
	}
	if (!ends_block(last))
		emit_direct(t, last->rip + last->i.length);
	emit_slow_paths(t);
}

static struct jit_block *new_block(unsigned insns, uint64_t gpa, uint64_t gva, uint32_t mode)
{
	struct jit_block *b = calloc(1, sizeof(*b) + insns * sizeof(b->info[0]));

	if (!b)
		return NULL;
	b->gpa = gpa;
	b->gva = gva;
	b->mode = mode;
	b->insns = insns;
	return b;
}

/* NULL: the first instruction is not for us, or no memory; the cache was flushed when it is full. */
struct jit_block *translate(struct jit *j, uint64_t gpa, uint64_t gva, uint32_t mode,
			    const uint8_t *code, unsigned room, unsigned max_insns)
{
	static __thread struct translation t; /* too large for a stack */
	struct jit_cache *cache = &j->cache;
	struct jit_block *b;

	if (!t.j)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	t.j = j;
	t.count = t.slows = t.exits = 0;
	decode_block(&t, code, room, gva, max_insns);
	check_shadows(&t);
	if (!t.count || (t.count == 1 && t.item[0].class == JIT_INTERP))
		return NULL;
	find_live_flags(&t);
	b = t.block = new_block(t.count, gpa, gva, mode);
	if (!b)
		return NULL;
	t.e = (struct emit){
		.p = cache->writable + cache->used,
		.end = cache->writable + cache->size,
		.to_exec = cache->exec - cache->writable,
	};
	b->code = t.e.p + t.e.to_exec;
	emit_block(&t);
	if (t.e.full) {
		free(b);
		cache_flush(j);
		return NULL;
	}
	b->code_end = t.e.p + t.e.to_exec;
	cache->used = (size_t)(t.e.p - cache->writable + 15) & ~(size_t)15;
	cache_add(j, b);
	j->count.blocks++;
	return b;
}
