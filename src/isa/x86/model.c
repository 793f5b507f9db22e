/* CPU models: the default one, levels, and what a user makes from them. */
#include "isa/x86/model.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"

/*
 * RAM may be 1 TiB (RAM_MAX) and continues above 4 GiB, and 64-bit PCI windows lie above RAM: 40
 * bits would be too few. 46 is what server CPUs of the generation report; PTE bits 46 to 51 stay
 * reserved, as there.
 */
#define PHYSICAL_BITS 46
#define FILE_BYTES_MAX 65536

#define EVERYTHING (LM_BIT(F_COUNT) - 1)

/* No x86-64 operating system works without these, so they cannot be taken away. */
#define REQUIRED (LM_BIT(F_MMX) | LM_BIT(F_SSE) | LM_BIT(F_SSE2) | LM_BIT(F_NX) |                  \
		  LM_BIT(F_SYSCALL) | LM_BIT(F_LM))

/* Ours, whatever the host is. */
#define VIRTUAL (LM_BIT(F_X2APIC) | LM_BIT(F_TSC_DEADLINE) | LM_BIT(F_KVM) | LM_BIT(F_PV_UNHALT) | \
		 LM_BIT(F_PV_SEND_IPI) | LM_BIT(F_VME) | LM_BIT(F_SPEC_CTRL) | LM_BIT(F_STIBP) |    \
		 LM_BIT(F_FLUSH_CMD) | LM_BIT(F_SSBD) | LM_BIT(F_BHI_CTRL) | LM_BIT(F_MCDT_NO))

/*
 * The levels of the x86-64 psABI (§3.1.1), and what all CPUs of a level have besides, of both
 * vendors: v2 with Nehalem and Bulldozer, v3 with Haswell and Zen.
 */
#define BASELINE (REQUIRED | VIRTUAL)
#define LEVEL_2	 (BASELINE | LM_BIT(F_SSE3) | LM_BIT(F_SSSE3) | LM_BIT(F_SSE4_1) |                 \
		  LM_BIT(F_SSE4_2) | LM_BIT(F_POPCNT) | LM_BIT(F_CX16) | LM_BIT(F_LAHF_LM) |       \
		  LM_BIT(F_RDTSCP))
#define LEVEL_3	 (LEVEL_2 | LM_BIT(F_AVX) | LM_BIT(F_AVX2) | LM_BIT(F_BMI1) | LM_BIT(F_BMI2) |     \
		  LM_BIT(F_F16C) | LM_BIT(F_FMA) | LM_BIT(F_LZCNT) | LM_BIT(F_MOVBE) |             \
		  LM_BIT(F_XSAVE) | LM_BIT(F_XSAVEOPT) | LM_BIT(F_AES) | LM_BIT(F_PCLMULQDQ) |     \
		  LM_BIT(F_RDRAND) | LM_BIT(F_FSGSBASE) | LM_BIT(F_SMEP) | LM_BIT(F_PDPE1GB))

static const struct model_features levels[] = {
	{ "default", EVERYTHING },
	{ "baseline", BASELINE },
	{ "v2", LEVEL_2 },
	{ "v3", LEVEL_3 },
};

static const char *const names[F_COUNT] = {
	[F_MMX] = "mmx", [F_SSE] = "sse", [F_SSE2] = "sse2", [F_SSE3] = "sse3", [F_SSSE3] = "ssse3",
	[F_SSE4_1] = "sse4_1", [F_SSE4_2] = "sse4_2", [F_AES] = "aes", [F_PCLMULQDQ] = "pclmulqdq",
	[F_AVX] = "avx", [F_F16C] = "f16c", [F_FMA] = "fma", [F_AVX2] = "avx2", [F_BMI1] = "bmi1",
	[F_BMI2] = "bmi2", [F_ADX] = "adx", [F_SHA] = "sha_ni", [F_RDRAND] = "rdrand",
	[F_RDSEED] = "rdseed", [F_MOVBE] = "movbe", [F_POPCNT] = "popcnt", [F_LZCNT] = "lzcnt",
	[F_CX16] = "cx16", [F_XSAVE] = "xsave", [F_XSAVEOPT] = "xsaveopt", [F_XSAVEC] = "xsavec",
	[F_XGETBV1] = "xgetbv1", [F_XSAVES] = "xsaves", [F_FSGSBASE] = "fsgsbase",
	[F_SMEP] = "smep", [F_SMAP] = "smap", [F_PCID] = "pcid", [F_INVPCID] = "invpcid",
	[F_X2APIC] = "x2apic", [F_TSC_DEADLINE] = "tsc_deadline_timer", [F_RDTSCP] = "rdtscp",
	[F_RDPID] = "rdpid", [F_CLFLUSHOPT] = "clflushopt", [F_CLWB] = "clwb", [F_ERMS] = "erms",
	[F_FSRM] = "fsrm", [F_NX] = "nx", [F_PDPE1GB] = "pdpe1gb", [F_SYSCALL] = "syscall",
	[F_LM] = "lm", [F_LAHF_LM] = "lahf_lm", [F_UMIP] = "umip", [F_PREFETCHW] = "3dnowprefetch",
	[F_SPEC_CTRL] = "spec_ctrl", [F_STIBP] = "stibp", [F_FLUSH_CMD] = "flush_l1d", [F_SSBD] = "ssbd",
	[F_BHI_CTRL] = "bhi_ctrl", [F_MCDT_NO] = "mcdt_no", [F_VME] = "vme",
	[F_PV_UNHALT] = "kvm_pv_unhalt", [F_PV_SEND_IPI] = "kvm_pv_ipi",
	[F_KVM] = "kvm",
};

/* What software takes for granted where it finds a feature (Intel SDM vol. 1 §5, §13-14). */
static const struct {
	uint8_t feature, needs;
} needs[] = {
	{ F_SSSE3, F_SSE3 },	{ F_SSE4_1, F_SSSE3 },	{ F_SSE4_2, F_SSE4_1 },
	{ F_SSE4_2, F_POPCNT }, { F_AVX, F_SSE4_2 },	{ F_AVX, F_XSAVE },
	{ F_AVX2, F_AVX },	{ F_FMA, F_AVX },	{ F_F16C, F_AVX },
	{ F_XSAVEOPT, F_XSAVE }, { F_XSAVEC, F_XSAVE },	{ F_XGETBV1, F_XSAVE },
	{ F_XSAVES, F_XSAVEC },
};

/* IA32_ARCH_CAPABILITIES (SDM vol. 4 table 2-2). An interpreter speculates on nothing. */
#define ARCH_CAP_RDCL_NO       LM_BIT(0)
#define ARCH_CAP_IBRS_ALL      LM_BIT(1)
#define ARCH_CAP_SKIP_L1DFL    LM_BIT(3)
#define ARCH_CAP_SSB_NO        LM_BIT(4)
#define ARCH_CAP_MDS_NO        LM_BIT(5)
#define ARCH_CAP_PSCHANGE_NO   LM_BIT(6)
#define ARCH_CAP_TAA_NO        LM_BIT(8)
#define ARCH_CAP_SBDR_SSDP_NO  LM_BIT(13)
#define ARCH_CAP_FBSDP_NO      LM_BIT(14)
#define ARCH_CAP_PSDP_NO       LM_BIT(15)
#define ARCH_CAP_BHI_NO        LM_BIT(20)
#define ARCH_CAP_PBRSB_NO      LM_BIT(24)
#define ARCH_CAP_GDS_NO        LM_BIT(26)
#define ARCH_CAP_RFDS_NO       LM_BIT(27)
#define ARCH_CAP_ITS_NO        LM_BIT(62)
#define ARCH_CAPABILITIES                                                                          \
	(ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_SKIP_L1DFL | ARCH_CAP_SSB_NO |            \
	 ARCH_CAP_MDS_NO | ARCH_CAP_PSCHANGE_NO | ARCH_CAP_TAA_NO | ARCH_CAP_SBDR_SSDP_NO |        \
	 ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO | ARCH_CAP_BHI_NO | ARCH_CAP_PBRSB_NO |              \
	 ARCH_CAP_GDS_NO | ARCH_CAP_RFDS_NO | ARCH_CAP_ITS_NO)

void model_default(struct x86_model *m, unsigned cpu_count, uint64_t tsc_hz)
{
	*m = (struct x86_model){
		.name = "default",
		.features = EVERYTHING,
		.physical_bits = PHYSICAL_BITS,
		.tsc_hz = tsc_hz,
		.cpu_count = cpu_count,
		.arch_capabilities = ARCH_CAPABILITIES,
	};
}

const char *model_feature_name(enum x86_feature f)
{
	return names[f];
}

static int find_feature(const char *name)
{
	for (int f = 0; f < F_COUNT; f++)
		if (!strcmp(names[f], name))
			return f;
	return -1;
}

/* The first rule that is broken. */
static int check_complete(uint64_t features, struct lm_err *err)
{
	uint64_t lacking = REQUIRED & ~features;

	if (lacking)
		return lm_err_set(err, -EINVAL, "%s is part of every model",
				  names[__builtin_ctzll(lacking)]);
	for (unsigned k = 0; k < LM_ARRAY_SIZE(needs); k++)
		if (features & LM_BIT(needs[k].feature) && !(features & LM_BIT(needs[k].needs)))
			return lm_err_set(err, -EINVAL, "%s needs %s", names[needs[k].feature],
					  names[needs[k].needs]);
	return 0;
}

/* The rows stand in the order in which one may take away the other's need. */
static uint64_t drop_incomplete(uint64_t features)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(needs); k++)
		if (!(features & LM_BIT(needs[k].needs)))
			features &= ~LM_BIT(needs[k].feature);
	return features;
}

/* ---- Levels and files ---- */

static bool find_level(struct model_features *m, const char *name)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(levels); k++) {
		if (!strcmp(levels[k].name, name)) {
			*m = levels[k];
			return true;
		}
	}
	if (strcmp(name, "host"))
		return false;
	*m = (struct model_features){ "host", drop_incomplete(cpuid_host_features() | REQUIRED | VIRTUAL) };
	return true;
}

static int take_name(struct model_features *m, const char *name, struct lm_err *err)
{
	size_t len = strlen(name);

	if (!len || len > MODEL_NAME_MAX)
		return lm_err_set(err, -EINVAL, "a model's name has 1 to %d characters", MODEL_NAME_MAX);
	for (size_t k = 0; k < len; k++)
		if (!isalnum((unsigned char)name[k]) && !strchr("._-", name[k]))
			return lm_err_set(err, -EINVAL, "a model's name has letters, digits, dots, "
							"dashes and underscores only");
	strcpy(m->name, name);
	return 0;
}

static int unknown_feature(const char *name, struct lm_err *err)
{
	return lm_err_set(err, -EINVAL, "no feature \"%.40s\"; docs/cpu-models.md lists them", name);
}

static int take_changes(struct model_features *m, json_t *changes, struct lm_err *err)
{
	const char *name;
	json_t *on;

	json_object_foreach(changes, name, on) {
		int f = find_feature(name);

		if (f < 0)
			return unknown_feature(name, err);
		if (!json_is_boolean(on))
			return lm_err_set(err, -EINVAL, "feature %s: true or false", name);
		m->features = json_is_true(on) ? m->features | LM_BIT(f) : m->features & ~LM_BIT(f);
	}
	return check_complete(m->features, err);
}

static int from_object(struct model_features *m, json_t *json, struct lm_err *err)
{
	const char *name = "custom", *base = "default";
	json_t *changes = NULL;
	json_error_t why;
	int rc;

	if (json_unpack_ex(json, &why, JSON_STRICT, "{s?s, s?s, s?o}", "name", &name, "base", &base,
			   "features", &changes))
		return lm_err_set(err, -EINVAL, "%s", why.text);
	if (!find_level(m, base))
		return lm_err_set(err, -EINVAL, "base \"%.40s\": default, baseline, v2, v3 or host", base);
	if (changes && !json_is_object(changes))
		return lm_err_set(err, -EINVAL, "\"features\" is no object");
	rc = take_name(m, name, err);
	return rc || !changes ? rc : take_changes(m, changes, err);
}

static int from_file(struct model_features *m, const char *path, struct lm_err *err)
{
	char text[FILE_BYTES_MAX];
	FILE *f = fopen(path, "re");
	json_error_t why;
	json_t *json;
	size_t n;
	int rc;

	if (!f)
		return lm_err_errno(err, -errno, "neither default, baseline, v2, v3, host nor a file");
	n = fread(text, 1, sizeof(text), f);
	rc = ferror(f) ? -errno : 0;
	fclose(f);
	if (rc)
		return lm_err_errno(err, rc, "cannot read it");
	if (n == sizeof(text))
		return lm_err_set(err, -EFBIG, "too large for a CPU model");
	json = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
	if (!json)
		return lm_err_set(err, -EINVAL, "line %d: %s", why.line, why.text);
	rc = from_object(m, json, err);
	json_decref(json);
	return rc;
}

int model_choose(struct model_features *m, const char *choice, struct lm_err *err)
{
	return find_level(m, choice) ? 0 : from_file(m, choice, err);
}

/* ---- Snapshots ---- */

json_t *model_to_json(const struct model_features *m)
{
	json_t *features = json_array();

	for (int f = 0; f < F_COUNT; f++)
		if (m->features & LM_BIT(f))
			json_array_append_new(features, json_string(names[f]));
	return json_pack("{s:s, s:o}", "name", m->name, "features", features);
}

int model_from_json(struct model_features *m, const json_t *json, struct lm_err *err)
{
	json_t *features, *one;
	json_error_t why;
	const char *name;
	size_t k;
	int rc;

	*m = (struct model_features){ .features = 0 };
	if (json_unpack_ex((json_t *)json, &why, JSON_STRICT, "{s:s, s:o}", "name", &name, "features",
			   &features))
		return lm_err_set(err, -EINVAL, "CPU model: %s", why.text);
	rc = take_name(m, name, err);
	if (!rc && !json_is_array(features))
		rc = lm_err_set(err, -EINVAL, "\"features\" is no array");
	json_array_foreach(features, k, one) {
		int f = json_is_string(one) ? find_feature(json_string_value(one)) : -1;

		if (f < 0 && !rc)
			rc = unknown_feature(json_is_string(one) ? json_string_value(one) : "?", err);
		else if (f >= 0)
			m->features |= LM_BIT(f);
	}
	if (!rc)
		rc = check_complete(m->features, err);
	return rc ? lm_err_wrap(err, "CPU model") : 0;
}

int model_check(const struct model_features *wanted, const struct model_features *here,
		struct lm_err *err)
{
	uint64_t lacking = wanted->features & ~here->features;
	char list[160] = "";
	size_t n = 0;

	if (!lacking)
		return 0;
	for (int f = 0; f < F_COUNT && n < sizeof(list); f++)
		if (lacking & LM_BIT(f))
			n += (size_t)snprintf(list + n, sizeof(list) - n, " %s", names[f]);
	return lm_err_set(err, -EINVAL, "its CPU model \"%s\" has features that are missing here (\"%s\"):%s",
			  wanted->name, here->name, list);
}
