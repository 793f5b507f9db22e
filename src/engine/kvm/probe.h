/* Whether /dev/kvm is there, works, and is worth using. */
#ifndef LM_ENGINE_KVM_PROBE_H
#define LM_ENGINE_KVM_PROBE_H

#include <stdbool.h>
#include <stdint.h>

struct kvm_probe {
	bool present;
	int open_errno;	      /* 0: could be opened */
	bool usable;	      /* a VM ran a loop to its end */
	uint64_t insns_per_s; /* of that loop */
	bool fast;	      /* as quick as hardware is, not an emulation */
	char problem[96];     /* why it is not usable */
};

/*
 * An emulated KVM is slower than our own engines: only who sets LAMINA_KVM_SLOW=1 gets it, and then
 * however long it takes. For tests.
 */
bool kvm_slow_is_fine(void);

/*
 * Looks once and remembers. Takes some milliseconds, at most about a second, whatever the driver
 * does. Not while other threads run.
 */
const struct kvm_probe *kvm_probe_host(void);

#endif
