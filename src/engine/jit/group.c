/*
 * Groups: accesses of one block whose addresses differ by constants, close to each other. The first
 * one checks for all of them that they lie in one page and that its table entry permits them; the
 * others use its addend. Where the check fails, the block is left in front of the leader for one
 * without groups, so a fault comes from the instruction that it belongs to.
 *
 * An addend is good until the block ends: only the dispatcher takes table entries away.
 */
#include "engine/jit/translation.h"

/* The longer, the more often it crosses a page. */
#define MAX_SPAN 512u

/* A register's content: an unknown number (by its name) and a constant. */
struct value {
	uint32_t name;
	uint64_t offset;
};

struct values {
	struct value reg[16];
	uint32_t names;
};

/* What an address consists of. */
struct key {
	uint32_t base, index;
	uint8_t scale;
	uint64_t offset;
};

#define NAME_NONE UINT32_MAX
#define NAME_RIP  (UINT32_MAX - 1)

static void init_values(struct values *v)
{
	for (v->names = 0; v->names < 16; v->names++)
		v->reg[v->names] = (struct value){ v->names, 0 };
}

static void set_unknown(struct values *v, unsigned reg)
{
	v->reg[reg] = (struct value){ v->names++, 0 };
}

/* ---- What instructions do to registers ---- */

static bool is_wide_register(const struct item *it, unsigned n)
{
	return it->i.op_count > n && it->i.op[n].kind == OPK_GPR && it->i.op[n].size == 8;
}

static bool follow_copy(struct values *v, const struct item *it)
{
	struct value *to = &v->reg[it->i.op[0].reg];

	if (it->z.mnemonic == ZYDIS_MNEMONIC_MOV && is_wide_register(it, 1)) {
		*to = v->reg[it->i.op[1].reg];
		return true;
	}
	if (it->z.mnemonic == ZYDIS_MNEMONIC_LEA && it->i.asz == 8 && it->i.base < 16 &&
	    it->i.index == REG_NONE) {
		*to = v->reg[it->i.base];
		to->offset += (uint64_t)it->i.disp;
		return true;
	}
	return false;
}

static bool follow_addition(struct values *v, const struct item *it)
{
	struct value *to = &v->reg[it->i.op[0].reg];
	bool imm = it->i.op_count > 1 && it->i.op[1].kind == OPK_IMM;

	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_ADD:
		to->offset += imm ? it->i.imm : 0;
		return imm;
	case ZYDIS_MNEMONIC_SUB:
		to->offset -= imm ? it->i.imm : 0;
		return imm;
	case ZYDIS_MNEMONIC_INC:
		to->offset++;
		return true;
	case ZYDIS_MNEMONIC_DEC:
		to->offset--;
		return true;
	default:
		return false;
	}
}

static void forget_written(struct values *v, const struct item *it)
{
	for (unsigned n = 0; n < it->z.operand_count; n++) {
		const ZydisDecodedOperand *o = &it->ops[n];
		ZydisRegister full;

		if (o->type != ZYDIS_OPERAND_TYPE_REGISTER ||
		    !(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE))
			continue;
		full = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, o->reg.value);
		if (full >= ZYDIS_REGISTER_RAX && full <= ZYDIS_REGISTER_R15)
			set_unknown(v, (unsigned)(full - ZYDIS_REGISTER_RAX));
	}
}

static void follow(struct values *v, const struct item *it)
{
	struct value stack = v->reg[RSP], frame = v->reg[RBP];

	if (it->class == JIT_COPY && is_wide_register(it, 0) &&
	    (follow_copy(v, it) || follow_addition(v, it)))
		return;
	forget_written(v, it);
	if (it->class == JIT_PUSH || it->class == JIT_PUSHF || it->class == JIT_CALL)
		v->reg[RSP] = (struct value){ stack.name, stack.offset - 8 };
	else if (it->class == JIT_LEAVE)
		v->reg[RSP] = (struct value){ frame.name, frame.offset + 8 };
	else if (it->class == JIT_POP && it->i.op[0].reg != RSP)
		v->reg[RSP] = (struct value){ stack.name, stack.offset + 8 };
}

/* ---- Groups ---- */

static struct key key_of(const struct values *v, const struct item *it)
{
	const struct place *m = &it->access.guest;
	struct key k = { NAME_NONE, NAME_NONE, m->scale, (uint64_t)m->disp };

	if (m->base == BASE_RIP) {
		k.base = NAME_RIP;
		k.offset += it->rip + it->i.length;
	} else if (m->base != NO_REG) {
		k.base = v->reg[m->base].name;
		k.offset += v->reg[m->base].offset;
	}
	if (m->index == NO_REG)
		return k;
	k.index = v->reg[m->index].name;
	k.offset += v->reg[m->index].offset * m->scale;
	return k;
}

static bool differ_by_constant(const struct key *a, const struct key *b)
{
	return a->base == b->base && a->index == b->index &&
	       (a->index == NAME_NONE || a->scale == b->scale);
}

/* Constant addresses lie in one page or do not; the others are looked at when they are known. */
static bool may_share_page(const struct key *k, int64_t low, int64_t high)
{
	uint64_t first = k->offset + (uint64_t)low, last = k->offset + (uint64_t)high - 1;

	return k->base != NAME_RIP || first >> PAGE_SHIFT == last >> PAGE_SHIFT;
}

/* Takes item k into the leader's group [low, high) if it can belong there. */
static bool join(const struct translation *t, const struct key *keys, unsigned leader, unsigned k,
		 int64_t *low, int64_t *high)
{
	const struct access *m = &t->item[k].access;
	int64_t from = (int64_t)(keys[k].offset - keys[leader].offset);

	if (!m->plain || m->group != NO_GROUP || !differ_by_constant(&keys[leader], &keys[k]) ||
	    from > (int64_t)MAX_SPAN || from < -(int64_t)MAX_SPAN)
		return false;
	if (LM_MAX(*high, from + m->size) - LM_MIN(*low, from) > (int64_t)MAX_SPAN ||
	    !may_share_page(&keys[leader], LM_MIN(*low, from), LM_MAX(*high, from + m->size)))
		return false;
	*low = LM_MIN(*low, from);
	*high = LM_MAX(*high, from + m->size);
	return true;
}

static void make_group(struct translation *t, const struct key *keys, unsigned leader)
{
	struct group *g = &t->group[t->groups];
	struct access *a = &t->item[leader].access;
	int64_t low = 0, high = a->size;

	*g = (struct group){ .write = a->write, .last = leader };
	for (unsigned k = leader + 1; k < t->count; k++) {
		if (!join(t, keys, leader, k, &low, &high))
			continue;
		g->write |= t->item[k].access.write;
		g->last = k;
		t->item[k].access.group = (int8_t)t->groups;
	}
	if (g->last == leader)
		return;
	a->leader = true;
	a->group = (int8_t)t->groups++;
	g->low = (int32_t)low;
	g->span = (uint32_t)(high - low);
}

void find_groups(struct translation *t)
{
	struct key keys[JIT_MAX_INSNS];
	struct values v;

	init_values(&v);
	for (unsigned k = 0; k < t->count; k++) {
		if (t->item[k].access.plain)
			keys[k] = key_of(&v, &t->item[k]);
		follow(&v, &t->item[k]);
	}
	for (unsigned k = 0; k < t->count && t->groups < JIT_GROUPS; k++) {
		const struct access *a = &t->item[k].access;

		if (a->plain && a->group == NO_GROUP && !t->item[k].flags_live_in)
			make_group(t, keys, k);
	}
}
