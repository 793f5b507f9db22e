#include "backend/screen_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cp437.h"
#include "base/bits.h"

#define REFRESH_NS   INT64_C(40000000)
#define CELLS_MAX    (DISPLAY_MAX_COLUMNS * DISPLAY_MAX_ROWS)
#define FRAME_ROOM   65536
#define CELL_ROOM    48 /* bytes that one cell can take: place, colours, character */
#define NO_COLOURS   0xffff

struct screen_text {
	struct chardev *terminal;
	const struct display *display;
	struct keyboard *keyboard;
	struct event_loop *loop;
	struct timer timer;
	/* What the terminal shows. */
	struct display_mode shown;
	struct display_cell cells[CELLS_MAX];
	bool stale; /* nothing that is known */
	struct display_cell now[CELLS_MAX];
	/* The frame in the making, and how much of it the terminal has taken. */
	char frame[FRAME_ROOM];
	size_t len, sent;
	unsigned column, row, colours; /* where the terminal's cursor and colours are */
};

/* ---- Output (ECMA-48; colours as xterm has them) ---- */

static void put(struct screen_text *s, const char *text)
{
	size_t len = strlen(text);

	memcpy(s->frame + s->len, text, len);
	s->len += len;
}

static void put_place(struct screen_text *s, unsigned column, unsigned row)
{
	char text[32];

	if (s->column == column && s->row == row)
		return;
	snprintf(text, sizeof(text), "\033[%u;%uH", row + 1, column + 1);
	put(s, text);
	s->column = column;
	s->row = row;
}

/* CGA counts blue, green, red; terminals red, green, blue. */
static unsigned ansi(unsigned cga)
{
	return (cga & 4) >> 2 | (cga & 2) | (cga & 1) << 2;
}

static unsigned code(unsigned cga, bool background)
{
	return ansi(cga) + (cga & 8 ? 90 : 30) + (background ? 10 : 0);
}

static void put_colours(struct screen_text *s, const struct display_cell *cell)
{
	unsigned colours = cell->foreground | (unsigned)cell->background << 4;
	char text[32];

	if (s->colours == colours)
		return;
	s->colours = colours;
	snprintf(text, sizeof(text), "\033[0;%u;%um", code(cell->foreground, false),
		 code(cell->background, true));
	put(s, text);
}

static void put_cell(struct screen_text *s, unsigned column, unsigned row,
		     const struct display_cell *cell)
{
	char text[CP437_UTF8_MAX + 1];

	put_place(s, column, row);
	put_colours(s, cell);
	text[cp437_utf8(cell->character, text)] = 0;
	put(s, text);
	s->column++;
}

static bool same_cell(const struct display_cell *a, const struct display_cell *b)
{
	return a->character == b->character && a->foreground == b->foreground &&
	       a->background == b->background;
}

static void clear(struct screen_text *s)
{
	put(s, "\033[0m\033[2J\033[H");
	s->column = s->row = 0;
	s->colours = NO_COLOURS;
	memset(s->cells, 0, sizeof(s->cells));
	s->stale = false;
}

/* As many cells as the frame has room for; the next frame goes on. */
static void draw_text(struct screen_text *s, const struct display_mode *mode)
{
	unsigned count = mode->columns * mode->rows;

	s->display->cells(s->display->opaque, mode, s->now);
	for (unsigned k = 0; k < count && s->len + 2 * CELL_ROOM < FRAME_ROOM; k++) {
		if (same_cell(&s->now[k], &s->cells[k]))
			continue;
		put_cell(s, k % mode->columns, k / mode->columns, &s->now[k]);
		s->cells[k] = s->now[k];
	}
	if (mode->cursor)
		put_place(s, mode->cursor_column, mode->cursor_row);
	if (mode->cursor != s->shown.cursor)
		put(s, mode->cursor ? "\033[?25h" : "\033[?25l");
}

static void draw_graphics(struct screen_text *s, const struct display_mode *mode)
{
	char text[128];

	snprintf(text, sizeof(text), "[graphics, %u x %u: see it with lamina screenshot]", mode->width,
		 mode->height);
	put(s, text);
}

static bool same_screen(const struct display_mode *a, const struct display_mode *b)
{
	return a->kind == b->kind && a->width == b->width && a->height == b->height &&
	       a->columns == b->columns && a->rows == b->rows;
}

static void draw(struct screen_text *s)
{
	struct display_mode mode;
	bool other;

	s->display->mode(s->display->opaque, &mode);
	other = s->stale || !same_screen(&mode, &s->shown);
	s->len = s->sent = 0;
	if (other) {
		clear(s);
		s->shown.cursor = !mode.cursor;
	}
	if (mode.kind == DISPLAY_TEXT)
		draw_text(s, &mode);
	else if (mode.kind == DISPLAY_GRAPHICS && other)
		draw_graphics(s, &mode);
	s->shown = mode;
}

static void flush(struct screen_text *s)
{
	s->sent += chardev_write(s->terminal, (const uint8_t *)s->frame + s->sent,
				 s->len - s->sent);
}

static void refresh(void *opaque)
{
	struct screen_text *s = opaque;

	if (s->sent == s->len)
		draw(s);
	flush(s);
	timer_arm(&s->timer, clock_now(&s->loop->clock) + REFRESH_NS);
}

/* ---- Input ---- */

/* What keys send besides characters (xterm's and VT220's sequences). */
static const struct {
	const char *bytes, *key;
} sequences[] = {
	{ "\033[A", "up" },	  { "\033[B", "down" },	  { "\033[C", "right" },
	{ "\033[D", "left" },	  { "\033OA", "up" },	  { "\033OB", "down" },
	{ "\033OC", "right" },	  { "\033OD", "left" },	  { "\033[H", "home" },
	{ "\033[F", "end" },	  { "\033OH", "home" },	  { "\033OF", "end" },
	{ "\033[1~", "home" },	  { "\033[2~", "insert" }, { "\033[3~", "delete" },
	{ "\033[4~", "end" },	  { "\033[5~", "pgup" },  { "\033[6~", "pgdn" },
	{ "\033OP", "f1" },	  { "\033OQ", "f2" },	  { "\033OR", "f3" },
	{ "\033OS", "f4" },	  { "\033[11~", "f1" },	  { "\033[12~", "f2" },
	{ "\033[13~", "f3" },	  { "\033[14~", "f4" },	  { "\033[15~", "f5" },
	{ "\033[17~", "f6" },	  { "\033[18~", "f7" },	  { "\033[19~", "f8" },
	{ "\033[20~", "f9" },	  { "\033[21~", "f10" },  { "\033[23~", "f11" },
	{ "\033[24~", "f12" },
};

static const struct key *named(const char *name)
{
	return key_by_name(name, strlen(name));
}

static size_t type_sequence(struct keyboard *keyboard, const uint8_t *bytes, size_t len)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(sequences); k++) {
		size_t n = strlen(sequences[k].bytes);
		const struct key *key;

		if (n > len || memcmp(bytes, sequences[k].bytes, n))
			continue;
		key = named(sequences[k].key);
		keyboard_chord(keyboard, &key, 1);
		return n;
	}
	return 0;
}

/* Control characters are a letter with ctrl, but for those that have keys of their own. */
static void type_character(struct keyboard *keyboard, uint8_t c)
{
	const struct key *keys[2] = { named("shift"), NULL };
	bool shift = false;

	keys[1] = key_by_character((char)c, &shift);
	if (!keys[1] && c >= 1 && c <= 26) {
		keys[0] = named("ctrl");
		keys[1] = key_by_character((char)('a' + c - 1), &shift);
		shift = true;
	}
	if (keys[1])
		keyboard_chord(keyboard, keys + !shift, 1u + shift);
}

size_t screen_text_type(struct keyboard *keyboard, const uint8_t *bytes, size_t len)
{
	size_t n = *bytes == '\033' ? type_sequence(keyboard, bytes, len) : 0;

	if (n)
		return n;
	type_character(keyboard, *bytes);
	return 1;
}

static size_t can_receive(void *opaque)
{
	const struct screen_text *s = opaque;

	return keyboard_room(s->keyboard) / 4;
}

static void receive(void *opaque, const uint8_t *bytes, size_t len)
{
	struct screen_text *s = opaque;

	for (size_t at = 0; at < len;)
		at += screen_text_type(s->keyboard, bytes + at, len - at);
}

static void writable(void *opaque)
{
	flush(opaque);
}

static void event(void *opaque, enum chardev_event what)
{
	struct screen_text *s = opaque;

	if (what == CHARDEV_RESIZED || what == CHARDEV_OPENED)
		s->stale = true;
}

static const struct chardev_user user = { can_receive, receive, writable, event };

int screen_text_open(struct screen_text **out, struct chardev *terminal,
		     const struct display *display, struct keyboard *keyboard,
		     struct event_loop *loop, struct lm_err *err)
{
	struct screen_text *s = calloc(1, sizeof(*s));

	*out = s;
	if (!s)
		return lm_err_set(err, -ENOMEM, "no memory for the screen");
	s->terminal = terminal;
	s->display = display;
	s->keyboard = keyboard;
	s->loop = loop;
	s->stale = true;
	timer_init(&s->timer, loop, refresh, s);
	timer_arm(&s->timer, clock_now(&loop->clock));
	chardev_attach(terminal, &user, s);
	return 0;
}

/* What the guest showed last is drawn before it goes away: it may say why. */
void screen_text_close(struct screen_text *s)
{
	static const char leave[] = "\033[0m\033[?25h";
	char place[32];

	if (!s)
		return;
	timer_cancel(&s->timer);
	if (s->sent == s->len) {
		draw(s);
		flush(s);
	}
	snprintf(place, sizeof(place), "\033[%u;1H\r\n", LM_MAX(s->shown.rows, 1u));
	chardev_write(s->terminal, (const uint8_t *)place, strlen(place));
	chardev_write(s->terminal, (const uint8_t *)leave, strlen(leave));
	chardev_attach(s->terminal, NULL, NULL);
	free(s);
}
