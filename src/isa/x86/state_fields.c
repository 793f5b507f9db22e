/*
 * A vCPU's canonical state as a snapshot holds it, and what must be true of it: whatever engine is
 * given the state may rely on what no guest could have broken from inside.
 */
#include <errno.h>

#include "isa/x86/control.h"
#include "isa/x86/cpu.h"
#include "isa/x86/debug.h"
#include "isa/x86/msr.h"

#define RFLAGS_DEFINED UINT64_C(0x3f7fd7)
#define MXCSR_DEFINED  0xffffu
#define FOP_DEFINED    0x7ffu
#define ATTR_DEFINED   0x1fffu
#define APIC_BASE_BITS (APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLE)
#define MAX_TIME_NS    (INT64_C(1) << 61) /* far from overflow in sums */

static const struct field segment_fields[] = {
	FIELD(struct x86_segment, selector, NULL),
	FIELD(struct x86_segment, attr, NULL, .max = ATTR_DEFINED),
	FIELD(struct x86_segment, limit, NULL),
	FIELD(struct x86_segment, base, NULL),
	FIELD_END,
};

static const struct field table_reg_fields[] = {
	FIELD(struct x86_table_reg, base, NULL),
	FIELD(struct x86_table_reg, limit, NULL),
	FIELD_END,
};

static const struct field f80_fields[] = {
	FIELD(struct f80, sig, NULL),
	FIELD(struct f80, se, NULL),
	FIELD_END,
};

static const struct field fpu_fields[] = {
	FIELD_STRUCTS(struct x86_fpu, st, f80_fields),
	FIELD(struct x86_fpu, fcw, NULL),
	FIELD(struct x86_fpu, fsw, NULL),
	FIELD(struct x86_fpu, ftw, NULL),
	FIELD(struct x86_fpu, fop, NULL, .max = FOP_DEFINED),
	FIELD(struct x86_fpu, fcs, NULL),
	FIELD(struct x86_fpu, fds, NULL),
	FIELD(struct x86_fpu, fip, NULL),
	FIELD(struct x86_fpu, fdp, NULL),
	FIELD_END,
};

static const struct field vec_fields[] = {
	FIELD_BYTES(union x86_vec, b),
	FIELD_END,
};

static const struct field mtrr_fields[] = {
	FIELD(struct x86_mtrr, def_type, NULL),
	FIELD_ARRAY(struct x86_mtrr, fixed, NULL),
	FIELD_ARRAY(struct x86_mtrr, phys_base, NULL),
	FIELD_ARRAY(struct x86_mtrr, phys_mask, NULL),
	FIELD_END,
};

static const struct field lapic_fields[] = {
	FIELD(struct lapic_state, id, ""),
	FIELD(struct lapic_state, tpr, NULL, .max = 0xff),
	FIELD(struct lapic_state, ldr, NULL),
	FIELD(struct lapic_state, dfr, NULL),
	FIELD(struct lapic_state, svr, NULL),
	FIELD(struct lapic_state, esr, NULL),
	FIELD(struct lapic_state, esr_pending, NULL),
	FIELD_ARRAY(struct lapic_state, isr, NULL),
	FIELD_ARRAY(struct lapic_state, tmr, NULL),
	FIELD_ARRAY(struct lapic_state, irr, NULL),
	FIELD(struct lapic_state, icr, NULL),
	FIELD_ARRAY(struct lapic_state, lvt, NULL),
	FIELD(struct lapic_state, timer_initial, "ticks"),
	FIELD(struct lapic_state, timer_divide, NULL),
	FIELD(struct lapic_state, timer_start_ns, "ns"),
	FIELD(struct lapic_state, timer_stopped, ""),
	FIELD_END,
};

const struct field x86_state_fields[] = {
	FIELD_ARRAY(struct x86_state, gpr, NULL),
	FIELD(struct x86_state, rip, NULL),
	FIELD(struct x86_state, rflags, NULL),
	FIELD_STRUCTS(struct x86_state, seg, segment_fields),
	FIELD_STRUCT(struct x86_state, ldtr, segment_fields),
	FIELD_STRUCT(struct x86_state, tr, segment_fields),
	FIELD_STRUCT(struct x86_state, gdtr, table_reg_fields),
	FIELD_STRUCT(struct x86_state, idtr, table_reg_fields),
	FIELD(struct x86_state, cr0, NULL),
	FIELD(struct x86_state, cr2, NULL),
	FIELD(struct x86_state, cr3, NULL),
	FIELD(struct x86_state, cr4, NULL),
	FIELD_ARRAY(struct x86_state, pdpte, NULL),
	FIELD_ARRAY(struct x86_state, dr, NULL),
	FIELD(struct x86_state, xcr0, NULL),
	FIELD_STRUCT(struct x86_state, fpu, fpu_fields),
	FIELD(struct x86_state, mxcsr, NULL, .max = MXCSR_DEFINED),
	FIELD_STRUCTS(struct x86_state, vec, vec_fields),
	FIELD(struct x86_state, efer, NULL),
	FIELD(struct x86_state, star, NULL),
	FIELD(struct x86_state, lstar, NULL),
	FIELD(struct x86_state, cstar, NULL),
	FIELD(struct x86_state, fmask, NULL),
	FIELD(struct x86_state, kernel_gs_base, NULL),
	FIELD(struct x86_state, sysenter_cs, NULL),
	FIELD(struct x86_state, sysenter_esp, NULL),
	FIELD(struct x86_state, sysenter_eip, NULL),
	FIELD(struct x86_state, pat, NULL),
	FIELD(struct x86_state, apic_base, NULL),
	FIELD(struct x86_state, misc_enable, NULL),
	FIELD(struct x86_state, tsc_aux, NULL),
	FIELD(struct x86_state, spec_ctrl, NULL),
	FIELD(struct x86_state, xss, NULL),
	FIELD(struct x86_state, feature_control, NULL),
	FIELD(struct x86_state, microcode_rev, NULL),
	FIELD(struct x86_state, mcg_status, NULL),
	FIELD(struct x86_state, smbase, NULL),
	FIELD_STRUCT(struct x86_state, mtrr, mtrr_fields),
	FIELD(struct x86_state, tsc_offset, "ticks"),
	FIELD(struct x86_state, tsc_adjust, "ticks"),
	FIELD(struct x86_state, tsc_deadline, "ticks"),
	FIELD(struct x86_state, kvm.system_time, NULL),
	FIELD(struct x86_state, kvm.wall_clock, NULL),
	FIELD(struct x86_state, kvm.async_pf_en, NULL),
	FIELD(struct x86_state, kvm.steal_time, NULL),
	FIELD(struct x86_state, kvm.pv_eoi, NULL),
	FIELD(struct x86_state, kvm.poll_control, NULL),
	FIELD(struct x86_state, activity, "", .max = CPU_WAIT_FOR_SIPI),
	FIELD(struct x86_state, interrupt_shadow, NULL),
	FIELD(struct x86_state, debug_shadow, NULL),
	FIELD(struct x86_state, nmi_blocked, NULL),
	FIELD(struct x86_state, nmi_pending, NULL),
	FIELD(struct x86_state, second_nmi_pending, NULL),
	FIELD(struct x86_state, init_pending, NULL),
	FIELD(struct x86_state, sipi_pending, NULL),
	FIELD(struct x86_state, sipi_vector, NULL),
	FIELD(struct x86_state, pv_unhalt, NULL),
	FIELD(struct x86_state, unhalt_pending, NULL),
	FIELD(struct x86_state, pending_debug, NULL),
	FIELD_STRUCT(struct x86_state, lapic, lapic_fields),
	FIELD_END,
};

/* ---- What must be true ---- */

static const char *broken_mode(const struct x86_state *s)
{
	bool paging = s->cr0 & CR0_PG, lma = s->efer & EFER_LMA;

	if (paging && !(s->cr0 & CR0_PE))
		return "cr0: paging without protected mode";
	if (lma != (paging && s->efer & EFER_LME))
		return "efer: LMA is not what LME and CR0.PG make it";
	if (lma && !(s->cr4 & CR4_PAE))
		return "cr4: long mode without PAE";
	if (s->cr4 & CR4_PCIDE && !lma)
		return "cr4: PCIDE outside of long mode";
	if (s->rflags & FLAG_VM && (lma || !(s->cr0 & CR0_PE)))
		return "rflags: virtual-8086 mode is not possible";
	if (s->xcr0 & XCR0_AVX && !(s->xcr0 & XCR0_SSE))
		return "xcr0: AVX without SSE";
	return NULL;
}

static const char *broken_segment(const struct x86_state *s)
{
	const uint16_t wide = SEG_L | SEG_DB;

	for (unsigned k = 0; k < LM_ARRAY_SIZE(s->seg); k++)
		if (k < FS ? s->seg[k].base > UINT32_MAX : !x86_canonical(s->seg[k].base))
			return "seg: a base is no linear address";
	if (!x86_canonical(s->ldtr.base) || !x86_canonical(s->tr.base) ||
	    !x86_canonical(s->gdtr.base) || !x86_canonical(s->idtr.base))
		return "ldtr, tr, gdtr, idtr: a base is no linear address";
	if ((s->seg[CS].attr & wide) == wide)
		return "seg: CS has both L and D";
	if (!(s->efer & EFER_LMA && s->seg[CS].attr & SEG_L) && s->rip > UINT32_MAX)
		return "rip: beyond 4 GiB outside of 64-bit code";
	return NULL;
}

static const char *broken_register(const struct x86_cpu *c)
{
	const struct {
		const char *text;
		uint64_t value, allowed;
	} bits[] = {
		{ "rflags: reserved bits are set", c->s.rflags, RFLAGS_DEFINED },
		{ "cr0: reserved bits are set", c->s.cr0, control_cr0_allowed() },
		{ "cr3: reserved bits are set", c->s.cr3,
		  LM_BIT(c->sys->model.physical_bits) - 1 },
		{ "cr4: the CPU model does not have all of it", c->s.cr4,
		  control_cr4_allowed(&c->sys->model) },
		{ "xcr0: the CPU model does not have all of it", c->s.xcr0,
		  control_xcr0_allowed(&c->sys->model) },
		{ "efer: reserved bits are set", c->s.efer,
		  EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE },
		{ "dr: DR6 has reserved bits set", c->s.dr[6], DR6_WRITABLE | DR6_FIXED },
		{ "dr: DR7 has reserved bits set", c->s.dr[7], DR7_WRITABLE | DR7_FIXED },
		{ "pending_debug: reserved bits are set", c->s.pending_debug, DR6_WRITABLE },
		{ "apic_base: reserved bits are set", c->s.apic_base,
		  (LM_BIT(c->sys->model.physical_bits) - PAGE_SIZE) | APIC_BASE_BITS },
		{ "lapic.id: is not this vCPU's", c->s.lapic.id ^ c->index, 0 },
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(bits); k++)
		if (bits[k].value & ~bits[k].allowed)
			return bits[k].text;
	return c->s.xcr0 & XCR0_X87 ? NULL : "xcr0: x87 is never off";
}

static int check(const struct x86_cpu *c, struct lm_err *err)
{
	const char *broken = broken_register(c);
	int64_t start = c->s.lapic.timer_start_ns;

	if (!broken)
		broken = broken_mode(&c->s);
	if (!broken)
		broken = broken_segment(&c->s);
	if (!broken && (start > MAX_TIME_NS || start < -MAX_TIME_NS))
		broken = "lapic.timer_start_ns: out of range";
	if (broken)
		return lm_err_set(err, -EINVAL, "%s", broken);
	broken = msr_broken(c);
	return broken ? lm_err_set(err, -EINVAL, "%s has a value that cannot be written to it",
				   broken)
		      : 0;
}

static int vcpu_loaded(void *object, struct lm_err *err)
{
	struct x86_cpu *c = object;

	c->s.rflags |= FLAG_FIXED;
	return check(c, err);
}

static const struct field vcpu_fields[] = {
	FIELD_STRUCT(struct x86_cpu, s, x86_state_fields),
	FIELD_END,
};

const struct fields_section x86_cpu_section = {
	.name = "vcpu",
	.version = 1,
	.table = vcpu_fields,
	.post_load = vcpu_loaded,
};
