/* A VM of KVM's: its capabilities, interrupt messages and life (api.rst §4.2, §4.37, §4.52, §4.70). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kvm/kvm.h"

/* Newer than the headers of Debian 11. */
#ifndef KVM_CAP_EXIT_ON_EMULATION_FAILURE
#define KVM_CAP_EXIT_ON_EMULATION_FAILURE 204
#endif

static int vm_error(struct lm_err *err, const char *what)
{
	return lm_err_errno(err, -errno, "KVM: %s", what);
}

/* ---- Capabilities ---- */

struct capability {
	unsigned number;
	const char *name;
	bool optional;
	bool enable;
	uint64_t argument; /* where it is enabled */
};

static const struct capability capabilities[] = {
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
	{ KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI" },
	{ KVM_CAP_XSAVE, "KVM_CAP_XSAVE" },
	{ KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
	{ KVM_CAP_X86_MSR_FILTER, "KVM_CAP_X86_MSR_FILTER" },
	{ KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP", .enable = true, .argument = KVM_IOAPIC_PINS },
	{ KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API", .enable = true,
	  .argument = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
	{ KVM_CAP_X86_USER_SPACE_MSR, "KVM_CAP_X86_USER_SPACE_MSR", .enable = true,
	  .argument = KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
		      KVM_MSR_EXIT_REASON_FILTER },
	{ KVM_CAP_EXIT_ON_EMULATION_FAILURE, "KVM_CAP_EXIT_ON_EMULATION_FAILURE", .optional = true,
	  .enable = true, .argument = 1 },
};

static int use_capability(const struct kvm_vm *vm, const struct capability *cap, struct lm_err *err)
{
	struct kvm_enable_cap enable = { .cap = cap->number, .args = { cap->argument } };

	if (ioctl(vm->fd, KVM_CHECK_EXTENSION, cap->number) <= 0)
		return cap->optional ? 0
				     : lm_err_set(err, -ENOTSUP,
						  "the host's KVM lacks %s: Linux 5.10 has all that is needed",
						  cap->name);
	if (cap->enable && ioctl(vm->fd, KVM_ENABLE_CAP, &enable))
		return vm_error(err, cap->name);
	return 0;
}

static int use_capabilities(const struct kvm_vm *vm, struct lm_err *err)
{
	int rc = 0;

	for (unsigned k = 0; !rc && k < LM_ARRAY_SIZE(capabilities); k++)
		rc = use_capability(vm, &capabilities[k], err);
	return rc;
}

/* ---- Interrupts ---- */

static void send_message(struct x86_system *sys, uint64_t address, uint32_t data)
{
	const struct kvm_vm *vm = sys->engine;
	struct kvm_msi msi = {
		.address_lo = (uint32_t)address,
		.address_hi = (uint32_t)(address >> 32),
		.data = data,
	};

	ioctl(vm->fd, KVM_SIGNAL_MSI, &msi); /* nobody addressed: as lost as on a real bus */
}

/* The kernel reports EOIs of vectors that it finds in routes of level-triggered messages. */
static void set_routes(const struct kvm_vm *vm)
{
	KVM_TABLE(kvm_irq_routing, KVM_IOAPIC_PINS) table = { .bytes = { 0 } };

	table.head.nr = KVM_IOAPIC_PINS;
	for (unsigned k = 0; k < KVM_IOAPIC_PINS; k++)
		table.head.entries[k] = (struct kvm_irq_routing_entry){
			.gsi = k,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {
				.address_lo = (uint32_t)vm->route[k].address,
				.address_hi = (uint32_t)(vm->route[k].address >> 32),
				.data = vm->route[k].data,
			},
		};
	ioctl(vm->fd, KVM_SET_GSI_ROUTING, &table);
}

static void route_pin(struct x86_system *sys, unsigned pin, uint64_t address, uint32_t data)
{
	struct kvm_vm *vm = sys->engine;
	struct kvm_route *r = &vm->route[pin];

	if (pin >= KVM_IOAPIC_PINS || (!data && !r->data) ||
	    (r->address == address && r->data == data))
		return;
	*r = (struct kvm_route){ address, data };
	set_routes(vm);
}

static const struct x86_irqchip irqchip = { send_message, route_pin };

/* ---- Time ---- */

/* Tolerance of the kernel's (tsc_tolerance_ppm): what is nearer counts as equal. */
#define TSC_TOLERANCE_PPM 250

/* The frequency that was asked for where the host can scale, else its own. */
static int set_tsc_frequency(const struct kvm_vm *vm, struct lm_err *err)
{
	struct x86_model *m = &vm->sys->model;
	long host_khz = ioctl(vm->first_vcpu, KVM_GET_TSC_KHZ, 0), khz = (long)(m->tsc_hz / 1000);

	if (host_khz <= 0)
		return vm_error(err, "the host's TSC has no known frequency");
	if (labs(host_khz - khz) <= khz / 1000000 * TSC_TOLERANCE_PPM)
		return 0;
	if (ioctl(vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0)
		return 0; /* each vCPU sets it */
	m->tsc_hz = (uint64_t)host_khz * 1000;
	return 0;
}

/* ---- Life ---- */

static int open_vm(struct kvm_vm *vm, struct lm_err *err)
{
	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm < 0)
		return lm_err_errno(err, -errno, "/dev/kvm");
	vm->run_bytes = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	if (vm->fd < 0 || vm->run_bytes < (int)sizeof(struct kvm_run))
		return vm_error(err, "cannot create a VM");
	return 0;
}

static int build_vm(struct kvm_vm *vm, struct lm_err *err)
{
	int rc = open_vm(vm, err);

	if (!rc)
		rc = use_capabilities(vm, err);
	if (!rc)
		rc = kvm_cpuid_read_host(vm, err);
	if (!rc)
		rc = kvm_cpuid_limit(vm, &vm->sys->model, err);
	if (!rc)
		rc = kvm_msr_filter(vm, err);
	if (!rc)
		rc = kvm_memory_init(vm, err);
	if (rc < 0)
		return rc;
	vm->first_vcpu = ioctl(vm->fd, KVM_CREATE_VCPU, 0);
	if (vm->first_vcpu < 0)
		return vm_error(err, "cannot create vCPU 0");
	set_routes(vm);
	return set_tsc_frequency(vm, err);
}

int kvm_vm_create(struct x86_system *sys, struct lm_err *err)
{
	struct kvm_vm *vm = calloc(1, sizeof(*vm));
	int rc;

	if (!vm)
		return lm_err_set(err, -ENOMEM, "no memory for a VM");
	vm->sys = sys;
	vm->kvm = vm->fd = vm->first_vcpu = -1;
	pthread_mutex_init(&vm->lock, NULL);
	sys->engine = vm;
	rc = build_vm(vm, err);
	if (rc < 0)
		return rc;
	sys->irqchip = &irqchip;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void kvm_vm_destroy(struct x86_system *sys)
{
	struct kvm_vm *vm = sys->engine;

	sys->irqchip = NULL;
	sys->engine = NULL;
	if (!vm)
		return;
	close_fd(vm->first_vcpu);
	close_fd(vm->fd);
	close_fd(vm->kvm);
	pthread_mutex_destroy(&vm->lock);
	free(vm->host);
	free(vm);
}

/* ---- vCPUs ---- */

static int take_vcpu(struct kvm_vm *vm, unsigned index)
{
	int fd = vm->first_vcpu;

	if (index || fd < 0)
		return ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)index);
	vm->first_vcpu = -1;
	return fd;
}

static bool has_tsc_offset(const struct kvm_vcpu *v)
{
#ifdef KVM_VCPU_TSC_CTRL
	struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET };

	return !ioctl(v->fd, KVM_HAS_DEVICE_ATTR, &attr);
#else
	return false;
#endif
}

int kvm_vcpu_open(struct kvm_vcpu *v, struct lm_err *err)
{
	struct kvm_vm *vm = v->vm;

	v->fd = take_vcpu(vm, v->c->index);
	if (v->fd < 0)
		return lm_err_errno(err, -errno, "KVM: cannot create vCPU %u", v->c->index);
	v->run = mmap(NULL, (size_t)vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		v->run = NULL;
		return vm_error(err, "cannot map a vCPU");
	}
	vm->tsc_offset_attr = has_tsc_offset(v);
	if (ioctl(v->fd, KVM_SET_TSC_KHZ, (unsigned long)(vm->sys->model.tsc_hz / 1000)))
		return vm_error(err, "cannot set the TSC's frequency");
	return kvm_cpuid_set(v, err);
}
