/* The command "migrate": a machine leaves by the connection that comes along. */
#ifndef LM_CONTROL_MIGRATE_H
#define LM_CONTROL_MIGRATE_H

#include "control/server.h"

int control_migrate(struct control_request *r, json_t *args, json_t *result, struct lm_err *err);
void control_migrate_cancel(struct control_request *r);
void control_migrate_abandon(struct control_request *r);

#endif
