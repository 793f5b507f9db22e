#include "values.h"

#include <string.h>

#include "base/bits.h"

/* ---- Integers ---- */

static uint64_t small_pattern(struct rng *r)
{
	static const uint64_t special[] = {
		0, 0, 0, 1, 1, 2, 3, 7, 8, 9, 15, 16, 31, 32, 63, 64, 0x7f, 0x80, 0xff, 0x100,
		0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
		0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0xffffffffffffffff,
		0xfffffffffffffffe, 0xffffffff80000000, 0xffffffffffff8000, 0xffffffffffffff80,
		0x8080808080808080, 0x7f7f7f7f7f7f7f7f, 0x8000800080008000, 0x7fff7fff7fff7fff,
		0x8000000080000000, 0x7fffffff7fffffff, 0x0101010101010101, 0x00ff00ff00ff00ff,
	};

	return special[rng_below(r, LM_ARRAY_SIZE(special))];
}

uint64_t value_integer(struct rng *r)
{
	uint64_t v = rng_next(r);

	switch (rng_below(r, 8)) {
	case 0:
		return small_pattern(r);
	case 1:
		return UINT64_C(1) << (v & 63);
	case 2:
		return (UINT64_C(1) << (v & 63)) - 1;
	case 3:
		return v & 0xff;
	case 4:
		return ~(v & 0xffff);
	case 5: /* a sign-extended number of some width */
		return (uint64_t)((int64_t)v >> (v >> 8 & 63));
	default:
		return v;
	}
}

/* ---- Floating point: sign, exponent and fraction drawn apart ---- */

static uint64_t special_exponent(struct rng *r, unsigned bits, uint64_t random)
{
	uint64_t max = LM_BIT(bits) - 1, bias = max >> 1;

	switch (rng_below(r, 12)) {
	case 0:
		return 0;
	case 1:
		return max;
	case 2:
		return rng_below(r, 4);
	case 3:
		return max - rng_below(r, 4);
	case 4: /* where products and quotients reach the limits */
		return (bias / 2 + random % 5 - 2) & max;
	case 5:
		return (bias + bias / 2 + random % 5 - 2) & max;
	case 6: /* integers */
		return (bias + random % 70) & max;
	case 7:
	case 8:
	case 9:
		return (bias + random % 9 - 4) & max;
	case 10:
		return (bias - random % 70) & max;
	default:
		return random & max;
	}
}

static uint64_t special_fraction(struct rng *r, unsigned bits, uint64_t random)
{
	uint64_t mask = LM_BIT(bits) - 1;

	switch (rng_below(r, 8)) {
	case 0:
		return 0;
	case 1:
		return mask;
	case 2:
		return LM_BIT(bits - 1);
	case 3:
		return 1;
	case 4: /* few low bits, for exact results and ties */
		return random << (bits - 1 - random % bits) & mask;
	case 5:
		return LM_BIT(random % bits);
	default:
		return random & mask;
	}
}

static uint64_t value_ieee(struct rng *r, unsigned exponent_bits, unsigned fraction_bits)
{
	uint64_t random = rng_next(r);
	uint64_t exponent = special_exponent(r, exponent_bits, random >> 8);
	uint64_t fraction = special_fraction(r, fraction_bits, rng_next(r));

	return (random & 1) << (exponent_bits + fraction_bits) | exponent << fraction_bits | fraction;
}

uint16_t value_f16(struct rng *r)
{
	return (uint16_t)value_ieee(r, 5, 10);
}

uint32_t value_f32(struct rng *r)
{
	return (uint32_t)value_ieee(r, 8, 23);
}

uint64_t value_f64(struct rng *r)
{
	return value_ieee(r, 11, 52);
}

/* Mostly with the integer bit that belongs to the exponent; else pseudo-denormals and unnormals. */
void value_f80(struct rng *r, uint64_t *sig, uint16_t *se)
{
	uint64_t random = rng_next(r);
	uint64_t exponent = special_exponent(r, 15, random >> 8);
	uint64_t fraction = special_fraction(r, 63, rng_next(r));
	bool integer = exponent != 0;

	if (!(random >> 1 & 31))
		integer = !integer;
	*sig = (uint64_t)integer << 63 | fraction;
	*se = (uint16_t)((random & 1) << 15 | exponent);
}

void value_bcd(struct rng *r, uint8_t bcd[10])
{
	bool wild = rng_below(r, 8) == 0;

	for (unsigned k = 0; k < 9; k++)
		bcd[k] = (uint8_t)(wild ? rng_next(r) : rng_below(r, 10) << 4 | rng_below(r, 10));
	bcd[9] = (uint8_t)(rng_next(r) & (wild ? 0xff : 0x80));
}

/* ---- Blocks ---- */

static unsigned put_element(struct rng *r, enum element el, uint8_t out[16])
{
	uint64_t v;
	uint16_t se;

	memset(out, 0, 16);
	switch (el) {
	case EL_F16:
		v = value_f16(r);
		memcpy(out, &v, 2);
		return 2;
	case EL_F32:
		v = value_f32(r);
		memcpy(out, &v, 4);
		return 4;
	case EL_F64:
		v = value_f64(r);
		memcpy(out, &v, 8);
		return 8;
	case EL_F80:
		value_f80(r, &v, &se);
		memcpy(out, &v, 8);
		memcpy(out + 8, &se, 2);
		return 10;
	case EL_BCD:
		value_bcd(r, out);
		return 10;
	default:
		v = value_integer(r);
		memcpy(out, &v, 8);
		return 8;
	}
}

void values_fill(struct rng *r, enum element el, void *to, unsigned len)
{
	uint8_t element[16], *p = to;
	unsigned n;

	if (rng_below(r, 16) == 0)
		el = (enum element)rng_below(r, EL_BCD + 1);
	for (unsigned at = 0; at < len; at += n) {
		n = put_element(r, el, element);
		memcpy(p + at, element, LM_MIN(n, len - at));
	}
}
