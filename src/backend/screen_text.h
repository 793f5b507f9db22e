/*
 * The screen in a terminal: text modes as text, with the terminal's keys as the machine's; of graphics
 * modes only their size. The terminal is a chardev; the screen looks at the display some times a
 * second and writes what changed.
 *
 * Under the device lock.
 */
#ifndef LM_BACKEND_SCREEN_TEXT_H
#define LM_BACKEND_SCREEN_TEXT_H

#include "backend/keyboard.h"
#include "base/err.h"
#include "dev/chardev.h"
#include "dev/display.h"
#include "event/loop.h"

struct screen_text;

/* All are borrowed. Becomes the terminal's user. */
int screen_text_open(struct screen_text **out, struct chardev *terminal,
		     const struct display *display, struct keyboard *keyboard,
		     struct event_loop *loop, struct lm_err *err);
/* Leaves the terminal as text with a cursor. NULL is allowed. */
void screen_text_close(struct screen_text *s);

/* The bytes of a terminal as keys; for tests. Returns how many were understood or thrown away. */
size_t screen_text_type(struct keyboard *keyboard, const uint8_t *bytes, size_t len);

#endif
