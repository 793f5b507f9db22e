/* The interpreter: the project's reference engine. */
#ifndef LM_ENGINE_INTERP_H
#define LM_ENGINE_INTERP_H

#include "engine/engine.h"

extern const struct engine_ops interp_engine;

/*
 * Executes at least one and at the most so many instructions that follow each other (or delivers the
 * fault that one raises). Serves other engines for what they do not translate. The caller has looked
 * at events.
 */
void interp_steps(struct x86_cpu *c, uint64_t most);

#endif
