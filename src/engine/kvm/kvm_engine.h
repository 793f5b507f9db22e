/* Hardware virtualization by way of the Linux kernel's KVM. */
#ifndef LM_ENGINE_KVM_KVM_ENGINE_H
#define LM_ENGINE_KVM_KVM_ENGINE_H

#include "engine/engine.h"

extern const struct engine_ops kvm_engine;

#endif
