/*
 * The screen for VNC viewers, by libvncserver, on a thread of its own that takes the device lock to
 * look at the display and to type. Viewers must be allowed in: only a Unix socket or a loopback
 * address is listened on, as the protocol neither encrypts nor authenticates.
 */
#ifndef LM_BACKEND_SCREEN_VNC_H
#define LM_BACKEND_SCREEN_VNC_H

#include "backend/keyboard.h"
#include "base/err.h"
#include "dev/display.h"
#include "event/loop.h"

struct screen_vnc;

/* "unix:PATH", "PORT" or "HOST:PORT" with a loopback HOST; checks without opening anything. */
int screen_vnc_check(const char *address, struct lm_err *err);

/* Under the device lock: the pointer moved, in pixels, right and down; PS/2 buttons that are down. */
struct screen_pointer {
	void (*move)(void *opaque, int dx, int dy, int wheel, uint8_t buttons);
	void *opaque;
};

/* Everything is borrowed. `name` is what viewers show as title. */
int screen_vnc_open(struct screen_vnc **out, const char *address, const char *name,
		    const struct display *display, struct keyboard *keyboard,
		    struct screen_pointer pointer, struct event_loop *loop, struct lm_err *err);
/* Not under the device lock. NULL is allowed. */
void screen_vnc_close(struct screen_vnc *s);

#endif
