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
	if (it->word == 4)
		return 0;
	if (!it->i.vex)
		return (it->bytes[n] & 0xf0) == 0x40 ? it->bytes[n] & 3u : 0;
	if (it->bytes[n] == 0xc5)
		return 0;
	return ~it->bytes[n + 1] >> 5 & 3u;
}

/* h10 = the memory operand's offset in its segment, all registers but h10 and h11 as the guest has them. */
void emit_address(struct translation *t, const struct item *it, const ZydisDecodedOperand *m)
{
	struct emit *e = &t->e;
	bool narrow = it->z.address_width == 32;

	if (!(it->z.attributes & ZYDIS_ATTRIB_HAS_MODRM)) { /* MOV with an offset */
		emit_mov_imm(e, H10, (uint64_t)m->mem.disp.value & mask_bytes(t->word));
		return;
	}
	if (t->word == 4 && it->i.base == REG_NONE && it->i.index == REG_NONE) {
		emit_mov_imm(e, H10, (uint32_t)it->i.disp);
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

/* ---- The address of an access, in a scratch register ---- */

static unsigned in_scratch(struct translation *t, unsigned reg, unsigned scratch)
{
	if (reg != R10 && reg != R11)
		return reg;
	emit_load_gs(&t->e, scratch, JS_GPR(reg));
	return scratch;
}

/* to = address + extra. */
static void emit_sum(struct translation *t, unsigned to, struct place m, int32_t extra)
{
	m.disp += extra;
	if (m.base == BASE_RIP) {
		emit_page_relative(&t->e, to, (uint64_t)m.disp);
		return;
	}
	m.base = m.base == NO_REG ? NO_REG : (uint8_t)in_scratch(t, m.base, to);
	m.index = m.index == NO_REG ? NO_REG : (uint8_t)in_scratch(t, m.index, to);
	emit_lea(&t->e, to, m);
}

static bool in_host_register(unsigned reg)
{
	return reg < 16 && reg != R10 && reg != R11;
}

/* A guest register in its host register, and a constant. */
static bool is_register_based(struct place m)
{
	return in_host_register(m.base) && m.index == NO_REG;
}

static bool is_constant(struct place m)
{
	return m.base == NO_REG && m.index == NO_REG;
}

/* ---- The check ---- */

/* Constants are addresses, or offsets from the start of a page. */
static bool may_cross(struct place m, unsigned span)
{
	return (m.base != BASE_RIP && !is_constant(m)) || ((uint32_t)m.disp & PAGE_MASK) + span > PAGE_SIZE;
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

	if (t->j->host->pext) {
		emit_pext_gs(e, dest, from, JS(index_mask));
	} else {
		if (dest != from)
			emit_mov(e, dest, from);
		emit_shift(e, 4, dest, 52 - t->j->table_bits);
		emit_shift(e, 5, dest, 64 - t->j->table_bits);
	}
	if (write) {
		emit_u8(e, rex(true, 0, 0, dest)); /* bts dest, n */
		EMIT(e, 0x0f, 0xba);
		emit_u8(e, modrm(3, 5, dest));
		emit_u8(e, t->j->table_bits);
	}
}

/* s->dest = the addend, from the address in `from`. */
static void emit_entry(struct translation *t, struct slow *s, unsigned from)
{
	struct emit *e = &t->e;

	emit_index(t, s->dest, from, s->access & JIT_ACCESS_WRITE);
	emit_table_load(e, s->dest);
	emit_test_self(e, s->dest);
	s->miss = t->j->host->checks ? emit_jmp_rel32(e) : emit_jcc_rel32(e, 4);
	s->back = e->p + e->to_exec;
}

/* In front of a check, for which flags are parked if need be. */
static struct slow *new_slow(struct translation *t, uint32_t access, unsigned span, unsigned dest)
{
	struct slow *s = &t->slow[t->slows++];

	*s = (struct slow){
		.access = access | span << 8 | (uint32_t)t->item[t->now].rip << 20, .span = span, .item = t->now,
		.dest = (uint8_t)dest, .group = NO_GROUP,
	};
	flags_clobber(t, dest);
	s->flags = t->flags;
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
static unsigned emit_crossing_check(struct translation *t, struct slow *s, bool crossing)
{
	struct emit *e = &t->e;
	unsigned dest = s->dest, tail = round_up_pow2(s->span);
	bool natural = s->group == NO_GROUP && s->span <= 8 && tail == s->span;
	bool simple = is_register_based(s->first);

	if (!crossing) {
		if (simple && !s->first.disp)
			return s->first.base;
		emit_sum(t, dest, s->first, 0);
	} else if (natural && simple && !(s->first.disp & (int32_t)(tail - 1))) {
		emit_test8(e, s->first.base, tail - 1);
		emit_cross_jump(t, s, 5);
		if (!s->first.disp)
			return s->first.base;
		emit_sum(t, dest, s->first, 0);
	} else if (natural) {
		emit_sum(t, dest, s->first, 0);
		emit_test8(e, dest, tail - 1);
		emit_cross_jump(t, s, 5);
		s->reload = true;
	} else if (tail <= 64) {
		/* The last byte of a power of two from here is not among the first of a page. */
		emit_sum(t, dest, s->first, (int32_t)tail - 1);
		emit_test32(e, dest, (uint32_t)(PAGE_SIZE - tail));
		emit_cross_jump(t, s, 4);
		s->reload = true;
	} else {
		emit_sum(t, dest, s->first, 0);
		emit_group1(e, 4, dest, PAGE_MASK);
		emit_group1(e, 7, dest, (uint32_t)(PAGE_SIZE - s->span));
		emit_cross_jump(t, s, 7);
		emit_sum(t, dest, s->first, 0);
	}
	return dest;
}

static void emit_plain_check(struct translation *t, struct slow *s, struct place first,
			     bool crossing)
{
	s->plain = true;
	s->first = first;
	s->keep = scratch_is_held(t, s->dest == H10 ? H11 : H10);
	emit_entry(t, s, emit_crossing_check(t, s, crossing));
}

/* dest = addend for a plain access. */
static void emit_single_check(struct translation *t, const struct access *a, unsigned dest)
{
	struct slow *s = new_slow(t, a->write ? JIT_ACCESS_WRITE : 0, a->size, dest);

	emit_plain_check(t, s, a->guest,
			 !a->aligned && a->size > 1 && may_cross(a->guest, a->size));
}

static void emit_group_check(struct translation *t, int number)
{
	const struct group *g = &t->group[number];
	unsigned dest = scratch_take(t, NO_REG);
	struct slow *s = new_slow(t, JIT_ACCESS_GROUP | (g->write ? JIT_ACCESS_WRITE : 0), g->span,
				  dest);

	s->group = (int8_t)number;
	emit_plain_check(t, s, g->first, may_cross(g->first, g->span));
	scratch_hold(t, dest, number);
}

void emit_group_checks(struct translation *t)
{
	for (unsigned k = 0; k < t->groups; k++)
		if (t->group[k].check == t->now)
			emit_group_check(t, (int)k);
}

/*
 * With h10 = gva and h11 = the entry of a small table: the distance from origin to the operand is that from
 * RAM's first byte, unless the entry is another page's. Leaves the sum as it is: h10 becomes origin.
 */
static void emit_check_owner(struct translation *t, struct slow *s)
{
	struct emit *e = &t->e;

	emit_lea(e, H11, (struct place){ H11, H10, 1, 0 });
	emit_gs(e, 0x3b, H11, JS(extent)); /* cmp r11, gs:[...] */
	s->other = emit_jcc_rel32(e, 3);
	emit_load_gs(e, H10, JS(origin));
}

/* With h10 = gva: h10 + h11 = the host's address. */
static void emit_check_h10(struct translation *t, const struct access *a, bool crossing)
{
	struct emit *e = &t->e;
	struct slow *s = new_slow(t, a->write ? JIT_ACCESS_WRITE : 0, a->size, H11);
	unsigned tail = round_up_pow2(a->size);

	if (crossing && a->size <= 8 && tail == a->size) {
		emit_test8(e, H10, tail - 1);
		emit_cross_jump(t, s, 5);
	} else if (crossing) {
		emit_lea(e, H11, at_base(H10, (int32_t)tail - 1));
		emit_test32(e, H11, (uint32_t)(PAGE_SIZE - tail));
		emit_cross_jump(t, s, 4);
	}
	emit_entry(t, s, H10);
	if (t->j->extent)
		emit_check_owner(t, s);
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

void emit_translate(struct translation *t, unsigned size, bool write)
{
	const struct access a = { .size = (uint16_t)size, .write = write };
	unsigned free;

	emit_check_h10(t, &a, size > 1);
	in_both(t, &free);
}

static struct place emit_general_access(struct translation *t, const struct item *it,
					unsigned *data)
{
	const struct access *a = &it->access;
	bool crossing = !a->aligned && a->size > 1;

	scratch_free_all(t);
	if (a->plain) {
		emit_sum(t, H10, a->guest, 0);
		crossing = crossing && may_cross(a->guest, a->size);
	} else {
		emit_address(t, it, memory_operand(it));
		emit_segment(t, memory_operand(it));
	}
	emit_check_h10(t, a, crossing);
	return in_both(t, data);
}

/* [guest's operand + addend], or by way of the other scratch register. */
static struct place emit_with_addend(struct translation *t, struct place m, unsigned addend,
				     unsigned *data)
{
	unsigned other = addend == H10 ? H11 : H10;

	if (is_register_based(m) || is_constant(m)) {
		if (data)
			*data = scratch_take(t, addend);
		return is_constant(m) ? at_base(addend, m.disp)
				      : (struct place){ m.base, (uint8_t)addend, 1, m.disp };
	}
	scratch_free(t, other);
	if (in_host_register(m.base) && in_host_register(m.index)) {
		/* The index may be known later than the base. */
		emit_lea(&t->e, other, (struct place){ m.base, (uint8_t)addend, 1, 0 });
		m.base = (uint8_t)other;
	} else {
		emit_sum(t, other, m, 0);
		m = (struct place){ (uint8_t)other, (uint8_t)addend, 1, 0 };
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

	if (a->group != NO_GROUP) {
		struct place m = a->guest;

		m.disp += m.base == RSP ? t->rsp_late : 0;
		return emit_with_addend(t, m, scratch_addend(t, a->group), data);
	}
	if (!a->plain || t->j->extent || !(is_register_based(a->guest) || is_constant(a->guest)))
		return emit_general_access(t, it, data);
	addend = scratch_take(t, NO_REG);
	emit_single_check(t, a, addend);
	return emit_with_addend(t, a->guest, addend, data);
}

struct place emit_read_operand(struct translation *t, const struct item *it,
			       const ZydisDecodedOperand *m)
{
	const struct access read = { .size = it->word };

	if (it->class == JIT_JUMP)
		return emit_access(t, it, NULL);
	scratch_free_all(t);
	emit_address(t, it, m);
	emit_segment(t, m);
	emit_check_h10(t, &read, true);
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
	set_places(t, x, e->p - 4);
	x->from = jit_ref_to(t->j, t->block);
	x->offset = (uint16_t)t->item[s->item].rip;
	x->insns = (uint8_t)s->item;
	x->ungrouped = true;
	x->flags_here = !s->flags.parked;
	x->flags_parked = s->flags.parked;
	t->flags = s->flags;
	emit_leave_to(t, x->offset, (uint64_t)x);
}

/* Looks closer: the rel32 that is taken when the page is indeed crossed. */
static uint8_t *emit_exact_check(struct translation *t, const struct slow *s)
{
	struct emit *e = &t->e;
	uint8_t *crossed;

	patch_here(e, s->cross);
	if (s->plain)
		emit_sum(t, s->dest, s->first, 0);
	else
		emit_mov(e, s->dest, H10);
	emit_group1(e, 4, s->dest, PAGE_MASK);
	emit_group1(e, 7, s->dest, (uint32_t)(PAGE_SIZE - s->span));
	crossed = emit_jcc_rel32(e, 7);
	if (s->reload)
		emit_sum(t, s->dest, s->first, 0);
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
		emit_sum(t, H10, s->first, 0);
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
	patch_here(e, s->other);
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
