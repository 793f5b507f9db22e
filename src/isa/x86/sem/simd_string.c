/*
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 1 §12.10.3, vol. 2 §4.1): compare all pairs
 * of elements of two strings and reduce the comparisons to a mask, an index and flags.
 */
#include "isa/x86/sem/simd.h"

/* imm8: [0] words, [1] signed, [3:2] aggregation, [5:4] polarity, [6] output selection. */
enum { EQUAL_ANY, RANGES, EQUAL_EACH, EQUAL_ORDERED };
enum { POLARITY_NEGATE = 1, POLARITY_MASKED = 2 };

struct strings {
	union x86_vec text[2];
	unsigned length[2]; /* valid elements, at most `count` */
	unsigned count;     /* elements in a vector: 16 or 8 */
	bool is_signed;
};

static int32_t element(const struct strings *s, unsigned which, unsigned k)
{
	const union x86_vec *v = &s->text[which];

	if (s->count == 16)
		return s->is_signed ? v->sb[k] : v->b[k];
	return s->is_signed ? v->sw[k] : v->w[k];
}

/* ---- Lengths ---- */

static unsigned implicit_length(const struct strings *s, unsigned which)
{
	unsigned k = 0;

	while (k < s->count && element(s, which, k))
		k++;
	return k;
}

/* The absolute value of EAX or EDX, RAX or RDX with REX.W, saturated. */
static unsigned explicit_length(const struct x86_cpu *c, const struct insn *i, unsigned reg,
				unsigned count)
{
	int64_t n = sign_extend_bytes(c->s.gpr[reg], i->osz == 8 ? 8 : 4);
	uint64_t magnitude = n < 0 ? -(uint64_t)n : (uint64_t)n;

	return (unsigned)LM_MIN(magnitude, (uint64_t)count);
}

static void read_strings(struct x86_cpu *c, const struct insn *i, bool is_explicit,
			 struct strings *s)
{
	vec_read(c, i, 0, &s->text[0]);
	vec_read_unaligned(c, i, 1, &s->text[1]);
	s->count = i->imm & 1 ? 8 : 16;
	s->is_signed = i->imm & 2;
	for (unsigned which = 0; which < 2; which++)
		s->length[which] = is_explicit
					   ? explicit_length(c, i, which ? RDX : RAX, s->count)
					   : implicit_length(s, which);
}

/* ---- Aggregation: bit j of the result is about element j of the second string ---- */

static bool equal_any(const struct strings *s, unsigned j)
{
	for (unsigned k = 0; k < s->length[0]; k++)
		if (element(s, 0, k) == element(s, 1, j))
			return true;
	return false;
}

/* The first string holds pairs of bounds, both inclusive; a pair cut in half does not count. */
static bool in_ranges(const struct strings *s, unsigned j)
{
	int32_t e = element(s, 1, j);

	for (unsigned k = 0; k + 1 < s->length[0]; k += 2)
		if (element(s, 0, k) <= e && e <= element(s, 0, k + 1))
			return true;
	return false;
}

/* Elements past both ends are equal, past one end different. */
static bool equal_each(const struct strings *s, unsigned j)
{
	bool valid0 = j < s->length[0], valid1 = j < s->length[1];

	return valid0 && valid1 ? element(s, 0, j) == element(s, 1, j) : valid0 == valid1;
}

/* The first string is found at j, as far as the second vector reaches. */
static bool equal_ordered(const struct strings *s, unsigned j)
{
	for (unsigned k = 0; k < s->length[0] && j + k < s->count; k++)
		if (j + k >= s->length[1] || element(s, 0, k) != element(s, 1, j + k))
			return false;
	return true;
}

static bool aggregate(const struct strings *s, unsigned how, unsigned j)
{
	switch (how) {
	case EQUAL_ANY:
		return j < s->length[1] && equal_any(s, j);
	case RANGES:
		return j < s->length[1] && in_ranges(s, j);
	case EQUAL_EACH:
		return equal_each(s, j);
	default:
		return equal_ordered(s, j);
	}
}

/* IntRes2: the aggregation after the polarity. */
static uint32_t compare_strings(const struct strings *s, uint64_t imm)
{
	unsigned polarity = imm >> 4 & 3;
	uint32_t all = (1u << s->count) - 1, valid = (1u << s->length[1]) - 1, result = 0;

	for (unsigned j = 0; j < s->count; j++)
		result |= (uint32_t)aggregate(s, imm >> 2 & 3, j) << j;
	if (polarity & POLARITY_NEGATE)
		result ^= polarity & POLARITY_MASKED ? valid : all;
	return result;
}

/* ---- Results ---- */

static void set_flags(struct x86_cpu *c, const struct strings *s, uint32_t result)
{
	uint32_t flags = 0;

	if (result)
		flags |= FLAG_CF;
	if (s->length[1] < s->count)
		flags |= FLAG_ZF;
	if (s->length[0] < s->count)
		flags |= FLAG_SF;
	if (result & 1)
		flags |= FLAG_OF;
	flags_set_arith(c, FLAGS_ARITH, flags);
}

/* ECX: the index of the lowest or highest set bit, or the number of elements. */
static void write_index(struct x86_cpu *c, const struct strings *s, uint64_t imm, uint32_t result)
{
	unsigned index = s->count;

	if (result)
		index = imm & 0x40 ? 31 - (unsigned)__builtin_clz(result)
				   : (unsigned)__builtin_ctz(result);
	gpr_write(c, RCX, index, 8);
}

/* XMM0: the bits themselves, or spread to elements. */
static void write_mask(struct x86_cpu *c, const struct insn *i, const struct strings *s,
		       uint32_t result)
{
	union x86_vec v = { 0 };

	if (!(i->imm & 0x40))
		v.d[0] = result;
	else if (s->count == 16)
		for (unsigned k = 0; k < 16; k++)
			v.b[k] = result >> k & 1 ? 0xff : 0;
	else
		for (unsigned k = 0; k < 8; k++)
			v.w[k] = result >> k & 1 ? 0xffff : 0;
	vec_write_reg(c, i, 0, 16, &v);
}

static void string_compare(struct x86_cpu *c, const struct insn *i, bool is_explicit, bool to_mask)
{
	struct strings s;
	uint32_t result;

	read_strings(c, i, is_explicit, &s);
	result = compare_strings(&s, i->imm);
	if (to_mask)
		write_mask(c, i, &s, result);
	else
		write_index(c, &s, i->imm, result);
	set_flags(c, &s, result);
}

void simd_pcmpestri(struct x86_cpu *c, const struct insn *i)
{
	string_compare(c, i, true, false);
}

void simd_pcmpestrm(struct x86_cpu *c, const struct insn *i)
{
	string_compare(c, i, true, true);
}

void simd_pcmpistri(struct x86_cpu *c, const struct insn *i)
{
	string_compare(c, i, false, false);
}

void simd_pcmpistrm(struct x86_cpu *c, const struct insn *i)
{
	string_compare(c, i, false, true);
}
