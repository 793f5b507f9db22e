/*
 * One terminal for two devices: the serial port (front 0) and the virtio console. Output of both
 * goes to the terminal; input goes to the first that the guest has open, and to the serial port
 * while none is: firmware polls it. (Linux opens a virtio console as soon as it finds one, whether
 * or not somebody will read it; so the serial port, which is opened by its user, comes first.)
 */
#ifndef LM_BACKEND_CHAR_MUX_H
#define LM_BACKEND_CHAR_MUX_H

#include "base/err.h"
#include "dev/chardev.h"

#define CHAR_MUX_FRONTS 2

struct char_mux;

/* `back` is borrowed and gets the mux as its user. */
int char_mux_open(struct char_mux **out, struct chardev *back, struct lm_err *err);
void char_mux_close(struct char_mux *mux);
struct chardev *char_mux_front(struct char_mux *mux, unsigned n);

#endif
