/* What the screen shows: text with the loaded font, planes of 16 colours, 256 colours, DISPI modes. */
#include <string.h>

#include "base/bits.h"
#include "dev/vga/vga.h"

#define SEQ_CLOCKING	  1
#define CLOCKING_8_DOTS	  0x01
#define CLOCKING_HALF	  0x08
#define CLOCKING_OFF	  0x20
#define SEQ_FONTS	  3
#define CRTC_COLUMNS	  0x01
#define CRTC_OVERFLOW	  0x07
#define CRTC_LINES	  0x09 /* scan lines of a row, less one; bit 7: each line twice */
#define CRTC_CURSOR_START 0x0a
#define CURSOR_OFF	  0x20
#define CRTC_CURSOR_END	  0x0b
#define CRTC_START	  0x0c /* high byte, low byte */
#define CRTC_CURSOR	  0x0e
#define CRTC_END	  0x12
#define CRTC_OFFSET	  0x13
#define GC_MODE		  5
#define GC_MISC		  6
#define MISC_GRAPHICS	  0x01
#define ATTR_INDEX_SHOW	  0x20
#define ATTR_MODE	  0x10
#define ATTR_MODE_BLINK	  0x08
#define ATTR_MODE_PALETTE 0x80
#define ATTR_COLOUR	  0x14
#define GLYPH_BYTES	  32
#define FONT_BYTES	  8192

/* ---- Geometry ---- */

static unsigned scan_lines(const struct vga *vga)
{
	unsigned overflow = vga->crtc[CRTC_OVERFLOW];

	return (vga->crtc[CRTC_END] | (overflow & 0x02) << 7 | (overflow & 0x40) << 3) + 1;
}

static unsigned row_lines(const struct vga *vga)
{
	return (vga->crtc[CRTC_LINES] & 0x1f) + 1u;
}

static unsigned dots(const struct vga *vga)
{
	return vga->sequencer[SEQ_CLOCKING] & CLOCKING_8_DOTS ? 8 : 9;
}

static unsigned word_at(const struct vga *vga, unsigned crtc_index)
{
	return (unsigned)vga->crtc[crtc_index] << 8 | vga->crtc[crtc_index + 1];
}

/* From one row of text, or line of pixels, to the next: in addresses, of four bytes each. */
static unsigned line_addresses(const struct vga *vga)
{
	return vga->crtc[CRTC_OFFSET] * 2u;
}

static bool is_256_colours(const struct vga *vga)
{
	return vga->graphics[GC_MODE] & 0x40;
}

static void text_mode(const struct vga *vga, struct display_mode *mode)
{
	unsigned cursor = word_at(vga, CRTC_CURSOR) - word_at(vga, CRTC_START);
	unsigned line = LM_MAX(line_addresses(vga), 1u);

	mode->kind = DISPLAY_TEXT;
	mode->columns = LM_MIN(vga->crtc[CRTC_COLUMNS] + 1u, DISPLAY_MAX_COLUMNS);
	mode->rows = LM_MIN(scan_lines(vga) / row_lines(vga), DISPLAY_MAX_ROWS);
	mode->rows = LM_MAX(mode->rows, 1u);
	mode->width = LM_MIN(mode->columns * dots(vga), DISPLAY_MAX_WIDTH);
	mode->height = LM_MIN(mode->rows * row_lines(vga), DISPLAY_MAX_HEIGHT);
	mode->cursor_row = cursor / line;
	mode->cursor_column = cursor % line;
	mode->cursor = !(vga->crtc[CRTC_CURSOR_START] & CURSOR_OFF) &&
		       mode->cursor_row < mode->rows && mode->cursor_column < mode->columns;
}

static void graphics_mode(const struct vga *vga, struct display_mode *mode)
{
	unsigned repeat = row_lines(vga) << (vga->crtc[CRTC_LINES] >> 7);
	unsigned width = (vga->crtc[CRTC_COLUMNS] + 1u) * 8;

	if (is_256_colours(vga) || vga->sequencer[SEQ_CLOCKING] & CLOCKING_HALF)
		width /= 2;
	mode->kind = DISPLAY_GRAPHICS;
	mode->width = LM_MIN(width, DISPLAY_MAX_WIDTH);
	mode->height = LM_MAX(LM_MIN(scan_lines(vga) / repeat, DISPLAY_MAX_HEIGHT), 1u);
}

static void dispi_mode(const struct vga *vga, struct display_mode *mode)
{
	mode->kind = DISPLAY_GRAPHICS;
	mode->width = vga->dispi[DISPI_XRES];
	mode->height = vga->dispi[DISPI_YRES];
}

static bool is_blank(const struct vga *vga)
{
	return !(vga->attribute_index & ATTR_INDEX_SHOW) ||
	       vga->sequencer[SEQ_CLOCKING] & CLOCKING_OFF;
}

static void get_mode(void *opaque, struct display_mode *mode)
{
	const struct vga *vga = opaque;

	*mode = (struct display_mode){ .kind = DISPLAY_BLANK, .width = 640, .height = 400 };
	if (vga_dispi_on(vga))
		dispi_mode(vga, mode);
	else if (is_blank(vga))
		return;
	else if (vga->graphics[GC_MISC] & MISC_GRAPHICS)
		graphics_mode(vga, mode);
	else
		text_mode(vga, mode);
}

/* ---- Colours ---- */

static uint8_t dac_level(const struct vga *vga, uint8_t v)
{
	if (vga->dispi[DISPI_ENABLE] & DISPI_8BIT_DAC)
		return v;
	v &= 0x3f;
	return (uint8_t)(v << 2 | v >> 4);
}

static uint32_t dac_colour(const struct vga *vga, uint8_t index)
{
	const uint8_t *c = &vga->dac[3 * (index & vga->dac_mask)];

	return (uint32_t)dac_level(vga, c[0]) << 16 | (uint32_t)dac_level(vga, c[1]) << 8 |
	       dac_level(vga, c[2]);
}

/* The attribute controller's palette, and what of the colour comes from the colour select register. */
static uint32_t palette_colour(const struct vga *vga, unsigned index)
{
	uint8_t v = vga->attribute[index & 15], select = vga->attribute[ATTR_COLOUR];

	if (vga->attribute[ATTR_MODE] & ATTR_MODE_PALETTE)
		return dac_colour(vga, (uint8_t)((select & 0x0f) << 4 | (v & 0x0f)));
	return dac_colour(vga, (uint8_t)((select & 0x0c) << 4 | (v & 0x3f)));
}

/* ---- Text ---- */

static const uint8_t *cell_bytes(const struct vga *vga, unsigned column, unsigned row)
{
	uint64_t address = word_at(vga, CRTC_START) + (uint64_t)row * line_addresses(vga) + column;

	return &vga->memory[4 * address % VGA_MEMORY];
}

static struct display_cell cell_at(const struct vga *vga, unsigned column, unsigned row)
{
	const uint8_t *p = cell_bytes(vga, column, row);
	uint8_t attribute = p[1];
	bool blink = vga->attribute[ATTR_MODE] & ATTR_MODE_BLINK;

	return (struct display_cell){ p[0], attribute & 15,
				      attribute >> 4 & (blink ? 7 : 15) };
}

static void get_cells(void *opaque, const struct display_mode *mode, struct display_cell *cells)
{
	for (unsigned row = 0; row < mode->rows; row++)
		for (unsigned column = 0; column < mode->columns; column++)
			*cells++ = cell_at(opaque, column, row);
}

/* Which of the eight fonts in plane 2: bits 0, 1 and 4 for attribute bit 3 clear, 2, 3, 5 for set. */
static const uint8_t *font_of(const struct vga *vga, bool bright)
{
	unsigned v = vga->sequencer[SEQ_FONTS];
	unsigned n = bright ? (v >> 5 & 1) | (v >> 1 & 6) : (v >> 4 & 1) | (v << 1 & 6);

	return &vga->memory[4 * FONT_BYTES * n + 2];
}

/* The ninth dot is background, but lines of box drawing go on. */
static unsigned glyph_bits(const struct vga *vga, const struct display_cell *cell, unsigned line)
{
	const uint8_t *font = font_of(vga, cell->foreground & 8);
	unsigned bits = font[4 * (GLYPH_BYTES * cell->character + line % GLYPH_BYTES)];

	if (dots(vga) == 8)
		return bits;
	return bits << 1 | (cell->character >= 0xc0 && cell->character <= 0xdf ? bits & 1 : 0);
}

static bool in_cursor(const struct vga *vga, const struct display_mode *mode, unsigned column,
		      unsigned row, unsigned line)
{
	return mode->cursor && column == mode->cursor_column && row == mode->cursor_row &&
	       line >= (vga->crtc[CRTC_CURSOR_START] & 0x1fu) &&
	       line <= (vga->crtc[CRTC_CURSOR_END] & 0x1fu);
}

static void text_line(const struct vga *vga, const struct display_mode *mode, unsigned y,
		      uint32_t *pixels)
{
	unsigned row = y / row_lines(vga), line = y % row_lines(vga), n = dots(vga);

	for (unsigned x = 0; x < mode->width; x++) {
		unsigned column = x / n;
		struct display_cell cell = cell_at(vga, column, row);
		bool lit = glyph_bits(vga, &cell, line) >> (n - 1 - x % n) & 1;

		lit |= in_cursor(vga, mode, column, row, line);
		pixels[x] = palette_colour(vga, lit ? cell.foreground : cell.background);
	}
}

/* ---- Graphics ---- */

static uint32_t planar_pixel(const struct vga *vga, uint64_t address, unsigned bit)
{
	const uint8_t *p = &vga->memory[4 * address % VGA_MEMORY];
	unsigned colour = 0;

	for (unsigned plane = 0; plane < 4; plane++)
		colour |= (p[plane] >> (7 - bit) & 1u) << plane;
	return palette_colour(vga, colour & vga->attribute[0x12]);
}

static void planar_line(const struct vga *vga, unsigned width, uint64_t address, uint32_t *pixels)
{
	for (unsigned x = 0; x < width; x++)
		pixels[x] = planar_pixel(vga, address + x / 8, x % 8);
}

static void packed_line(const struct vga *vga, unsigned width, uint64_t at, uint32_t *pixels)
{
	for (unsigned x = 0; x < width; x++)
		pixels[x] = dac_colour(vga, vga->memory[(at + x) % VGA_MEMORY]);
}

static void graphics_line(const struct vga *vga, const struct display_mode *mode, unsigned y,
			  uint32_t *pixels)
{
	uint64_t address = word_at(vga, CRTC_START) + (uint64_t)y * line_addresses(vga);

	if (is_256_colours(vga))
		packed_line(vga, mode->width, 4 * address, pixels);
	else
		planar_line(vga, mode->width, address, pixels);
}

/* ---- DISPI modes ---- */

static uint32_t widen(unsigned v, unsigned bits)
{
	return (v << (8 - bits) | v >> (2 * bits - 8)) & 0xff;
}

static uint32_t pixel_15(const struct vga *vga, const uint8_t *p)
{
	unsigned v = (unsigned)le_load(p, 2);

	return widen(v >> 10 & 31, 5) << 16 | widen(v >> 5 & 31, 5) << 8 | widen(v & 31, 5);
}

static uint32_t pixel_16(const struct vga *vga, const uint8_t *p)
{
	unsigned v = (unsigned)le_load(p, 2);

	return widen(v >> 11 & 31, 5) << 16 | widen(v >> 5 & 63, 6) << 8 | widen(v & 31, 5);
}

static uint32_t pixel_8(const struct vga *vga, const uint8_t *p)
{
	return dac_colour(vga, *p);
}

static uint32_t pixel_24(const struct vga *vga, const uint8_t *p)
{
	return (uint32_t)le_load(p, 3);
}

static const struct {
	uint8_t bpp, bytes;
	uint32_t (*pixel)(const struct vga *vga, const uint8_t *p);
} depths[] = {
	{ 8, 1, pixel_8 },   { 15, 2, pixel_15 }, { 16, 2, pixel_16 },
	{ 24, 3, pixel_24 }, { 32, 4, pixel_24 },
};

static void dispi_line(const struct vga *vga, const struct display_mode *mode, unsigned y,
		       uint32_t *pixels)
{
	const uint16_t *d = vga->dispi;
	uint64_t line = y + (uint64_t)d[DISPI_Y_OFFSET];

	if (d[DISPI_BPP] == 4) {
		planar_line(vga, mode->width,
			    (line * d[DISPI_VIRT_WIDTH] + d[DISPI_X_OFFSET]) / 8, pixels);
		return;
	}
	for (unsigned k = 0; k < LM_ARRAY_SIZE(depths); k++) {
		if (depths[k].bpp != d[DISPI_BPP])
			continue;
		for (unsigned x = 0; x < mode->width; x++) {
			uint64_t at = (line * d[DISPI_VIRT_WIDTH] + d[DISPI_X_OFFSET] + x) *
				      depths[k].bytes;

			pixels[x] = at + 4 <= VGA_MEMORY ? depths[k].pixel(vga, vga->memory + at) : 0;
		}
	}
}

static void get_pixels(void *opaque, const struct display_mode *mode, uint32_t *pixels)
{
	const struct vga *vga = opaque;

	for (unsigned y = 0; y < mode->height; y++, pixels += mode->width) {
		if (mode->kind == DISPLAY_BLANK)
			memset(pixels, 0, mode->width * sizeof(*pixels));
		else if (mode->kind == DISPLAY_TEXT)
			text_line(vga, mode, y, pixels);
		else if (vga_dispi_on(vga))
			dispi_line(vga, mode, y, pixels);
		else
			graphics_line(vga, mode, y, pixels);
	}
}

const struct display vga_display = { get_mode, get_cells, get_pixels, NULL };
