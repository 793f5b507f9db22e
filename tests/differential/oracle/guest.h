/* One of lamina's engines as an executor of cases. */
#ifndef ORACLE_GUEST_H
#define ORACLE_GUEST_H

#include "base/err.h"
#include "oracle.h"

/* After sandbox_init. `engine` as engine_find knows it. */
int guest_init(const char *engine, struct lm_err *err);

/* The CPU model that decides which instructions exist. */
const struct x86_model *guest_model(void);

extern struct executor guest_executor;

#endif
