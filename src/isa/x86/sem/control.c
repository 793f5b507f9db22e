/*
 * Control registers: MOV CRn, LMSW, CLTS, XGETBV, XSETBV, and the TLB and cache instructions
 * (SDM vol. 3A §2.5, §4.1, §4.10; vol. 2 the same names).
 */
#include "isa/x86/control.h"

#include "isa/x86/mmu.h"
#include "isa/x86/sem/sem.h"
#include "isa/x86/sem/system.h"
#include "isa/x86/segment.h"

#define CR0_DEFINED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR4_PAGING   (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)
#define CR0_PAGING   (CR0_PG | CR0_WP | CR0_PE)
#define CR8_RESERVED (~UINT64_C(0xf))

/* ---- CR0 ---- */

/* The conditions for IA32_EFER.LMA to rise with CR0.PG (SDM vol. 3A §9.8.5). */
static bool may_enter_long_mode(const struct x86_cpu *c)
{
	unsigned tss = c->s.tr.attr & SEG_TYPE;

	return c->s.cr4 & CR4_PAE && !(c->s.seg[CS].attr & SEG_L) && tss != SYS_TSS16 &&
	       tss != SYS_TSS16_BUSY;
}

static bool may_leave_paging(const struct x86_cpu *c)
{
	return !(c->s.cr4 & CR4_PCIDE) && c->code_size != CODE_64;
}

static bool uses_pdptes(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return cr0 & CR0_PG && cr4 & CR4_PAE && !(efer & EFER_LME);
}

bool control_write_cr0(struct x86_cpu *c, uint64_t value)
{
	uint64_t changed = value ^ c->s.cr0;
	bool paging = value & CR0_PG;

	if (value >> 32 || (paging && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD)))
		return false;
	if (changed & CR0_PG) {
		if (paging && c->s.efer & EFER_LME && !may_enter_long_mode(c))
			return false;
		if (!paging && !may_leave_paging(c))
			return false;
	}
	if (changed & (CR0_PG | CR0_CD | CR0_NW) && uses_pdptes(value, c->s.cr4, c->s.efer) &&
	    !mmu_load_pdptes(c, c->s.cr3))
		return false;

	c->s.cr0 = (value & CR0_DEFINED) | CR0_ET;
	if (c->s.efer & EFER_LME && paging)
		c->s.efer |= EFER_LMA;
	else
		c->s.efer &= ~EFER_LMA;
	if (changed & CR0_PAGING)
		mmu_flush_all(c);
	x86_mode_changed(c);
	return true;
}

uint64_t control_cr0_allowed(void)
{
	return CR0_DEFINED;
}

/* ---- CR3 ---- */

static bool write_cr3(struct x86_cpu *c, uint64_t value)
{
	bool pcid = c->s.cr4 & CR4_PCIDE;
	bool keep = pcid && value & CR3_NOFLUSH;
	uint64_t reserved = ~(LM_BIT(c->sys->model.physical_bits) - 1);

	if (pcid)
		value &= ~CR3_NOFLUSH;
	if (value & reserved)
		return false;
	if (uses_pdptes(c->s.cr0, c->s.cr4, c->s.efer) && !mmu_load_pdptes(c, value))
		return false;
	c->s.cr3 = value;
	mmu_cr3_changed(c, keep);
	return true;
}

/* ---- CR4 ---- */

uint64_t control_cr4_allowed(const struct x86_model *m)
{
	uint64_t allowed = CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |
			   CR4_OSFXSR | CR4_OSXMMEXCPT;

	allowed |= model_has(m, F_VME) ? CR4_VME | CR4_PVI : 0;
	allowed |= model_has(m, F_UMIP) ? CR4_UMIP : 0;
	allowed |= model_has(m, F_FSGSBASE) ? CR4_FSGSBASE : 0;
	allowed |= model_has(m, F_PCID) ? CR4_PCIDE : 0;
	allowed |= model_has(m, F_XSAVE) ? CR4_OSXSAVE : 0;
	allowed |= model_has(m, F_SMEP) ? CR4_SMEP : 0;
	allowed |= model_has(m, F_SMAP) ? CR4_SMAP : 0;
	return allowed;
}

bool control_write_cr4(struct x86_cpu *c, uint64_t value)
{
	uint64_t changed = value ^ c->s.cr4;

	if (value & ~control_cr4_allowed(&c->sys->model))
		return false;
	if (x86_long_mode(c) && !(value & CR4_PAE))
		return false;
	if (changed & value & CR4_PCIDE && (!x86_long_mode(c) || c->s.cr3 & CR3_PCID))
		return false;
	if (changed & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP) &&
	    uses_pdptes(c->s.cr0, value, c->s.efer) && !mmu_load_pdptes(c, c->s.cr3))
		return false;
	c->s.cr4 = value;
	if (changed & CR4_PAGING)
		mmu_flush_all(c);
	x86_mode_changed(c);
	return true;
}

/* ---- MOV CRn, LMSW, CLTS ---- */

static uint64_t read_control(struct x86_cpu *c, unsigned n)
{
	switch (n) {
	case 0:
		return c->s.cr0;
	case 2:
		return c->s.cr2;
	case 3:
		return c->s.cr3;
	case 4:
		return c->s.cr4;
	default:
		return lapic_get_cr8(c);
	}
}

static bool write_control(struct x86_cpu *c, unsigned n, uint64_t value)
{
	switch (n) {
	case 0:
		return control_write_cr0(c, value);
	case 2:
		c->s.cr2 = value;
		return true;
	case 3:
		return write_cr3(c, value);
	case 4:
		return control_write_cr4(c, value);
	default:
		if (value & CR8_RESERVED)
			return false;
		lapic_set_cr8(c, (uint8_t)value);
		return true;
	}
}

void mov_control(struct x86_cpu *c, const struct insn *i)
{
	bool write = i->op[0].kind == OPK_CR;
	unsigned n = i->op[write ? 0 : 1].reg;
	unsigned gpr = i->op[write ? 1 : 0].reg;
	unsigned size = c->code_size == CODE_64 ? 8 : 4;

	if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8)
		x86_raise(c, VEC_UD);
	require_cpl0(c);
	if (!write)
		gpr_write(c, gpr, read_control(c, n), size);
	else if (!write_control(c, n, gpr_read(c, gpr, size)))
		x86_raise_gp(c, 0);
}

/* PE can be set but not cleared. */
void control_lmsw(struct x86_cpu *c, const struct insn *i)
{
	const uint64_t mask = CR0_MP | CR0_EM | CR0_TS;
	uint64_t value;

	require_cpl0(c);
	value = op_read(c, i, 0);
	value = (c->s.cr0 & ~mask) | (value & (mask | CR0_PE));
	if (!control_write_cr0(c, value))
		x86_raise_gp(c, 0);
}

void control_clts(struct x86_cpu *c, const struct insn *i)
{
	require_cpl0(c);
	c->s.cr0 &= ~CR0_TS;
	x86_mode_changed(c);
}

/* ---- XCR0 ---- */

static void check_osxsave(struct x86_cpu *c)
{
	if (!(c->s.cr4 & CR4_OSXSAVE))
		x86_raise(c, VEC_UD);
}

/* ECX = 1 asks which components are in use: all enabled ones may be. */
void control_xgetbv(struct x86_cpu *c, const struct insn *i)
{
	uint32_t index = (uint32_t)c->s.gpr[RCX];

	check_osxsave(c);
	if (index > (model_has(&c->sys->model, F_XGETBV1) ? 1u : 0u))
		x86_raise_gp(c, 0);
	gpr_write(c, RAX, c->s.xcr0, 4);
	gpr_write(c, RDX, c->s.xcr0 >> 32, 4);
}

uint64_t control_xcr0_allowed(const struct x86_model *m)
{
	return XCR0_X87 | XCR0_SSE | (model_has(m, F_AVX) ? XCR0_AVX : 0);
}

void control_xsetbv(struct x86_cpu *c, const struct insn *i)
{
	uint64_t value = (uint32_t)c->s.gpr[RAX] | c->s.gpr[RDX] << 32;
	uint64_t allowed = control_xcr0_allowed(&c->sys->model);

	check_osxsave(c);
	require_cpl0(c);
	if ((uint32_t)c->s.gpr[RCX] != 0 || value & ~allowed || !(value & XCR0_X87))
		x86_raise_gp(c, 0);
	if (value & XCR0_AVX && !(value & XCR0_SSE))
		x86_raise_gp(c, 0);
	c->s.xcr0 = value;
	x86_mode_changed(c);
}

/* ---- TLB and caches ---- */

/* The linear address of an operand that is not accessed: no checks (SDM vol. 2 INVLPG). */
static gva_t unchecked_operand(const struct x86_cpu *c, const struct insn *i)
{
	uint64_t offset = x86_offset(c, i);
	uint64_t base = c->code_size == CODE_64 && i->seg != FS && i->seg != GS ? 0
										: c->s.seg[i->seg].base;

	return GVA(c->code_size == CODE_64 ? base + offset : (uint32_t)(base + offset));
}

void control_invlpg(struct x86_cpu *c, const struct insn *i)
{
	require_cpl0(c);
	mmu_flush_page(c, unchecked_operand(c, i));
}

enum invpcid_type { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL_GLOBAL, INVPCID_ALL };

void control_invpcid(struct x86_cpu *c, const struct insn *i)
{
	unsigned size = c->code_size == CODE_64 ? 8 : 4;
	uint64_t type, desc[2];
	bool by_pcid;

	require_cpl0(c);
	type = gpr_read(c, i->op[0].reg, size);
	lin_read_block(c, mem_operand(c, i, sizeof(desc), ACCESS_READ), desc, sizeof(desc));
	by_pcid = type == INVPCID_ADDRESS || type == INVPCID_CONTEXT;
	if (type > INVPCID_ALL || (by_pcid && desc[0] & ~CR3_PCID))
		x86_raise_gp(c, 0);
	if (by_pcid && desc[0] && !(c->s.cr4 & CR4_PCIDE))
		x86_raise_gp(c, 0);
	if (type == INVPCID_ADDRESS && !x86_canonical(desc[1]))
		x86_raise_gp(c, 0);
	if (type == INVPCID_ADDRESS && desc[0] == (c->s.cr4 & CR4_PCIDE ? c->s.cr3 & CR3_PCID : 0))
		mmu_flush_page(c, GVA(desc[1]));
	else
		mmu_flush_all(c);
}

/* INVD, WBINVD: caches are coherent and have no state of their own. */
void control_cache(struct x86_cpu *c, const struct insn *i)
{
	require_cpl0(c);
}
