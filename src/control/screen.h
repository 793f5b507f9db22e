/* Commands about the screen and the keyboard, for the table in commands.c. */
#ifndef LM_CONTROL_SCREEN_H
#define LM_CONTROL_SCREEN_H

#include "control/server.h"

int control_screenshot(struct control_request *r, json_t *args, json_t *result, struct lm_err *err);
int control_sendkeys(struct control_request *r, json_t *args, json_t *result, struct lm_err *err);

#endif
