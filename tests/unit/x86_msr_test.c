/* CPUID and MSRs: what they say agrees with each other and with what control registers accept. */
#include "x86_box.h"
#include "check.h"
#include "isa/x86/control.h"
#include "isa/x86/kvm_pv.h"
#include "isa/x86/msr.h"

#define MSR_TSC        0x10
#define MSR_TSC_ADJUST 0x3b
#define MSR_EFER       0xc0000080
#define MSR_LSTAR      0xc0000082
#define MSR_FS_BASE    0xc0000100
#define MSR_PAT        0x277

static struct x86_box box;
static struct x86_cpu *c;

static uint64_t rdmsr(uint32_t index)
{
	uint64_t value = 0;

	CHECK(msr_read(c, index, &value));
	return value;
}

static void test_cpuid_identity(void)
{
	struct cpuid_regs r = x86_cpuid(c, 0, 0);
	char text[49] = { 0 };

	CHECK(r.ebx == 0x756e6547 && r.edx == 0x49656e69 && r.ecx == 0x6c65746e);
	for (unsigned k = 0; k < 3; k++) {
		r = x86_cpuid(c, 0x80000002 + k, 0);
		memcpy(text + 16 * k, &r, 16);
	}
	CHECK(!strcmp(text, "lamina virtual CPU"));
	r = x86_cpuid(c, 0x40000000, 0);
	CHECK(!memcmp(&r.ebx, "KVMKVMKVM\0\0\0", 12));
	CHECK(x86_cpuid(c, 0x40000001, 0).eax & KVM_FEATURE_CLOCKSOURCE_STABLE);
}

static void test_cpuid_xsave(void)
{
	c->s.xcr0 = 1;
	CHECK_EQ(x86_cpuid(c, 0xd, 0).ebx, 576);
	c->s.xcr0 = 7;
	CHECK_EQ(x86_cpuid(c, 0xd, 0).ebx, 832);
	CHECK_EQ(x86_cpuid(c, 0xd, 0).ecx, 832);
	CHECK_EQ(x86_cpuid(c, 0xd, 0).eax, 7);
	CHECK_EQ(x86_cpuid(c, 0xd, 2).eax + x86_cpuid(c, 0xd, 2).ebx, 832);
	box.sys.model.features &= ~LM_BIT(F_AVX);
	CHECK_EQ(x86_cpuid(c, 0xd, 0).eax, 3);
	CHECK_EQ(x86_cpuid(c, 0xd, 0).ecx, 576);
	CHECK(!(x86_cpuid(c, 1, 0).ecx >> 28 & 1));
	box.sys.model.features |= LM_BIT(F_AVX);
	c->s.xcr0 = 1;
}

static void test_cpuid_live_bits(void)
{
	CHECK(!(x86_cpuid(c, 1, 0).ecx >> 27 & 1));
	c->s.cr4 |= CR4_OSXSAVE;
	CHECK(x86_cpuid(c, 1, 0).ecx >> 27 & 1);
	c->s.cr4 = 0;
	CHECK(x86_cpuid(c, 1, 0).edx >> 9 & 1);
	c->s.apic_base &= ~APIC_BASE_ENABLE;
	CHECK(!(x86_cpuid(c, 1, 0).edx >> 9 & 1));
	c->s.apic_base |= APIC_BASE_ENABLE;
}

/* Hidden on purpose: MONITOR, VMX, HLE, AVX-512, RTM, MPX, PKU, CET, LA57, LAM, AMX. */
static void test_cpuid_hidden(void)
{
	struct cpuid_regs r = x86_cpuid(c, 1, 0);

	CHECK(!(r.ecx & (1u << 3 | 1u << 5)));
	r = x86_cpuid(c, 7, 0);
	CHECK(!(r.ebx & (1u << 4 | 1u << 11 | 1u << 14 | 1u << 16)));
	CHECK(!(r.ecx & (1u << 3 | 1u << 7 | 1u << 16)));
	CHECK(!(r.edx & (1u << 20 | 1u << 22 | 1u << 24 | 1u << 25)));
	CHECK_EQ(x86_cpuid(c, 7, 1).eax, 0);
	CHECK_EQ(x86_cpuid(c, 0xa, 0).eax, 0);
	CHECK_EQ(x86_cpuid(c, 0x1234, 0).eax, x86_cpuid(c, 0x16, 0).eax);
}

static void test_cpuid_time_and_topology(void)
{
	struct cpuid_regs r = x86_cpuid(c, 0x15, 0);

	CHECK_EQ((uint64_t)r.ecx * r.ebx / r.eax, BOX_TSC_HZ);
	CHECK_EQ(r.ecx, LAPIC_BUS_HZ);
	CHECK_EQ(x86_cpuid(c, 0x40000010, 0).eax, BOX_TSC_HZ / 1000);
	CHECK_EQ(x86_cpuid(c, 0xb, 1).ebx, 3);
	CHECK_EQ(x86_cpuid(c, 0xb, 1).eax, 2);
	CHECK_EQ(x86_cpuid(box.sys.cpu[2], 0xb, 0).edx, 2);
	CHECK_EQ(x86_cpuid(box.sys.cpu[2], 1, 0).ebx >> 24, 2);
	CHECK_EQ(x86_cpuid(c, 4, 0).eax & 0x1f, 1);
	CHECK_EQ(x86_cpuid(c, 4, 4).eax, 0);
}

/* A control bit can be set exactly when CPUID shows its feature. */
static void test_cr4_follows_model(void)
{
	static const struct {
		uint64_t bit;
		enum x86_feature feature;
	} pairs[] = {
		{ CR4_UMIP, F_UMIP }, { CR4_FSGSBASE, F_FSGSBASE }, { CR4_OSXSAVE, F_XSAVE },
		{ CR4_SMEP, F_SMEP }, { CR4_SMAP, F_SMAP },
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(pairs); k++) {
		CHECK(control_write_cr4(c, pairs[k].bit));
		box.sys.model.features &= ~LM_BIT(pairs[k].feature);
		CHECK(!control_write_cr4(c, pairs[k].bit));
		box.sys.model.features |= LM_BIT(pairs[k].feature);
	}
	CHECK(!control_write_cr4(c, CR4_PCIDE)); /* outside long mode */
	CHECK(!control_write_cr4(c, UINT64_C(1) << 12)); /* LA57 */
	CHECK(control_write_cr4(c, 0));
}

static void test_cr0_rules(void)
{
	CHECK(!control_write_cr0(c, CR0_PG));
	CHECK(!control_write_cr0(c, CR0_PE | CR0_NW));
	CHECK(!control_write_cr0(c, CR0_PE | UINT64_C(1) << 32));
	CHECK(control_write_cr0(c, CR0_PE));
	CHECK(msr_write(c, MSR_EFER, EFER_LME));
	CHECK(!control_write_cr0(c, CR0_PE | CR0_PG)); /* long mode needs PAE */
	CHECK(control_write_cr4(c, CR4_PAE));
	CHECK(control_write_cr0(c, CR0_PE | CR0_PG));
	CHECK_EQ(rdmsr(MSR_EFER), EFER_LME | EFER_LMA);
	CHECK(!control_write_cr4(c, 0));
	CHECK(!msr_write(c, MSR_EFER, 0));
	CHECK(control_write_cr4(c, CR4_PAE | CR4_PCIDE));
	CHECK(!control_write_cr0(c, CR0_PE)); /* paging off with PCIDs */
	CHECK(control_write_cr4(c, CR4_PAE));
	CHECK(control_write_cr0(c, CR0_PE));
	CHECK_EQ(rdmsr(MSR_EFER), EFER_LME);
	CHECK(control_write_cr0(c, CR0_ET));
	CHECK(control_write_cr4(c, 0));
}

static void test_msr_values(void)
{
	CHECK(!msr_write(c, MSR_LSTAR, UINT64_C(0x800000000000)));
	CHECK(msr_write(c, MSR_LSTAR, UINT64_C(0xffff800000000000)));
	CHECK_EQ(rdmsr(MSR_LSTAR), UINT64_C(0xffff800000000000));
	CHECK(msr_write(c, MSR_FS_BASE, 0x1234));
	CHECK_EQ(c->s.seg[FS].base, 0x1234);
	CHECK(msr_write(c, MSR_FS_BASE + 1, 0x5678));
	CHECK_EQ(c->s.seg[GS].base, 0x5678);
	CHECK(!msr_write(c, MSR_FS_BASE, UINT64_C(1) << 63));
	CHECK(!msr_write(c, MSR_EFER, UINT64_C(1) << 12)); /* SVME */
	CHECK(msr_write(c, MSR_PAT, 0x0706050401000100));
	CHECK(!msr_write(c, MSR_PAT, 0x02));
	CHECK(msr_write(c, 0x200, 0x80000006));
	CHECK(!msr_write(c, 0x200, 0x80000002));
	CHECK(!msr_write(c, 0x201, UINT64_C(1) << 46));
	CHECK(msr_write(c, 0x259, 0x0606060606060606));
	CHECK(!msr_write(c, 0x25a, 0));
	CHECK(!msr_write(c, 0xfe, 0));
	CHECK_EQ(rdmsr(0x10a) & 1, 1);
	CHECK(!msr_write(c, 0x10a, 0));
	CHECK(msr_write(c, 0x49, 1) && !msr_write(c, 0x49, 2));
	CHECK(!msr_read(c, 0x49, &(uint64_t){ 0 }));
	CHECK(x86_cpuid(c, 7, 0).eax >= 2 && x86_cpuid(c, 7, 2).edx & 1u << 4);
	CHECK(msr_write(c, 0x48, 0x400) && !msr_write(c, 0x48, 0x800));
	CHECK(!msr_write(c, 0xda0, 1));
	CHECK(msr_name(MSR_EFER) && !msr_name(0x12345));
}

static void test_misc_enable(void)
{
	const uint32_t misc_enable = 0x1a0, nx = 1u << 20;

	CHECK_EQ(rdmsr(misc_enable), 0x1801);
	CHECK(msr_write(c, misc_enable, 0x1801 | MISC_ENABLE_LIMIT_CPUID));
	CHECK_EQ(x86_cpuid(c, 0, 0).eax, 2);
	CHECK_EQ(x86_cpuid(c, 7, 0).ebx, x86_cpuid(c, 2, 0).ebx);
	CHECK(x86_cpuid(c, 0x80000001, 0).edx & nx);
	CHECK(msr_write(c, misc_enable, MISC_ENABLE_XD_DISABLE));
	CHECK_EQ(rdmsr(misc_enable), 0x1800 | MISC_ENABLE_XD_DISABLE); /* BTS, PEBS: read-only */
	CHECK(!(x86_cpuid(c, 0x80000001, 0).edx & nx));
	CHECK(!msr_write(c, MSR_EFER, EFER_NXE));
	CHECK(msr_write(c, misc_enable, 0x1801));
	CHECK(msr_write(c, MSR_EFER, EFER_NXE));
	CHECK(msr_write(c, MSR_EFER, 0));
}

static void test_unknown_msrs_are_counted(void)
{
	uint64_t value;
	unsigned before = box.sys.unknown_msrs;

	CHECK(!msr_read(c, 0x12345, &value));
	CHECK(!msr_write(c, 0x606, 0));
	CHECK_EQ(box.sys.unknown_msrs, before + 2);
}

static void test_tsc(void)
{
	box.loop.clock.virtual_ns = 1000;
	CHECK_EQ(rdmsr(MSR_TSC), 2000);
	CHECK(msr_write(c, MSR_TSC, 500));
	CHECK_EQ(rdmsr(MSR_TSC), 500);
	CHECK_EQ(rdmsr(MSR_TSC_ADJUST), (uint64_t)-1500);
	CHECK(msr_write(c, MSR_TSC_ADJUST, 0));
	CHECK_EQ(rdmsr(MSR_TSC), 2000);
}

static void test_kvmclock(void)
{
	uint64_t tsc, ns;

	CHECK(msr_write(c, 0x4b564d01, 0x6001));
	CHECK_EQ(box_get(&box, 0x6000, 4) & 1, 0);
	CHECK_EQ(box_get(&box, 0x601d, 1), 1);
	box.loop.clock.virtual_ns = 123456789;
	tsc = x86_tsc(c) - box_get(&box, 0x6008, 8);
	ns = (int8_t)box_get(&box, 0x601c, 1) < 0 ? tsc >> 1 : tsc;
	CHECK_EQ((int8_t)box_get(&box, 0x601c, 1), 0);
	ns = (uint64_t)((unsigned __int128)ns * box_get(&box, 0x6018, 4) >> 32);
	CHECK_EQ(ns + box_get(&box, 0x6010, 8), 123456789);
	CHECK(msr_write(c, 0x4b564d01, UINT64_C(0xfffffffff001))); /* no RAM there: no effect */
	box.sys.model.features &= ~LM_BIT(F_KVM);
	CHECK(!msr_write(c, 0x4b564d01, 0));
	CHECK_EQ(x86_cpuid(c, 0x40000000, 0).eax, 0);
	box.sys.model.features |= LM_BIT(F_KVM);
}

static void test_hypercalls(void)
{
	c->s.gpr[RAX] = 5; /* KICK_CPU */
	c->s.gpr[RCX] = 2;
	kvm_hypercall(c);
	CHECK(x86_events(box.sys.cpu[2]) & EV_UNHALT);
	CHECK_EQ((uint32_t)c->s.gpr[RAX], 0);
	c->s.gpr[RAX] = 999;
	kvm_hypercall(c);
	CHECK_EQ((uint32_t)c->s.gpr[RAX], (uint32_t)-1000);
	lapic_mmio_write(box.sys.cpu[1], 0xf0, 0x1ff);
	c->s.gpr[RAX] = 10; /* SEND_IPI to APIC IDs 1 and 2 */
	c->s.gpr[RBX] = 3;
	c->s.gpr[RCX] = 0;
	c->s.gpr[RDX] = 1;
	c->s.gpr[RSI] = 0x40;
	kvm_hypercall(c);
	CHECK_EQ(c->s.gpr[RAX], 2);
	CHECK_EQ(lapic_pending(box.sys.cpu[1]), 0x40);
	c->s.gpr[RAX] = 10;
	c->s.gpr[RBX] = 0xf;
	c->s.gpr[RDX] = UINT32_MAX; /* APIC IDs do not wrap around to 0 */
	kvm_hypercall(c);
	CHECK_EQ(c->s.gpr[RAX], 0);
}

int main(void)
{
	box_init(&box, 3);
	c = box.sys.cpu[0];
	test_cpuid_identity();
	test_cpuid_xsave();
	test_cpuid_live_bits();
	test_cpuid_hidden();
	test_cpuid_time_and_topology();
	test_cr4_follows_model();
	test_cr0_rules();
	test_msr_values();
	test_misc_enable();
	test_unknown_msrs_are_counted();
	test_tsc();
	test_kvmclock();
	test_hypercalls();
	box_fini(&box);
	return check_done();
}
