/* x87 control: initialisation, control and status word, environment (SDM vol. 1 §8.1, §8.3.9). */
#include "isa/x86/sem/x87.h"

/* ---- Status summary and instruction pointers ---- */

void x87_summarize(struct x86_cpu *c)
{
	struct x86_fpu *f = &c->s.fpu;

	f->fsw &= (uint16_t)~(FSW_ES | FSW_B);
	if (f->fsw & ~f->fcw & FP_ALL_FLAGS)
		f->fsw |= FSW_ES | FSW_B;
	if (!(f->fsw & FSW_ES) != !(c->guard_traps & GUARD_MF))
		x86_mode_changed(c);
}

void x87_init(struct x86_cpu *c)
{
	struct x86_fpu *f = &c->s.fpu;

	f->fcw = FCW_INITIAL;
	f->fsw = 0;
	f->ftw = 0;
	f->fop = 0;
	f->fip = f->fdp = 0;
	f->fcs = f->fds = 0;
	x86_mode_changed(c);
}

void x87_track(struct x86_cpu *c, const struct insn *i)
{
	struct x86_fpu *f = &c->s.fpu;

	f->fop = (uint16_t)((i->opcode & 7) << 8 | i->modrm);
	f->fip = c->s.rip;
	for (unsigned n = 0; n < i->op_count; n++)
		if (i->op[n].kind == OPK_MEM)
			f->fdp = x86_offset(c, i);
}

/* ---- The end of non-control instructions ---- */

bool x87_report(struct x86_cpu *c, const struct fp_env *env)
{
	bool blocked = fp_blocks_result(env);

	x87_set_cc(c, FSW_C1, env->rounded_up && !blocked ? FSW_C1 : 0);
	c->s.fpu.fsw |= fp_reported_flags(env);
	x87_summarize(c);
	return blocked;
}

static bool stack_fault(struct x86_cpu *c, unsigned c1)
{
	x87_set_cc(c, FSW_C1, c1);
	c->s.fpu.fsw |= FSW_IE | FSW_SF;
	x87_summarize(c);
	return c->s.fpu.fcw & FP_INVALID;
}

bool x87_stack_overflow(struct x86_cpu *c)
{
	return stack_fault(c, FSW_C1);
}

bool x87_stack_underflow(struct x86_cpu *c)
{
	return stack_fault(c, 0);
}

static void write_and_pop(struct x86_cpu *c, unsigned n, struct f80 value, unsigned pops)
{
	x87_set_st(c, n, value);
	while (pops--)
		x87_pop(c);
}

void x87_deliver(struct x86_cpu *c, const struct fp_env *env, unsigned n, struct f80 value,
		 unsigned pops)
{
	if (!x87_report(c, env))
		write_and_pop(c, n, value, pops);
}

void x87_deliver_underflow(struct x86_cpu *c, unsigned n, unsigned pops)
{
	if (x87_stack_underflow(c))
		write_and_pop(c, n, X87_INDEFINITE, pops);
}

/* ---- Control and status word ---- */

void x87_fninit(struct x86_cpu *c, const struct insn *i)
{
	x87_init(c);
}

void x87_fnclex(struct x86_cpu *c, const struct insn *i)
{
	c->s.fpu.fsw &= (uint16_t)~(FP_ALL_FLAGS | FSW_SF);
	x87_summarize(c);
}

void x87_fldcw(struct x86_cpu *c, const struct insn *i)
{
	c->s.fpu.fcw = (uint16_t)((op_read(c, i, 0) & FCW_WRITABLE) | FCW_FIXED);
	x87_summarize(c);
}

void x87_fnstcw(struct x86_cpu *c, const struct insn *i)
{
	op_write(c, i, 0, c->s.fpu.fcw);
}

void x87_fnstsw(struct x86_cpu *c, const struct insn *i)
{
	op_write(c, i, 0, c->s.fpu.fsw);
}

/* FNOP, FWAIT, FENI, FDISI, FSETPM: what is pending was raised by the guard. */
void x87_nop(struct x86_cpu *c, const struct insn *i)
{
}

/* ---- Stack management ---- */

void x87_fincstp(struct x86_cpu *c, const struct insn *i)
{
	x87_rotate(c, 1);
	x87_set_cc(c, FSW_C1, 0);
}

void x87_fdecstp(struct x86_cpu *c, const struct insn *i)
{
	x87_rotate(c, 7);
	x87_set_cc(c, FSW_C1, 0);
}

void x87_ffree(struct x86_cpu *c, const struct insn *i)
{
	x87_free(c, i->op[0].reg);
	x87_set_cc(c, FSW_C1, 0);
}

/* FFREEP, undocumented: FFREE, then pop. */
void x87_ffreep(struct x86_cpu *c, const struct insn *i)
{
	x87_ffree(c, i);
	x87_pop(c);
}

/* ---- The environment in memory (§8.1.10, figures 8-9 to 8-12) ---- */

enum { TAG_VALID, TAG_ZERO, TAG_SPECIAL, TAG_EMPTY };

static unsigned full_tag(const struct x86_fpu *f, unsigned r)
{
	if (!(f->ftw >> r & 1))
		return TAG_EMPTY;
	switch (fp_f80_classify(f->st[r])) {
	case FP_CLASS_NORMAL:
		return TAG_VALID;
	case FP_CLASS_ZERO:
		return TAG_ZERO;
	default:
		return TAG_SPECIAL;
	}
}

static uint16_t full_tag_word(const struct x86_fpu *f)
{
	unsigned word = 0;

	for (unsigned r = 0; r < 8; r++)
		word |= full_tag(f, r) << (2 * r);
	return (uint16_t)word;
}

static uint8_t abridged_tags(uint16_t word)
{
	unsigned tags = 0;

	for (unsigned r = 0; r < 8; r++)
		if ((word >> (2 * r) & 3) != TAG_EMPTY)
			tags |= 1u << r;
	return (uint8_t)tags;
}

/* The seven fields of an environment, each of 2 or 4 bytes. */
enum env_field { ENV_FCW, ENV_FSW, ENV_FTW, ENV_FIP, ENV_FCS, ENV_FDP, ENV_FDS, ENV_FIELDS };

/* Bytes of a field; the reserved upper halves of 4-byte fields are written as ones. */
static unsigned env_unit(const struct insn *i)
{
	return i->op[0].size == 14 || i->op[0].size == 94 ? 2 : 4;
}

/* The protected-mode pointers are selector and offset; the others a linear address in pieces. */
static void env_pointers(const struct x86_cpu *c, unsigned unit, uint32_t field[ENV_FIELDS])
{
	const struct x86_fpu *f = &c->s.fpu;
	uint32_t fip = (uint32_t)f->fip, fdp = (uint32_t)f->fdp;

	if (!c->real_or_v86) {
		field[ENV_FIP] = fip;
		field[ENV_FDP] = fdp;
		field[ENV_FCS] = f->fcs | (uint32_t)f->fop << 16;
		field[ENV_FDS] = f->fds | 0xffff0000;
		return;
	}
	field[ENV_FIP] = (fip & 0xffff) | 0xffff0000;
	field[ENV_FDP] = (fdp & 0xffff) | 0xffff0000;
	field[ENV_FCS] = (fip >> 16 << 12) | f->fop;
	field[ENV_FDS] = fdp >> 16 << 12;
	if (unit == 4) {
		field[ENV_FCS] &= 0x0fffffff;
		field[ENV_FDS] &= 0x0fffffff;
	}
}

static void env_encode(const struct x86_cpu *c, unsigned unit, uint8_t *buf)
{
	const struct x86_fpu *f = &c->s.fpu;
	uint32_t field[ENV_FIELDS] = {
		[ENV_FCW] = f->fcw | 0xffff0000,
		[ENV_FSW] = f->fsw | 0xffff0000,
		[ENV_FTW] = full_tag_word(f) | 0xffff0000,
	};

	env_pointers(c, unit, field);
	for (unsigned k = 0; k < ENV_FIELDS; k++)
		le_store(buf + unit * k, field[k], unit);
}

static void env_decode(struct x86_cpu *c, unsigned unit, const uint8_t *buf)
{
	struct x86_fpu *f = &c->s.fpu;
	uint32_t field[ENV_FIELDS];

	for (unsigned k = 0; k < ENV_FIELDS; k++)
		field[k] = (uint32_t)le_load(buf + unit * k, unit);
	f->fcw = (uint16_t)((field[ENV_FCW] & FCW_WRITABLE) | FCW_FIXED);
	f->fsw = (uint16_t)field[ENV_FSW];
	f->ftw = abridged_tags((uint16_t)field[ENV_FTW]);
	if (c->real_or_v86) {
		f->fip = (field[ENV_FIP] & 0xffff) | (field[ENV_FCS] >> 12 & 0xffff) << 16;
		f->fdp = (field[ENV_FDP] & 0xffff) | (field[ENV_FDS] >> 12 & 0xffff) << 16;
		f->fop = field[ENV_FCS] & FOP_MASK;
	} else {
		f->fip = field[ENV_FIP];
		f->fdp = field[ENV_FDP];
		f->fop = unit == 4 ? field[ENV_FCS] >> 16 & FOP_MASK : 0;
	}
	f->fcs = f->fds = 0;
	x87_summarize(c);
}

void x87_fnstenv(struct x86_cpu *c, const struct insn *i)
{
	unsigned unit = env_unit(i);
	uint8_t buf[4 * ENV_FIELDS];

	env_encode(c, unit, buf);
	lin_write_block(c, mem_operand(c, i, unit * ENV_FIELDS, ACCESS_WRITE), buf,
			unit * ENV_FIELDS);
	c->s.fpu.fcw |= FP_ALL_FLAGS;
	x87_summarize(c);
}

void x87_fldenv(struct x86_cpu *c, const struct insn *i)
{
	unsigned unit = env_unit(i);
	uint8_t buf[4 * ENV_FIELDS];

	lin_read_block(c, mem_operand(c, i, unit * ENV_FIELDS, ACCESS_READ), buf,
		       unit * ENV_FIELDS);
	env_decode(c, unit, buf);
}

/* ---- The whole state: environment, then ST(0) to ST(7) ---- */

#define SAVE_MAX (4 * ENV_FIELDS + 8 * 10)

void x87_fnsave(struct x86_cpu *c, const struct insn *i)
{
	unsigned env = env_unit(i) * ENV_FIELDS;
	uint8_t buf[SAVE_MAX];

	env_encode(c, env_unit(i), buf);
	for (unsigned n = 0; n < 8; n++) {
		le_store(buf + env + 10 * n, x87_st(c, n).sig, 8);
		le_store(buf + env + 10 * n + 8, x87_st(c, n).se, 2);
	}
	lin_write_block(c, mem_operand(c, i, env + 80, ACCESS_WRITE), buf, env + 80);
	x87_init(c);
}

void x87_frstor(struct x86_cpu *c, const struct insn *i)
{
	unsigned env = env_unit(i) * ENV_FIELDS;
	uint8_t buf[SAVE_MAX];

	lin_read_block(c, mem_operand(c, i, env + 80, ACCESS_READ), buf, env + 80);
	env_decode(c, env_unit(i), buf);
	for (unsigned n = 0; n < 8; n++)
		c->s.fpu.st[x87_physical(c, n)] = (struct f80){
			.sig = le_load(buf + env + 10 * n, 8),
			.se = (uint16_t)le_load(buf + env + 10 * n + 8, 2),
		};
}
