/* x87 data transfer: loads, stores, constants, exchange, conditional move (SDM vol. 1 §8.3.3-4). */
#include "isa/x86/sem/x87.h"

/* ---- Memory operands ---- */

static gva_t x87_memory(struct x86_cpu *c, const struct insn *i, enum mem_access access)
{
	return mem_operand(c, i, i->op[0].size, access);
}

static uint64_t read_memory(struct x86_cpu *c, const struct insn *i)
{
	return lin_read(c, x87_memory(c, i, ACCESS_READ), i->op[0].size);
}

/* ---- Loads ---- */

/* Pushes what a conversion with `env` gave; an unmasked denormal, unlike an SNaN, is pushed too. */
static void load(struct x86_cpu *c, const struct insn *i, const struct fp_env *env,
		 struct f80 value)
{
	x87_track(c, i);
	if (!x87_empty(c, 7)) {
		if (x87_stack_overflow(c))
			x87_push(c, X87_INDEFINITE);
		return;
	}
	x87_report(c, env);
	if (!(fp_unmasked_flags(env) & FP_INVALID))
		x87_push(c, value);
}

static struct f80 read_f80(struct x86_cpu *c, const struct insn *i)
{
	uint8_t buf[10];

	lin_read_block(c, x87_memory(c, i, ACCESS_READ), buf, sizeof(buf));
	return (struct f80){ .sig = le_load(buf, 8), .se = (uint16_t)le_load(buf + 8, 2) };
}

/* An empty source is an underflow even where the push would overflow. */
static void load_register(struct x86_cpu *c, const struct insn *i)
{
	const struct fp_env env = x87_env(c);
	unsigned n = i->op[0].reg;

	if (x87_empty(c, n)) {
		x87_track(c, i);
		if (x87_stack_underflow(c))
			x87_push(c, X87_INDEFINITE);
		return;
	}
	load(c, i, &env, x87_st(c, n));
}

void x87_fld(struct x86_cpu *c, const struct insn *i)
{
	struct fp_env env = x87_env(c);
	struct f80 value;

	if (i->op[0].kind == OPK_ST) {
		load_register(c, i);
		return;
	}
	switch (i->op[0].size) {
	case 4:
		value = fp_f32_to_f80(&env, (f32_bits)read_memory(c, i));
		break;
	case 8:
		value = fp_f64_to_f80(&env, read_memory(c, i));
		break;
	default:
		value = read_f80(c, i);
		break;
	}
	load(c, i, &env, value);
}

void x87_fild(struct x86_cpu *c, const struct insn *i)
{
	const struct fp_env env = x87_env(c);
	int64_t value = sign_extend_bytes(read_memory(c, i), i->op[0].size);

	load(c, i, &env, fp_i64_to_f80(value));
}

void x87_fbld(struct x86_cpu *c, const struct insn *i)
{
	const struct fp_env env = x87_env(c);
	uint8_t bcd[10];

	lin_read_block(c, x87_memory(c, i, ACCESS_READ), bcd, sizeof(bcd));
	load(c, i, &env, fp_f80_from_bcd(bcd));
}

#define CONSTANT(name, which)                                                                      \
	void name(struct x86_cpu *c, const struct insn *i)                                         \
	{                                                                                          \
		const struct fp_env env = x87_env(c);                                              \
                                                                                                   \
		load(c, i, &env, fp_f80_constant(which, env.rounding));                            \
	}

CONSTANT(x87_fld1, FP_ONE)
CONSTANT(x87_fldl2t, FP_L2T)
CONSTANT(x87_fldl2e, FP_L2E)
CONSTANT(x87_fldpi, FP_PI)
CONSTANT(x87_fldlg2, FP_LG2)
CONSTANT(x87_fldln2, FP_LN2)
CONSTANT(x87_fldz, FP_ZERO)

/* ---- Stores to memory ---- */

/*
 * The bytes of ST(0) in the destination's format, made by `convert`, which also supplies the
 * indefinite value for an empty ST(0). Memory is written before the status: it may fault.
 */
typedef void (*store_convert)(struct fp_env *env, struct f80 value, const struct insn *i,
			      uint8_t buf[10]);

static void store(struct x86_cpu *c, const struct insn *i, store_convert convert, bool pop)
{
	bool empty = x87_empty(c, 0);
	struct fp_env env = x87_env(c);
	uint8_t buf[10];
	bool blocked;

	convert(&env, empty ? X87_INDEFINITE : x87_st(c, 0), i, buf);
	blocked = empty ? !(env.masks & FP_INVALID) : fp_blocks_store(&env);
	if (!blocked)
		lin_write_block(c, x87_memory(c, i, ACCESS_WRITE), buf, i->op[0].size);
	x87_track(c, i);
	if (empty)
		x87_stack_underflow(c);
	else
		x87_report(c, &env);
	if (pop && !blocked)
		x87_pop(c);
}

static void convert_float(struct fp_env *env, struct f80 value, const struct insn *i,
			  uint8_t buf[10])
{
	switch (i->op[0].size) {
	case 4:
		le_store(buf, fp_f80_to_f32(env, value), 4);
		break;
	case 8:
		le_store(buf, fp_f80_to_f64(env, value), 8);
		break;
	default:
		le_store(buf, value.sig, 8);
		le_store(buf + 8, value.se, 2);
		break;
	}
}

static void convert_integer(struct fp_env *env, struct f80 value, enum fp_rounding mode,
			    unsigned size, uint8_t buf[10])
{
	int64_t v;

	if (size == 2)
		v = fp_f80_to_i16(env, value, mode);
	else if (size == 4)
		v = fp_f80_to_i32(env, value, mode);
	else
		v = fp_f80_to_i64(env, value, mode);
	le_store(buf, (uint64_t)v, size);
}

static void convert_rounded(struct fp_env *env, struct f80 value, const struct insn *i,
			    uint8_t buf[10])
{
	convert_integer(env, value, env->rounding, i->op[0].size, buf);
}

static void convert_truncated(struct fp_env *env, struct f80 value, const struct insn *i,
			      uint8_t buf[10])
{
	convert_integer(env, value, FP_ROUND_ZERO, i->op[0].size, buf);
}

static void convert_bcd(struct fp_env *env, struct f80 value, const struct insn *i,
			uint8_t buf[10])
{
	fp_f80_to_bcd(env, value, buf);
}

/* ---- Stores ---- */

static void store_register(struct x86_cpu *c, const struct insn *i, unsigned pops)
{
	const struct fp_env env = x87_env(c);

	x87_track(c, i);
	if (x87_empty(c, 0))
		x87_deliver_underflow(c, i->op[0].reg, pops);
	else
		x87_deliver(c, &env, i->op[0].reg, x87_st(c, 0), pops);
}

void x87_fst(struct x86_cpu *c, const struct insn *i)
{
	if (i->op[0].kind == OPK_ST)
		store_register(c, i, 0);
	else
		store(c, i, convert_float, false);
}

void x87_fstp(struct x86_cpu *c, const struct insn *i)
{
	if (i->op[0].kind == OPK_ST)
		store_register(c, i, 1);
	else
		store(c, i, convert_float, true);
}

/* FSTPNCE, undocumented: FSTP ST(i) that does not mind an empty ST(0). */
void x87_fstpnce(struct x86_cpu *c, const struct insn *i)
{
	if (x87_empty(c, 0)) {
		x87_track(c, i);
		x87_pop(c);
	} else {
		store_register(c, i, 1);
	}
}

void x87_fist(struct x86_cpu *c, const struct insn *i)
{
	store(c, i, convert_rounded, false);
}

void x87_fistp(struct x86_cpu *c, const struct insn *i)
{
	store(c, i, convert_rounded, true);
}

void x87_fisttp(struct x86_cpu *c, const struct insn *i)
{
	store(c, i, convert_truncated, true);
}

void x87_fbstp(struct x86_cpu *c, const struct insn *i)
{
	store(c, i, convert_bcd, true);
}

/* ---- FXCH: an empty register takes part as an indefinite ---- */

void x87_fxch(struct x86_cpu *c, const struct insn *i)
{
	unsigned n = i->op[0].reg;
	struct f80 a = x87_empty(c, 0) ? X87_INDEFINITE : x87_st(c, 0);
	struct f80 b = x87_empty(c, n) ? X87_INDEFINITE : x87_st(c, n);

	x87_track(c, i);
	if (x87_empty(c, 0) || x87_empty(c, n)) {
		if (!x87_stack_underflow(c))
			return;
	} else {
		x87_set_cc(c, FSW_C1, 0);
	}
	x87_set_st(c, 0, b);
	x87_set_st(c, n, a);
}

/* ---- FCMOVcc ---- */

enum { CC_B = 2, CC_E = 4, CC_BE = 6, CC_U = 10 }; /* SDM vol. 1 appendix B; + 1 negates */

static void fcmov_if(struct x86_cpu *c, const struct insn *i, unsigned cc)
{
	unsigned n = i->op[1].reg;

	x87_track(c, i);
	if (x87_empty(c, 0) || x87_empty(c, n)) {
		x87_deliver_underflow(c, 0, 0);
		return;
	}
	if (flags_condition(c, cc))
		x87_set_st(c, 0, x87_st(c, n));
}

void x87_fcmovb(struct x86_cpu *c, const struct insn *i)
{
	fcmov_if(c, i, CC_B);
}

void x87_fcmovnb(struct x86_cpu *c, const struct insn *i)
{
	fcmov_if(c, i, CC_B + 1);
}

void x87_fcmove(struct x86_cpu *c, const struct insn *i)
{
	fcmov_if(c, i, CC_E);
}

void x87_fcmovne(struct x86_cpu *c, const struct insn *i)
{
	fcmov_if(c, i, CC_E + 1);
}

void x87_fcmovbe(struct x86_cpu *c, const struct insn *i)
{
	fcmov_if(c, i, CC_BE);
}

void x87_fcmovnbe(struct x86_cpu *c, const struct insn *i)
{
	fcmov_if(c, i, CC_BE + 1);
}

void x87_fcmovu(struct x86_cpu *c, const struct insn *i)
{
	fcmov_if(c, i, CC_U);
}

void x87_fcmovnu(struct x86_cpu *c, const struct insn *i)
{
	fcmov_if(c, i, CC_U + 1);
}
