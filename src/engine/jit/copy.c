/* Copied instructions: the guest's own, with a memory operand that is the host's. */
#include "engine/jit/translation.h"

/*
 * Whether LOCK means anything. Where there is one vCPU, nobody else writes what user programs update
 * atomically: devices store plainly, into buffers that drivers gave them. But LOCK is also a fence, which
 * drivers in user mode need against devices; the usual idiom for that works on the stack, and MFENCE is
 * never touched. An interrupt comes between instructions, with LOCK or without.
 */
static bool needs_lock(const struct translation *t, const struct item *it)
{
	const struct x86_cpu *c = t->j->c;

	return c->sys->cpu_count > 1 || c->cpl < 3 || it->i.base == RSP;
}

static bool is_kept_prefix(const struct translation *t, const struct item *it, uint8_t b)
{
	return b == 0x66 || b == 0xf2 || b == 0xf3 || (b == 0xf0 && needs_lock(t, it));
}

static unsigned skip_prefixes(struct translation *t, const struct item *it)
{
	unsigned n = 0;

	for (; is_legacy_prefix(it->bytes[n]); n++)
		if (is_kept_prefix(t, it, it->bytes[n]))
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

/* A data operand R10 or R11 was loaded into a scratch register. */
static unsigned moved(unsigned reg, unsigned data)
{
	return reg == R10 || reg == R11 ? data : reg;
}

static void emit_tail(struct translation *t, const struct item *it)
{
	unsigned end = it->z.raw.modrm.offset + 1u + (it->z.raw.modrm.rm == 4 &&
		       it->z.raw.modrm.mod != 3 ? 1u : 0u) + it->z.raw.disp.size / 8u;

	emit_bytes(&t->e, it->bytes + end, it->host_length - end);
}

static void emit_legacy(struct translation *t, const struct item *it, struct place m, unsigned data)
{
	struct emit *e = &t->e;
	unsigned n = skip_prefixes(t, it);
	bool has_rex = (it->bytes[n] & 0xf0) == 0x40;
	unsigned w = has_rex ? it->bytes[n] >> 3 & 1 : 0, r = has_rex ? it->bytes[n] >> 2 & 1 : 0;
	unsigned reg = r << 3 | it->z.raw.modrm.reg;

	if (has_rex)
		n++;
	if (it->data_regs && reg_is_operand(it))
		reg = moved(reg, data);
	emit_u8(e, rex_place(w, reg, m));
	emit_bytes(e, it->bytes + n, it->z.raw.modrm.offset - n);
	emit_place(e, reg, m);
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

static void emit_vex(struct translation *t, const struct item *it, struct place m, unsigned data)
{
	struct emit *e = &t->e;
	unsigned n = skip_prefixes(t, it);
	struct vex_fields f = vex_fields(it->bytes + n);
	unsigned reg = f.r << 3 | it->z.raw.modrm.reg;

	if (it->data_regs) {
		if (reg_is_operand(it))
			reg = moved(reg, data);
		f.vvvv = moved(f.vvvv, data);
	}
	emit_u8(e, 0xc4);
	emit_u8(e, (unsigned)(~rex_place(false, reg, m) & 7) << 5 | f.map); /* R, X, B inverted */
	emit_u8(e, f.w << 7 | (~f.vvvv & 15u) << 3 | f.l_pp);
	n += f.size;
	emit_bytes(e, it->bytes + n, it->z.raw.modrm.offset - n);
	emit_place(e, reg, m);
	emit_tail(t, it);
}

/* MOV AL/eAX/rAX with a 64-bit offset: the ordinary MOV instead. */
static void emit_moffs(struct translation *t, const struct item *it, struct place m)
{
	struct emit *e = &t->e;
	unsigned n = skip_prefixes(t, it);
	unsigned w = (it->bytes[n] & 0xf8) == 0x48;
	static const uint8_t opcode[4] = { 0x8a, 0x8b, 0x88, 0x89 };

	emit_u8(e, rex_place(w, RAX, m));
	emit_u8(e, opcode[it->z.opcode & 3]);
	emit_place(e, RAX, m);
}

static void emit_copy_with_memory(struct translation *t, const struct item *it)
{
	struct emit *e = &t->e;
	unsigned data = NO_REG;
	struct place m = emit_access(t, it, it->data_regs ? &data : NULL);

	flags_provide(t, it, it->data_regs ? data : scratch_spare(t, m));
	if (it->data_regs)
		emit_load_gs(e, data, reg_slot(it->data_regs));
	if (!(it->z.attributes & ZYDIS_ATTRIB_HAS_MODRM))
		emit_moffs(t, it, m);
	else if (it->i.vex)
		emit_vex(t, it, m, data);
	else
		emit_legacy(t, it, m, data);
	if (it->written_regs)
		emit_store_gs(e, data, reg_slot(it->written_regs));
}

/* LEA of a constant or a RIP-relative address; R10 or R11 is stored by the caller. */
static bool emit_lea_rip(struct translation *t, const struct item *it)
{
	unsigned reg = (unsigned)it->i.op[0].reg;

	if (!is_lea_rip(it))
		return false;
	if (t->word == 4) {
		emit_mov_imm(&t->e, reg, (uint32_t)it->i.disp);
		return true;
	}
	emit_page_relative(&t->e, reg, it->rip + it->i.length + (uint64_t)it->ops[1].mem.disp.value);
	if (it->z.address_width == 32 || it->i.osz == 4) { /* mov reg, reg: 32 bits */
		emit_u8(&t->e, rex(false, reg, 0, reg));
		emit_u8(&t->e, 0x89);
		emit_u8(&t->e, modrm(3, reg, reg));
	}
	return true;
}

void emit_copy(struct translation *t, const struct item *it)
{
	uint8_t used = it->data_regs | it->address_regs; /* addresses: LEA */

	if (it->access.size) {
		emit_copy_with_memory(t, it);
		return;
	}
	if (used & 1)
		scratch_free(t, H10);
	if (used & 2)
		scratch_free(t, H11);
	flags_provide(t, it, scratch_spare(t, at_base(NO_REG, 0)));
	if (used & 1)
		emit_load_gs(&t->e, H10, JS_GPR(10));
	if (used & 2)
		emit_load_gs(&t->e, H11, JS_GPR(11));
	if (!emit_lea_rip(t, it))
		emit_bytes(&t->e, it->bytes, it->host_length);
	if (it->written_regs & 1)
		emit_store_gs(&t->e, H10, JS_GPR(10));
	if (it->written_regs & 2)
		emit_store_gs(&t->e, H11, JS_GPR(11));
}
