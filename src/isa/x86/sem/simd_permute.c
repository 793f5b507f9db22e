/*
 * Elements in and out of vectors, broadcasts, widening, and AVX's moves across 128-bit blocks.
 */
#include "isa/x86/sem/simd.h"

/* ---- Extraction to a general register (zero-extended) or to memory ---- */

static void extract(struct x86_cpu *c, const struct insn *i, unsigned size)
{
	unsigned n = (unsigned)i->imm & (simd_block(i) / size - 1);
	union x86_vec v;
	uint64_t value;

	vec_read(c, i, 1, &v);
	value = le_load(v.b + n * size, size);
	if (i->op[0].kind == OPK_MEM)
		op_write(c, i, 0, value);
	else
		gpr_write(c, i->op[0].reg, value, 8);
}

void simd_pextrb(struct x86_cpu *c, const struct insn *i)
{
	extract(c, i, 1);
}

void simd_pextrw(struct x86_cpu *c, const struct insn *i)
{
	if (i->op[1].kind == OPK_MMX) {
		gpr_write(c, i->op[0].reg,
			  c->s.fpu.st[i->op[1].reg].sig >> (16 * (i->imm & 3)) & 0xffff, 8);
		mmx_enter(c);
		return;
	}
	extract(c, i, 2);
}

/* PEXTRD, EXTRACTPS */
void simd_pextrd(struct x86_cpu *c, const struct insn *i)
{
	extract(c, i, 4);
}

void simd_pextrq(struct x86_cpu *c, const struct insn *i)
{
	extract(c, i, 8);
}

/* ---- Insertion from a general register or memory ---- */

static void insert(struct x86_cpu *c, const struct insn *i, unsigned size)
{
	unsigned n = (unsigned)i->imm & (simd_block(i) / size - 1);
	union x86_vec v;

	vec_read(c, i, simd_first(i), &v);
	le_store(v.b + n * size, vec_read_low(c, i, simd_first(i) + 1, size), size);
	vec_write(c, i, &v);
}

void simd_pinsrb(struct x86_cpu *c, const struct insn *i)
{
	insert(c, i, 1);
}

void simd_pinsrw(struct x86_cpu *c, const struct insn *i)
{
	insert(c, i, 2);
}

void simd_pinsrd(struct x86_cpu *c, const struct insn *i)
{
	insert(c, i, 4);
}

void simd_pinsrq(struct x86_cpu *c, const struct insn *i)
{
	insert(c, i, 8);
}

/* INSERTPS: imm8[7:6] chooses the source element (of a register), [5:4] the place, [3:0] zeroes. */
void simd_insertps(struct x86_cpu *c, const struct insn *i)
{
	unsigned source = simd_first(i) + 1;
	union x86_vec v, from;

	vec_read(c, i, simd_first(i), &v);
	vec_read(c, i, source, &from);
	v.d[i->imm >> 4 & 3] = from.d[i->op[source].kind == OPK_MEM ? 0 : i->imm >> 6 & 3];
	for (unsigned k = 0; k < 4; k++)
		if (i->imm >> k & 1)
			v.d[k] = 0;
	vec_write(c, i, &v);
}

/* ---- Widening: PMOVSX, PMOVZX ---- */

#define WIDEN(name, to, from)                                                                      \
	void name(struct x86_cpu *c, const struct insn *i)                                         \
	{                                                                                          \
		union x86_vec v, r;                                                                \
                                                                                                   \
		vec_read_unaligned(c, i, 1, &v);                                                   \
		for (unsigned k = 0; k < LM_ARRAY_SIZE(r.to); k++)                                 \
			r.to[k] = v.from[k];                                                       \
		vec_write(c, i, &r);                                                               \
	}

WIDEN(simd_pmovsxbw, sw, sb)
WIDEN(simd_pmovsxbd, sd, sb)
WIDEN(simd_pmovsxbq, sq, sb)
WIDEN(simd_pmovsxwd, sd, sw)
WIDEN(simd_pmovsxwq, sq, sw)
WIDEN(simd_pmovsxdq, sq, sd)
WIDEN(simd_pmovzxbw, w, b)
WIDEN(simd_pmovzxbd, d, b)
WIDEN(simd_pmovzxbq, q, b)
WIDEN(simd_pmovzxwd, d, w)
WIDEN(simd_pmovzxwq, q, w)
WIDEN(simd_pmovzxdq, q, d)

/* ---- Broadcasts of the lowest element ---- */

#define BROADCAST(name, field)                                                                     \
	void name(struct x86_cpu *c, const struct insn *i)                                         \
	{                                                                                          \
		union x86_vec v, r;                                                                \
                                                                                                   \
		vec_read(c, i, 1, &v);                                                             \
		for (unsigned k = 0; k < LM_ARRAY_SIZE(r.field); k++)                              \
			r.field[k] = v.field[0];                                                   \
		vec_write(c, i, &r);                                                               \
	}

BROADCAST(simd_vpbroadcastb, b)
BROADCAST(simd_vpbroadcastw, w)
BROADCAST(simd_vpbroadcastd, d)
BROADCAST(simd_vpbroadcastq, q)

/* VBROADCASTF128, VBROADCASTI128 */
void simd_vbroadcast128(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v;

	vec_read(c, i, 1, &v);
	v.q[2] = v.q[0];
	v.q[3] = v.q[1];
	vec_write(c, i, &v);
}

/* ---- 128-bit blocks ---- */

static void copy_block(union x86_vec *to, unsigned n, const union x86_vec *from, unsigned m)
{
	memcpy(to->b + 16 * n, from->b + 16 * m, 16);
}

void simd_vinsert128(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	copy_block(&p.a, i->imm & 1, &p.b, 0);
	vec_write(c, i, &p.a);
}

void simd_vextract128(struct x86_cpu *c, const struct insn *i)
{
	const union x86_vec *from = &c->s.vec[i->op[1].reg];
	union x86_vec v = { 0 };

	copy_block(&v, 0, from, i->imm & 1);
	if (i->op[0].kind == OPK_MEM)
		vec_store(c, mem_operand(c, i, 16, ACCESS_WRITE), &v, 16);
	else
		vec_write(c, i, &v);
}

/* VPERM2F128, VPERM2I128: two bits of imm8 choose each block from a and b, bit 3 zeroes it. */
void simd_vperm2_128(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	p.r = (union x86_vec){ 0 };
	for (unsigned block = 0; block < 2; block++) {
		unsigned select = (unsigned)i->imm >> (4 * block);

		if (!(select & 8))
			copy_block(&p.r, block, select & 2 ? &p.b : &p.a, select & 1);
	}
	vec_write(c, i, &p.r);
}

/* ---- Elements across blocks ---- */

/* VPERMD, VPERMPS: the first source holds the indices. */
void simd_vpermd(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 8; k++)
		p.r.d[k] = p.b.d[p.a.d[k] & 7];
	vec_write(c, i, &p.r);
}

/* VPERMQ, VPERMPD */
void simd_vpermq(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v, r;

	vec_read(c, i, 1, &v);
	for (unsigned k = 0; k < 4; k++)
		r.q[k] = v.q[i->imm >> (2 * k) & 3];
	vec_write(c, i, &r);
}
