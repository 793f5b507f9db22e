/*
 * FSIN, FCOS, FSINCOS, FPTAN and FPATAN. Intel SDM vol. 1 §8.3.7, §8.3.8 ("approximation of pi"),
 * vol. 2 tables of each.
 */
#include "wide.h"

/* ---- argument reduction ---- */

/* pi/2 * 2^65 as the hardware knows it: 66 bits (vol. 1 §8.3.8). */
#define HALF_PI_66 FP_BITS(0x3, 0x243f6a8885a308d3)

/* x = quadrant * pi/2 + r with |r| <= pi/4, exactly; the quadrant modulo 4. */
struct reduced {
	struct fp_parts r;
	unsigned quadrant;
};

/* For 0 <= exp + 1 <= 63 both numbers are integers in units of 2^-65. */
static struct reduced reduce(struct fp_parts x)
{
	struct reduced out = {.r = x};

	if (x.exp < -1)
		return out;
	fp_u128 scaled = (x.sig >> 64) << (x.exp + 2);
	fp_u128 quotient = scaled / HALF_PI_66, rest = scaled % HALF_PI_66;
	bool over = 2 * rest > HALF_PI_66;

	out.r = fp_normalize(x.sign != over, 127 - 65, over ? HALF_PI_66 - rest : rest);
	out.quadrant = (unsigned)(quotient + over) & 3;
	if (x.sign)
		out.quadrant = -out.quadrant & 3;
	return out;
}

/* ---- series ---- */

/* sin(r)/r (first = 2) or cos(r) (first = 1) for z = r^2 <= pi^2/16:
 * 1 - z/(first(first+1)) (1 - z/((first+2)(first+3)) (1 - ...)). Always below 1, as the true value;
 * the first term left out is below 2^-130. */
static fp_u128 circular_series(fp_u128 z, unsigned first)
{
	fp_u128 sum = WIDE_ONE;

	for (int n = (int)first + 32; n >= (int)first; n -= 2)
		sum = WIDE_ONE - ((fp_mul_high(z, sum) / (unsigned)(n * (n + 1))) | 1);
	return sum;
}

static fp_u128 square(struct fp_parts r)
{
	fp_u128 fraction = wide_to_fraction(r);

	return fp_mul_high(fraction, fraction);
}

static struct fp_parts sine(struct fp_parts r)
{
	return wide_mul(r, wide_from_fixed(circular_series(square(r), 2)));
}

static struct fp_parts cosine(struct fp_parts r)
{
	return wide_from_fixed(circular_series(square(r), 1));
}

/* sin(x + quarter * pi/2). */
static struct fp_parts sine_of(struct reduced x, unsigned quarter)
{
	unsigned quadrant = (x.quadrant + quarter) & 3;
	struct fp_parts value = quadrant & 1 ? cosine(x.r) : sine(x.r);

	value.sign ^= quadrant >> 1;
	return value;
}

static struct fp_parts tangent_of(struct reduced x)
{
	/* tan(r) = r (1 + r^2/3 + ...): from here on the correction is only a direction. */
	if (!(x.quadrant & 1) && x.r.exp < -60)
		return wide_above(x.r);
	return wide_div(sine_of(x, 0), sine_of(x, 1));
}

/* ---- FSIN, FCOS, FSINCOS, FPTAN ---- */

/* Below 2^-68 Intel CPUs deliver the operand as its sine and tangent, and 1 as the cosine, however
 * they are told to round: the smallest normal number does not underflow. */
#define TINY_ANGLE_EXP (-68)

/* Rounds a function of x, of which `limit` is the value as x goes to zero. */
static struct f80 round_function(struct fp_env *env, const struct fp_parts *x,
				 struct fp_parts limit, struct fp_parts value)
{
	fp_raise_denormal(env, x->denormal);
	return x->exp < TINY_ANGLE_EXP ? wide_to_f80_unmoved(env, limit) : wide_to_f80(env, value);
}

/* The operands that need no series: true with *result set, or with *out_of_range. */
static bool trig_special(struct fp_env *env, struct fp_parts x, struct fp_parts at_zero,
			 struct f80 *result, bool *out_of_range)
{
	struct fp_parts nan;

	*out_of_range = x.kind == FP_KIND_FINITE && x.exp >= 63;
	if (*out_of_range)
		return true;
	if (fp_nan_result1(env, &x, &nan))
		*result = fp_pack_f80(env, nan);
	else if (x.kind == FP_KIND_INF)
		*result = fp_pack_f80(env, fp_invalid(env));
	else if (x.kind == FP_KIND_ZERO)
		*result = fp_pack_f80(env, at_zero);
	else
		return false;
	return true;
}

bool fp_f80_fsin(struct fp_env *env, struct f80 a, struct f80 *sin)
{
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(a));
	bool out_of_range;

	if (trig_special(env, x, x, sin, &out_of_range))
		return !out_of_range;
	*sin = round_function(env, &x, x, sine_of(reduce(x), 0));
	return true;
}

bool fp_f80_fcos(struct fp_env *env, struct f80 a, struct f80 *cos)
{
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(a));
	bool out_of_range;

	if (trig_special(env, x, wide_from_int(1), cos, &out_of_range))
		return !out_of_range;
	*cos = round_function(env, &x, wide_from_int(1), sine_of(reduce(x), 1));
	return true;
}

bool fp_f80_fsincos(struct fp_env *env, struct f80 a, struct f80 *sin, struct f80 *cos)
{
	return fp_f80_fsin(env, a, sin) && fp_f80_fcos(env, a, cos);
}

bool fp_f80_fptan(struct fp_env *env, struct f80 a, struct f80 *tan)
{
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(a));
	bool out_of_range;

	if (trig_special(env, x, x, tan, &out_of_range))
		return !out_of_range;
	*tan = round_function(env, &x, x, tangent_of(reduce(x)));
	return true;
}

/* ---- FPATAN ---- */

#define ANGLE(e, high, low)                                                                        \
	{                                                                                          \
		.kind = FP_KIND_FINITE, .exp = (e), .sig = FP_BITS(high, low)                      \
	}

static const struct fp_parts pi = ANGLE(1, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1);
static const struct fp_parts half_pi = ANGLE(0, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1);
static const struct fp_parts quarter_pi = ANGLE(-1, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1);
static const struct fp_parts three_quarter_pi = ANGLE(1, 0x96cbe3f9990e91a7, 0x9394c9e8a0a5159c);

/* arctan(i / 8), truncated. */
static const struct fp_parts arctan_eighths[9] = {
    [1] = ANGLE(-4, 0xfeadd4d5617b6e32, 0xc897989f3e888ef7),
    [2] = ANGLE(-3, 0xfadbafc96406eb15, 0x6dc79ef5f7a217e5),
    [3] = ANGLE(-2, 0xb7b0ca0f26f78473, 0x8aa32122dcfe4483),
    [4] = ANGLE(-2, 0xed63382b0dda7b45, 0x6fe445ecbc3a8d03),
    [5] = ANGLE(-1, 0x8f005d5ef7f59f9b, 0x5c835e1665c43747),
    [6] = ANGLE(-1, 0xa4bc7d1934f70924, 0x19a87f2a457dac9e),
    [7] = ANGLE(-1, 0xb8053e2bc2319e73, 0xcb2da55210a4443d),
    [8] = ANGLE(-1, 0xc90fdaa22168c234, 0xc4c6628b80dc1cd1),
};

/* arctan(u)/u for z = u^2 <= 2^-8: 1 - z/3 + z^2/5 - ..., below 1 as the true value. The first term
 * left out is below 2^-140. */
static fp_u128 arctan_series(fp_u128 z)
{
	fp_u128 sum = 0;

	for (int k = 16; k > 0; k--)
		sum = WIDE_ONE / (unsigned)(2 * k + 1) - fp_mul_high(z, sum);
	return WIDE_ONE - (fp_mul_high(z, sum) | 1);
}

/* arctan(q) for 0 < q <= 1: arctan(i/8) + arctan((8q - i) / (8 + qi)) with i the nearest. */
static struct fp_parts arctan_wide(struct fp_parts q)
{
	struct fp_parts q8 = q, u = q;
	q8.exp += 3;
	int32_t i = q8.exp < -1 ? 0 : (int32_t)fp_round_to_integer(&q8, FP_ROUND_NEAREST).sig;

	if (i > 0) {
		struct fp_parts n = wide_from_int(i);
		u = wide_sub(q8, n);
		if (u.kind == FP_KIND_ZERO)
			return arctan_eighths[i];
		u = wide_div(u, wide_add(wide_from_int(8), wide_mul(q, n)));
	}
	struct fp_parts angle = wide_mul(u, wide_from_fixed(arctan_series(square(u))));
	return i > 0 ? wide_add(arctan_eighths[i], angle) : angle;
}

/* The angle of the point (x, y) with y >= 0, both finite and not zero. */
static struct fp_parts angle_of(struct fp_parts y, struct fp_parts x)
{
	bool left = x.sign;
	bool steep = y.exp != x.exp ? y.exp > x.exp : y.sig > x.sig;

	x.sign = y.sign = false;
	struct fp_parts a = arctan_wide(steep ? wide_div(x, y) : wide_div(y, x));
	if (steep)
		return left ? wide_add(half_pi, a) : wide_sub(half_pi, a);
	return left ? wide_sub(pi, a) : a;
}

/* The table of vol. 2 FPATAN but for finite non-zero operands and y / +inf, +-0 / x > 0. */
static struct fp_parts special_angle(const struct fp_parts *y, const struct fp_parts *x)
{
	if (y->kind == FP_KIND_INF && x->kind == FP_KIND_INF)
		return x->sign ? three_quarter_pi : quarter_pi;
	if (y->kind == FP_KIND_INF || (x->kind == FP_KIND_ZERO && y->kind != FP_KIND_ZERO))
		return half_pi;
	return pi;
}

/* y / x for finite x > 0 where it is representable, but for its exponent, and so small that Intel
 * CPUs deliver it as its arctangent. The quotient of two 64-bit significands, unless it ends within
 * 64 bits, has a one among the 64 bits that follow. */
static bool tiny_exact_quotient(struct fp_parts y, struct fp_parts x, struct fp_parts *quotient)
{
	if (x.sign || y.exp - x.exp > -40)
		return false;
	*quotient = wide_div(y, x);
	return quotient->exp < -40 && (uint64_t)quotient->sig == 0;
}

struct f80 fp_f80_fpatan(struct fp_env *env, struct f80 y_bits, struct f80 x_bits)
{
	struct fp_parts x = fp_unpack(&fp_f80, fp_f80_raw(x_bits)), angle;
	struct fp_parts y = fp_unpack(&fp_f80, fp_f80_raw(y_bits));

	if (fp_nan_result(env, &fp_f80, &x, &y, &angle))
		return fp_pack_f80(env, angle);
	fp_raise_denormal(env, x.denormal || y.denormal);
	bool vanishes = y.kind == FP_KIND_ZERO || (x.kind == FP_KIND_INF && y.kind != FP_KIND_INF);
	if (vanishes && !x.sign)
		return fp_pack_f80(env, fp_zero(y.sign));
	bool finite = x.kind == FP_KIND_FINITE && y.kind == FP_KIND_FINITE;
	if (finite && tiny_exact_quotient(y, x, &angle))
		return wide_to_f80_unmoved(env, angle);
	angle = finite ? angle_of(y, x) : special_angle(&y, &x);
	angle.sign = y.sign;
	return wide_to_f80(env, angle);
}
