/*
 * A PS/2 mouse with a wheel (IBM PS/2 Hardware Interface Technical Reference, "Mouse"; Microsoft's
 * IntelliMouse for the wheel, which a sequence of sample rates turns on).
 *
 * Bytes for the host wait in a queue until the controller takes them. Movements add up while it is full.
 * Under the device lock; part of the keyboard controller (i8042.h).
 */
#ifndef LM_DEV_CHIPSET_PS2_MOUSE_H
#define LM_DEV_CHIPSET_PS2_MOUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/fields.h"

#define PS2_MOUSE_QUEUE 32

#define PS2_LEFT   1
#define PS2_RIGHT  2
#define PS2_MIDDLE 4

struct ps2_mouse {
	uint8_t queue[PS2_MOUSE_QUEUE], head, count;
	uint8_t pending;	     /* command that waits for its argument; 0 for none */
	uint8_t rate, resolution, scaling;
	uint8_t knock;		     /* how much of the wheel's sequence came */
	bool wheel;		     /* packets have four bytes */
	bool reporting, remote;
	uint8_t buttons, told_buttons;
	int32_t dx, dy, dz;	     /* not yet told */
};

extern const struct field ps2_mouse_fields[];

void ps2_mouse_reset(struct ps2_mouse *m);
/* A byte from the host. */
void ps2_mouse_write(struct ps2_mouse *m, uint8_t v);
/* Right and up are positive; the wheel towards the user. PS2_ buttons that are down. */
void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz, uint8_t buttons);
/* The next byte for the host; false where there is none. */
bool ps2_mouse_take(struct ps2_mouse *m, uint8_t *v);

#endif
