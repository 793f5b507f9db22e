/* The interpreter: the project's reference engine. */
#ifndef LM_ENGINE_INTERP_H
#define LM_ENGINE_INTERP_H

#include "engine/engine.h"

extern const struct engine_ops interp_engine;

/*
 * Executes exactly one instruction (or delivers the fault it raises). Serves other engines for what
 * they do not translate. The caller has looked at events.
 */
void interp_step(struct x86_cpu *c);

#endif
