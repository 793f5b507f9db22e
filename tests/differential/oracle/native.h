/* The host CPU as an executor of cases. */
#ifndef ORACLE_NATIVE_H
#define ORACLE_NATIVE_H

#include "base/err.h"
#include "oracle.h"

/* native_entry.S */
void native_enter(void);
void native_landed(void);
_Noreturn void native_leave(void);

/* Why this host cannot serve, or NULL. */
const char *native_unsupported(void);

/* After sandbox_init. */
int native_init(struct lm_err *err);

/* Whether compatibility-mode code can run here. After native_init. */
bool native_runs_32bit(void);

extern const struct executor native_executor;

#endif
