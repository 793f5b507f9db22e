/* The commands of the control socket: one table; the functions' files are named by their subject. */
#ifndef LM_CONTROL_COMMANDS_H
#define LM_CONTROL_COMMANDS_H

#include "control/server.h"

/* Ended by a NULL name. */
extern const struct control_command control_commands[];

#endif
