/* lamina snapshot inspect. */
#ifndef LM_CMD_INSPECT_H
#define LM_CMD_INSPECT_H

#include <stdbool.h>

#include "base/err.h"

/* Prints what the bundle is; with `state` every value in it, and compares checksums with `verify`. */
int inspect_bundle(const char *path, bool verify, bool state, struct lm_err *err);

#endif
