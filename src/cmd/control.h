/* What the verbs that speak to running machines have in common. */
#ifndef LM_CMD_CONTROL_H
#define LM_CMD_CONTROL_H

#include "cmd/options.h"

/* The one operand, NAME. */
int operand_name(const struct verb *self, const struct operands *rest, const char **name,
		 struct lm_err *err);

#endif
