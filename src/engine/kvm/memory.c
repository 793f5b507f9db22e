/*
 * Memory slots (api.rst §4.35): one for each range of RAM, and one for each window, which the guest may
 * move at any time; and the log of pages that the guest has written (§4.8).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kvm/kvm.h"

/*
 * Four pages that KVM on Intel uses to run real mode; the guest cannot have RAM or devices there.
 * Between the APIC's page and where firmware may be.
 */
#define IDENTITY_MAP_ADDRESS UINT64_C(0xfeffc000)
#define TSS_ADDRESS          UINT64_C(0xfeffd000)

#define FIRST_WINDOW_SLOT RAM_MAX_RANGES

/* ---- RAM ---- */

static int set_ram_slot(const struct kvm_vm *vm, unsigned k, uint32_t flags)
{
	const struct ram_range *r = &vm->sys->ram->range[k];
	struct kvm_userspace_memory_region slot = {
		.slot = k,
		.flags = flags,
		.guest_phys_addr = r->start,
		.memory_size = r->size,
		.userspace_addr = (uintptr_t)r->hva,
	};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) ? -errno : 0;
}

static int set_ram_slots(const struct kvm_vm *vm, uint32_t flags, struct lm_err *err)
{
	for (unsigned k = 0; k < vm->sys->ram->count; k++) {
		int rc = set_ram_slot(vm, k, flags);

		if (rc < 0)
			return lm_err_errno(err, rc, "KVM: cannot give the guest its memory");
	}
	return 0;
}

int kvm_memory_init(struct kvm_vm *vm, struct lm_err *err)
{
	uint64_t identity = IDENTITY_MAP_ADDRESS;

	for (unsigned k = 0; k < RAM_MAX_WINDOWS; k++)
		vm->window_at[k] = RAM_WINDOW_HIDDEN;
	if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) ||
	    ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS))
		return lm_err_errno(err, -errno, "KVM: cannot place the pages for real mode");
	return set_ram_slots(vm, 0, err);
}

/* ---- Windows ---- */

/* A slot is deleted before it is made elsewhere: moving it would keep no other promise. */
static int move_window(const struct kvm_vm *vm, unsigned k, uint64_t start)
{
	const struct ram_window *w = &vm->sys->ram->window[k];
	struct kvm_userspace_memory_region slot = {
		.slot = FIRST_WINDOW_SLOT + k,
		.flags = w->read_only ? KVM_MEM_READONLY : 0,
		.guest_phys_addr = vm->window_at[k],
		.userspace_addr = (uintptr_t)w->hva,
	};

	if (vm->window_at[k] != RAM_WINDOW_HIDDEN &&
	    ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot))
		return -errno;
	if (start == RAM_WINDOW_HIDDEN)
		return 0;
	slot.guest_phys_addr = start;
	slot.memory_size = w->size;
	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot) ? -errno : 0;
}

/* Where the guest puts it is its affair: a place that KVM refuses is no memory, and reads as MMIO. */
static void follow_window(struct kvm_vm *vm, unsigned k)
{
	uint64_t start = __atomic_load_n(&vm->sys->ram->window[k].start, __ATOMIC_ACQUIRE);

	if (move_window(vm, k, start) < 0)
		move_window(vm, k, RAM_WINDOW_HIDDEN);
	__atomic_store_n(&vm->window_at[k], start, __ATOMIC_RELEASE);
}

static bool window_moved(const struct kvm_vm *vm, unsigned k)
{
	return __atomic_load_n(&vm->window_at[k], __ATOMIC_ACQUIRE) !=
	       __atomic_load_n(&vm->sys->ram->window[k].start, __ATOMIC_ACQUIRE);
}

void kvm_memory_follow(struct kvm_vm *vm)
{
	for (unsigned k = 0; k < vm->sys->ram->windows; k++) {
		if (LM_LIKELY(!window_moved(vm, k)))
			continue;
		pthread_mutex_lock(&vm->lock);
		if (window_moved(vm, k))
			follow_window(vm, k);
		pthread_mutex_unlock(&vm->lock);
	}
}

/* ---- Dirty pages ---- */

static void mark(const struct ram *ram, const struct ram_range *r, const uint64_t *bits)
{
	uint64_t first = (uint64_t)(r->hva - ram->base), words = (r->size / PAGE_SIZE + 63) / 64;

	for (uint64_t k = 0; k < words; k++)
		for (uint64_t left = bits[k]; left; left &= left - 1)
			dirty_mark(&ram->dirty,
				   first + (64 * k + (unsigned)__builtin_ctzll(left)) * PAGE_SIZE, 1);
}

static int collect_slot(const struct kvm_vm *vm, unsigned k, struct lm_err *err)
{
	const struct ram *ram = vm->sys->ram;
	uint64_t words = (ram->range[k].size / PAGE_SIZE + 63) / 64;
	struct kvm_dirty_log log = { .slot = k };
	uint64_t *bits = calloc(words, sizeof(*bits));
	int rc = 0;

	if (!bits)
		return lm_err_set(err, -ENOMEM, "no memory for KVM's log of written pages");
	log.dirty_bitmap = bits;
	if (ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log))
		rc = lm_err_errno(err, -errno, "KVM_GET_DIRTY_LOG");
	else
		mark(ram, &ram->range[k], bits);
	free(bits);
	return rc;
}

static int collect(const struct kvm_vm *vm, struct lm_err *err)
{
	int rc = 0;

	for (unsigned k = 0; !rc && k < vm->sys->ram->count; k++)
		rc = collect_slot(vm, k, err);
	return rc;
}

int kvm_dirty_log(struct x86_system *sys, enum dirty_log what, struct lm_err *err)
{
	const struct kvm_vm *vm = sys->engine;

	if (what == DIRTY_LOG_COLLECT)
		return collect(vm, err);
	return set_ram_slots(vm, what == DIRTY_LOG_START ? KVM_MEM_LOG_DIRTY_PAGES : 0, err);
}
