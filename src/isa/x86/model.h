/*
 * The CPU model: what CPUID says, and so which instructions, MSRs and control bits exist. The same
 * policy serves every engine.
 */
#ifndef LM_ISA_X86_MODEL_H
#define LM_ISA_X86_MODEL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Features that gate instruction sets or architectural bits; one bit each in x86_model.features. */
enum x86_feature {
	F_MMX, F_SSE, F_SSE2, F_SSE3, F_SSSE3, F_SSE4_1, F_SSE4_2, F_AES, F_PCLMULQDQ, F_AVX,
	F_F16C, F_FMA, F_AVX2, F_BMI1, F_BMI2, F_ADX, F_SHA, F_RDRAND, F_RDSEED, F_MOVBE, F_POPCNT,
	F_LZCNT, F_CX16, F_XSAVE, F_XSAVEOPT, F_XSAVEC, F_XGETBV1, F_XSAVES, F_FSGSBASE, F_SMEP,
	F_SMAP, F_PCID, F_INVPCID, F_X2APIC, F_TSC_DEADLINE, F_RDTSCP, F_RDPID, F_CLFLUSHOPT,
	F_CLWB, F_ERMS, F_FSRM, F_NX, F_PDPE1GB, F_SYSCALL, F_LM, F_LAHF_LM, F_UMIP, F_PREFETCHW,
	F_SPEC_CTRL, F_STIBP, F_FLUSH_CMD, F_SSBD, F_BHI_CTRL, F_MCDT_NO, F_VME, F_KVM, F_PV_UNHALT,
	F_PV_SEND_IPI, F_COUNT,
};

struct x86_model {
	const char *name;
	uint64_t features;        /* bit f: enum x86_feature f */
	uint8_t physical_bits;    /* MAXPHYADDR */
	uint64_t tsc_hz;
	unsigned cpu_count;
	uint64_t arch_capabilities; /* IA32_ARCH_CAPABILITIES: which flaws the executing CPU lacks */
};

static inline bool model_has(const struct x86_model *m, enum x86_feature f)
{
	return m->features >> f & 1;
}

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};

struct x86_cpu;

/* What an engine's host offers, in the layout of CPUID; other values of a leaf count as 0. */
struct model_host {
	struct cpuid_regs (*cpuid)(const void *opaque, uint32_t leaf, uint32_t subleaf);
	const void *opaque;
};

/* Everything lamina can emulate. */
void model_default(struct x86_model *m, unsigned cpu_count, uint64_t tsc_hz);
/*
 * Takes away the features that the host has not, except those in `anyway`, and address bits above its
 * own. False when it lacks what every model has; *missing is then that bit of leaf 1's EDX.
 */
bool model_limit(struct x86_model *m, const struct model_host *host, uint64_t anyway,
		 unsigned *missing);
/* XSAVE and all that needs it. */
void model_drop_xsave(struct x86_model *m);

/* CPUID as this vCPU sees it now (APIC ID, OSXSAVE and XCR0-dependent sizes are live). */
struct cpuid_regs x86_cpuid(const struct x86_cpu *c, uint32_t leaf, uint32_t subleaf);

/* ---- Choosing what a guest may use ---- */

#define MODEL_NAME_MAX 32
#define MODEL_CHOICES  "default|baseline|v2|v3|host|FILE"

/* A choice of features that is complete in itself: what each needs is there. */
struct model_features {
	char name[MODEL_NAME_MAX + 1]; /* of the level, or the file's own */
	uint64_t features;
};

/*
 * "default", "baseline", "v2", "v3" or "host", else the path of a JSON file:
 * {"name": NAME, "base": LEVEL, "features": {FEATURE: BOOLEAN, ...}}, where base is "default" and
 * the rest empty if missing.
 */
int model_choose(struct model_features *m, const char *choice, struct lm_err *err);

/* For snapshots: {"name": ..., "features": [FEATURE, ...]}. A damaged one is -EINVAL. */
json_t *model_to_json(const struct model_features *m);
int model_from_json(struct model_features *m, const json_t *json, struct lm_err *err);

/* Whether a guest that was given `wanted` can go on where there is `here`; else -EINVAL, and err names what is missing. */
int model_check(const struct model_features *wanted, const struct model_features *here,
		struct lm_err *err);

/* As docs/cpu-models.md lists them. */
const char *model_feature_name(enum x86_feature f);

/* What the host's CPU and kernel offer, of what its CPUID tells; 0 where the host is no x86-64. */
uint64_t cpuid_host_features(void);

#endif
