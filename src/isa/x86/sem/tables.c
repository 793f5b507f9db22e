/*
 * Descriptor table registers, and instructions that look at descriptors without loading them: LGDT,
 * SGDT, LIDT, SIDT, LLDT, SLDT, LTR, STR, LAR, LSL, VERR, VERW, ARPL (SDM vol. 2).
 */
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"
#include "isa/x86/segment.h"

static void require_protected(struct x86_cpu *c)
{
	if (c->real_or_v86)
		x86_raise(c, VEC_UD);
}

/* SGDT, SIDT, SLDT, STR, SMSW: CR4.UMIP hides them from applications. */
static void check_umip(struct x86_cpu *c)
{
	if (c->s.cr4 & CR4_UMIP && c->cpl > 0)
		x86_raise_gp(c, 0);
}

/* ---- GDTR and IDTR ---- */

static unsigned base_bytes(const struct x86_cpu *c)
{
	return c->code_size == CODE_64 ? 8 : 4;
}

static void store_table(struct x86_cpu *c, const struct insn *i, const struct x86_table_reg *t)
{
	unsigned bytes = base_bytes(c);
	uint8_t image[10];

	check_umip(c);
	le_store(image, t->limit, 2);
	le_store(image + 2, t->base, bytes);
	lin_write_block(c, mem_operand(c, i, 2 + bytes, ACCESS_WRITE), image, 2 + bytes);
}

static void load_table(struct x86_cpu *c, const struct insn *i, struct x86_table_reg *t)
{
	unsigned bytes = base_bytes(c);
	uint8_t image[10];
	uint64_t base;

	require_cpl0(c);
	lin_read_block(c, mem_operand(c, i, 2 + bytes, ACCESS_READ), image, 2 + bytes);
	base = le_load(image + 2, bytes);
	if (bytes == 4 && i->osz == 2)
		base &= 0xffffff;
	if (!x86_canonical(base))
		x86_raise_gp(c, 0);
	t->limit = (uint16_t)le_load(image, 2);
	t->base = base;
}

void table_sgdt(struct x86_cpu *c, const struct insn *i)
{
	store_table(c, i, &c->s.gdtr);
}

void table_sidt(struct x86_cpu *c, const struct insn *i)
{
	store_table(c, i, &c->s.idtr);
}

void table_lgdt(struct x86_cpu *c, const struct insn *i)
{
	load_table(c, i, &c->s.gdtr);
}

void table_lidt(struct x86_cpu *c, const struct insn *i)
{
	load_table(c, i, &c->s.idtr);
}

/* ---- LDTR and TR ---- */

void table_lldt(struct x86_cpu *c, const struct insn *i)
{
	require_protected(c);
	require_cpl0(c);
	seg_load_ldtr(c, (uint16_t)op_read(c, i, 0), VEC_GP, 0);
}

void table_ltr(struct x86_cpu *c, const struct insn *i)
{
	require_protected(c);
	require_cpl0(c);
	seg_load_tr(c, (uint16_t)op_read(c, i, 0));
}

void table_sldt(struct x86_cpu *c, const struct insn *i)
{
	require_protected(c);
	check_umip(c);
	op_write(c, i, 0, c->s.ldtr.selector);
}

void table_str(struct x86_cpu *c, const struct insn *i)
{
	require_protected(c);
	check_umip(c);
	op_write(c, i, 0, c->s.tr.selector);
}

/* The whole of CR0 into a register, 16 bits into memory. */
void table_smsw(struct x86_cpu *c, const struct insn *i)
{
	check_umip(c);
	op_write(c, i, 0, c->s.cr0);
}

/* ---- Looking at descriptors ---- */

static void set_zf(struct x86_cpu *c, bool zf)
{
	flags_set_arith(c, FLAG_ZF, zf ? FLAG_ZF : 0);
}

/* Reads a descriptor that a program may see from its privilege; the RPL counts as well. */
static bool visible(struct x86_cpu *c, uint16_t selector, struct x86_desc *d)
{
	if (SEL_IS_NULL(selector) || !desc_read(c, selector, d))
		return false;
	return desc_is_conforming(d) ||
	       (c->cpl <= desc_dpl(d) && SEL_RPL(selector) <= desc_dpl(d));
}

static bool type_in(const struct x86_desc *d, uint32_t types)
{
	return !desc_is_system(d) || (types >> desc_type(d) & 1);
}

#define TYPES_LAR  (1u << SYS_LDT | 1u << SYS_TSS | 1u << SYS_TSS_BUSY | 1u << SYS_CALL_GATE)
#define TYPES_LAR_LEGACY                                                                           \
	(TYPES_LAR | 1u << SYS_TSS16 | 1u << SYS_TSS16_BUSY | 1u << SYS_CALL_GATE16 |              \
	 1u << SYS_TASK_GATE)
#define TYPES_LSL  (1u << SYS_LDT | 1u << SYS_TSS | 1u << SYS_TSS_BUSY)
#define TYPES_LSL_LEGACY (TYPES_LSL | 1u << SYS_TSS16 | 1u << SYS_TSS16_BUSY)
#define LAR_MASK   0x00f0ff00u

void table_lar(struct x86_cpu *c, const struct insn *i)
{
	uint16_t selector;
	struct x86_desc d;
	bool ok;

	require_protected(c);
	selector = (uint16_t)op_read(c, i, 1);
	ok = visible(c, selector, &d) && type_in(&d, x86_long_mode(c) ? TYPES_LAR : TYPES_LAR_LEGACY);
	if (ok)
		gpr_write(c, i->op[0].reg, d.raw >> 32 & LAR_MASK, i->osz);
	set_zf(c, ok);
}

void table_lsl(struct x86_cpu *c, const struct insn *i)
{
	uint16_t selector;
	struct x86_desc d;
	bool ok;

	require_protected(c);
	selector = (uint16_t)op_read(c, i, 1);
	ok = visible(c, selector, &d) && type_in(&d, x86_long_mode(c) ? TYPES_LSL : TYPES_LSL_LEGACY);
	if (ok)
		gpr_write(c, i->op[0].reg, desc_limit(&d), i->osz);
	set_zf(c, ok);
}

void table_verr(struct x86_cpu *c, const struct insn *i)
{
	uint16_t selector;
	struct x86_desc d;

	require_protected(c);
	selector = (uint16_t)op_read(c, i, 0);
	set_zf(c, visible(c, selector, &d) && !desc_is_system(&d) &&
			  (desc_attr(&d) & (SEG_CODE | SEG_READABLE)) != SEG_CODE);
}

void table_verw(struct x86_cpu *c, const struct insn *i)
{
	uint16_t selector;
	struct x86_desc d;

	require_protected(c);
	selector = (uint16_t)op_read(c, i, 0);
	set_zf(c, visible(c, selector, &d) && desc_is_writable_data(&d));
}

void table_arpl(struct x86_cpu *c, const struct insn *i)
{
	uint64_t old, rpl;

	require_protected(c);
	rpl = op_read(c, i, 1) & 3;
	old = op_read(c, i, 0);
	if ((old & 3) < rpl) /* nothing is written otherwise: the page may be read-only */
		op_write(c, i, 0, (old & ~UINT64_C(3)) | rpl);
	set_zf(c, (old & 3) < rpl);
}
