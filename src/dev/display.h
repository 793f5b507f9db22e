/*
 * A screen: the joint between a display adapter and who shows or photographs what is on it
 * (terminal, VNC, screenshot).
 *
 * The adapter gives what it would show now; nobody is told of changes, viewers look as often as they
 * refresh and compare. Everything under the device lock.
 */
#ifndef LM_DEV_DISPLAY_H
#define LM_DEV_DISPLAY_H

#include <stdbool.h>
#include <stdint.h>

#define DISPLAY_MAX_WIDTH   2560u
#define DISPLAY_MAX_HEIGHT  1600u
#define DISPLAY_MAX_COLUMNS 256u
#define DISPLAY_MAX_ROWS    128u

enum display_kind { DISPLAY_BLANK, DISPLAY_TEXT, DISPLAY_GRAPHICS };

struct display_mode {
	enum display_kind kind;
	unsigned width, height; /* pixels, text too; at least 1, within the limits above */
	/* Text only. */
	unsigned columns, rows;
	bool cursor;
	unsigned cursor_column, cursor_row;
};

struct display_cell {
	uint8_t character;  /* of the adapter's font: code page 437 unless the guest loaded another */
	uint8_t foreground; /* 0 to 15, as in CGA: bit 0 blue, 1 green, 2 red, 3 bright */
	uint8_t background; /* 0 to 15 */
};

struct display {
	void (*mode)(void *opaque, struct display_mode *mode);
	/* columns * rows cells of the mode just asked for. */
	void (*cells)(void *opaque, const struct display_mode *mode, struct display_cell *cells);
	/* width * height pixels of the mode just asked for, 0x00RRGGBB. */
	void (*pixels)(void *opaque, const struct display_mode *mode, uint32_t *pixels);
	void *opaque;
};

#endif
