/*
 * Model-specific registers under KVM (api.rst §4.18, §4.97). The kernel keeps those that the
 * processor works with; all others are those of isa/x86/msr.c, so that every engine has the same.
 */
#include <errno.h>
#include <stddef.h>

#include "engine/kvm/kvm.h"
#include "isa/x86/kvm_pv.h"
#include "isa/x86/msr.h"

#define MSR_TSC          0x10u
#define MSR_TSC_ADJUST   0x3bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST  0x8ffu

/* Registers that filters may name lie in these two ranges. */
#define LOW_BASE   0u
#define HIGH_BASE  0xc0000000u
#define RANGE_MSRS 0x1000u

#define NO_FIELD   0xffff
#define ANY        0xff

struct kernel_msr {
	uint32_t index;
	uint16_t field;  /* of struct x86_state, or NO_FIELD: saved elsewhere */
	uint8_t feature; /* enum x86_feature without which it does not exist, or ANY */
};

#define KEPT(i, f, feature) { i, offsetof(struct x86_state, f), feature }

static const struct kernel_msr kernel_msrs[] = {
	{ 0x01b, NO_FIELD, ANY }, /* IA32_APIC_BASE: with the segment registers */
	KEPT(0x048, spec_ctrl, F_SPEC_CTRL),
	{ 0x049, NO_FIELD, F_SPEC_CTRL }, /* IA32_PRED_CMD */
	{ 0x10b, NO_FIELD, F_FLUSH_CMD },
	KEPT(0x174, sysenter_cs, ANY),
	KEPT(0x175, sysenter_esp, ANY),
	KEPT(0x176, sysenter_eip, ANY),
	KEPT(0x277, pat, ANY),
	{ MSR_TSC_DEADLINE, NO_FIELD, F_TSC_DEADLINE }, /* with the local APIC */
	{ 0xc0000080, NO_FIELD, ANY },                  /* EFER: with the segment registers */
	KEPT(0xc0000081, star, ANY),
	KEPT(0xc0000082, lstar, ANY),
	KEPT(0xc0000083, cstar, ANY),
	KEPT(0xc0000084, fmask, ANY),
	{ 0xc0000100, NO_FIELD, ANY }, /* FS and GS: segment registers */
	{ 0xc0000101, NO_FIELD, ANY },
	KEPT(0xc0000102, kernel_gs_base, ANY),
	KEPT(0xc0000103, tsc_aux, F_RDTSCP),
};

static bool exists(const struct x86_model *m, const struct kernel_msr *r)
{
	return r->feature == ANY || model_has(m, r->feature);
}

static bool is_kept(const struct x86_model *m, uint32_t index)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(kernel_msrs); k++)
		if (kernel_msrs[k].index == index)
			return exists(m, &kernel_msrs[k]);
	return index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST;
}

/* ---- The filter ---- */

static void allow(uint8_t *bitmap, uint32_t bit)
{
	bitmap[bit / 8] |= (uint8_t)(1u << bit % 8);
}

static void allow_kept(const struct x86_model *m, uint8_t *bitmap, uint32_t base)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(kernel_msrs); k++) {
		const struct kernel_msr *r = &kernel_msrs[k];

		if (exists(m, r) && r->index >= base && r->index - base < RANGE_MSRS)
			allow(bitmap, r->index - base);
	}
}

int kvm_msr_filter(const struct kvm_vm *vm, struct lm_err *err)
{
	uint8_t low[RANGE_MSRS / 8] = { 0 }, high[RANGE_MSRS / 8] = { 0 };
	const uint32_t both = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE;
	struct kvm_msr_filter filter = {
		.flags = KVM_MSR_FILTER_DEFAULT_DENY,
		.ranges = { { both, RANGE_MSRS, LOW_BASE, low }, { both, RANGE_MSRS, HIGH_BASE, high } },
	};

	allow_kept(&vm->sys->model, low, LOW_BASE);
	allow_kept(&vm->sys->model, high, HIGH_BASE);
	if (ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &filter))
		return lm_err_errno(err, -errno, "KVM_X86_SET_MSR_FILTER");
	return 0;
}

/* ---- To and from the kernel ---- */

bool kvm_msr_get(const struct kvm_vcpu *v, uint32_t index, uint64_t *value)
{
	KVM_TABLE(kvm_msrs, 1) m = { .bytes = { 0 } };

	m.head.nmsrs = 1;
	m.head.entries[0].index = index;
	if (ioctl(v->fd, KVM_GET_MSRS, &m) != 1)
		return false;
	*value = m.head.entries[0].data;
	return true;
}

bool kvm_msr_set(const struct kvm_vcpu *v, uint32_t index, uint64_t value)
{
	KVM_TABLE(kvm_msrs, 1) m = { .bytes = { 0 } };

	m.head.nmsrs = 1;
	m.head.entries[0] = (struct kvm_msr_entry){ .index = index, .data = value };
	return ioctl(v->fd, KVM_SET_MSRS, &m) == 1;
}

static uint64_t *field_of(const struct kvm_vcpu *v, const struct kernel_msr *r)
{
	return (uint64_t *)(void *)((char *)&v->c->s + r->field);
}

/* All in one call: which they are is in `row`. */
struct msr_batch {
	const struct kernel_msr *row[LM_ARRAY_SIZE(kernel_msrs)];
	KVM_TABLE(kvm_msrs, LM_ARRAY_SIZE(kernel_msrs)) table;
};

static void fill_batch(const struct kvm_vcpu *v, struct msr_batch *b)
{
	struct kvm_msrs *msrs = &b->table.head;

	memset(b, 0, sizeof(*b));
	for (unsigned k = 0; k < LM_ARRAY_SIZE(kernel_msrs); k++) {
		const struct kernel_msr *r = &kernel_msrs[k];

		if (r->field == NO_FIELD || !exists(&v->c->sys->model, r))
			continue;
		b->row[msrs->nmsrs] = r;
		msrs->entries[msrs->nmsrs++] = (struct kvm_msr_entry){
			.index = r->index, .data = *field_of(v, r),
		};
	}
}

int kvm_msrs_save(struct kvm_vcpu *v)
{
	struct msr_batch b;

	fill_batch(v, &b);
	if (ioctl(v->fd, KVM_GET_MSRS, &b.table) != (int)b.table.head.nmsrs)
		return -EIO;
	for (unsigned k = 0; k < b.table.head.nmsrs; k++)
		*field_of(v, b.row[k]) = b.table.head.entries[k].data;
	return 0;
}

int kvm_msrs_load(const struct kvm_vcpu *v)
{
	struct msr_batch b;

	fill_batch(v, &b);
	return ioctl(v->fd, KVM_SET_MSRS, &b.table) == (int)b.table.head.nmsrs ? 0 : -EIO;
}

/* ---- Accesses that the kernel sends here ---- */

bool kvm_msr_serve_read(struct kvm_vcpu *v, uint32_t index, uint64_t *value)
{
	if (is_kept(&v->c->sys->model, index)) /* the kernel has refused it */
		return false;
	if (index == MSR_TSC)
		return kvm_msr_get(v, index, value);
	return msr_read(v->c, index, value);
}

bool kvm_msr_serve_write(struct kvm_vcpu *v, uint32_t index, uint64_t value)
{
	struct x86_cpu *c = v->c;
	uint64_t now;

	if (is_kept(&c->sys->model, index))
		return false;
	if (index == MSR_TSC_ADJUST)
		return kvm_tsc_move(v, value - c->s.tsc_adjust);
	if (index == MSR_TSC)
		return kvm_msr_get(v, index, &now) && kvm_tsc_move(v, value - now);
	return msr_write(c, index, value);
}
