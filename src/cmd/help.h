/* What the tables say, as text for people and as completion for shells. */
#ifndef LM_CMD_HELP_H
#define LM_CMD_HELP_H

#include "cmd/verb.h"

/* The text of `lamina VERB --help` on standard output; returns 0. */
int print_help(const struct verb *verb);
/* The text of `lamina help`. */
int print_overview(void);

#endif
