/* What a block consists of: decoding, what is done with each instruction, and live flags. */
#include <stddef.h>

#include "engine/jit/translation.h"
#include "isa/x86/decode_detail.h"
#include "isa/x86/sem/sem.h"

#define ARITH_FLAGS                                                                                \
	(ZYDIS_CPUFLAG_CF | ZYDIS_CPUFLAG_PF | ZYDIS_CPUFLAG_AF | ZYDIS_CPUFLAG_ZF |               \
	 ZYDIS_CPUFLAG_SF | ZYDIS_CPUFLAG_OF)

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
const ZydisDecodedOperand *memory_operand(const struct item *it)
{
	for (unsigned n = 0; n < it->z.operand_count_visible; n++)
		if (it->ops[n].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    it->ops[n].mem.type == ZYDIS_MEMOP_TYPE_MEM)
			return &it->ops[n];
	return NULL;
}

bool is_legacy_prefix(uint8_t b)
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

bool is_lea_rip(const struct item *it)
{
	return it->z.mnemonic == ZYDIS_MNEMONIC_LEA && it->z.raw.modrm.mod == 0 &&
	       it->z.raw.modrm.rm == 5;
}

static bool is_write_base(const struct insn *i)
{
	return i->exec == cpu_wrfsbase || i->exec == cpu_wrgsbase;
}

uint8_t *item_recode(struct item *it)
{
	memcpy(it->recoded, it->bytes, it->i.length);
	it->bytes = it->recoded;
	return it->recoded;
}

/* BSF and BSR with a prefix that a processor with TZCNT and LZCNT would not ignore, unlike that of DS. */
static void drop_count_prefix(struct item *it)
{
	uint8_t *p;

	if ((it->z.mnemonic != ZYDIS_MNEMONIC_BSF && it->z.mnemonic != ZYDIS_MNEMONIC_BSR) ||
	    it->i.rep != REP_F3)
		return;
	p = item_recode(it);
	for (unsigned n = 0; is_legacy_prefix(p[n]); n++)
		p[n] = p[n] == 0xf3 ? 0x3e : p[n];
}

/* What the encoder below cannot express goes to the interpreter. */
static enum jit_class refine(const struct item *it)
{
	const ZydisDecodedOperand *m = memory_operand(it);
	unsigned size = m ? m->size / 8 : 0;

	if ((it->word == 8 && has_stray_rex(it)) || (is_lea_rip(it) && it->i.osz == 2))
		return JIT_INTERP;
	if (it->class == JIT_COPY && has_other_memory(it, m))
		return JIT_INTERP;
	if (it->class == JIT_COPY && m) {
		if (it->data_regs == 3 || size > 32 || !size)
			return JIT_INTERP;
		if (m->mem.segment == ZYDIS_REGISTER_NONE)
			return JIT_INTERP;
	}
	if (it->class == JIT_BITS && it->i.osz < 4)
		return JIT_INTERP;
	if ((it->class == JIT_READ_BASE || is_write_base(&it->i)) && it->i.osz != 8)
		return JIT_INTERP;
	if ((it->class == JIT_PUSH || it->class == JIT_POP) && it->i.osz != it->word)
		return JIT_INTERP;
	if (it->class == JIT_POP && m)
		return JIT_INTERP;
	if ((it->class == JIT_CALL || it->class == JIT_RET || it->class == JIT_JUMP ||
	     it->class == JIT_LEAVE) && it->i.osz != it->word)
		return JIT_INTERP;
	return it->class;
}

/* Legacy SSE with a 16-byte operand faults when misaligned, except for these. */
static bool is_unaligned_form(const struct item *it)
{
	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return true;
	default:
		return false;
	}
}

/* The host's own #GP for a misaligned operand serves, since host pages are congruent to the guest's. */
static bool must_be_aligned(const struct item *it, unsigned size)
{
	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_CMPXCHG16B:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
		return true;
	default:
		return size == 16 && !it->i.vex && it->i.guard & GUARD_SSE && !is_unaligned_form(it);
	}
}

static bool in_memory(unsigned reg)
{
	return reg == R10 || reg == R11;
}

#define FARTHEST 0x7fff0000 /* of a displacement, so that small changes still fit */

/* Of MOV with an offset alone, too long for ModRM in 64-bit code. */
static bool is_long_offset(const struct item *it)
{
	return it->word == 8 && !(it->z.attributes & ZYDIS_ATTRIB_HAS_MODRM);
}

/* A sum of whole registers, of which one at most lives in memory, and a constant. */
static bool is_plain(const struct item *it)
{
	const struct insn *i = &it->i;

	if (is_long_offset(it) || i->asz != it->word || i->seg >= FS)
		return false;
	if (in_memory(i->base) && in_memory(i->index) && i->base != i->index)
		return false;
	return i->disp > -FARTHEST && i->disp < FARTHEST;
}

static void find_operand(struct item *it, const ZydisDecodedOperand *m)
{
	struct access *a = &it->access;

	a->size = m->size / 8;
	a->write = m->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
	a->aligned = must_be_aligned(it, a->size);
	a->plain = is_plain(it);
	if (!a->plain)
		return;
	a->guest = (struct place){ it->i.base, it->i.index, it->i.scale, (int32_t)it->i.disp };
	if (a->guest.base == BASE_RIP)
		a->guest.disp += (int32_t)(it->rip + it->i.length);
}

static void find_on_stack(struct item *it, unsigned base, int32_t disp, bool write)
{
	it->access = (struct access){ .guest = at_base(base, disp), .size = it->word, .plain = true,
				      .write = write, .group = NO_GROUP };
}

static void find_access(struct item *it)
{
	const ZydisDecodedOperand *m = memory_operand(it);

	it->access = (struct access){ .group = NO_GROUP };
	switch (it->class) {
	case JIT_COPY:
	case JIT_JUMP:
		if (m)
			find_operand(it, m);
		break;
	case JIT_PUSH:
	case JIT_CALL:
	case JIT_PUSHF:
		find_on_stack(it, RSP, -(int32_t)it->word, true);
		break;
	case JIT_POP:
	case JIT_RET:
		find_on_stack(it, RSP, 0, false);
		break;
	case JIT_LEAVE:
		find_on_stack(it, RBP, 0, false);
		break;
	default:
		break;
	}
}

static bool decode_item(struct translation *t, struct item *it, const uint8_t *p, unsigned room,
			uint64_t rip)
{
	struct x86_cpu *c = t->j->c;

	memset(it, 0, offsetof(struct item, z));
	it->word = (uint8_t)t->word;
	if (insn_decode_detail(&it->i, p, LM_MIN(room, INSN_MAX_LENGTH), t->word == 8 ? CODE_64 : CODE_32,
			       false, &c->sys->model, &it->z, it->ops) != DECODE_OK)
		return false;
	it->bytes = p;
	it->host_length = it->i.length;
	it->rip = rip;
	it->address_regs = it->data_regs = it->written_regs = 0;
	find_scratch_registers(it);
	it->class = jit_classify(&it->i, &it->z, it->word);
	if (t->word == 4)
		it->class = narrow_recode(it);
	drop_count_prefix(it);
	it->class = refine(it);
	if ((it->class == JIT_COPY || it->class == JIT_BITS) && !insn_has_features(&it->z, t->j->host->features))
		it->class = JIT_INTERP;
	if (it->class >= JIT_HELPER && !t->j->host->avx && it->i.guard & GUARD_STATE)
		it->class = JIT_INTERP;
	if (it->i.guard & c->guard_traps)
		it->class = JIT_INTERP;
	if (it->class == JIT_READ_BASE && !(c->s.cr4 & CR4_FSGSBASE))
		it->class = JIT_INTERP;
	if (it->class >= JIT_CLI && c->cpl)
		it->class = JIT_INTERP;
	find_access(it);
	return true;
}

bool ends_block(const struct item *it)
{
	return it->class == JIT_JUMP || it->class == JIT_JCC || it->class == JIT_LOOP || it->class == JIT_CALL ||
	       it->class == JIT_RET || it->class == JIT_INTERP || it->class == JIT_HELPER ||
	       it->class == JIT_HELPER_CPL0;
}

static bool is_in_block(const struct translation *t, uint64_t offset)
{
	for (unsigned k = 0; k < t->count; k++)
		if (t->item[k].rip == offset)
			return true;
	return false;
}

/*
 * A block goes on behind a conditional jump that is not taken, and at the target of a direct jump or
 * call in the same page: what is longer has more accesses in common. False: it ends with this one.
 */
static bool find_next(struct translation *t, const struct item *it, uint64_t *offset)
{
	*offset = it->rip + it->i.length;
	if (it->class == JIT_JCC)
		return ++t->branches < JIT_BRANCHES;
	if (!ends_block(it))
		return true;
	if ((it->class != JIT_JUMP && it->class != JIT_CALL) || it->i.op[0].kind != OPK_REL)
		return false;
	*offset = relative_target(it);
	return true;
}

/* `page` is where the page's first byte would be: a block of one instruction may come from a copy. */
static void decode_block(struct translation *t, const uint8_t *page, uint64_t end,
			 uint64_t offset, unsigned max_insns)
{
	t->branches = 0;
	while (t->count < max_insns && offset < end && !is_in_block(t, offset)) {
		struct item *it = &t->item[t->count];

		if (!decode_item(t, it, page + offset, (unsigned)(end - offset), offset))
			return;
		t->count++;
		if (!find_next(t, it, &offset))
			return;
	}
}

/* Shifts and rotates by a count of zero leave all flags alone. */
static bool may_leave_flags(const struct item *it)
{
	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
		return it->i.op[1].kind != OPK_IMM || !(it->i.imm & 31);
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

/* Of the classes that have the guest's instruction in their code. */
static bool carries_itself(const struct item *it)
{
	return it->class == JIT_COPY || it->class == JIT_BITS || it->class == JIT_JCC ||
	       it->class == JIT_LOOP;
}

static void find_live_flags(struct translation *t)
{
	uint32_t live = ARITH_FLAGS;

	for (unsigned k = t->count; k-- > 0;) {
		struct item *it = &t->item[k];
		const ZydisAccessedFlags *f = it->z.cpu_flags;
		uint32_t written = 0, read = 0, left;

		if (f) {
			written = (f->modified | f->set_0 | f->set_1 | f->undefined) & ARITH_FLAGS;
			read = f->tested & ARITH_FLAGS;
		}
		left = may_leave_flags(it) ? live : live & ~written;
		it->flags_written = carries_itself(it) && written;
		it->flags_needed = carries_itself(it) && (read || (written && left));
		if (it->class == JIT_INTERP || it->class == JIT_JCC || it->class >= JIT_PUSHF ||
		    may_fault_late(it))
			read = ARITH_FLAGS;
		if (it->class < JIT_PUSHF)
			live = left;
		live |= read;
		it->flags_live_in = live != 0;
	}
}

void analyse_block(struct translation *t, const uint8_t *p, unsigned room, uint64_t offset,
		   unsigned max_insns)
{
	decode_block(t, p - offset, offset + room, offset, max_insns);
	check_shadows(t);
	find_live_flags(t);
}
