/* Memory operands: the guest address, the way through the table, and the slow path behind the block. */
#include "engine/jit/translation.h"

int32_t reg_slot(unsigned bit)
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
void emit_address(struct translation *t, const struct item *it, const ZydisDecodedOperand *m)
{
	struct emit *e = &t->e;
	bool narrow = it->z.address_width == 32;

	if (!(it->z.attributes & ZYDIS_ATTRIB_HAS_MODRM)) { /* MOV with a 64-bit offset */
		emit_mov_imm(e, H10, (uint64_t)m->mem.disp.value);
		return;
	}
	if (it->z.raw.modrm.mod == 0 && it->z.raw.modrm.rm == 5) {
		emit_page_relative(e, H10, it->rip + it->i.length + (uint64_t)m->mem.disp.value);
		if (narrow)
			EMIT(e, 0x45, 0x89, 0xd2); /* mov r10d, r10d */
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

void emit_segment(struct translation *t, const ZydisDecodedOperand *m)
{
	unsigned seg = (unsigned)(m->mem.segment - ZYDIS_REGISTER_ES);

	if (seg < FS)
		return;
	emit_load_gs(&t->e, H11, (int32_t)(JS(seg_base) + 8 * (int)seg));
	EMIT(&t->e, 0x4f, 0x8d, 0x14, 0x1a); /* lea r10, [r10 + r11] */
}

void emit_save_flags(struct emit *e)
{
	emit_store_gs(e, RAX, JS(save_rax));
	EMIT(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	emit_store_gs(e, RAX, JS(save_flags));
}

void emit_restore_flags(struct emit *e)
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
		s->from[0] = emit_jcc_rel32(e, 5);
		s->misaligned[0] = true;
		s->check_again = e->p + e->to_exec;
		return;
	}
	EMIT(e, 0x45, 0x89, 0xd3);             /* mov r11d, r10d */
	EMIT(e, 0x41, 0x81, 0xe3);             /* and r11d, 0xfff */
	emit_u32(e, 0xfff);
	EMIT(e, 0x41, 0x81, 0xfb);             /* cmp r11d, 4096 - size */
	emit_u32(e, 4096 - size);
	s->from[0] = emit_jcc_rel32(e, 7);
}

/*
 * With h10 = gva: h10 becomes the host address (folded) after the table gave its addend. Flags are
 * kept when `live`. `aligned` accesses cannot cross a page.
 */
void emit_translate(struct translation *t, unsigned size, bool write, bool live, bool aligned)
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
	s->from[1] = emit_jcc_rel32(e, 4);
	s->back = e->p + e->to_exec;
	if (live)
		emit_restore_flags(e);
	EMIT(e, 0x4f, 0x8d, 0x14, 0x1a); /* lea r10, [r10 + r11] */
}

/* The out-of-line parts. */
void emit_slow_paths(struct translation *t)
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
