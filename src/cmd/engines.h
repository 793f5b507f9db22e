/* The choice of an engine by name. */
#ifndef LM_CMD_ENGINES_H
#define LM_CMD_ENGINES_H

#include "base/err.h"
#include "engine/engine.h"

/* 0 for auto and the engines of this build. */
int engine_check_name(const char *name, struct lm_err *err);

/* The engine of that name, for auto the best that this host can run; NULL with err set. */
const struct engine_ops *engine_choose(const char *name, unsigned cpus, struct lm_err *err);

#endif
