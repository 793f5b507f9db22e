/*
 * Keyboard controller (Intel 8042 as in the IBM PS/2) with a keyboard, a mouse on the auxiliary port
 * where the board has one, and system control port A (0x92).
 *
 * The keyboard answers its commands and sends what i8042_inject gives it, in scan code set 2, which
 * the controller translates to set 1 while the guest wants it. A20 is a bit that can be read back:
 * addresses are never masked, as in processors of the last decade.
 *
 * References: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device
 * Controller"; Intel 82801 (ICH) for ports 0x92 and the output pulse.
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_I8042_H
#define LM_DEV_CHIPSET_I8042_H

#include <stddef.h>

#include "base/fields.h"
#include "dev/bus.h"
#include "dev/chipset/ps2_mouse.h"
#include "dev/irq.h"

#define I8042_QUEUE 32 /* bytes that the keyboard keeps */
#define I8042_RAM   32

/* The guest pulled the reset line; called under the device lock, in the middle of its access. */
struct i8042_reset_line {
	void (*reset)(void *opaque);
	void *opaque;
};

struct i8042 {
	uint8_t ram[I8042_RAM]; /* byte 0 is the command byte */
	uint8_t pending;	/* controller command that waits for its data byte; 0 for none */
	uint8_t output_port;	/* bit 0: not reset, bit 1: A20 */
	uint8_t out;		/* output buffer, when out_full */
	bool out_full;
	bool after_command; /* the last write went to the command port (status bit 3) */
	/* Keyboard. */
	uint8_t queue[I8042_QUEUE], head, count;
	uint8_t kbd_pending; /* keyboard command that waits for its data byte; 0 for none */
	uint8_t kbd_last;    /* for "resend" */
	uint8_t scan_set, leds;
	bool scanning;
	bool break_prefix; /* translation swallowed a 0xf0 */
	struct ps2_mouse mouse;
	bool out_aux;	  /* the output buffer's byte is the mouse's */
	bool has_mouse;
	struct irq_line mouse_irq;
	struct irq_line irq;
	struct i8042_reset_line reset;
	struct bus_region data, command, port92;
};

int i8042_init(struct i8042 *kbc, struct bus *port, struct irq_line irq,
	       struct i8042_reset_line reset, struct lm_err *err);
void i8042_reset(struct i8042 *kbc);

/* Before the guest runs: the board has a mouse. */
void i8042_connect_mouse(struct i8042 *kbc, struct irq_line irq);
/* As ps2_mouse_move. */
void i8042_move_mouse(struct i8042 *kbc, int dx, int dy, int dz, uint8_t buttons);

/*
 * A key's bytes in scan code set 2 (make or break sequence). All or nothing: false where the guest
 * does not read them and the keyboard's queue is full, or where it has turned the keyboard off.
 */
bool i8042_inject(struct i8042 *kbc, const uint8_t *bytes, size_t len);

/* What a snapshot holds of it. */
extern const struct fields_section i8042_section;

#endif
