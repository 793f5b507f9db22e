#include "known.h"

#include <Zydis/Zydis.h>
#include <string.h>

#include "base/bits.h"
#include "generate.h"
#include "guest.h"
#include "sandbox.h"
#include "undefined.h"

/* ---- The memory operand ---- */

/* BT and its kin with a register index: bytes between the operand's address and the bit's. */
static uint64_t bit_string_offset(const struct oracle_case *c)
{
	const struct insn *i = &c->insn;
	unsigned size = i->op[0].size;
	int64_t index;

	if (i->opcode_map != ZYDIS_OPCODE_MAP_0F || (i->opcode & ~0x18) != 0xa3 || i->vex)
		return 0;
	index = sign_extend_bytes(c->in.gpr[i->op[1].reg], size);
	return (uint64_t)((index >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * (int64_t)size);
}

static uint64_t operand_address(const struct oracle_case *c)
{
	const struct insn *i = &c->insn;
	uint64_t a = (uint64_t)i->disp + bit_string_offset(c);

	if (i->base == BASE_RIP)
		a += c->in.rip + i->length;
	else if (i->base != REG_NONE)
		a += c->in.gpr[i->base];
	if (i->index != REG_NONE)
		a += c->in.gpr[i->index] * i->scale;
	a &= mask_bytes(i->asz);
	return a + (i->seg == FS ? c->in.fs_base : i->seg == GS ? c->in.gs_base : 0);
}

static bool in_data(uint64_t address, unsigned bytes)
{
	return address - BOX_DATA <= BOX_DATA_BYTES - bytes;
}

static const struct operand *memory_operand(const struct oracle_case *c)
{
	const struct insn *i = &c->insn;

	for (unsigned n = 0; n < i->op_count; n++)
		if (i->op[n].kind == OPK_MEM)
			return &i->op[n];
	return NULL;
}

/* ---- MXCSR_MASK (SDM vol. 1 §11.6.6): AMD hosts have MXCSR.MM, bit 17 ---- */

#define MXCSR_MASK_AT 28
#define MXCSR_MM      0x20000u

static bool saves_mxcsr_mask(unsigned mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
		return true;
	default:
		return false;
	}
}

static void adopt_mxcsr_mask(const struct oracle_case *c, uint8_t *host_data,
			     const uint8_t *engine_data)
{
	uint64_t at = operand_address(c) + MXCSR_MASK_AT;
	uint32_t host, engine;

	if (!in_data(at, 4))
		return;
	memcpy(&host, host_data + (at - BOX_DATA), 4);
	memcpy(&engine, engine_data + (at - BOX_DATA), 4);
	if (host == (engine | MXCSR_MM))
		memcpy(host_data + (at - BOX_DATA), &engine, 4);
}

/* ---- Flags and codes that vendors treat differently ---- */

/*
 * Between two iterations Intel pushes RF (SDM vol. 3B §17.3.1.1) and the status flags from before the
 * instruction; AMD no RF, and the flags of the last comparison, after faults too.
 */
static void ignore_flags_within_repeat(const struct oracle_case *c, struct outcome *host,
				       const struct outcome *engine)
{
	uint64_t ignored = host->vector == VEC_DB ? FLAG_RF | FLAGS_ARITH : FLAGS_ARITH;

	if (c->insn.rep != REP_NONE && host->excepted && !__builtin_cpu_is("intel"))
		host->after.rflags = (host->after.rflags & ~ignored) |
				     (engine->after.rflags & ignored);
}

#define CODE_C0    0x0100u
#define CODE_C1    0x0200u
#define CODE_C2    0x0400u
#define CODE_C3    0x4000u
#define CODES_ALL  (CODE_C0 | CODE_C1 | CODE_C2 | CODE_C3)
#define FSW_BEFORE 0x07u /* IE, DE, ZE: raised before a result exists */

/* x87 condition codes: undefined by SDM vol. 2, or defined and left alone by AMD. */
static const struct {
	uint16_t mnemonic, codes;
} open_codes[] = {
	{ ZYDIS_MNEMONIC_FCOMI, CODE_C1 }, /* cleared by Intel only */
	{ ZYDIS_MNEMONIC_FCOMIP, CODE_C1 },
	{ ZYDIS_MNEMONIC_FUCOMI, CODE_C1 },
	{ ZYDIS_MNEMONIC_FUCOMIP, CODE_C1 },
	{ ZYDIS_MNEMONIC_FCMOVB, CODES_ALL }, /* undefined unless the stack underflows */
	{ ZYDIS_MNEMONIC_FCMOVBE, CODES_ALL },
	{ ZYDIS_MNEMONIC_FCMOVE, CODES_ALL },
	{ ZYDIS_MNEMONIC_FCMOVNB, CODES_ALL },
	{ ZYDIS_MNEMONIC_FCMOVNBE, CODES_ALL },
	{ ZYDIS_MNEMONIC_FCMOVNE, CODES_ALL },
	{ ZYDIS_MNEMONIC_FCMOVNU, CODES_ALL },
	{ ZYDIS_MNEMONIC_FCMOVU, CODES_ALL },
	{ ZYDIS_MNEMONIC_FFREE, CODES_ALL }, /* undefined */
	{ ZYDIS_MNEMONIC_FFREEP, CODES_ALL }, /* undocumented */
};

static uint16_t open_codes_of(const struct oracle_case *c, const struct outcome *host)
{
	const struct xsave_image *x = &host->after.fp;
	unsigned m = c->insn.mnemonic;

	/* After an unmasked one Intel keeps the codes, AMD clears C1 and lets comparisons set theirs. */
	if (x->fsw & ~x->fcw & FSW_BEFORE)
		return CODES_ALL;
	/* FPREM: C0, C3 and C1 belong to a quotient that does not exist. */
	if ((m == ZYDIS_MNEMONIC_FPREM || m == ZYDIS_MNEMONIC_FPREM1) && x->fsw & 1)
		return CODES_ALL;
	for (unsigned k = 0; k < LM_ARRAY_SIZE(open_codes); k++)
		if (open_codes[k].mnemonic == m)
			return open_codes[k].codes;
	return 0;
}

static void ignore_open_codes(const struct oracle_case *c, struct outcome *host,
			      const struct outcome *engine)
{
	uint16_t codes = c->insn.guard & GUARD_X87 ? open_codes_of(c, host) : 0;

	host->after.fp.fsw = (uint16_t)((host->after.fp.fsw & ~codes) |
					(engine->after.fp.fsw & codes));
}

static bool is_maskmov(const struct oracle_case *c)
{
	unsigned m = c->insn.mnemonic;

	return m == ZYDIS_MNEMONIC_MASKMOVQ || m == ZYDIS_MNEMONIC_MASKMOVDQU ||
	       m == ZYDIS_MNEMONIC_VMASKMOVDQU;
}

/* The operand is more than one access for any processor. */
static bool is_area(const struct oracle_case *c)
{
	const struct operand *o = &c->insn.op[0];

	if (!c->insn.op_count || o->kind != OPK_MEM)
		return false;
	return o->size > 32 || (o->size > 8 && c->insn.guard & GUARD_X87);
}

static bool is_masked_store(const struct oracle_case *c)
{
	switch (c->insn.mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		return c->insn.op[0].kind == OPK_MEM;
	default:
		return is_maskmov(c);
	}
}

/* Which byte of an area CR2 names is not said; its page is. */
static void ignore_place_in_area(const struct oracle_case *c, struct outcome *host,
				 const struct outcome *engine)
{
	if ((is_area(c) || is_masked_store(c)) && host->excepted && host->vector == VEC_PF &&
	    (host->cr2 ^ engine->cr2) < 4096)
		host->cr2 = engine->cr2;
}

/*
 * PUSH of a segment register with a 32-bit operand: zero-extended, or a 16-bit write that leaves the
 * upper half of its place alone (SDM vol. 2 PUSH).
 */
static bool pushes_selector(const struct oracle_case *c)
{
	const struct insn *i = &c->insn;

	return i->mnemonic == ZYDIS_MNEMONIC_PUSH && i->op[0].kind == OPK_SEG && i->osz == 4;
}

static void ignore_upper_half_of_selector(const struct oracle_case *c, uint8_t *host_data,
					  const uint8_t *engine_data)
{
	uint64_t at = (c->in.gpr[RSP] - 2) & 0xffffffff;

	if (pushes_selector(c) && in_data(at, 2))
		memcpy(host_data + (at - BOX_DATA), engine_data + (at - BOX_DATA), 2);
}

/* With 32-bit addresses in 64-bit code, Intel clears upper halves also where no iteration ends. */
static void ignore_upper_halves_within_repeat(const struct oracle_case *c, struct outcome *host,
					      const struct outcome *engine)
{
	static const uint8_t counters[] = { RCX, RSI, RDI };

	if (c->insn.rep == REP_NONE || c->size != CODE_64 || c->insn.asz != 4)
		return;
	for (unsigned k = 0; k < sizeof(counters); k++)
		if (host->after.gpr[counters[k]] == (uint32_t)engine->after.gpr[counters[k]])
			host->after.gpr[counters[k]] = engine->after.gpr[counters[k]];
}

static bool is_gather(const struct oracle_case *c)
{
	return c->insn.vex && c->insn.opcode_map == ZYDIS_OPCODE_MAP_0F38 &&
	       (c->insn.opcode & ~3) == 0x90;
}

/* SDM vol. 2 VGATHER clears the upper half of a 128-bit destination at the end, Intel before. */
static void ignore_upper_half_of_gathered(const struct oracle_case *c, struct outcome *host,
					  const struct outcome *engine)
{
	unsigned reg = c->insn.op[0].reg;

	if (is_gather(c) && c->insn.vlen == 16 && host->excepted && host->vector != VEC_DB)
		host->after.fp.ymm_high[reg] = engine->after.fp.ymm_high[reg];
}

/* ---- Reasons why outcomes differ ---- */

static bool excepted_with(const struct outcome *o, enum x86_vector vector)
{
	return o->excepted && o->vector == vector;
}

/* Both raise #GP for other reserved bits of MXCSR; this one only the model has reserved. */
static bool loads_mm(const struct oracle_case *c, const struct outcome *host,
		     const struct outcome *engine)
{
	return (!host->excepted || host->vector == VEC_DB) && host->after.fp.mxcsr & MXCSR_MM &&
	       excepted_with(engine, VEC_GP);
}

static bool is_misaligned_sha(const struct oracle_case *c, const struct outcome *host,
			      const struct outcome *engine)
{
	unsigned m = c->insn.mnemonic;
	bool sha = (m >= ZYDIS_MNEMONIC_SHA1MSG1 && m <= ZYDIS_MNEMONIC_SHA256RNDS2);

	return sha && excepted_with(engine, VEC_GP) && operand_address(c) & 15 &&
	       !excepted_with(host, VEC_GP);
}

static bool is_cut_ud(const struct oracle_case *c, const struct outcome *host,
		      const struct outcome *engine)
{
	return (c->insn.mnemonic == ZYDIS_MNEMONIC_UD0 || c->insn.mnemonic == ZYDIS_MNEMONIC_UD1) &&
	       excepted_with(host, VEC_UD) && excepted_with(engine, VEC_PF);
}

static bool misaligned_over_the_border(const struct oracle_case *c, const struct outcome *host,
				       const struct outcome *engine)
{
	return excepted_with(host, VEC_GP) && excepted_with(engine, VEC_SS) && c->insn.seg == SS &&
	       operand_address(c) & (is_area(c) ? 63 : c->insn.vlen == 32 ? 31 : 15);
}

/* Of an FXSAVE area (SDM vol. 2 FXSAVE), or where the end of the address space is in the operand. */
static bool is_ac_first(const struct oracle_case *c, const struct outcome *host,
			const struct outcome *engine)
{
	return excepted_with(host, VEC_AC) && c->in.rflags & FLAG_AC &&
	       (excepted_with(engine, VEC_GP) || excepted_with(engine, VEC_SS));
}

static bool is_short_push(const struct oracle_case *c, const struct outcome *host,
			  const struct outcome *engine)
{
	return pushes_selector(c) && excepted_with(engine, VEC_AC) && !excepted_with(host, VEC_AC);
}

static bool converts_half_floats(const struct oracle_case *c)
{
	return c->insn.mnemonic == ZYDIS_MNEMONIC_VCVTPH2PS ||
	       c->insn.mnemonic == ZYDIS_MNEMONIC_VCVTPS2PH;
}

static bool is_misaligned_half_float(const struct oracle_case *c, const struct outcome *host,
				     const struct outcome *engine)
{
	return converts_half_floats(c) && excepted_with(host, VEC_AC) &&
	       !excepted_with(engine, VEC_AC);
}

static bool is_half_float_fault(const struct oracle_case *c, const struct outcome *host,
				const struct outcome *engine)
{
	return converts_half_floats(c) && host->excepted && engine->excepted;
}

/* Linear addresses of 32-bit code wrap where the segments' limit is 4 GiB, or they do not. */
static bool wraps(const struct oracle_case *c, const struct outcome *host,
		  const struct outcome *engine)
{
	return c->size != CODE_64 && excepted_with(host, VEC_PF) &&
	       (excepted_with(engine, VEC_GP) || excepted_with(engine, VEC_SS)) &&
	       (uint32_t)host->cr2 + 4096 < 2 * 4096;
}

static bool is_mmx_conversion(const struct oracle_case *c, const struct outcome *host,
			      const struct outcome *engine)
{
	return c->insn.op_count && c->insn.op[0].kind == OPK_MMX && c->insn.guard & GUARD_SSE &&
	       excepted_with(host, VEC_XM) && excepted_with(engine, VEC_XM);
}

static bool is_mmx_store_fault(const struct oracle_case *c, const struct outcome *host,
			       const struct outcome *engine)
{
	return c->insn.guard & GUARD_MMX && c->insn.op_count && c->insn.op[0].kind == OPK_MEM &&
	       host->excepted && engine->excepted && host->vector == engine->vector &&
	       !(host->after.fp.fsw >> 11 & 7);
}

static bool is_maskmov_fault(const struct oracle_case *c, const struct outcome *host,
			     const struct outcome *engine)
{
	bool same = engine->excepted && host->vector == engine->vector &&
		    (host->vector != VEC_PF ||
		     (host->error == engine->error && host->cr2 == engine->cr2));

	return is_maskmov(c) && host->excepted && host->vector != VEC_DB && !same;
}

/* Both operands fault: with REP the source is first, without it the destination. */
static bool is_cmps_fault(const struct oracle_case *c, const struct outcome *host,
			  const struct outcome *engine)
{
	bool cmps = c->insn.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (c->insn.opcode | 1) == 0xa7;
	bool same = host->vector == engine->vector &&
		    (host->vector != VEC_PF || host->cr2 == engine->cr2);

	return cmps && host->excepted && engine->excepted && !same;
}

static bool is_maskmovq_fault(const struct oracle_case *c, const struct outcome *host,
			      const struct outcome *engine)
{
	return c->insn.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ && host->excepted && engine->excepted &&
	       host->vector == engine->vector;
}

#define XSAVE_AREA 832

/* The fault, and what was stored before it, depend on the part that is needed or touched first. */
static bool is_area_fault(const struct oracle_case *c, const struct outcome *host,
			  const struct outcome *engine)
{
	uint64_t at = operand_address(c);
	unsigned size = c->insn.op[0].size;

	return is_area(c) && (host->excepted || engine->excepted) &&
	       (at & 0xfff) + (size >= 512 ? XSAVE_AREA : size) > 4096;
}

/* Whether such a result is tiny depends on its last bit. */
static bool is_about_to_underflow(const struct oracle_case *c, const struct outcome *host,
				  const struct outcome *engine)
{
	const struct xsave_image *x = &host->after.fp;
	bool pushes = c->insn.mnemonic == ZYDIS_MNEMONIC_FSINCOS ||
		      c->insn.mnemonic == ZYDIS_MNEMONIC_FPTAN;

	return result_tolerance(c) == LAST_BIT && (!host->excepted || host->vector == VEC_DB) &&
	       (x->st[pushes].se & 0x7fff) <= 1;
}

static bool is_half_bounded(const struct oracle_case *c, const struct outcome *host,
			    const struct outcome *engine)
{
	return c->insn.mnemonic == ZYDIS_MNEMONIC_BOUND && excepted_with(host, VEC_BR) &&
	       excepted_with(engine, VEC_PF);
}

static bool is_restored_in_part(const struct oracle_case *c, const struct outcome *host,
				const struct outcome *engine)
{
	return (c->insn.mnemonic == ZYDIS_MNEMONIC_XRSTOR ||
		c->insn.mnemonic == ZYDIS_MNEMONIC_XRSTOR64) &&
	       excepted_with(host, VEC_GP) && excepted_with(engine, VEC_GP);
}

static bool is_faulting_call(const struct oracle_case *c, const struct outcome *host,
			     const struct outcome *engine)
{
	return c->insn.mnemonic == ZYDIS_MNEMONIC_CALL && excepted_with(engine, VEC_GP) &&
	       host->excepted;
}

static bool is_prefixed_loop(const struct oracle_case *c, const struct outcome *host,
			     const struct outcome *engine)
{
	return c->insn.rep != REP_NONE && (c->insn.mnemonic == ZYDIS_MNEMONIC_LOOPE ||
					   c->insn.mnemonic == ZYDIS_MNEMONIC_LOOPNE);
}

static bool is_empty_fstpnce(const struct oracle_case *c, const struct outcome *host,
			     const struct outcome *engine)
{
	unsigned top = c->in.fp.fsw >> 11 & 7;

	return c->insn.mnemonic == ZYDIS_MNEMONIC_FSTPNCE && !(c->in.fp.ftw >> top & 1);
}

static bool is_half_done(const struct oracle_case *c, const struct outcome *host,
			 const struct outcome *engine)
{
	bool all = c->insn.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (c->insn.opcode | 1) == 0x61;

	return all && host->excepted && engine->excepted && host->vector == engine->vector &&
	       host->vector != VEC_DB && host->cr2 == engine->cr2;
}

static bool is_gather_under_tf(const struct oracle_case *c, const struct outcome *host,
			       const struct outcome *engine)
{
	return is_gather(c) && c->in.rflags & FLAG_TF && excepted_with(host, VEC_DB) &&
	       engine->excepted;
}

/* F2XM1 wants -1 to 1, FYL2XP1 a little less than -0.3 to 0.42 (SDM vol. 2). */
static bool is_out_of_range(const struct oracle_case *c, const struct outcome *host,
			    const struct outcome *engine)
{
	unsigned exponent = c->in.fp.st[0].se & 0x7fff;

	return (c->insn.mnemonic == ZYDIS_MNEMONIC_FYL2XP1 && exponent >= 0x3ffd) ||
	       (c->insn.mnemonic == ZYDIS_MNEMONIC_F2XM1 && exponent >= 0x3fff);
}

static bool is_wide_alignment(const struct oracle_case *c, const struct outcome *host,
			      const struct outcome *engine)
{
	const struct operand *o = memory_operand(c);

	return o && o->size >= 16 && excepted_with(host, VEC_AC) && !excepted_with(engine, VEC_AC) &&
	       operand_address(c) & 15;
}

static bool is_word_movsxd(const struct oracle_case *c, const struct outcome *host,
			   const struct outcome *engine)
{
	return c->insn.mnemonic == ZYDIS_MNEMONIC_MOVSXD && c->insn.osz == 2 && engine->excepted;
}

static bool is_prefixed_xchg(const struct oracle_case *c, const struct outcome *host,
			     const struct outcome *engine)
{
	unsigned n = c->insn.length;

	return c->insn.mnemonic == ZYDIS_MNEMONIC_PAUSE && n > 2 && (c->bytes[n - 2] & 0xf1) == 0x41;
}

static bool is_canonical(uint64_t a)
{
	return (uint64_t)((int64_t)(a << 16) >> 16) == a;
}

static bool is_offset_not_canonical(const struct oracle_case *c, const struct outcome *host,
				    const struct outcome *engine)
{
	const struct insn *i = &c->insn;
	const uint64_t *g = c->in.gpr;
	uint64_t base = i->seg == FS ? c->in.fs_base : i->seg == GS ? c->in.gs_base : 0;
	bool implicit = !is_canonical(g[RSI]) || !is_canonical(g[RDI]) || !is_canonical(g[RBX]);

	return base && (!is_canonical(operand_address(c) - base) || (!i->op_count && implicit)) &&
	       excepted_with(host, VEC_GP) && !excepted_with(engine, VEC_GP);
}

static bool is_store_after_exception(const struct oracle_case *c, const struct outcome *host,
				     const struct outcome *engine)
{
	const struct xsave_image *x = &engine->after.fp;

	return c->insn.guard & GUARD_X87 && c->insn.op_count && c->insn.op[0].kind == OPK_MEM &&
	       host->excepted && (!engine->excepted || engine->vector == VEC_DB) &&
	       x->fsw & ~x->fcw & 0x3f;
}

static bool is_wide_element(const struct oracle_case *c, const struct outcome *host,
			    const struct outcome *engine)
{
	unsigned m = c->insn.mnemonic;

	return c->size != CODE_64 && excepted_with(host, VEC_UD) &&
	       (m == ZYDIS_MNEMONIC_VPINSRD || m == ZYDIS_MNEMONIC_VPEXTRD);
}

static bool is_locked(const struct oracle_case *c, const struct outcome *host,
		      const struct outcome *engine)
{
	unsigned n = prefix_bytes(c->bytes, c->size);

	return memchr(c->bytes, 0xf0, n) && excepted_with(engine, VEC_UD) && host->excepted &&
	       (host->vector == VEC_PF || host->vector == VEC_GP || host->vector == VEC_SS ||
		host->vector == VEC_AC);
}

/* VMCALL takes no prefix (SDM vol. 2), but with one it leaves a virtual machine all the same. */
static bool is_prefixed_vmcall(const struct oracle_case *c, const struct outcome *host,
			       const struct outcome *engine)
{
	static const uint8_t vmcall[] = { 0x0f, 0x01, 0xc1 };
	unsigned n = prefix_bytes(c->bytes, c->size);

	return n && !memcmp(c->bytes + n, vmcall, sizeof(vmcall)) && excepted_with(engine, VEC_UD);
}

#define LONGEST_WITHOUT_PREFIXES 12

static bool may_be_too_long(const struct oracle_case *c, const struct outcome *host,
			    const struct outcome *engine)
{
	return prefix_bytes(c->bytes, c->size) > INSN_MAX_LENGTH - LONGEST_WITHOUT_PREFIXES &&
	       excepted_with(host, VEC_GP) && excepted_with(engine, VEC_UD);
}

/* VPERMQ and others: undefined for the decoder, but with the other VEX.W they are not. */
static bool is_other_w(const struct oracle_case *c, const struct outcome *host,
		       const struct outcome *engine)
{
	unsigned n = prefix_bytes(c->bytes, c->size);
	uint8_t other[INSN_MAX_LENGTH];
	struct insn i;

	if (excepted_with(host, VEC_UD) || !excepted_with(engine, VEC_UD) || c->bytes[n] != 0xc4)
		return false;
	memcpy(other, c->bytes, sizeof(other));
	other[n + 2] ^= 0x80;
	return insn_decode(&i, other, sizeof(other), c->size, false, guest_model()) == DECODE_OK;
}

/* The engine's #PF is right where the sandbox has nothing, but the host's process may. */
static bool is_memory_of_the_host(const struct oracle_case *c, const struct outcome *host,
				  const struct outcome *engine)
{
	return excepted_with(engine, VEC_PF) && !excepted_with(host, VEC_PF) &&
	       engine->cr2 - BOX_BASE >= BOX_BYTES;
}

/* Translated indirect branches arrive before their target is looked at. */
static bool is_late_fault_of_branch(const struct oracle_case *c, const struct outcome *host,
				    const struct outcome *engine)
{
	return excepted_with(host, VEC_GP) && !engine->excepted && !is_canonical(engine->after.rip);
}

static const struct {
	bool (*holds)(const struct oracle_case *c, const struct outcome *host,
		      const struct outcome *engine);
	const char *reason;
	bool undefined; /* for instructions that the model does not have */
} rows[] = {
	{ is_other_w, "a VEX.W that the SDM demands and AMD ignores", true },
	{ is_locked, "LOCK where it is not allowed: AMD may fault on the operand first", true },
	{ is_prefixed_vmcall, "VMCALL with a prefix: the host's hypervisor answers", true },
	{ may_be_too_long, "undefined and more than 15 bytes: #UD or #GP first", true },
	{ is_wide_element, "VPINSRD or VPEXTRD with VEX.W in 32-bit code: #UD for AMD, ignored by Intel" },
	{ loads_mm, "MXCSR.MM of AMD processors was loaded" },
	{ is_misaligned_sha, "SHA with a misaligned operand: AMD lets it pass" },
	{ is_cut_ud, "UD0 or UD1 at the end of a page: AMD fetches no ModRM" },
	{ misaligned_over_the_border, "misaligned and not canonical: #GP or #SS first" },
	{ is_ac_first, "misaligned in two ways: #AC, #GP or #SS first (SDM vol. 3A table 6-2)" },
	{ is_short_push, "#AC of PUSH of a segment register: 16-bit write or not (SDM vol. 2 PUSH)" },
	{ is_misaligned_half_float, "#AC of VCVTPH2PS and VCVTPS2PH: AMD looks, Intel does not" },
	{ is_half_float_fault, "VCVTPS2PH with an exception: Intel sets more of MXCSR, or raises #XM first" },
	{ wraps, "an operand over the end of 4 GiB: #GP, #SS or wrapping (SDM vol. 3A §5.3)" },
	{ is_mmx_conversion, "CVT to MMX with #XM: AMD goes to MMX state first" },
	{ is_maskmov_fault, "MASKMOV: checked also where the mask is clear (SDM vol. 2 MASKMOVDQU)" },
	{ is_cmps_fault, "CMPS with two operands that fault: which is first differs" },
	{ is_mmx_store_fault, "an MMX store with a fault: Intel goes to MMX state first" },
	{ is_maskmovq_fault, "MASKMOVQ with a fault: AMD goes to MMX state first" },
	{ is_area_fault, "an area across a border of which only a part may be touched" },
	{ is_about_to_underflow, "FSIN and others at the smallest normal number: underflow or not" },
	{ is_half_bounded, "BOUND whose upper bound faults: Intel compares with the lower one first" },
	{ is_restored_in_part, "XRSTOR with a bad MXCSR: Intel looks at it last" },
	{ is_wide_alignment, "#AC of vectors: AMD wants 16 bytes, Intel none (SDM vol. 3A §6.15)" },
	{ is_offset_not_canonical, "FS or GS with an offset that is not canonical: AMD looks at it" },
	{ is_store_after_exception, "x87 store with an unmasked exception: AMD tries the store first" },
	{ is_faulting_call, "CALL to a target that is not canonical: processors push first" },
	{ is_word_movsxd, "MOVSXD with 66: a word (SDM vol. 2), AMD and the decoder a doubleword" },
	{ is_prefixed_xchg, "F3 and 90 with REX.B: PAUSE for Intel, XCHG for AMD" },
	{ is_prefixed_loop, "LOOPE and LOOPNE with F3 or F2: for AMD the prefix names the condition" },
	{ is_empty_fstpnce, "FSTPNCE of an empty register: undocumented" },
	{ is_half_done, "PUSHA or POPA with a fault midway: AMD keeps what was done before it" },
	{ is_gather_under_tf, "a gather that faults midway with TF: processors trap first (SDM vol. 2 VGATHER)" },
	{ is_out_of_range, "F2XM1 or FYL2XP1 beyond their range: undefined" },
	{ is_memory_of_the_host, "an address where the host's process has memory of its own" },
	{ is_late_fault_of_branch, "a translated branch to an address that is not canonical: #GP there" },
};

_Static_assert(LM_ARRAY_SIZE(rows) <= KNOWN_REASONS, "known_counts");

struct known_count known_counts[KNOWN_REASONS];

void known_adopt(const struct oracle_case *c, struct outcome *host, uint8_t *host_data,
		 const struct outcome *engine, const uint8_t *engine_data)
{
	if (!c->decodes)
		return;
	if (saves_mxcsr_mask(c->insn.mnemonic))
		adopt_mxcsr_mask(c, host_data, engine_data);
	ignore_flags_within_repeat(c, host, engine);
	ignore_open_codes(c, host, engine);
	ignore_place_in_area(c, host, engine);
	ignore_upper_half_of_selector(c, host_data, engine_data);
	ignore_upper_halves_within_repeat(c, host, engine);
	ignore_upper_half_of_gathered(c, host, engine);
}

const char *known_difference(const struct oracle_case *c, const struct outcome *host,
			     const struct outcome *engine)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(rows); k++) {
		if (rows[k].undefined == c->decodes || !rows[k].holds(c, host, engine))
			continue;
		known_counts[k].reason = rows[k].reason;
		known_counts[k].cases++;
		return rows[k].reason;
	}
	return NULL;
}
