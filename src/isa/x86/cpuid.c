/*
 * CPUID (SDM vol. 2 CPUID): one function a leaf; feature bits from one table.
 *
 * The CPU introduces itself as an Intel processor of a model that there is none of (family 6, model
 * 0xff). Programs that ask for feature bits get what there is; those that know models by their numbers
 * know no other instructions by this one, as compilers' own dispatchers do (GCC's target_clones with
 * arch=NAME looks at nothing else). Kernels look for neither errata nor flaws of other models.
 */
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "isa/x86/cpu.h"
#include "isa/x86/kvm_pv.h"

#define SIGNATURE      0x000f06f0u /* family 6, model 0xff, stepping 0 */
#define MAX_BASIC      0x16u
#define MAX_LIMITED    2u /* with IA32_MISC_ENABLE's limit, for ancient systems */
#define MAX_EXTENDED   0x80000008u
#define CLFLUSH_BYTES  64u
#define XSAVE_LEGACY   576u /* legacy region and header */
#define XSAVE_AVX      256u
#define LINEAR_BITS    48u
#define KHZ            1000u
#define MHZ            1000000u

enum cpuid_register { EAX, EBX, ECX, EDX };

/* One feature bit. `always`: part of every model. */
struct feature_bit {
	uint32_t leaf, subleaf;
	uint8_t reg, bit;
	uint8_t feature; /* enum x86_feature, or ALWAYS */
};

#define ALWAYS 0xff

static const struct feature_bit feature_bits[] = {
	{ 1, 0, EDX, 0, ALWAYS },  /* FPU */
	{ 1, 0, EDX, 1, F_VME },   /* not on every AMD Zen */
	{ 1, 0, EDX, 2, ALWAYS },  /* DE */
	{ 1, 0, EDX, 3, ALWAYS },  /* PSE */
	{ 1, 0, EDX, 4, ALWAYS },  /* TSC */
	{ 1, 0, EDX, 5, ALWAYS },  /* MSR */
	{ 1, 0, EDX, 6, ALWAYS },  /* PAE */
	{ 1, 0, EDX, 7, ALWAYS },  /* MCE */
	{ 1, 0, EDX, 8, ALWAYS },  /* CX8 */
	{ 1, 0, EDX, 11, ALWAYS }, /* SEP */
	{ 1, 0, EDX, 12, ALWAYS }, /* MTRR */
	{ 1, 0, EDX, 13, ALWAYS }, /* PGE */
	{ 1, 0, EDX, 14, ALWAYS }, /* MCA */
	{ 1, 0, EDX, 15, ALWAYS }, /* CMOV */
	{ 1, 0, EDX, 16, ALWAYS }, /* PAT */
	{ 1, 0, EDX, 17, ALWAYS }, /* PSE36 */
	{ 1, 0, EDX, 19, ALWAYS }, /* CLFSH */
	{ 1, 0, EDX, 23, F_MMX },
	{ 1, 0, EDX, 24, ALWAYS }, /* FXSR */
	{ 1, 0, EDX, 25, F_SSE },
	{ 1, 0, EDX, 26, F_SSE2 },
	{ 1, 0, EDX, 27, ALWAYS }, /* self-snoop */
	{ 1, 0, ECX, 0, F_SSE3 },
	{ 1, 0, ECX, 1, F_PCLMULQDQ },
	{ 1, 0, ECX, 9, F_SSSE3 },
	{ 1, 0, ECX, 12, F_FMA },
	{ 1, 0, ECX, 13, F_CX16 },
	{ 1, 0, ECX, 17, F_PCID },
	{ 1, 0, ECX, 19, F_SSE4_1 },
	{ 1, 0, ECX, 20, F_SSE4_2 },
	{ 1, 0, ECX, 21, F_X2APIC },
	{ 1, 0, ECX, 22, F_MOVBE },
	{ 1, 0, ECX, 23, F_POPCNT },
	{ 1, 0, ECX, 24, F_TSC_DEADLINE },
	{ 1, 0, ECX, 25, F_AES },
	{ 1, 0, ECX, 26, F_XSAVE },
	{ 1, 0, ECX, 28, F_AVX },
	{ 1, 0, ECX, 29, F_F16C },
	{ 1, 0, ECX, 30, F_RDRAND },
	{ 1, 0, ECX, 31, ALWAYS }, /* running under a hypervisor */

	{ 6, 0, EAX, 2, ALWAYS }, /* ARAT: the APIC timer never stops */

	{ 7, 0, EBX, 0, F_FSGSBASE },
	{ 7, 0, EBX, 1, ALWAYS }, /* IA32_TSC_ADJUST */
	{ 7, 0, EBX, 3, F_BMI1 },
	{ 7, 0, EBX, 5, F_AVX2 },
	{ 7, 0, EBX, 7, F_SMEP },
	{ 7, 0, EBX, 8, F_BMI2 },
	{ 7, 0, EBX, 9, F_ERMS },
	{ 7, 0, EBX, 10, F_INVPCID },
	{ 7, 0, EBX, 13, ALWAYS }, /* FPU CS and DS are deprecated */
	{ 7, 0, EBX, 18, F_RDSEED },
	{ 7, 0, EBX, 19, F_ADX },
	{ 7, 0, EBX, 20, F_SMAP },
	{ 7, 0, EBX, 23, F_CLFLUSHOPT },
	{ 7, 0, EBX, 24, F_CLWB },
	{ 7, 0, EBX, 29, F_SHA },
	{ 7, 0, ECX, 2, F_UMIP },
	{ 7, 0, ECX, 22, F_RDPID },
	{ 7, 0, EDX, 4, F_FSRM },
	{ 7, 0, EDX, 26, F_SPEC_CTRL }, /* IA32_SPEC_CTRL.IBRS, IA32_PRED_CMD */
	{ 7, 0, EDX, 27, F_STIBP },
	{ 7, 0, EDX, 28, F_FLUSH_CMD },
	{ 7, 0, EDX, 29, ALWAYS }, /* IA32_ARCH_CAPABILITIES */
	{ 7, 0, EDX, 31, F_SSBD },

	/* Kernels that distrust BHI_NO then set a control bit instead of running a loop per call. */
	{ 7, 2, EDX, 4, F_BHI_CTRL }, /* BHI_CTRL: IA32_SPEC_CTRL.BHI_DIS_S */
	{ 7, 2, EDX, 5, F_MCDT_NO },

	{ 0xd, 1, EAX, 0, F_XSAVEOPT },
	{ 0xd, 1, EAX, 1, F_XSAVEC },
	{ 0xd, 1, EAX, 2, F_XGETBV1 },
	{ 0xd, 1, EAX, 3, F_XSAVES },

	{ 0x80000001, 0, ECX, 0, F_LAHF_LM },
	{ 0x80000001, 0, ECX, 5, F_LZCNT },
	{ 0x80000001, 0, ECX, 8, F_PREFETCHW },
	{ 0x80000001, 0, EDX, 20, F_NX },
	{ 0x80000001, 0, EDX, 26, F_PDPE1GB },
	{ 0x80000001, 0, EDX, 27, F_RDTSCP },
	{ 0x80000001, 0, EDX, 29, F_LM },
	{ 0x80000007, 0, EDX, 8, ALWAYS }, /* invariant TSC */
};

static struct cpuid_regs features_of(const struct x86_model *m, uint32_t leaf, uint32_t subleaf)
{
	uint32_t r[4] = { 0 };

	for (unsigned k = 0; k < LM_ARRAY_SIZE(feature_bits); k++) {
		const struct feature_bit *f = &feature_bits[k];

		if (f->leaf == leaf && f->subleaf == subleaf &&
		    (f->feature == ALWAYS || model_has(m, f->feature)))
			r[f->reg] |= 1u << f->bit;
	}
	return (struct cpuid_regs){ r[EAX], r[EBX], r[ECX], r[EDX] };
}

/* ---- Models for hosts that execute the guest themselves ---- */

static uint32_t register_of(const struct cpuid_regs *r, enum cpuid_register which)
{
	const uint32_t regs[4] = { r->eax, r->ebx, r->ecx, r->edx };

	return regs[which];
}

/* Vectors beyond SSE need XSAVE, and all that is encoded with VEX needs AVX. */
static void drop_dependents(struct x86_model *m)
{
	const uint64_t vex = LM_BIT(F_AVX2) | LM_BIT(F_FMA) | LM_BIT(F_F16C);

	if (!model_has(m, F_XSAVE))
		m->features &= ~(LM_BIT(F_AVX) | LM_BIT(F_XSAVEOPT) | LM_BIT(F_XSAVEC) |
				 LM_BIT(F_XGETBV1) | LM_BIT(F_XSAVES));
	if (!model_has(m, F_AVX))
		m->features &= ~vex;
}

void model_drop_xsave(struct x86_model *m)
{
	m->features &= ~LM_BIT(F_XSAVE);
	drop_dependents(m);
}

/* What the processor must do itself: not MTRR, MCE and MCA, which are registers, and self-snoop. */
#define NEEDED_OF_LEAF_1_EDX 0x010ba97du

bool model_limit(struct x86_model *m, const struct model_host *host, uint64_t anyway,
		 unsigned *missing)
{
	uint32_t bits = host->cpuid(host->opaque, 0x80000008, 0).eax & 0xff;

	for (unsigned k = 0; k < LM_ARRAY_SIZE(feature_bits); k++) {
		const struct feature_bit *f = &feature_bits[k];
		struct cpuid_regs r = host->cpuid(host->opaque, f->leaf, f->subleaf);

		if (register_of(&r, f->reg) >> f->bit & 1)
			continue;
		if (f->feature != ALWAYS && !(anyway >> f->feature & 1)) {
			m->features &= ~LM_BIT(f->feature);
		} else if (f->leaf == 1 && f->reg == EDX && NEEDED_OF_LEAF_1_EDX >> f->bit & 1) {
			*missing = f->bit;
			return false;
		}
	}
	drop_dependents(m);
	if (bits && bits < m->physical_bits)
		m->physical_bits = (uint8_t)bits;
	return true;
}

/* ---- The host's own ---- */

#if defined(__x86_64__)
static bool host_says(const struct feature_bit *f)
{
	unsigned r[4];

	return __get_cpuid_count(f->leaf, f->subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) &&
	       r[f->reg] >> f->bit & 1;
}

uint64_t cpuid_host_features(void)
{
	uint64_t features = 0;

	for (unsigned k = 0; k < LM_ARRAY_SIZE(feature_bits); k++)
		if (feature_bits[k].feature != ALWAYS && host_says(&feature_bits[k]))
			features |= LM_BIT(feature_bits[k].feature);
	if (!__builtin_cpu_supports("avx")) /* which asks the kernel too */
		features &= ~LM_BIT(F_AVX);
	return features;
}
#else
uint64_t cpuid_host_features(void)
{
	return 0;
}
#endif

/* ---- Basic leaves ---- */

static uint32_t four_chars(const char *s)
{
	return (uint32_t)le_load(s, 4);
}

static uint32_t max_basic(const struct x86_cpu *c)
{
	return c->s.misc_enable & MISC_ENABLE_LIMIT_CPUID ? MAX_LIMITED : MAX_BASIC;
}

static struct cpuid_regs leaf_vendor(const struct x86_cpu *c)
{
	return (struct cpuid_regs){ max_basic(c), four_chars("Genu"), four_chars("ntel"),
				    four_chars("ineI") };
}

static struct cpuid_regs leaf_version(const struct x86_cpu *c)
{
	struct cpuid_regs r = features_of(&c->sys->model, 1, 0);
	unsigned cpus = c->sys->model.cpu_count;

	r.eax = SIGNATURE;
	r.ebx = CLFLUSH_BYTES / 8 << 8 | LM_MIN(cpus, 255u) << 16 | c->index << 24;
	if (c->s.cr4 & CR4_OSXSAVE)
		r.ecx |= 1u << 27;
	if (c->s.apic_base & APIC_BASE_ENABLE)
		r.edx |= 1u << 9;
	if (cpus > 1)
		r.edx |= 1u << 28; /* HTT: EBX[23:16] counts logical processors */
	return r;
}

static struct cpuid_regs leaf_features(const struct x86_model *m, uint32_t subleaf)
{
	struct cpuid_regs r = features_of(m, 7, subleaf);

	if (subleaf == 0)
		r.eax = 2; /* the highest subleaf */
	return r;
}

/* Bits needed to number the vCPUs. */
static unsigned topology_shift(const struct x86_model *m)
{
	unsigned shift = 0;

	while (1u << shift < m->cpu_count)
		shift++;
	return shift;
}

struct cache {
	uint8_t type, level; /* 1 data, 2 instruction, 3 unified */
	bool shared;         /* by all vCPUs */
	uint16_t ways;
	uint32_t sets;
};

static struct cpuid_regs leaf_caches(const struct x86_model *m, uint32_t subleaf)
{
	static const struct cache caches[] = {
		{ 1, 1, false, 12, 64 },   /* 48 KiB */
		{ 2, 1, false, 8, 64 },    /* 32 KiB */
		{ 3, 2, false, 16, 2048 }, /* 2 MiB */
		{ 3, 3, true, 16, 16384 }, /* 16 MiB */
	};
	uint32_t ids = (1u << topology_shift(m)) - 1;
	const struct cache *k;

	if (subleaf >= LM_ARRAY_SIZE(caches))
		return (struct cpuid_regs){ 0 };
	k = &caches[subleaf];
	return (struct cpuid_regs){
		.eax = k->type | (uint32_t)k->level << 5 | 1u << 8 | (k->shared ? ids : 0) << 14 |
		       LM_MIN(ids, 63u) << 26,
		.ebx = (CLFLUSH_BYTES - 1) | (uint32_t)(k->ways - 1) << 22,
		.ecx = k->sets - 1,
	};
}

/* One socket, one thread a core; APIC ID = vCPU number. */
static struct cpuid_regs leaf_topology(const struct x86_cpu *c, uint32_t subleaf)
{
	struct cpuid_regs r = { .ecx = subleaf & 0xff, .edx = c->index };

	if (subleaf == 0) {
		r.ebx = 1;
		r.ecx |= 1u << 8; /* SMT */
	} else if (subleaf == 1) {
		r.eax = topology_shift(&c->sys->model);
		r.ebx = c->sys->model.cpu_count;
		r.ecx |= 2u << 8; /* core */
	}
	return r;
}

static uint32_t xsave_size(uint64_t components)
{
	return XSAVE_LEGACY + (components & XCR0_AVX ? XSAVE_AVX : 0);
}

/* With only x87, SSE and AVX the standard and the compacted format have the same offsets. */
static struct cpuid_regs leaf_xsave(const struct x86_cpu *c, uint32_t subleaf)
{
	const struct x86_model *m = &c->sys->model;
	uint64_t all = XCR0_X87 | XCR0_SSE | (model_has(m, F_AVX) ? XCR0_AVX : 0);
	struct cpuid_regs r = features_of(m, 0xd, subleaf);

	if (!model_has(m, F_XSAVE))
		return (struct cpuid_regs){ 0 };
	if (subleaf == 0) {
		r.eax = (uint32_t)all;
		r.ebx = xsave_size(c->s.xcr0);
		r.ecx = xsave_size(all);
	} else if (subleaf == 1) {
		r.ebx = model_has(m, F_XSAVEC) ? xsave_size(c->s.xcr0 | c->s.xss) : 0;
	} else if (subleaf == 2 && all & XCR0_AVX) {
		r.eax = XSAVE_AVX;
		r.ebx = XSAVE_LEGACY;
	}
	return r;
}

static uint64_t gcd(uint64_t a, uint64_t b)
{
	while (b) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/*
 * TSC / crystal clock. The crystal drives the APIC timer. Kernels multiply crystal kHz by the
 * numerator in 32 bits, so a ratio that does not reduce well is left out.
 */
static struct cpuid_regs leaf_tsc_ratio(const struct x86_model *m)
{
	uint64_t common = gcd(m->tsc_hz, LAPIC_BUS_HZ);
	uint64_t numerator = m->tsc_hz / common;

	if (numerator > UINT32_MAX / (LAPIC_BUS_HZ / KHZ))
		return (struct cpuid_regs){ 0 };
	return (struct cpuid_regs){ (uint32_t)(LAPIC_BUS_HZ / common), (uint32_t)numerator,
				    (uint32_t)LAPIC_BUS_HZ, 0 };
}

static struct cpuid_regs leaf_frequency(const struct x86_model *m)
{
	uint32_t mhz = (uint32_t)(m->tsc_hz / MHZ);

	return (struct cpuid_regs){ mhz, mhz, 100, 0 };
}

static struct cpuid_regs basic_leaf(const struct x86_cpu *c, uint32_t leaf, uint32_t subleaf)
{
	const struct x86_model *m = &c->sys->model;

	switch (leaf) {
	case 0:
		return leaf_vendor(c);
	case 1:
		return leaf_version(c);
	case 2: /* "no descriptors here: see leaf 4" */
		return (struct cpuid_regs){ .eax = 0x0000ff01 };
	case 4:
		return leaf_caches(m, subleaf);
	case 6:
		return features_of(m, leaf, 0);
	case 7:
		return leaf_features(m, subleaf);
	case 0xb:
		return leaf_topology(c, subleaf);
	case 0xd:
		return leaf_xsave(c, subleaf);
	case 0x15:
		return leaf_tsc_ratio(m);
	case 0x16:
		return leaf_frequency(m);
	default:
		return (struct cpuid_regs){ 0 };
	}
}

/* ---- Hypervisor leaves (Documentation/virt/kvm/x86/cpuid.rst) ---- */

static struct cpuid_regs hypervisor_leaf(const struct x86_model *m, uint32_t leaf)
{
	if (!model_has(m, F_KVM))
		return (struct cpuid_regs){ 0 };
	switch (leaf) {
	case KVM_CPUID_SIGNATURE:
		return (struct cpuid_regs){ KVM_CPUID_TIMING, four_chars("KVMK"), four_chars("VMKV"),
					    four_chars("M\0\0\0") };
	case KVM_CPUID_FEATURES:
		return (struct cpuid_regs){
			.eax = KVM_FEATURE_CLOCKSOURCE | KVM_FEATURE_CLOCKSOURCE2 |
			       KVM_FEATURE_CLOCKSOURCE_STABLE | KVM_FEATURE_NOP_IO_DELAY |
			       (model_has(m, F_PV_UNHALT) ? KVM_FEATURE_PV_UNHALT : 0) |
			       (model_has(m, F_PV_SEND_IPI) ? KVM_FEATURE_PV_SEND_IPI : 0),
		};
	case KVM_CPUID_TIMING:
		return (struct cpuid_regs){ (uint32_t)(m->tsc_hz / KHZ),
					    (uint32_t)(LAPIC_BUS_HZ / KHZ), 0, 0 };
	default:
		return (struct cpuid_regs){ 0 };
	}
}

/* ---- Extended leaves ---- */

static struct cpuid_regs leaf_brand(unsigned part)
{
	static const char brand[48] = "lamina virtual CPU";
	const char *s = brand + 16 * part;

	return (struct cpuid_regs){ four_chars(s), four_chars(s + 4), four_chars(s + 8),
				    four_chars(s + 12) };
}

static struct cpuid_regs extended_leaf(const struct x86_cpu *c, uint32_t leaf)
{
	const struct x86_model *m = &c->sys->model;
	struct cpuid_regs r = features_of(m, leaf, 0);

	switch (leaf) {
	case 0x80000000:
		return (struct cpuid_regs){ .eax = MAX_EXTENDED };
	case 0x80000001:
		if (model_has(m, F_SYSCALL) && c->code_size == CODE_64)
			r.edx |= 1u << 11; /* Intel reports SYSCALL in 64-bit mode only */
		if (c->s.misc_enable & MISC_ENABLE_XD_DISABLE)
			r.edx &= ~(1u << 20);
		return r;
	case 0x80000002:
	case 0x80000003:
	case 0x80000004:
		return leaf_brand(leaf - 0x80000002);
	case 0x80000006:
		return (struct cpuid_regs){ .ecx = 2048u << 16 | 8u << 12 | CLFLUSH_BYTES };
	case 0x80000008:
		return (struct cpuid_regs){ .eax = m->physical_bits | LINEAR_BITS << 8 };
	default:
		return r;
	}
}

struct cpuid_regs x86_cpuid(const struct x86_cpu *c, uint32_t leaf, uint32_t subleaf)
{
	if (leaf >= 0x80000000 && leaf <= MAX_EXTENDED)
		return extended_leaf(c, leaf);
	if (leaf >> 28 == 4)
		return hypervisor_leaf(&c->sys->model, leaf);
	/* Out of range: Intel answers with the highest basic leaf. */
	return basic_leaf(c, LM_MIN(leaf, max_basic(c)), subleaf);
}
