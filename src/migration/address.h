/* Where a machine goes: "HOST:PORT", "[IPV6]:PORT", ":PORT" or "unix:PATH". */
#ifndef LM_MIGRATION_ADDRESS_H
#define LM_MIGRATION_ADDRESS_H

#include <stdbool.h>

#include "base/err.h"

/* A Unix socket's: nothing passes by a network. */
bool address_is_local(const char *text);
/* A connected socket, or a negative errno. */
int address_connect(const char *text, struct lm_err *err);
/* A listening one. `shown` gets what it listens on, with the port that port 0 became. */
int address_listen(const char *text, char shown[128], struct lm_err *err);
/* After listening: removes a Unix socket's file. */
void address_remove(const char *text);

#endif
