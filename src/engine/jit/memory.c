/*
 * Memory operands: the guest address, the check of its table entry, and the slow path behind the
 * block. A table entry is host minus guest address; it goes into a scratch register that becomes a
 * part of the operand, so the guest's address is computed again by the host's addressing.
 */
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

/* ---- The address of an access, in a scratch register ---- */

static unsigned in_scratch(struct translation *t, unsigned reg, unsigned scratch)
{
	if (reg != R10 && reg != R11)
		return reg;
	emit_load_gs(&t->e, scratch, JS_GPR(reg));
	return scratch;
}

static void emit_sum(struct translation *t, const struct item *it, unsigned to, struct place m,
		     int32_t extra)
{
	m.disp += extra;
	if (m.base == BASE_RIP) {
		emit_page_relative(&t->e, to, it->rip + it->i.length + (uint64_t)m.disp);
		return;
	}
	m.base = m.base == NO_REG ? NO_REG : (uint8_t)in_scratch(t, m.base, to);
	m.index = m.index == NO_REG ? NO_REG : (uint8_t)in_scratch(t, m.index, to);
	emit_lea(&t->e, to, m);
}

/* to = address. */
static void emit_plain_address(struct translation *t, const struct item *it, unsigned to)
{
	emit_sum(t, it, to, it->access.guest, 0);
}

/* to = lowest address that it may be, + extra. */
static void emit_first_address(struct translation *t, const struct item *it, unsigned to,
			       int32_t extra)
{
	struct place m = it->access.guest;

	if (it->access.reach)
		m.index = NO_REG;
	emit_sum(t, it, to, m, extra);
}

/* The address is that of a guest register in its host register, plus guest.disp. */
static bool is_register_based(const struct access *a)
{
	return a->guest.base < 16 && a->guest.base != R10 && a->guest.base != R11 &&
	       a->guest.index == NO_REG;
}

/* Base and index are guest registers in host registers. */
static bool has_index(const struct access *a)
{
	return a->guest.base < 16 && a->guest.base != R10 && a->guest.base != R11 &&
	       a->guest.index != NO_REG && a->guest.index != R10 && a->guest.index != R11;
}

/* ---- The check ---- */

static bool may_cross(const struct item *it, int32_t low, unsigned span)
{
	const struct access *a = &it->access;
	uint64_t first = it->rip + it->i.length + (uint64_t)(a->guest.disp + low);

	if (a->group == NO_GROUP && (a->aligned || a->size == 1))
		return false;
	return !a->plain || a->guest.base != BASE_RIP || (first & PAGE_MASK) + span > PAGE_SIZE;
}

static unsigned round_up_pow2(unsigned n)
{
	unsigned p = 1;

	while (p < n)
		p *= 2;
	return p;
}

/* dest = index of the table entry for the address in `from`. */
static void emit_index(struct translation *t, unsigned dest, unsigned from, bool write)
{
	struct emit *e = &t->e;

	if (!t->j->slow_pext) {
		emit_pext_gs(e, dest, from, JS(index_mask));
	} else {
		if (dest != from)
			emit_mov(e, dest, from);
		emit_shift(e, 4, dest, 16);
		emit_shift(e, 5, dest, 28);
	}
	if (write) {
		emit_u8(e, rex(true, 0, 0, dest)); /* bts dest, 36 */
		EMIT(e, 0x0f, 0xba);
		emit_u8(e, modrm(3, 5, dest));
		emit_u8(e, JIT_WRITE_BIT);
	}
}

/* s->dest = the addend, from the address in `from`. */
static void emit_entry(struct translation *t, struct slow *s, unsigned from)
{
	struct emit *e = &t->e;

	emit_index(t, s->dest, from, s->access & JIT_ACCESS_WRITE);
	emit_table_load(e, s->dest);
	emit_test_self(e, s->dest);
	s->miss = emit_jcc_rel32(e, 4);
	s->back = e->p + e->to_exec;
}

static struct slow *new_slow(struct translation *t, uint32_t access, unsigned span, unsigned dest)
{
	struct slow *s = &t->slow[t->slows++];

	*s = (struct slow){
		.access = access | span << 8 | t->now << 20, .span = span, .item = t->now,
		.dest = (uint8_t)dest, .group = NO_GROUP,
	};
	return s;
}

static void emit_cross_jump(struct translation *t, struct slow *s, unsigned cc)
{
	s->cross = emit_jcc_rel32(&t->e, cc);
	s->again = t->e.p + t->e.to_exec;
}

/*
 * Checks that [first, first + span) lies in one page, where that is not sure, and returns the
 * register with an address in that page. Out of line is decided what the cheap checks leave open.
 */
static unsigned emit_crossing_check(struct translation *t, const struct item *it, struct slow *s)
{
	const struct access *a = &it->access;
	struct emit *e = &t->e;
	unsigned dest = s->dest, tail = round_up_pow2(s->span);
	bool alone = s->group == NO_GROUP;
	int32_t low = alone ? 0 : t->group[s->group].low;

	if (!may_cross(it, low, s->span)) {
		if (is_register_based(a) && a->guest.disp + low == 0)
			return a->guest.base;
		emit_first_address(t, it, dest, low);
	} else if (alone && s->span <= 8 && tail == s->span && is_register_based(a) &&
		   !(a->guest.disp & (int32_t)(tail - 1))) {
		emit_test8(e, a->guest.base, tail - 1);
		emit_cross_jump(t, s, 5);
		if (!a->guest.disp)
			return a->guest.base;
		emit_first_address(t, it, dest, 0);
	} else if (alone && s->span <= 8 && tail == s->span) {
		emit_first_address(t, it, dest, 0);
		emit_test8(e, dest, tail - 1);
		emit_cross_jump(t, s, 5);
		s->reload = true;
	} else if (tail <= 64) {
		/* The last byte of a power of two from here is not among the first of a page. */
		emit_first_address(t, it, dest, low + (int32_t)tail - 1);
		emit_test32(e, dest, (uint32_t)(PAGE_SIZE - tail));
		emit_cross_jump(t, s, 4);
		s->reload = true;
	} else {
		emit_first_address(t, it, dest, low);
		emit_group1(e, 4, dest, PAGE_MASK);
		emit_group1(e, 7, dest, (uint32_t)(PAGE_SIZE - s->span));
		emit_cross_jump(t, s, 7);
		emit_first_address(t, it, dest, low);
	}
	return dest;
}

/* dest = addend for a plain access, or for all of its group. Flags are dead. */
static void emit_plain_check(struct translation *t, const struct item *it, unsigned dest)
{
	const struct access *a = &it->access;
	const struct group *g = a->group == NO_GROUP ? NULL : &t->group[a->group];
	bool write = g ? g->write : a->write;
	struct slow *s = new_slow(t, (write ? JIT_ACCESS_WRITE : 0) | (g ? JIT_ACCESS_GROUP : 0),
				  g ? g->span : a->size, dest);

	s->plain = true;
	s->group = a->group;
	s->keep = scratch_is_held(t, dest == H10 ? H11 : H10);
	emit_entry(t, s, emit_crossing_check(t, it, s));
}

/*
 * With h10 = gva: h11 = the addend. Flags are kept when `live`, and then RAX is in the state page
 * from here to the end of the check.
 */
static void emit_check_h10(struct translation *t, const struct access *a, bool may_cross, bool live)
{
	struct emit *e = &t->e;
	struct slow *s = new_slow(t, (a->write ? JIT_ACCESS_WRITE : 0) | (live ? JIT_ACCESS_FLAGS : 0),
				  a->size, H11);
	unsigned tail = round_up_pow2(a->size);

	if (live)
		emit_save_flags(e);
	if (may_cross && a->size <= 8 && tail == a->size) {
		emit_test8(e, H10, tail - 1);
		emit_cross_jump(t, s, 5);
	} else if (may_cross) {
		emit_lea(e, H11, at_base(H10, (int32_t)tail - 1));
		emit_test32(e, H11, (uint32_t)(PAGE_SIZE - tail));
		emit_cross_jump(t, s, 4);
	}
	emit_entry(t, s, H10);
	if (live)
		emit_restore_flags(e);
}

/* ---- The access ---- */

/* h10 = host address minus what h11 holds; with `data` all of it, and h11 is free. */
static struct place in_both(struct translation *t, unsigned *data)
{
	struct place m = { H10, H11, 1, 0 };

	if (!data)
		return m;
	emit_lea(&t->e, H10, m);
	*data = H11;
	return at_base(H10, 0);
}

void emit_translate(struct translation *t, const struct item *it, unsigned size, bool write)
{
	const struct access a = { .size = (uint16_t)size, .write = write };
	unsigned free;

	emit_check_h10(t, &a, size > 1, it->flags_live_in);
	in_both(t, &free);
}

static struct place emit_general_access(struct translation *t, const struct item *it,
					unsigned *data)
{
	scratch_free_all(t);
	if (it->access.plain) {
		emit_plain_address(t, it, H10);
	} else {
		emit_address(t, it, memory_operand(it));
		emit_segment(t, memory_operand(it));
	}
	emit_check_h10(t, &it->access, may_cross(it, 0, it->access.size), it->flags_live_in);
	return in_both(t, data);
}

/* [guest's operand + addend], or by way of the other scratch register. */
static struct place emit_with_addend(struct translation *t, const struct item *it, unsigned addend,
				     unsigned *data)
{
	const struct access *a = &it->access;
	unsigned other = addend == H10 ? H11 : H10;
	struct place m = { (uint8_t)other, (uint8_t)addend, 1, 0 };

	if (is_register_based(a)) {
		if (data)
			*data = scratch_take(t, addend);
		return (struct place){ a->guest.base, (uint8_t)addend, 1, a->guest.disp };
	}
	scratch_free(t, other);
	if (has_index(a)) { /* which may be known later than the base */
		emit_lea(&t->e, other, (struct place){ a->guest.base, (uint8_t)addend, 1, 0 });
		m = a->guest;
		m.base = (uint8_t)other;
	} else {
		emit_plain_address(t, it, other);
	}
	if (!data)
		return m;
	if (m.index == addend) {
		emit_lea(&t->e, other, m);
		m = at_base(other, 0);
	}
	scratch_free(t, addend);
	*data = addend;
	return m;
}

struct place emit_access(struct translation *t, const struct item *it, unsigned *data)
{
	const struct access *a = &it->access;
	unsigned addend;

	if (a->group != NO_GROUP && !a->leader)
		return emit_with_addend(t, it, scratch_addend(t, a->group), data);
	if (!a->plain || it->flags_live_in || (a->group == NO_GROUP && !is_register_based(a)))
		return emit_general_access(t, it, data);
	addend = scratch_take(t, NO_REG);
	emit_plain_check(t, it, addend);
	scratch_hold(t, addend, a->group);
	return emit_with_addend(t, it, addend, data);
}

struct place emit_read_operand(struct translation *t, const struct item *it,
			       const ZydisDecodedOperand *m)
{
	static const struct access read = { .size = 8 };

	if (it->class == JIT_JUMP)
		return emit_access(t, it, NULL);
	scratch_free_all(t);
	emit_address(t, it, m);
	emit_segment(t, m);
	emit_check_h10(t, &read, true, it->flags_live_in);
	return in_both(t, NULL);
}

/* ---- Slow paths ---- */

/* The one exit of a group: to a block that starts here and has none. */
static void emit_ungrouped_exit(struct translation *t, const struct slow *s, uint8_t *from[2])
{
	struct emit *e = &t->e;
	struct jit_exit *x = &t->block->exit[t->exits++];

	patch_here(e, from[0]);
	patch_here(e, from[1]);
	emit_u8(e, 0xe9);
	emit_u32(e, 0);
	x->patch = e->p - 4;
	x->stub = e->p + e->to_exec;
	x->from = t->block;
	x->offset = (uint32_t)t->item[s->item].rip;
	x->insns = s->item;
	x->ungrouped = true;
	emit_leave_to(t, x->offset, (uint64_t)x);
}

static int32_t first_offset(const struct translation *t, const struct slow *s)
{
	return s->group == NO_GROUP ? 0 : t->group[s->group].low;
}

/* Looks closer: the rel32 that is taken when the page is indeed crossed. */
static uint8_t *emit_exact_check(struct translation *t, const struct slow *s)
{
	const struct item *it = &t->item[s->item];
	struct emit *e = &t->e;
	uint8_t *crossed;

	patch_here(e, s->cross);
	if (s->plain)
		emit_first_address(t, it, s->dest, first_offset(t, s));
	else
		emit_mov(e, s->dest, H10);
	emit_group1(e, 4, s->dest, PAGE_MASK);
	emit_group1(e, 7, s->dest, (uint32_t)(PAGE_SIZE - s->span));
	crossed = emit_jcc_rel32(e, 7);
	if (s->reload)
		emit_first_address(t, it, s->dest, first_offset(t, s));
	emit_jmp(e, s->again);
	return crossed;
}

static void emit_miss(struct translation *t, const struct slow *s)
{
	struct emit *e = &t->e;
	unsigned other = s->dest == H10 ? H11 : H10;
	uint8_t *after;

	if (s->keep)
		emit_store_gs(e, other, JS(kept));
	if (s->plain)
		emit_first_address(t, &t->item[s->item], H10, first_offset(t, s));
	after = emit_lea_here(e, H11);
	emit_store_gs(e, H11, JS(slow_return));
	emit_mov_imm(e, H11, s->access);
	emit_jmp(e, t->j->slow_common);
	patch_here(e, after);
	if (s->dest == H10)
		emit_mov(e, H10, H11);
	if (s->keep)
		emit_load_gs(e, other, JS(kept));
}

static void emit_slow_path(struct translation *t, const struct slow *s)
{
	struct emit *e = &t->e;
	uint8_t *fail[2] = { NULL, NULL };

	if (s->cross)
		fail[0] = emit_exact_check(t, s);
	if (s->cross && s->group == NO_GROUP)
		patch_here(e, fail[0]);
	patch_here(e, s->miss);
	emit_miss(t, s);
	if (s->group == NO_GROUP) {
		emit_jmp(e, s->back);
		return;
	}
	emit_test8(e, s->dest, JIT_NO_ADDEND);
	fail[1] = emit_jcc_rel32(e, 5);
	emit_jmp(e, s->back);
	emit_ungrouped_exit(t, s, fail);
}

void emit_slow_paths(struct translation *t)
{
	for (unsigned k = 0; k < t->slows; k++)
		emit_slow_path(t, &t->slow[k]);
}
