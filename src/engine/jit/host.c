#include "engine/jit/host.h"

#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "engine/jit/jit.h"

#define HWCAP2_FSGSBASE_BIT 2 /* asm/hwcap2.h */

static struct jit_host host;

/* ---- What there is ---- */

static struct cpuid_regs host_cpuid(const void *opaque, uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_regs r = { 0 };

	__get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
	return r;
}

static uint64_t host_features(void)
{
	const struct model_host h = { host_cpuid, NULL };
	struct x86_model m;
	unsigned missing;

	model_default(&m, 1, 1);
	model_limit(&m, &h, 0, &missing);
	return m.features;
}

/* For one vCPU; ulimit -v and strict overcommitment say no to so much. */
static bool can_reserve(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);

	if (p == MAP_FAILED)
		return false;
	munmap(p, bytes);
	return true;
}

/* CPUID leaf 0xd, subleaf 1. */
static bool has_xgetbv1(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(0xd, 1, &a, &b, &c, &d) && a & 4;
}

static void look(struct jit_host *h)
{
	*h = (struct jit_host){
		.avx = __builtin_cpu_supports("avx"),
		.bmi2 = __builtin_cpu_supports("bmi2"),
		.pext = !__builtin_cpu_is("znver1") && !__builtin_cpu_is("znver2"),
		.xgetbv1 = has_xgetbv1(),
		.fsgsbase = getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT,
		.space = can_reserve(3 * JIT_LARGE_TABLE_BYTES),
		.features = host_features(),
	};
}

/* ---- What is taken away ---- */

#define VEX_FEATURES                                                                               \
	(LM_BIT(F_AVX) | LM_BIT(F_AVX2) | LM_BIT(F_FMA) | LM_BIT(F_F16C) | LM_BIT(F_BMI1) |        \
	 LM_BIT(F_BMI2))

static const struct item {
	const char *name, *told;
	size_t flag;       /* offset in struct jit_host, or NO_FLAG */
	uint64_t features;
} items[] = {
#define NO_FLAG SIZE_MAX
	{ "avx", "AVX", offsetof(struct jit_host, avx), VEX_FEATURES },
	{ "avx2", "AVX2", NO_FLAG, LM_BIT(F_AVX2) },
	{ "bmi2", "BMI2", offsetof(struct jit_host, bmi2), LM_BIT(F_BMI1) | LM_BIT(F_BMI2) },
	{ "pext", "a fast PEXT", offsetof(struct jit_host, pext), 0 },
	{ "xgetbv1", "XGETBV1", offsetof(struct jit_host, xgetbv1), 0 },
	{ "fsgsbase", "FSGSBASE", offsetof(struct jit_host, fsgsbase), LM_BIT(F_FSGSBASE) },
	{ "space", "large tables", offsetof(struct jit_host, space), 0 },
};

static bool is_named(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; p; p = strchr(p, ','), p = p ? p + 1 : NULL)
		if (!strncmp(p, name, len) && (!p[len] || p[len] == ','))
			return true;
	return false;
}

static void take_away(struct jit_host *h, const char *list)
{
	for (unsigned k = 0; list && k < LM_ARRAY_SIZE(items); k++) {
		if (!is_named(list, items[k].name))
			continue;
		if (items[k].flag != NO_FLAG)
			*(bool *)((char *)h + items[k].flag) = false;
		h->features &= ~items[k].features;
	}
}

static void init(void)
{
	look(&host);
	take_away(&host, getenv("LAMINA_JIT_WITHOUT"));
	host.checks = LM_JIT_CHECKS || getenv("LAMINA_JIT_CHECKS");
	host.pext &= host.bmi2;
	host.xgetbv1 &= host.avx;
}

uint64_t jit_host_vector_features(void)
{
	return VEX_FEATURES;
}

const struct jit_host *jit_host(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, init);
	return &host;
}

void jit_host_shortfall(char *text, size_t size)
{
	const struct jit_host *h = jit_host();
	size_t used = 0;

	*text = 0;
	for (unsigned k = 0; k < LM_ARRAY_SIZE(items); k++) {
		bool there = items[k].flag == NO_FLAG ? h->features & items[k].features
						      : *(const bool *)((const char *)h + items[k].flag);

		if (!there && used < size)
			used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", items[k].told);
	}
}

int jit_host_check(uint64_t needed, struct lm_err *err)
{
	if (jit_host()->space || can_reserve(needed))
		return 0;
	return lm_err_set(err, -ENOMEM,
			  "cannot reserve %llu MiB of address space; raise ulimit -v or the limit of commitments",
			  (unsigned long long)(needed / MIB));
}
