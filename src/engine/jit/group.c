/*
 * Groups: accesses of one block whose addresses differ by constants, close to each other. In front
 * of the first one, the leader, or earlier where flags are dead, it is checked for all of them
 * that they lie in one page and that its table entry permits them. Where the check fails, the block
 * is left there for one without groups, so a fault comes from the instruction that it belongs to.
 *
 * An addend is good until the block ends: only the dispatcher takes table entries away.
 */
#include "engine/jit/translation.h"

/* The longer, the more often it crosses a page; with an index that is a byte, of 8 bytes each. */
#define MAX_SPAN  512u
#define MAX_REACH 2040u

/* A register's content: an unknown number (by its name), not above a limit, and a constant. */
struct value {
	uint32_t name;
	uint64_t limit, offset;
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

#define FARTHEST_MOVE 16384 /* of a register between the check and the leader */

#define NAME_NONE UINT32_MAX
#define NAME_RIP  (UINT32_MAX - 1)

static void init_values(struct values *v)
{
	for (v->names = 0; v->names < 16; v->names++)
		v->reg[v->names] = (struct value){ v->names, UINT64_MAX, 0 };
}

static void set_unknown(struct values *v, unsigned reg)
{
	v->reg[reg] = (struct value){ v->names++, UINT64_MAX, 0 };
}

/* ---- What instructions do to registers ---- */

static bool is_wide_register(const struct item *it, unsigned n)
{
	return it->i.op_count > n && it->i.op[n].kind == OPK_GPR && it->i.op[n].size == it->word;
}

static bool follow_copy(struct values *v, const struct item *it)
{
	struct value *to = &v->reg[it->i.op[0].reg];

	if (it->z.mnemonic == ZYDIS_MNEMONIC_MOV && is_wide_register(it, 1)) {
		*to = v->reg[it->i.op[1].reg];
		return true;
	}
	if (it->z.mnemonic == ZYDIS_MNEMONIC_LEA && it->i.asz == it->word && it->i.base < 16 &&
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
	uint64_t n = imm ? (uint64_t)(int64_t)(int32_t)it->i.imm : 0;

	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_ADD:
		to->offset += n;
		return imm;
	case ZYDIS_MNEMONIC_SUB:
		to->offset -= n;
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

/* The highest value that the instruction leaves in its first operand, a register of 4 or 8 bytes. */
static uint64_t limit_of_result(const struct values *v, const struct item *it)
{
	const struct operand *from = &it->i.op[1];
	unsigned bits = 8 * it->i.op[0].size;

	switch (it->z.mnemonic) {
	case ZYDIS_MNEMONIC_MOVZX:
		return from->size == 1 ? UINT8_MAX : UINT16_MAX;
	case ZYDIS_MNEMONIC_AND:
		return from->kind == OPK_IMM && it->i.imm <= INT32_MAX ? it->i.imm : UINT64_MAX;
	case ZYDIS_MNEMONIC_SHR:
		return from->kind == OPK_IMM ? mask_bytes(bits / 8) >> (it->i.imm & (bits - 1))
					     : UINT64_MAX;
	case ZYDIS_MNEMONIC_MOV:
		return from->kind == OPK_GPR && !v->reg[from->reg].offset ? v->reg[from->reg].limit
									 : UINT64_MAX;
	default:
		return UINT64_MAX;
	}
}

static void follow_limit(struct values *v, const struct item *it, uint64_t limit)
{
	const struct operand *to = &it->i.op[0];

	if (it->class == JIT_COPY && it->i.op_count > 1 && to->kind == OPK_GPR && to->size >= 4 &&
	    limit <= mask_bytes(to->size))
		v->reg[to->reg].limit = limit;
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
	uint64_t limit = it->i.op_count > 1 ? limit_of_result(v, it) : UINT64_MAX;

	if (it->class == JIT_COPY && is_wide_register(it, 0) &&
	    (follow_copy(v, it) || follow_addition(v, it)))
		return;
	forget_written(v, it);
	follow_limit(v, it, limit);
	if (it->class == JIT_PUSH || it->class == JIT_PUSHF || it->class == JIT_CALL)
		v->reg[RSP] = (struct value){ stack.name, stack.limit, stack.offset - it->word };
	else if (it->class == JIT_LEAVE)
		v->reg[RSP] = (struct value){ frame.name, frame.limit, frame.offset + it->word };
	else if (it->class == JIT_POP && it->i.op[0].reg != RSP)
		v->reg[RSP] = (struct value){ stack.name, stack.limit, stack.offset + it->word };
}

/* ---- Groups ---- */

/* What an index adds at most, when that is little: the address is then known well enough without. */
static unsigned reach_of(const struct values *v, const struct place *m)
{
	const struct value *index = &v->reg[m->index];

	if (m->base >= 16 || index->offset || index->limit > MAX_REACH)
		return 0;
	return index->limit * m->scale <= MAX_REACH ? (unsigned)index->limit * m->scale : 0;
}

static struct key key_of(const struct values *v, struct item *it)
{
	const struct place *m = &it->access.guest;
	struct key k = { NAME_NONE, NAME_NONE, m->scale, (uint64_t)m->disp };

	if (m->base == BASE_RIP) {
		k.base = NAME_RIP;
	} else if (m->base != NO_REG) {
		k.base = v->reg[m->base].name;
		k.offset += v->reg[m->base].offset;
	}
	if (m->index == NO_REG)
		return k;
	it->access.reach = (uint16_t)reach_of(v, m);
	if (it->access.reach)
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

static bool is_constant(const struct key *k)
{
	return k->base == NAME_RIP || (k->base == NAME_NONE && k->index == NAME_NONE);
}

/* Constant addresses lie in one page or do not; the others are looked at when they are known. */
static bool may_share_page(const struct key *k, int64_t low, int64_t high)
{
	uint64_t first = k->offset + (uint64_t)low, last = k->offset + (uint64_t)high - 1;

	return !is_constant(k) || first >> PAGE_SHIFT == last >> PAGE_SHIFT;
}

static unsigned bytes_of(const struct access *a)
{
	return a->size + a->reach;
}

static const struct value *register_of(const struct values *v, unsigned reg)
{
	static const struct value none;

	return reg < 16 ? &v->reg[reg] : &none;
}

/*
 * Registers of 32-bit code wrap at 4 GiB and the sums of operands do not, so a register that has moved
 * since the check might be 4 GiB away from where the check expects it. It is not if it points to the
 * checked page or near it, since no page at the ends of the 4 GiB is in the table (JIT_NARROW_EDGE);
 * the longest way from the page to a register and from there to where it was is half of that.
 */
static bool moves_alike(const struct translation *t, const struct values *before, unsigned check,
			unsigned leader, unsigned k)
{
	const int64_t most = JIT_NARROW_EDGE / 4;
	const struct access *a = &t->item[leader].access, *m = &t->item[k].access;
	int64_t base = (int64_t)(register_of(&before[k], m->guest.base)->offset -
				 register_of(&before[check], a->guest.base)->offset);
	int64_t index = (int64_t)(register_of(&before[k], m->guest.index)->offset -
				  register_of(&before[check], a->guest.index)->offset);

	if (t->word == 8)
		return true;
	if (m->reach)
		index = 0;
	if (!base && !index)
		return true;
	return !index && (m->reach || m->guest.index == NO_REG) && base <= most && base >= -most &&
	       m->guest.disp <= most && m->guest.disp >= -most;
}

/* Takes item k into the leader's group [low, high) if it can belong there. */
static bool join(const struct translation *t, const struct key *keys, unsigned leader, unsigned k,
		 int64_t *low, int64_t *high)
{
	const struct access *a = &t->item[leader].access, *m = &t->item[k].access;
	int64_t most = a->reach ? MAX_REACH + 8 : MAX_SPAN;
	int64_t from = (int64_t)(keys[k].offset - keys[leader].offset);
	int64_t to = from + bytes_of(m);

	if (!m->plain || m->group != NO_GROUP || !differ_by_constant(&keys[leader], &keys[k]) ||
	    from > most || from < -most || !a->reach != !m->reach)
		return false;
	if (LM_MAX(*high, to) - LM_MIN(*low, from) > most ||
	    !may_share_page(&keys[leader], LM_MIN(*low, from), LM_MAX(*high, to)))
		return false;
	*low = LM_MIN(*low, from);
	*high = LM_MAX(*high, to);
	return true;
}

/* Whether the leader's address, but for its low part, is a sum of the same registers in front of k. */
static bool is_known(const struct access *a, const struct value *then, const struct value *now)
{
	const struct place *m = &a->guest;
	int64_t moved = 0;

	if (m->base < 16) {
		if (then[m->base].name != now[m->base].name)
			return false;
		moved = (int64_t)(now[m->base].offset - then[m->base].offset);
	}
	if (moved > FARTHEST_MOVE || moved < -FARTHEST_MOVE)
		return false;
	return m->index == NO_REG || a->reach ||
	       (then[m->index].name == now[m->index].name &&
		then[m->index].offset == now[m->index].offset);
}

/*
 * The last place where flags are dead and the address is known, else in front of the leader, where they
 * must be parked. A conditional jump may ask whether a pointer is one, or end a loop.
 */
static unsigned find_check(const struct translation *t, const struct values *before,
			   unsigned leader)
{
	const struct access *a = &t->item[leader].access;

	for (unsigned k = leader + 1; k-- > 0;) {
		if (k < leader && t->item[k].class == JIT_JCC)
			break;
		if (!is_known(a, before[k].reg, before[leader].reg) ||
		    !moves_alike(t, before, k, leader, leader))
			break;
		if (!t->item[k].flags_live_in)
			return k;
	}
	return leader;
}

/* The leader's address + low, in the registers as they are in front of the check. */
static struct place first_byte(const struct access *a, const struct value *then,
			       const struct value *now, int64_t low)
{
	struct place m = a->guest;

	if (a->reach)
		m.index = NO_REG;
	if (m.base < 16)
		m.disp += (int32_t)(now[m.base].offset - then[m.base].offset);
	m.disp += (int32_t)low;
	return m;
}

static void make_group(struct translation *t, const struct key *keys,
		       const struct values *before, unsigned leader, unsigned check)
{
	struct group *g = &t->group[t->groups];
	struct access *a = &t->item[leader].access;
	int64_t low = 0, high = bytes_of(a);

	*g = (struct group){ .write = a->write, .check = check, .last = leader };
	for (unsigned k = leader + 1; k < t->count; k++) {
		if (!moves_alike(t, before, check, leader, k) || !join(t, keys, leader, k, &low, &high))
			continue;
		g->write |= t->item[k].access.write;
		g->last = k;
		t->item[k].access.group = (int8_t)t->groups;
	}
	if (g->last == leader && !a->reach && check == leader)
		return; /* nothing gained */
	a->group = (int8_t)t->groups++;
	a->leader = true;
	g->first = first_byte(a, before[check].reg, before[leader].reg, low);
	g->span = (uint32_t)(high - low);
}

bool has_group_check(const struct translation *t, unsigned item)
{
	for (unsigned k = 0; k < t->groups; k++)
		if (t->group[k].check == item)
			return true;
	return false;
}

void find_groups(struct translation *t)
{
	static __thread struct values before[JIT_MAX_INSNS + 1];
	struct key keys[JIT_MAX_INSNS];

	init_values(&before[0]);
	for (unsigned k = 0; k < t->count; k++) {
		if (t->item[k].access.plain)
			keys[k] = key_of(&before[k], &t->item[k]);
		before[k + 1] = before[k];
		follow(&before[k + 1], &t->item[k]);
	}
	for (unsigned k = 0; k < t->count && t->groups < JIT_GROUPS; k++) {
		const struct access *a = &t->item[k].access;

		if (a->plain && a->group == NO_GROUP)
			make_group(t, keys, before, k, find_check(t, before, k));
	}
}
