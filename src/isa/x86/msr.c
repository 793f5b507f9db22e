/*
 * Model-specific registers (SDM vol. 4): one table, a row for each register or run of registers.
 *
 * A row with a field is plain storage in the canonical state: writes may set the bits in `writable`
 * and raise #GP(0) for others. Rows with functions do the rest. What is in no row does not exist.
 */
#include "isa/x86/msr.h"

#include "base/log.h"
#include "isa/x86/kvm_pv.h"
#include "isa/x86/mmu.h"

#define ALL_BITS   (~UINT64_C(0))
#define MAX_LOGGED 16 /* unknown registers named in the log, per machine */

#define SPEC_CTRL_BITS     UINT64_C(0x407) /* IBRS, STIBP, SSBD, BHI_DIS_S */
#define FEATURE_CONTROL_LOCK UINT64_C(1)  /* locked, VMX off */
#define MISC_ENABLE_RESET  UINT64_C(0x1801) /* fast strings; BTS and PEBS unavailable */
/* Fast strings, TM1, EIST, MONITOR, CPUID limit, xTPR, XD disable. */
#define MISC_ENABLE_BITS   (MISC_ENABLE_LIMIT_CPUID | MISC_ENABLE_XD_DISABLE | UINT64_C(0x850009))
#define PAT_RESET          UINT64_C(0x0007040600070406)
#define MICROCODE_REVISION (UINT64_C(0x2b000643) << 32)
#define MTRR_COUNT         8u
#define MTRR_CAP           (MTRR_COUNT | 0x100u | 0x400u) /* fixed ranges and WC exist */
#define MTRR_DEF_BITS      UINT64_C(0xcff)
#define MTRR_MASK_VALID    UINT64_C(0x800)
#define DEBUGCTL_BITS      UINT64_C(0x3) /* LBR and BTF: accepted, without effect */
#define MTRR_FIXED_INDICES { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f }

struct msr {
	uint32_t first, last;
	const char *name;
	uint16_t field;     /* offset in struct x86_state, or NO_FIELD */
	uint64_t writable;
	bool canonical;     /* a linear address */
	uint64_t features;  /* exists where the CPU model has one of these; 0: always */
	bool (*read)(struct x86_cpu *c, uint32_t index, uint64_t *value);
	bool (*write)(struct x86_cpu *c, uint32_t index, uint64_t value);
};

#define NO_FIELD 0xffff

static uint64_t *field_of(struct x86_cpu *c, const struct msr *m)
{
	return (uint64_t *)(void *)((char *)&c->s + m->field);
}

/* ---- Constant and write-only registers ---- */

static bool read_zero(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	*value = 0;
	return true;
}

static bool ignore_write(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	return true;
}

static bool read_arch_capabilities(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	*value = c->sys->model.arch_capabilities;
	return true;
}

/* Bits 15-8: the maximum non-turbo ratio, in units of 100 MHz. */
static bool read_platform_info(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	*value = (c->sys->tsc_hz / 100000000 & 0xff) << 8;
	return true;
}

/* IA32_PRED_CMD.IBPB, IA32_FLUSH_CMD.L1D_FLUSH: commands for what is not there. */
static bool write_command(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	return value <= 1;
}

static bool write_feature_control(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	return false; /* locked */
}

static bool write_misc_enable(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	c->s.misc_enable = (MISC_ENABLE_RESET & ~MISC_ENABLE_BITS) | (value & MISC_ENABLE_BITS);
	return true;
}

static bool write_debugctl(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	return !(value & ~DEBUGCTL_BITS);
}

/* ---- Time ---- */

/* The TSC moved: what is derived from it follows. */
static void move_tsc(struct x86_cpu *c, uint64_t delta)
{
	c->s.tsc_offset += delta;
	c->s.tsc_adjust += delta;
	lapic_load(c);
	kvm_clock_refresh(c);
}

static bool read_tsc(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	*value = x86_tsc(c);
	return true;
}

static bool write_tsc(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	move_tsc(c, value - x86_tsc(c));
	return true;
}

static bool write_tsc_adjust(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	move_tsc(c, value - c->s.tsc_adjust);
	return true;
}

static bool read_tsc_deadline(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	*value = lapic_tsc_deadline_read(c);
	return model_has(&c->sys->model, F_TSC_DEADLINE);
}

static bool write_tsc_deadline(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	if (!model_has(&c->sys->model, F_TSC_DEADLINE))
		return false;
	lapic_tsc_deadline_write(c, value);
	return true;
}

/* ---- Memory types: kept for the guest, without effect on coherent memory ---- */

/* UC, WC, WT, WP, WB (SDM vol. 3A table 12-2), and UC- in the PAT only. */
static bool is_memory_type(uint64_t type, bool pat)
{
	return type <= (pat ? 7 : 6) && type != 2 && type != 3;
}

static bool are_memory_types(uint64_t value, bool pat)
{
	for (unsigned k = 0; k < 8; k++) {
		uint64_t type = value >> 8 * k & 0xff;

		if (!is_memory_type(type, pat))
			return false;
	}
	return true;
}

static bool write_pat(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	if (!are_memory_types(value, true))
		return false;
	c->s.pat = value;
	return true;
}

static bool read_mtrr_cap(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	*value = MTRR_CAP;
	return true;
}

static bool write_mtrr_def(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	if (value & ~MTRR_DEF_BITS || !is_memory_type(value & 0xff, false))
		return false;
	c->s.mtrr.def_type = value;
	return true;
}

/* 0x200 + 2n: base; 0x201 + 2n: mask. */
static uint64_t *variable_mtrr(struct x86_cpu *c, uint32_t index)
{
	unsigned n = (index - 0x200) / 2;

	return index & 1 ? &c->s.mtrr.phys_mask[n] : &c->s.mtrr.phys_base[n];
}

static bool read_variable_mtrr(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	*value = *variable_mtrr(c, index);
	return true;
}

static bool write_variable_mtrr(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	uint64_t address = (LM_BIT(c->sys->model.physical_bits) - 1) & ~PAGE_MASK;
	bool ok = index & 1 ? !(value & ~(address | MTRR_MASK_VALID))
			    : !(value & ~(address | 0xff)) && is_memory_type(value & 0xff, false);

	if (ok)
		*variable_mtrr(c, index) = value;
	return ok;
}

static uint64_t *fixed_mtrr(struct x86_cpu *c, uint32_t index)
{
	static const uint16_t indices[] = MTRR_FIXED_INDICES;

	for (unsigned k = 0; k < LM_ARRAY_SIZE(indices); k++)
		if (indices[k] == index)
			return &c->s.mtrr.fixed[k];
	return NULL;
}

static bool read_fixed_mtrr(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	uint64_t *reg = fixed_mtrr(c, index);

	if (reg)
		*value = *reg;
	return reg;
}

static bool write_fixed_mtrr(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	uint64_t *reg = fixed_mtrr(c, index);

	if (!reg || !are_memory_types(value, false))
		return false;
	*reg = value;
	return true;
}

/* ---- System calls, segments, modes ---- */

static bool write_efer(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	bool has_nx = model_has(&c->sys->model, F_NX) && !(c->s.misc_enable & MISC_ENABLE_XD_DISABLE);
	uint64_t allowed = EFER_SCE | EFER_LME | EFER_LMA | (has_nx ? EFER_NXE : 0);
	uint64_t changed = value ^ c->s.efer;

	if (value & ~allowed || (changed & EFER_LME && c->s.cr0 & CR0_PG))
		return false;
	c->s.efer = (value & ~EFER_LMA) | (c->s.efer & EFER_LMA);
	if (changed & EFER_NXE)
		mmu_flush_all(c);
	x86_mode_changed(c);
	return true;
}

static bool read_segment_base(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	*value = c->s.seg[index & 1 ? GS : FS].base;
	return true;
}

static bool write_segment_base(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	if (!x86_canonical(value))
		return false;
	c->s.seg[index & 1 ? GS : FS].base = value;
	return true;
}

static bool write_apic_base(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	bool ok = lapic_base_write(c, value);

	if (ok)
		mmu_flush_all(c); /* the register page moved */
	return ok;
}

/* ---- The table ---- */

#define PLAIN(i, n, f, w)   { .first = i, .last = i, .name = n, .writable = w,                     \
			      .field = offsetof(struct x86_state, f) }
#define ADDRESS(i, n, f)    { .first = i, .last = i, .name = n, .writable = ALL_BITS,              \
			      .canonical = true, .field = offsetof(struct x86_state, f) }
#define FIELD_W(i, n, f, w) { .first = i, .last = i, .name = n, .write = w,                        \
			      .field = offsetof(struct x86_state, f) }
#define CUSTOM(i, j, n, r, w) { .first = i, .last = j, .name = n, .field = NO_FIELD, .read = r,    \
				.write = w }

static const struct msr msrs[] = {
	CUSTOM(0x000, 0x001, "IA32_P5_MC", read_zero, ignore_write),
	CUSTOM(0x010, 0x010, "IA32_TIME_STAMP_COUNTER", read_tsc, write_tsc),
	CUSTOM(0x011, 0x012, "MSR_KVM_CLOCK_OLD", kvm_msr_read, kvm_msr_write),
	CUSTOM(0x017, 0x017, "IA32_PLATFORM_ID", read_zero, NULL), /* which microcode is for it */
	FIELD_W(0x01b, "IA32_APIC_BASE", apic_base, write_apic_base),
	FIELD_W(0x03a, "IA32_FEATURE_CONTROL", feature_control, write_feature_control),
	FIELD_W(0x03b, "IA32_TSC_ADJUST", tsc_adjust, write_tsc_adjust),
	PLAIN(0x048, "IA32_SPEC_CTRL", spec_ctrl, SPEC_CTRL_BITS),
	CUSTOM(0x049, 0x049, "IA32_PRED_CMD", NULL, write_command),
	CUSTOM(0x079, 0x079, "IA32_BIOS_UPDT_TRIG", NULL, ignore_write),
	FIELD_W(0x08b, "IA32_BIOS_SIGN_ID", microcode_rev, ignore_write),
	CUSTOM(0x0ce, 0x0ce, "MSR_PLATFORM_INFO", read_platform_info, NULL),
	CUSTOM(0x0fe, 0x0fe, "IA32_MTRRCAP", read_mtrr_cap, NULL),
	CUSTOM(0x10a, 0x10a, "IA32_ARCH_CAPABILITIES", read_arch_capabilities, NULL),
	CUSTOM(0x10b, 0x10b, "IA32_FLUSH_CMD", NULL, write_command),
	PLAIN(0x174, "IA32_SYSENTER_CS", sysenter_cs, UINT32_MAX),
	ADDRESS(0x175, "IA32_SYSENTER_ESP", sysenter_esp),
	ADDRESS(0x176, "IA32_SYSENTER_EIP", sysenter_eip),
	CUSTOM(0x179, 0x179, "IA32_MCG_CAP", read_zero, NULL), /* no error banks */
	PLAIN(0x17a, "IA32_MCG_STATUS", mcg_status, UINT64_C(7)),
	FIELD_W(0x1a0, "IA32_MISC_ENABLE", misc_enable, write_misc_enable),
	CUSTOM(0x1d9, 0x1d9, "IA32_DEBUGCTL", read_zero, write_debugctl),
	CUSTOM(0x200, 0x20f, "IA32_MTRR_PHYS", read_variable_mtrr, write_variable_mtrr),
	CUSTOM(0x250, 0x26f, "IA32_MTRR_FIX", read_fixed_mtrr, write_fixed_mtrr),
	FIELD_W(0x277, "IA32_PAT", pat, write_pat),
	FIELD_W(0x2ff, "IA32_MTRR_DEF_TYPE", mtrr.def_type, write_mtrr_def),
	CUSTOM(0x6e0, 0x6e0, "IA32_TSC_DEADLINE", read_tsc_deadline, write_tsc_deadline),
	CUSTOM(0x800, 0x8ff, "IA32_X2APIC", lapic_msr_read, lapic_msr_write),
	{ .first = 0xda0, .last = 0xda0, .name = "IA32_XSS", .field = offsetof(struct x86_state, xss),
	  .writable = 0, /* no supervisor state components */
	  .features = LM_BIT(F_XSAVES) },
	CUSTOM(0x4b564d00, 0x4b564d01, "MSR_KVM_CLOCK", kvm_msr_read, kvm_msr_write),
	FIELD_W(0xc0000080, "IA32_EFER", efer, write_efer),
	PLAIN(0xc0000081, "IA32_STAR", star, ALL_BITS),
	ADDRESS(0xc0000082, "IA32_LSTAR", lstar),
	ADDRESS(0xc0000083, "IA32_CSTAR", cstar),
	PLAIN(0xc0000084, "IA32_FMASK", fmask, UINT32_MAX),
	CUSTOM(0xc0000100, 0xc0000101, "IA32_FS_BASE, IA32_GS_BASE", read_segment_base,
	       write_segment_base),
	ADDRESS(0xc0000102, "IA32_KERNEL_GS_BASE", kernel_gs_base),
	{ .first = 0xc0000103, .last = 0xc0000103, .name = "IA32_TSC_AUX", .writable = UINT32_MAX,
	  .field = offsetof(struct x86_state, tsc_aux),
	  .features = LM_BIT(F_RDTSCP) | LM_BIT(F_RDPID) },
};

static const struct msr *find(uint32_t index)
{
	unsigned low = 0, high = LM_ARRAY_SIZE(msrs);

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (index < msrs[mid].first)
			high = mid;
		else if (index > msrs[mid].last)
			low = mid + 1;
		else
			return &msrs[mid];
	}
	return NULL;
}

const char *msr_name(uint32_t index)
{
	const struct msr *m = find(index);

	return m ? m->name : NULL;
}

static const struct msr *find_in_model(const struct x86_cpu *c, uint32_t index)
{
	const struct msr *m = find(index);

	return m && (!m->features || m->features & c->sys->model.features) ? m : NULL;
}

/* Kernels probe many registers; the first few are worth a line. */
static bool unknown(struct x86_cpu *c, const char *verb, uint32_t index)
{
	if (__atomic_fetch_add(&c->sys->unknown_msrs, 1, __ATOMIC_RELAXED) < MAX_LOGGED)
		log_line(LOG_DEBUG, "guest %s MSR 0x%x, which does not exist: #GP", verb, index);
	return false;
}

bool msr_read(struct x86_cpu *c, uint32_t index, uint64_t *value)
{
	const struct msr *m = find_in_model(c, index);

	if (!m)
		return unknown(c, "reads", index);
	if (m->read)
		return m->read(c, index, value);
	if (m->field == NO_FIELD)
		return false;
	*value = *field_of(c, m);
	return true;
}

bool msr_write(struct x86_cpu *c, uint32_t index, uint64_t value)
{
	const struct msr *m = find_in_model(c, index);

	if (!m)
		return unknown(c, "writes", index);
	if (m->write)
		return m->write(c, index, value);
	if (m->field == NO_FIELD || value & ~m->writable || (m->canonical && !x86_canonical(value)))
		return false;
	*field_of(c, m) = value;
	return true;
}

const char *msr_broken(const struct x86_cpu *c)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(msrs); k++) {
		const struct msr *m = &msrs[k];
		uint64_t value;

		if (m->field == NO_FIELD || m->write)
			continue;
		memcpy(&value, (const char *)&c->s + m->field, sizeof(value));
		if (value & ~m->writable || (m->canonical && !x86_canonical(value)))
			return m->name;
	}
	return NULL;
}

void msr_reset(struct x86_cpu *c)
{
	struct x86_state *s = &c->s;

	s->star = s->lstar = s->cstar = s->fmask = s->kernel_gs_base = 0;
	s->sysenter_cs = s->sysenter_esp = s->sysenter_eip = 0;
	s->pat = PAT_RESET;
	s->apic_base = LAPIC_DEFAULT_BASE | APIC_BASE_ENABLE | (c->index == 0 ? APIC_BASE_BSP : 0);
	s->misc_enable = MISC_ENABLE_RESET;
	s->tsc_aux = s->spec_ctrl = s->xss = 0;
	s->feature_control = FEATURE_CONTROL_LOCK;
	s->microcode_rev = MICROCODE_REVISION;
	s->mcg_status = 0;
	memset(&s->mtrr, 0, sizeof(s->mtrr));
	s->tsc_offset = s->tsc_adjust = 0; /* all vCPUs count together from the machine's start */
	memset(&s->kvm, 0, sizeof(s->kvm));
}
