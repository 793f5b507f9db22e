/*
 * Packed binary coded decimal: 18 digits, two to a byte, least significant first, and a sign byte.
 * Intel SDM vol. 1 §4.7; vol. 2 FBLD, FBSTP.
 */
#include "core.h"

struct f80 fp_f80_from_bcd(const uint8_t bcd[10])
{
	struct fp_env exact = {0};
	bool sign = bcd[9] & 0x80;
	uint64_t value = 0;

	for (int i = 8; i >= 0; i--)
		value = value * 100 + (bcd[i] >> 4) * 10u + (bcd[i] & 15);
	return fp_pack_f80(&exact, fp_normalize(sign, 127, value));
}

static void store_digits(uint8_t bcd[10], bool sign, uint64_t value)
{
	for (int i = 0; i < 9; i++, value /= 100)
		bcd[i] = (uint8_t)(value / 10 % 10 << 4 | value % 10);
	bcd[9] = sign ? 0x80 : 0;
}

void fp_f80_to_bcd(struct fp_env *env, struct f80 a, uint8_t bcd[10])
{
	static const uint8_t indefinite[10] = {[7] = 0xc0, [8] = 0xff, [9] = 0xff};
	static const struct fp_int_type digits18 = {
	    .max_positive = 999999999999999999,
	    .max_negative = 999999999999999999,
	    .indefinite = INT64_MAX,
	};
	struct fp_parts p = fp_unpack(&fp_f80, fp_f80_raw(a));
	uint64_t value = fp_to_integer(env, &digits18, p, env->rounding);

	if (value == digits18.indefinite)
		__builtin_memcpy(bcd, indefinite, sizeof(indefinite));
	else
		store_digits(bcd, p.sign, p.sign ? -value : value);
}
