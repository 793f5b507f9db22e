/* The command "snapshot": writes the machine into a folder whose descriptor comes along. */
#ifndef LM_CONTROL_SNAPSHOT_H
#define LM_CONTROL_SNAPSHOT_H

#include "control/server.h"

/* {} and one descriptor, of an empty folder; the answer has "manifest" for bundle_commit. */
int control_snapshot(struct control_request *r, json_t *args, json_t *result, struct lm_err *err);

#endif
