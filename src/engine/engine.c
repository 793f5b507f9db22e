#include "engine/engine.h"

#include "engine/interp/interp.h"
#include "engine/jit/jit.h"
#include "engine/kvm/kvm_engine.h"

const struct engine_ops *const engines[] = {
#ifdef __x86_64__
	&kvm_engine,
	&jit_engine,
#endif
	&interp_engine,
	NULL,
};

const struct engine_ops *engine_find(const char *name)
{
	for (const struct engine_ops *const *e = engines; *e; e++)
		if (!strcmp((*e)->name, name))
			return *e;
	return NULL;
}
