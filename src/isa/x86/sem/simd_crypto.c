/*
 * AES (FIPS 197; SDM vol. 1 §12.13), carry-less multiplication, SHA-1 and SHA-256 (FIPS 180-4; SDM
 * vol. 2) and CRC32.
 *
 * The tables make these follow the data in time as the hardware does not: a guest's secrets are no
 * safer from its neighbours here than those of any software implementation.
 */
#include "isa/x86/sem/simd.h"

/* ---- AES: the state is 16 bytes, byte 4 * column + row ---- */

static const uint8_t sbox[256] = {
	0x63, 0x7c, 0x77, 0x7b, 0xf2, 0x6b, 0x6f, 0xc5, 0x30, 0x01, 0x67, 0x2b, 0xfe, 0xd7, 0xab, 0x76,
	0xca, 0x82, 0xc9, 0x7d, 0xfa, 0x59, 0x47, 0xf0, 0xad, 0xd4, 0xa2, 0xaf, 0x9c, 0xa4, 0x72, 0xc0,
	0xb7, 0xfd, 0x93, 0x26, 0x36, 0x3f, 0xf7, 0xcc, 0x34, 0xa5, 0xe5, 0xf1, 0x71, 0xd8, 0x31, 0x15,
	0x04, 0xc7, 0x23, 0xc3, 0x18, 0x96, 0x05, 0x9a, 0x07, 0x12, 0x80, 0xe2, 0xeb, 0x27, 0xb2, 0x75,
	0x09, 0x83, 0x2c, 0x1a, 0x1b, 0x6e, 0x5a, 0xa0, 0x52, 0x3b, 0xd6, 0xb3, 0x29, 0xe3, 0x2f, 0x84,
	0x53, 0xd1, 0x00, 0xed, 0x20, 0xfc, 0xb1, 0x5b, 0x6a, 0xcb, 0xbe, 0x39, 0x4a, 0x4c, 0x58, 0xcf,
	0xd0, 0xef, 0xaa, 0xfb, 0x43, 0x4d, 0x33, 0x85, 0x45, 0xf9, 0x02, 0x7f, 0x50, 0x3c, 0x9f, 0xa8,
	0x51, 0xa3, 0x40, 0x8f, 0x92, 0x9d, 0x38, 0xf5, 0xbc, 0xb6, 0xda, 0x21, 0x10, 0xff, 0xf3, 0xd2,
	0xcd, 0x0c, 0x13, 0xec, 0x5f, 0x97, 0x44, 0x17, 0xc4, 0xa7, 0x7e, 0x3d, 0x64, 0x5d, 0x19, 0x73,
	0x60, 0x81, 0x4f, 0xdc, 0x22, 0x2a, 0x90, 0x88, 0x46, 0xee, 0xb8, 0x14, 0xde, 0x5e, 0x0b, 0xdb,
	0xe0, 0x32, 0x3a, 0x0a, 0x49, 0x06, 0x24, 0x5c, 0xc2, 0xd3, 0xac, 0x62, 0x91, 0x95, 0xe4, 0x79,
	0xe7, 0xc8, 0x37, 0x6d, 0x8d, 0xd5, 0x4e, 0xa9, 0x6c, 0x56, 0xf4, 0xea, 0x65, 0x7a, 0xae, 0x08,
	0xba, 0x78, 0x25, 0x2e, 0x1c, 0xa6, 0xb4, 0xc6, 0xe8, 0xdd, 0x74, 0x1f, 0x4b, 0xbd, 0x8b, 0x8a,
	0x70, 0x3e, 0xb5, 0x66, 0x48, 0x03, 0xf6, 0x0e, 0x61, 0x35, 0x57, 0xb9, 0x86, 0xc1, 0x1d, 0x9e,
	0xe1, 0xf8, 0x98, 0x11, 0x69, 0xd9, 0x8e, 0x94, 0x9b, 0x1e, 0x87, 0xe9, 0xce, 0x55, 0x28, 0xdf,
	0x8c, 0xa1, 0x89, 0x0d, 0xbf, 0xe6, 0x42, 0x68, 0x41, 0x99, 0x2d, 0x0f, 0xb0, 0x54, 0xbb, 0x16,
};

static const uint8_t inverse_sbox[256] = {
	0x52, 0x09, 0x6a, 0xd5, 0x30, 0x36, 0xa5, 0x38, 0xbf, 0x40, 0xa3, 0x9e, 0x81, 0xf3, 0xd7, 0xfb,
	0x7c, 0xe3, 0x39, 0x82, 0x9b, 0x2f, 0xff, 0x87, 0x34, 0x8e, 0x43, 0x44, 0xc4, 0xde, 0xe9, 0xcb,
	0x54, 0x7b, 0x94, 0x32, 0xa6, 0xc2, 0x23, 0x3d, 0xee, 0x4c, 0x95, 0x0b, 0x42, 0xfa, 0xc3, 0x4e,
	0x08, 0x2e, 0xa1, 0x66, 0x28, 0xd9, 0x24, 0xb2, 0x76, 0x5b, 0xa2, 0x49, 0x6d, 0x8b, 0xd1, 0x25,
	0x72, 0xf8, 0xf6, 0x64, 0x86, 0x68, 0x98, 0x16, 0xd4, 0xa4, 0x5c, 0xcc, 0x5d, 0x65, 0xb6, 0x92,
	0x6c, 0x70, 0x48, 0x50, 0xfd, 0xed, 0xb9, 0xda, 0x5e, 0x15, 0x46, 0x57, 0xa7, 0x8d, 0x9d, 0x84,
	0x90, 0xd8, 0xab, 0x00, 0x8c, 0xbc, 0xd3, 0x0a, 0xf7, 0xe4, 0x58, 0x05, 0xb8, 0xb3, 0x45, 0x06,
	0xd0, 0x2c, 0x1e, 0x8f, 0xca, 0x3f, 0x0f, 0x02, 0xc1, 0xaf, 0xbd, 0x03, 0x01, 0x13, 0x8a, 0x6b,
	0x3a, 0x91, 0x11, 0x41, 0x4f, 0x67, 0xdc, 0xea, 0x97, 0xf2, 0xcf, 0xce, 0xf0, 0xb4, 0xe6, 0x73,
	0x96, 0xac, 0x74, 0x22, 0xe7, 0xad, 0x35, 0x85, 0xe2, 0xf9, 0x37, 0xe8, 0x1c, 0x75, 0xdf, 0x6e,
	0x47, 0xf1, 0x1a, 0x71, 0x1d, 0x29, 0xc5, 0x89, 0x6f, 0xb7, 0x62, 0x0e, 0xaa, 0x18, 0xbe, 0x1b,
	0xfc, 0x56, 0x3e, 0x4b, 0xc6, 0xd2, 0x79, 0x20, 0x9a, 0xdb, 0xc0, 0xfe, 0x78, 0xcd, 0x5a, 0xf4,
	0x1f, 0xdd, 0xa8, 0x33, 0x88, 0x07, 0xc7, 0x31, 0xb1, 0x12, 0x10, 0x59, 0x27, 0x80, 0xec, 0x5f,
	0x60, 0x51, 0x7f, 0xa9, 0x19, 0xb5, 0x4a, 0x0d, 0x2d, 0xe5, 0x7a, 0x9f, 0x93, 0xc9, 0x9c, 0xef,
	0xa0, 0xe0, 0x3b, 0x4d, 0xae, 0x2a, 0xf5, 0xb0, 0xc8, 0xeb, 0xbb, 0x3c, 0x83, 0x53, 0x99, 0x61,
	0x17, 0x2b, 0x04, 0x7e, 0xba, 0x77, 0xd6, 0x26, 0xe1, 0x69, 0x14, 0x63, 0x55, 0x21, 0x0c, 0x7d,
};

/* Multiplication by x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1. */
static uint8_t times_x(uint8_t a)
{
	return (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1b : 0));
}

/* SubBytes and ShiftRows in one: row r moves left by r columns. */
static union x86_vec substitute_shift(const union x86_vec *state)
{
	union x86_vec r = { 0 };

	for (unsigned k = 0; k < 16; k++)
		r.b[k] = sbox[state->b[(k + 4 * (k & 3)) & 15]];
	return r;
}

static union x86_vec inverse_substitute_shift(const union x86_vec *state)
{
	union x86_vec r = { 0 };

	for (unsigned k = 0; k < 16; k++)
		r.b[k] = inverse_sbox[state->b[(k - 4 * (k & 3)) & 15]];
	return r;
}

/* Every byte becomes 2 a + 3 b + c + d, where b, c, d follow a in its column. */
static union x86_vec mix_columns(const union x86_vec *state)
{
	union x86_vec r = { 0 };

	for (unsigned column = 0; column < 16; column += 4) {
		const uint8_t *s = state->b + column;
		uint8_t all = s[0] ^ s[1] ^ s[2] ^ s[3];

		for (unsigned k = 0; k < 4; k++)
			r.b[column + k] = (uint8_t)(s[k] ^ all ^ times_x(s[k] ^ s[(k + 1) & 3]));
	}
	return r;
}

/* The inverse matrix is the forward one times (4 x^2 + 5): add 4 (a + c) first, then mix. */
static union x86_vec inverse_mix_columns(const union x86_vec *state)
{
	union x86_vec t = { 0 };

	for (unsigned k = 0; k < 16; k++) {
		uint8_t opposite = state->b[(k & 12) | ((k + 2) & 3)];

		t.b[k] = (uint8_t)(state->b[k] ^ times_x(times_x(state->b[k] ^ opposite)));
	}
	return mix_columns(&t);
}

static void add_key_write(struct x86_cpu *c, const struct insn *i, union x86_vec state,
			  const union x86_vec *key)
{
	state.q[0] ^= key->q[0];
	state.q[1] ^= key->q[1];
	vec_write(c, i, &state);
}

void simd_aesenc(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	p.r = substitute_shift(&p.a);
	add_key_write(c, i, mix_columns(&p.r), &p.b);
}

void simd_aesenclast(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	add_key_write(c, i, substitute_shift(&p.a), &p.b);
}

void simd_aesdec(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	p.r = inverse_substitute_shift(&p.a);
	add_key_write(c, i, inverse_mix_columns(&p.r), &p.b);
}

void simd_aesdeclast(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	add_key_write(c, i, inverse_substitute_shift(&p.a), &p.b);
}

void simd_aesimc(struct x86_cpu *c, const struct insn *i)
{
	union x86_vec v;

	vec_read(c, i, 1, &v);
	v = inverse_mix_columns(&v);
	vec_write(c, i, &v);
}

static uint32_t substitute_word(uint32_t w)
{
	return sbox[w & 0xff] | (uint32_t)sbox[w >> 8 & 0xff] << 8 |
	       (uint32_t)sbox[w >> 16 & 0xff] << 16 | (uint32_t)sbox[w >> 24] << 24;
}

static uint32_t ror32(uint32_t w, unsigned n)
{
	return w >> n | w << (32 - n);
}

static uint32_t rol32(uint32_t w, unsigned n)
{
	return w << n | w >> (32 - n);
}

void simd_aeskeygenassist(struct x86_cpu *c, const struct insn *i)
{
	uint32_t rcon = (uint32_t)i->imm & 0xff;
	union x86_vec v, r = { 0 };

	vec_read(c, i, 1, &v);
	r.d[0] = substitute_word(v.d[1]);
	r.d[1] = ror32(r.d[0], 8) ^ rcon;
	r.d[2] = substitute_word(v.d[3]);
	r.d[3] = ror32(r.d[2], 8) ^ rcon;
	vec_write(c, i, &r);
}

/* ---- PCLMULQDQ: imm8[0] and imm8[4] choose the quadwords ---- */

void simd_pclmulqdq(struct x86_cpu *c, const struct insn *i)
{
	unsigned __int128 a, product = 0;
	struct vec_pair p;
	uint64_t b;

	vec_read_pair(c, i, &p);
	a = p.a.q[i->imm & 1];
	b = p.b.q[i->imm >> 4 & 1];
	for (unsigned k = 0; k < 64; k++)
		product ^= (a << k) & -(unsigned __int128)(b >> k & 1);
	p.r = (union x86_vec){ .q = { (uint64_t)product, (uint64_t)(product >> 64) } };
	vec_write(c, i, &p.r);
}

/* ---- CRC32: the Castagnoli polynomial, bits reversed ---- */

#define CRC32C_POLYNOMIAL 0x82f63b78u

void simd_crc32(struct x86_cpu *c, const struct insn *i)
{
	unsigned bytes = i->op[1].size;
	uint64_t data = op_read(c, i, 1);
	uint32_t crc = (uint32_t)c->s.gpr[i->op[0].reg];

	for (unsigned k = 0; k < bytes; k++) {
		crc ^= data >> (8 * k) & 0xff;
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (CRC32C_POLYNOMIAL & -(crc & 1));
	}
	gpr_write(c, i->op[0].reg, crc, 8);
}

/* ---- SHA-1: the state's A is the highest doubleword ---- */

static uint32_t choose(uint32_t x, uint32_t y, uint32_t z)
{
	return (x & y) ^ (~x & z);
}

static uint32_t majority(uint32_t x, uint32_t y, uint32_t z)
{
	return (x & y) ^ (x & z) ^ (y & z);
}

static uint32_t parity(uint32_t x, uint32_t y, uint32_t z)
{
	return x ^ y ^ z;
}

void simd_sha1rnds4(struct x86_cpu *c, const struct insn *i)
{
	static const struct {
		uint32_t (*f)(uint32_t, uint32_t, uint32_t);
		uint32_t k;
	} group[4] = {
		{ choose, 0x5a827999 },
		{ parity, 0x6ed9eba1 },
		{ majority, 0x8f1bbcdc },
		{ parity, 0xca62c1d6 },
	};
	uint32_t a, b, cc, d, e = 0;
	unsigned g = i->imm & 3;
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	a = p.a.d[3];
	b = p.a.d[2];
	cc = p.a.d[1];
	d = p.a.d[0];
	for (unsigned round = 0; round < 4; round++) {
		/* SHA1NEXTE has added E to the first word. */
		uint32_t next = group[g].f(b, cc, d) + rol32(a, 5) + p.b.d[3 - round] + e +
				group[g].k;

		e = d;
		d = cc;
		cc = rol32(b, 30);
		b = a;
		a = next;
	}
	p.r = (union x86_vec){ .d = { d, cc, b, a } };
	vec_write(c, i, &p.r);
}

void simd_sha1nexte(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	p.b.d[3] += rol32(p.a.d[3], 30);
	vec_write(c, i, &p.b);
}

void simd_sha1msg1(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	p.r.d[3] = p.a.d[1] ^ p.a.d[3];
	p.r.d[2] = p.a.d[0] ^ p.a.d[2];
	p.r.d[1] = p.b.d[3] ^ p.a.d[1];
	p.r.d[0] = p.b.d[2] ^ p.a.d[0];
	vec_write(c, i, &p.r);
}

void simd_sha1msg2(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	p.r.d[3] = rol32(p.a.d[3] ^ p.b.d[2], 1);
	p.r.d[2] = rol32(p.a.d[2] ^ p.b.d[1], 1);
	p.r.d[1] = rol32(p.a.d[1] ^ p.b.d[0], 1);
	p.r.d[0] = rol32(p.a.d[0] ^ p.r.d[3], 1);
	vec_write(c, i, &p.r);
}

/* ---- SHA-256 ---- */

static uint32_t sigma0(uint32_t w)
{
	return ror32(w, 7) ^ ror32(w, 18) ^ w >> 3;
}

static uint32_t sigma1(uint32_t w)
{
	return ror32(w, 17) ^ ror32(w, 19) ^ w >> 10;
}

/* Two rounds: the first source is C D G H, the second A B E F; XMM0 holds words plus constants. */
void simd_sha256rnds2(struct x86_cpu *c, const struct insn *i)
{
	const union x86_vec words = c->s.vec[0];
	uint32_t a, b, cc, d, e, f, g, h;
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	a = p.b.d[3], b = p.b.d[2], e = p.b.d[1], f = p.b.d[0];
	cc = p.a.d[3], d = p.a.d[2], g = p.a.d[1], h = p.a.d[0];
	for (unsigned round = 0; round < 2; round++) {
		uint32_t t1 = h + choose(e, f, g) + words.d[round] +
			      (ror32(e, 6) ^ ror32(e, 11) ^ ror32(e, 25));
		uint32_t t2 = majority(a, b, cc) +
			      (ror32(a, 2) ^ ror32(a, 13) ^ ror32(a, 22));

		h = g, g = f, f = e, e = d + t1;
		d = cc, cc = b, b = a, a = t1 + t2;
	}
	p.r = (union x86_vec){ .d = { f, e, b, a } };
	vec_write(c, i, &p.r);
}

void simd_sha256msg1(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 4; k++)
		p.r.d[k] = p.a.d[k] + sigma0(k < 3 ? p.a.d[k + 1] : p.b.d[0]);
	vec_write(c, i, &p.r);
}

void simd_sha256msg2(struct x86_cpu *c, const struct insn *i)
{
	struct vec_pair p;

	vec_read_pair(c, i, &p);
	for (unsigned k = 0; k < 4; k++)
		p.r.d[k] = p.a.d[k] + sigma1(k < 2 ? p.b.d[k + 2] : p.r.d[k - 2]);
	vec_write(c, i, &p.r);
}
