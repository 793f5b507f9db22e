/*
 * fp_transcendental [--cases N] [--seed S] [--op NAME] [--case K]
 *
 * The x87 transcendental instructions. Where the result is not exact, ours must lie within one unit
 * in the last place of the truth, computed with 113 bits by libquadmath; the host's error is
 * printed beside it. Special results, flags and condition codes are compared with the host's.
 */
#include <quadmath.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vendor.h"
#include "x87_host.h"

#define MAX_PRINTED 5

struct function {
	const char *name;
	bool two_operands;
	bool pushes; /* value[0] is pushed above value[1] */
	void (*host)(const struct fp_case *c, struct fp_outcome *out);
	void (*soft)(const struct fp_case *c, struct fp_outcome *out);
	__float128 (*truth)(__float128 x, __float128 y);
	__float128 (*pushed_truth)(__float128 x, __float128 y);
	bool (*in_domain)(__float128 x);
};

/* ---- host ---- */

HOST_X87(f2xm1, CODES, false, "f2xm1")
HOST_X87(fyl2x, CODES, false, "fyl2x")
HOST_X87(fyl2xp1, CODES, false, "fyl2xp1")
HOST_X87(fpatan, CODES, false, "fpatan")
HOST_X87(fsin, CODES, false, "fsin")
HOST_X87(fcos, CODES, false, "fcos")
HOST_X87(fsincos, CODES, true, "fsincos")
HOST_X87(fptan, CODES, true, "fptan")

/* ---- ours ---- */

static void finish(struct fp_outcome *out, const struct fp_case *c, const struct fp_env *env,
		   struct f80 value)
{
	bool blocked = fp_blocks_result(env);

	out->value[0] = blocked ? c->operand[0] : raw_of(value);
	out->flags = fp_reported_flags(env);
	out->condition = env->rounded_up && !blocked ? C1 : 0;
}

#define SOFT(id, expression)                                                                       \
	static void soft_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		struct fp_env e = fp_env_from_fcw(c->control), *env = &e;                          \
		struct f80 x = f80_of(c->operand[0]), y = f80_of(c->operand[1]);                   \
		(void)y;                                                                           \
		finish(out, c, env, expression);                                                   \
	}
SOFT(f2xm1, fp_f80_f2xm1(env, x))
SOFT(fyl2x, fp_f80_fyl2x(env, y, x))
SOFT(fyl2xp1, fp_f80_fyl2xp1(env, y, x))
SOFT(fpatan, fp_f80_fpatan(env, y, x))

static void out_of_range(const struct fp_case *c, struct fp_outcome *out, bool two)
{
	*out =
	    (struct fp_outcome){.value = {c->operand[0], two ? c->operand[1] : 0}, .condition = C2};
}

#define SOFT_TRIG(id)                                                                              \
	static void soft_##id(const struct fp_case *c, struct fp_outcome *out)                     \
	{                                                                                          \
		struct fp_env env = fp_env_from_fcw(c->control);                                   \
		struct f80 r;                                                                      \
		if (fp_f80_##id(&env, f80_of(c->operand[0]), &r))                                  \
			finish(out, c, &env, r);                                                   \
		else                                                                               \
			out_of_range(c, out, false);                                               \
	}
SOFT_TRIG(fsin)
SOFT_TRIG(fcos)

static void finish_push(struct fp_outcome *out, const struct fp_case *c, const struct fp_env *env,
			struct f80 top, struct f80 below)
{
	finish(out, c, env, top);
	out->value[1] = fp_blocks_result(env) ? c->operand[1] : raw_of(below);
}

static void soft_fsincos(const struct fp_case *c, struct fp_outcome *out)
{
	struct fp_env env = fp_env_from_fcw(c->control);
	struct f80 sin, cos;

	if (fp_f80_fsincos(&env, f80_of(c->operand[0]), &sin, &cos))
		finish_push(out, c, &env, cos, sin);
	else
		out_of_range(c, out, true);
}

static bool is_nan(u128 raw)
{
	return (raw >> 64 & 0x7fff) == 0x7fff && (uint64_t)raw << 1 != 0;
}

static void soft_fptan(const struct fp_case *c, struct fp_outcome *out)
{
	struct fp_env env = fp_env_from_fcw(c->control);
	struct f80 tan;

	if (!fp_f80_fptan(&env, f80_of(c->operand[0]), &tan)) {
		out_of_range(c, out, true);
		return;
	}
	/* A NaN is pushed over a NaN (vol. 2 FPTAN; as every CPU does). */
	struct f80 one = fp_f80_constant(FP_ONE, FP_ROUND_NEAREST);
	finish_push(out, c, &env, is_nan(raw_of(tan)) ? tan : one, tan);
}

/* ---- the truth ---- */

static __float128 quad_of(u128 raw)
{
	struct f80 a = f80_of(raw);
	int exp = a.se & 0x7fff;
	__float128 v = ldexpq((__float128)a.sig, (exp ? exp : 1) - 16383 - 63);

	return a.se >> 15 ? -v : v;
}

/* x minus the nearest multiple of half the hardware's pi, exactly; *quadrant modulo 4. */
static __float128 reduced(__float128 x, int *quadrant)
{
	__float128 half_pi = ldexpq((__float128)0x3243f6a8885a308dull * 16 + 3, -65);
	__float128 r = fmodq(x, 4 * half_pi);

	*quadrant = (int)rintq(r / half_pi);
	r -= *quadrant * half_pi;
	*quadrant &= 3;
	return r;
}

/* f(x) for an f whose relative distance from x, which is of the sign of `step`, is too small for
 * 113 bits: a larger one that still moves no rounding but the directed ones. Below `limit`, x
 * itself is what CPUs take for the truth. */
static __float128 nudged(__float128 value, __float128 x, __float128 step, __float128 limit)
{
	if (fabsq(x) < limit)
		return x;
	return fabsq(x) < 0x1p-60Q ? value * (1 + step) : value;
}

static __float128 true_sin(__float128 x, __float128 y)
{
	int q;
	__float128 r = reduced(x, &q),
		   v = q & 1 ? cosq(r) : nudged(sinq(r), r, -0x1p-80Q, 0x1p-68Q);

	(void)y;
	return q & 2 ? -v : v;
}

static __float128 true_cos(__float128 x, __float128 y)
{
	int q;
	__float128 r = reduced(x, &q), v = q & 1 ? sinq(r) : cosq(r);

	(void)y;
	return q == 1 || q == 2 ? -v : v;
}

static __float128 true_tan(__float128 x, __float128 y)
{
	int q;
	__float128 r = reduced(x, &q);

	(void)y;
	return q & 1 ? -1 / tanq(r) : nudged(tanq(r), r, 0x1p-80Q, 0x1p-68Q);
}

static __float128 true_f2xm1(__float128 x, __float128 y)
{
	(void)y;
	return expm1q(x * M_LN2q);
}

static __float128 true_fyl2x(__float128 x, __float128 y)
{
	return y * (x > 0.5Q && x < 2 ? log1pq(x - 1) * M_LOG2Eq : log2q(x));
}

static __float128 true_fyl2xp1(__float128 x, __float128 y)
{
	return y * log1pq(x) * M_LOG2Eq; /* in this order nothing is denormal needlessly */
}

/* y / x is an f80, but for its exponent. */
static bool exact_quotient(__float128 y, __float128 x)
{
	int ignored;
	__float128 n = frexpq(y, &ignored), d = frexpq(x, &ignored), q = n / d;

	return fmaq(q, d, -n) == 0 && (long double)q == q;
}

static __float128 true_fpatan(__float128 x, __float128 y)
{
	__float128 angle = atan2q(y, x);

	return x > 0 && exact_quotient(y, x) ? nudged(angle, y / x, -0x1p-80Q, 0x1p-40Q) : angle;
}

static bool unit_interval(__float128 x)
{
	return fabsq(x) <= 1;
}

static bool positive(__float128 x)
{
	return x > 0;
}

static bool yl2xp1_domain(__float128 x)
{
	return x >= M_SQRT1_2q - 1 && x <= M_SQRT2q - 1;
}

static bool below_2_63(__float128 x)
{
	return fabsq(x) < 0x1p63Q;
}

static bool anything(__float128 x)
{
	(void)x;
	return true;
}

/* raw - truth in units of the last place of `truth` rounded to an f80. */
static double error_of(u128 raw, __float128 truth)
{
	int exp;

	frexpq(truth, &exp);
	exp = exp - 1 < -16382 ? -16382 : exp - 1;
	return (double)ldexpq(quad_of(raw) - truth, 63 - exp);
}

/* ---- cases ---- */

static const struct fp_op two_f80 = {.operand = {F80, F80}, .x87 = true};

/* Half of the cases get an exponent of ST(0) that lies within the usual domains. */
static struct fp_case make_case(uint64_t *state, const struct function *f)
{
	struct fp_case c = random_case(state, &two_f80);
	uint64_t r = random_next(state);

	c.control |= 0x300; /* precision control has no say in these */
	if (r & 1) {
		unsigned range = f->in_domain == below_2_63 ? 80 : 24;
		uint16_t se = (uint16_t)(16383 + 16 - (int)((r >> 8) % range));
		if (f->in_domain == unit_interval || f->in_domain == yl2xp1_domain)
			se -= 17;
		if (f->in_domain == below_2_63)
			se += 46;
		c.operand[0] =
		    (u128)(se | (r >> 1 & 1) << 15) << 64 | random_next(state) | (u128)1 << 63;
	}
	return c;
}

static uint64_t case_state(const struct function *f, uint64_t seed, uint64_t k)
{
	uint64_t state = seed;

	for (const char *p = f->name; *p; p++)
		state = state * 31 + (unsigned char)*p;
	state = random_next(&state) + k;
	return random_next(&state);
}

/* ---- judging ---- */

/* Rounding to nearest separately: there 0.5 is the best that can be. */
struct worst {
	double soft[2], host[2];
};

static bool is_number(u128 raw)
{
	unsigned exp = (unsigned)(raw >> 64) & 0x7fff;

	return exp != 0x7fff && (exp == 0 || (raw >> 63 & 1));
}

static bool is_nonzero_number(u128 raw)
{
	return is_number(raw) && (uint64_t)raw != 0;
}

/* A finite result that had to be rounded from the function's value, not a row of the manual's
 * table. */
static bool approximated(const struct function *f, const struct fp_case *c,
			 const struct fp_outcome *soft)
{
	return is_nonzero_number(c->operand[0]) &&
	       (!f->two_operands || is_nonzero_number(c->operand[1])) &&
	       is_number(soft->value[0]) && (soft->flags & FP_INEXACT) &&
	       !(soft->flags & c->control & FP_OVERFLOW) &&
	       !(soft->flags & ~c->control & FP_PRECOMPUTATION);
}

/* Its exponent was adjusted: the truth may be beyond a __float128. */
static bool scaled(const struct fp_case *c, const struct fp_outcome *soft)
{
	return soft->flags & ~c->control & (FP_OVERFLOW | FP_UNDERFLOW);
}

/* The next larger magnitude of a normal number. */
static u128 successor(u128 raw)
{
	return (uint64_t)raw == UINT64_MAX ? raw + 1 + ((u128)1 << 63) : raw + 1;
}

static bool neighbours(u128 a, u128 b)
{
	return a == b || successor(a) == b || a == successor(b);
}

/* Nothing is promised outside of the instruction's domain. */
static bool undefined(const struct function *f, const struct fp_case *c)
{
	return is_number(c->operand[0]) && f->in_domain != positive && f->in_domain != below_2_63 &&
	       !f->in_domain(quad_of(c->operand[0]));
}

/* The truth's own error, with room to spare: 2^-49 units are one in the last of 113 bits. */
#define SLACK 0x1p-40

static bool on_right_side(const struct fp_case *c, __float128 truth, double signed_error)
{
	switch (c->control >> 10 & 3) {
	case FP_ROUND_DOWN:
		return signed_error <= SLACK;
	case FP_ROUND_UP:
		return signed_error >= -SLACK;
	case FP_ROUND_ZERO:
		return truth > 0 ? signed_error <= SLACK : signed_error >= -SLACK;
	default:
		return true;
	}
}

static bool within_ulp(const struct fp_case *c, u128 soft, u128 host, __float128 truth,
		       struct worst *worst)
{
	bool directed = c->control & 0xc00;
	double signed_error = error_of(soft, truth);
	double e = __builtin_fabs(signed_error);
	double h = __builtin_fabs(error_of(host, truth));

	if (e > worst->soft[directed])
		worst->soft[directed] = e;
	if (h > worst->host[directed])
		worst->host[directed] = h;
	return e <= (directed ? 1 + SLACK : 0.5001) && on_right_side(c, truth, signed_error);
}

static bool is_denormal(u128 raw)
{
	return (raw >> 64 & 0x7fff) == 0;
}

/* C1 tells how the last bit was rounded, on which the host and we may differ; so may the results
 * on whether they are still denormal. */
static bool same_status(const struct fp_outcome *a, const struct fp_outcome *b)
{
	bool straddling = is_denormal(a->value[0]) != is_denormal(b->value[0]);
	unsigned ignored = straddling ? FP_UNDERFLOW : 0;

	return !((a->flags ^ b->flags) & ~ignored) &&
	       !((a->condition ^ b->condition) & (C0 | C2 | C3));
}

static bool judge(const struct function *f, const struct fp_case *c, const struct fp_outcome *host,
		  const struct fp_outcome *soft, struct worst *worst)
{
	__float128 x = quad_of(c->operand[0]), y = quad_of(c->operand[1]);

	if (undefined(f, c))
		return true;
	if (!approximated(f, c, soft))
		return same_status(host, soft) && host->value[0] == soft->value[0] &&
		       host->value[1] == soft->value[1];
	if (scaled(c, soft))
		return same_status(host, soft) && neighbours(host->value[0], soft->value[0]) &&
		       neighbours(host->value[1], soft->value[1]);
	if (!f->pushes)
		return within_ulp(c, soft->value[0], host->value[0], f->truth(x, y), worst) &&
		       same_status(host, soft);
	bool top = f->pushed_truth
		       ? within_ulp(c, soft->value[0], host->value[0], f->pushed_truth(x, y), worst)
		       : soft->value[0] == host->value[0];
	return top && within_ulp(c, soft->value[1], host->value[1], f->truth(x, y), worst) &&
	       same_status(host, soft);
}

/* ---- running ---- */

static void print_raw(const char *label, u128 raw)
{
	printf(" %s %04x:%016llx", label, (unsigned)(raw >> 64), (unsigned long long)raw);
}

static void print_outcome(const char *who, const struct fp_outcome *o)
{
	printf("  %s:", who);
	print_raw("", o->value[0]);
	print_raw("", o->value[1]);
	printf(" flags %02x codes %x\n", o->flags, o->condition);
}

struct options {
	uint64_t cases, seed, one_case;
	const char *op;
	bool one;
};

static bool run_case(const struct function *f, const struct options *o, uint64_t k, bool print,
		     struct worst *worst)
{
	uint64_t state = case_state(f, o->seed, k);
	struct fp_case c = make_case(&state, f);
	struct fp_outcome host = {0}, soft = {0};

	f->host(&c, &host);
	f->soft(&c, &soft);
	fp_vendor_outcome(f->name, &c, &soft);
	bool good = judge(f, &c, &host, &soft, worst);
	if (!(o->one || (print && !good)))
		return good;
	printf("%s fcw %04x", f->name, c.control);
	print_raw("st0", c.operand[0]);
	print_raw("st1", c.operand[1]);
	printf("\n");
	print_outcome("host", &host);
	print_outcome("soft", &soft);
	printf("  rerun: fp_transcendental --seed %llu --op %s --case %llu\n",
	       (unsigned long long)o->seed, f->name, (unsigned long long)k);
	return good;
}

static uint64_t run_function(const struct function *f, const struct options *o, uint64_t cases)
{
	struct worst worst = {0};
	uint64_t bad = 0;

	for (uint64_t k = 0; k < cases; k++)
		bad += !run_case(f, o, o->one ? o->one_case : k, bad < MAX_PRINTED, &worst);
	printf("%-8s %llu cases, %llu bad; largest error in ulp: to nearest %.6f (host %.6f), "
	       "directed %.6f (host %.6f)\n",
	       f->name, (unsigned long long)cases, (unsigned long long)bad, worst.soft[0],
	       worst.host[0], worst.soft[1], worst.host[1]);
	return bad;
}

static const struct function functions[] = {
    {"f2xm1", false, false, host_f2xm1, soft_f2xm1, true_f2xm1, NULL, unit_interval},
    {"fyl2x", true, false, host_fyl2x, soft_fyl2x, true_fyl2x, NULL, positive},
    {"fyl2xp1", true, false, host_fyl2xp1, soft_fyl2xp1, true_fyl2xp1, NULL, yl2xp1_domain},
    {"fpatan", true, false, host_fpatan, soft_fpatan, true_fpatan, NULL, anything},
    {"fsin", false, false, host_fsin, soft_fsin, true_sin, NULL, below_2_63},
    {"fcos", false, false, host_fcos, soft_fcos, true_cos, NULL, below_2_63},
    {"fsincos", false, true, host_fsincos, soft_fsincos, true_sin, true_cos, below_2_63},
    {"fptan", false, true, host_fptan, soft_fptan, true_tan, NULL, below_2_63},
};

static bool parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--cases") == 0)
			o->cases = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--seed") == 0)
			o->seed = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--op") == 0)
			o->op = argv[i + 1];
		else if (strcmp(argv[i], "--case") == 0)
			o->one = true, o->one_case = strtoull(argv[i + 1], NULL, 0);
		else
			return false;
	}
	return argc % 2 == 1;
}

int main(int argc, char **argv)
{
	const size_t count = sizeof(functions) / sizeof(functions[0]);
	struct options o = {.cases = 80000, .seed = 1};
	uint64_t bad = 0, ran = 0;

	if (!parse(argc, argv, &o)) {
		fprintf(stderr,
			"usage: fp_transcendental [--cases N] [--seed S] [--op NAME] [--case K]\n");
		return 2;
	}
	for (size_t i = 0; i < count; i++) {
		if (o.op && strcmp(o.op, functions[i].name) != 0)
			continue;
		bad += run_function(&functions[i], &o,
				    o.one  ? 1
				    : o.op ? o.cases
					   : o.cases / count);
		ran++;
	}
	if (ran == 0)
		fprintf(stderr, "fp_transcendental: no instruction named %s\n", o.op);
	return bad || !ran;
}
