/*
 * One terminal for two devices: the serial port and the virtio console. Output of both goes to the
 * terminal; input goes to the device that the guest opened last.
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
