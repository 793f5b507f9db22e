/*
 * CPUID under KVM: the policy of isa/x86/cpuid.c, less what this host's KVM cannot give. The table
 * is fixed once a vCPU has run; what is live in it (OSXSAVE, APIC, sizes of XSAVE areas) the kernel
 * keeps up to date (api.rst §4.46, §4.88).
 */
#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/kvm/kvm.h"

#define MAX_ENTRIES 256u

/* EDX bit 11 of this leaf is shown in 64-bit mode only on real Intel processors; KVM's is fixed. */
#define LEAF_EXTENDED  0x80000001u
#define EDX_SYSCALL    (1u << 11)

int kvm_cpuid_read_host(struct kvm_vm *vm, struct lm_err *err)
{
	vm->host = calloc(1, sizeof(*vm->host) + MAX_ENTRIES * sizeof(vm->host->entries[0]));
	if (!vm->host)
		return lm_err_set(err, -ENOMEM, "no memory for KVM's CPUID table");
	vm->host->nent = MAX_ENTRIES;
	if (ioctl(vm->kvm, KVM_GET_SUPPORTED_CPUID, vm->host))
		return lm_err_errno(err, -errno, "KVM_GET_SUPPORTED_CPUID");
	return 0;
}

static struct cpuid_regs host_cpuid(const void *opaque, uint32_t leaf, uint32_t subleaf)
{
	const struct kvm_cpuid2 *host = opaque;

	for (unsigned k = 0; k < host->nent; k++) {
		const struct kvm_cpuid_entry2 *e = &host->entries[k];

		if (e->function == leaf && (e->index == subleaf ||
					    !(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return (struct cpuid_regs){ e->eax, e->ebx, e->ecx, e->edx };
	}
	return (struct cpuid_regs){ 0 };
}

/* What the executing processor says of its flaws, which no policy can improve. */
static uint64_t host_arch_capabilities(const struct kvm_vm *vm)
{
	KVM_TABLE(kvm_msrs, 1) msr = { .bytes = { 0 } };

	msr.head.nmsrs = 1;
	msr.head.entries[0].index = 0x10a;
	return ioctl(vm->kvm, KVM_GET_MSRS, &msr) == 1 ? msr.head.entries[0].data : 0;
}

/*
 * The SVM that QEMU's translator emulates does not intercept XSETBV: the guest's XCR0 would be unknown
 * to KVM, and lost with the next entry.
 */
static bool xsetbv_goes_unseen(void)
{
	unsigned a, name[3];

	__cpuid(0x40000000, a, name[0], name[1], name[2]);
	return !memcmp(name, "TCGTCGTCGTCG", sizeof(name));
}

/*
 * x2APIC and the TSC deadline are the kernel's own and not in its table; prefetches are nops; the
 * KVM leaf is ours. Its hypercalls are left out: the instruction for them differs between Intel and
 * AMD, and a guest that was told of one must be able to go on under the other.
 */
int kvm_cpuid_limit(const struct kvm_vm *vm, struct x86_model *m, struct lm_err *err)
{
	const struct model_host host = { host_cpuid, vm->host };
	uint64_t anyway = LM_BIT(F_KVM) | LM_BIT(F_X2APIC) | LM_BIT(F_PREFETCHW);
	unsigned missing;

	if (ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		anyway |= LM_BIT(F_TSC_DEADLINE);
	if (!model_limit(m, &host, anyway, &missing))
		return lm_err_set(err, -ENOTSUP, "this host's CPU lacks what every guest may use: "
				  "bit %u of CPUID leaf 1, EDX", missing);
	if (xsetbv_goes_unseen())
		model_drop_xsave(m);
	m->features &= ~(LM_BIT(F_PV_UNHALT) | LM_BIT(F_PV_SEND_IPI));
	m->arch_capabilities &= host_arch_capabilities(vm);
	return 0;
}

struct leaf {
	uint32_t leaf;
	uint8_t subleaves; /* 0: the index does not matter */
};

static const struct leaf leaves[] = {
	{ 0x0 }, { 0x1 }, { 0x2 }, { 0x4, 5 }, { 0x5 }, { 0x6 }, { 0x7, 3 }, { 0xa }, { 0xb, 3 },
	{ 0xd, 3 }, { 0x15 }, { 0x16 }, { 0x40000000 }, { 0x40000001 }, { 0x40000010 },
	{ 0x80000000 }, { LEAF_EXTENDED }, { 0x80000002 }, { 0x80000003 }, { 0x80000004 },
	{ 0x80000005 }, { 0x80000006 }, { 0x80000007 }, { 0x80000008 },
};

static void add_entry(struct kvm_cpuid2 *table, const struct x86_cpu *c, uint32_t leaf,
		      uint32_t subleaf, bool indexed)
{
	struct cpuid_regs r = x86_cpuid(c, leaf, subleaf);

	if (leaf == LEAF_EXTENDED && model_has(&c->sys->model, F_SYSCALL))
		r.edx |= EDX_SYSCALL;
	table->entries[table->nent++] = (struct kvm_cpuid_entry2){
		.function = leaf,
		.index = subleaf,
		.flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = r.eax, .ebx = r.ebx, .ecx = r.ecx, .edx = r.edx,
	};
}

int kvm_cpuid_set(struct kvm_vcpu *v, struct lm_err *err)
{
	KVM_TABLE(kvm_cpuid2, MAX_ENTRIES) table = { .bytes = { 0 } };

	for (unsigned k = 0; k < LM_ARRAY_SIZE(leaves); k++) {
		const struct leaf *l = &leaves[k];

		for (uint32_t n = 0; n < LM_MAX(l->subleaves, 1); n++)
			add_entry(&table.head, v->c, l->leaf, n, l->subleaves);
	}
	if (ioctl(v->fd, KVM_SET_CPUID2, &table))
		return lm_err_errno(err, -errno, "KVM_SET_CPUID2");
	return 0;
}
