/* Keys by name, character and terminal sequence; their pace; the screen as a terminal's text. */
#include <string.h>

#include "backend/cp437.h"
#include "backend/keyboard.h"
#include "backend/screen_text.h"
#include "backend/screen_vnc.h"
#include "base/bits.h"
#include "check.h"

static struct event_loop loop;
static uint8_t sent[256];
static size_t sent_len;
static bool accepts;

static bool inject(void *opaque, const uint8_t *bytes, size_t len)
{
	if (!accepts || sent_len + len > sizeof(sent))
		return false;
	memcpy(sent + sent_len, bytes, len);
	sent_len += len;
	return true;
}

static struct keyboard keyboard;

static void set_up(void)
{
	CHECK_EQ(loop_init(&loop, true, NULL), 0);
	keyboard_init(&keyboard, &loop, inject, NULL);
	sent_len = 0;
	accepts = true;
}

static void pass(int64_t ms)
{
	for (int64_t k = 0; k < ms; k++) {
		loop.clock.virtual_ns += 1000000;
		loop_run_timers(&loop);
	}
}

static void test_chords(void)
{
	const struct key *keys[KEYBOARD_CHORD];

	CHECK_EQ(keys_parse_chord("ctrl-alt-delete", keys, KEYBOARD_CHORD), 3);
	CHECK(!strcmp(keys[2]->name, "delete") && keys[2]->extended);
	CHECK_EQ(keys_parse_chord("A", keys, KEYBOARD_CHORD), 2);
	CHECK(!strcmp(keys[0]->name, "shift"));
	CHECK_EQ(keys_parse_chord("-", keys, KEYBOARD_CHORD), 1);
	CHECK_EQ(keys_parse_chord("ctrl--", keys, KEYBOARD_CHORD), 2);
	CHECK_EQ(keys_parse_chord("", keys, KEYBOARD_CHORD), 0);
	CHECK_EQ(keys_parse_chord("ctrl-", keys, KEYBOARD_CHORD), 0);
	CHECK_EQ(keys_parse_chord("no-such", keys, KEYBOARD_CHORD), 0);
	CHECK_EQ(keys_parse_chord("a-a-a-a-a-a-a-a-a", keys, KEYBOARD_CHORD), 0);
	CHECK(key_by_keysym(0xff0d) == key_by_name("ret", 3));
	CHECK(key_by_keysym('!') == key_by_name("1", 1));
	CHECK(!key_by_keysym(0x1234567));
}

static void test_pace(void)
{
	static const uint8_t expected[] = { 0x12, 0x1c, 0xf0, 0x1c, 0xf0, 0x12 };
	const struct key *keys[KEYBOARD_CHORD];
	unsigned count = keys_parse_chord("A", keys, KEYBOARD_CHORD);

	set_up();
	accepts = false;
	CHECK(keyboard_chord(&keyboard, keys, count));
	pass(100);
	CHECK_EQ(sent_len, 0);
	accepts = true;
	pass(25);
	CHECK_EQ(sent_len, 1); /* one at a time */
	pass(100);
	CHECK_EQ(sent_len, sizeof(expected));
	CHECK(!memcmp(sent, expected, sizeof(expected)));
	accepts = false; /* a guest that never reads: given up */
	CHECK(keyboard_chord(&keyboard, keys, count));
	pass(15000);
	CHECK_EQ(keyboard_room(&keyboard), KEYBOARD_QUEUE);
	for (unsigned k = 0; k < KEYBOARD_QUEUE / 4; k++)
		CHECK(keyboard_chord(&keyboard, keys, count));
	CHECK(!keyboard_chord(&keyboard, keys, count));
	keyboard_fini(&keyboard);
	loop_fini(&loop);
}

static void test_terminal_keys(void)
{
	static const struct {
		const char *bytes;
		size_t used;
		uint8_t first, second;
	} cases[] = {
		{ "\033[A", 3, 0xe0, 0x75 }, { "\033[15~x", 5, 0x03, 0xf0 }, { "\033", 1, 0x76, 0xf0 },
		{ "a", 1, 0x1c, 0xf0 },	     { "\003", 1, 0x14, 0x21 },	     { "\r", 1, 0x5a, 0xf0 },
		{ "\177", 1, 0x66, 0xf0 },   { "\033[Z", 1, 0x76, 0xf0 },
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(cases); k++) {
		set_up();
		CHECK_EQ(screen_text_type(&keyboard, (const uint8_t *)cases[k].bytes,
					  strlen(cases[k].bytes)),
			 cases[k].used);
		pass(200);
		CHECK_EQ(sent[0], cases[k].first);
		CHECK_EQ(sent[1], cases[k].second);
		keyboard_fini(&keyboard);
		loop_fini(&loop);
	}
}

/* ---- A small screen on a terminal of little room ---- */

static char output[65536];
static size_t output_len, room;

static size_t term_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	size_t n = LM_MIN(len, room);

	memcpy(output + output_len, bytes, n);
	output_len += n;
	output[output_len] = 0;
	return n;
}

static const struct chardev_ops term_ops = { .write = term_write };
static struct chardev term = { .ops = &term_ops };
static struct display_mode mode = { DISPLAY_TEXT, 24, 32, 3, 2, true, 1, 1 };
static struct display_cell cells[6];

static void get_mode(void *opaque, struct display_mode *m)
{
	*m = mode;
}

static void get_cells(void *opaque, const struct display_mode *m, struct display_cell *c)
{
	memcpy(c, cells, sizeof(cells));
}

static const struct display display = { get_mode, get_cells, NULL, NULL };

static void test_text(void)
{
	struct screen_text *s;

	set_up();
	for (unsigned k = 0; k < 6; k++)
		cells[k] = (struct display_cell){ ' ', 7, 0 };
	cells[0] = (struct display_cell){ 'H', 15, 1 };
	cells[1] = (struct display_cell){ 0xc4, 15, 1 }; /* a line */
	room = sizeof(output);
	CHECK_EQ(screen_text_open(&s, &term, &display, &keyboard, &loop, NULL), 0);
	pass(50);
	CHECK(strstr(output, "\033[2J") != NULL);
	CHECK(strstr(output, "\033[0;97;44mH\xe2\x94\x80") != NULL);
	CHECK(strstr(output, "\033[2;2H\033[?25h") != NULL);
	output_len = 0;
	pass(100);
	CHECK_EQ(output_len, 0); /* nothing changed */
	room = 5;
	cells[5] = (struct display_cell){ 'x', 7, 0 };
	pass(500);
	CHECK(strstr(output, "\033[2;3Hx") != NULL);
	room = sizeof(output);
	mode.kind = DISPLAY_GRAPHICS;
	pass(50);
	CHECK(strstr(output, "graphics, 24 x 32") != NULL);
	screen_text_close(s);
	CHECK(!term.user);
	keyboard_fini(&keyboard);
	loop_fini(&loop);
}

static void test_addresses(void)
{
	struct lm_err err;
	char utf8[CP437_UTF8_MAX];

	CHECK_EQ(screen_vnc_check("5901", NULL), 0);
	CHECK_EQ(screen_vnc_check("127.0.0.1:5901", NULL), 0);
	CHECK_EQ(screen_vnc_check("[::1]:5901", NULL), 0);
	CHECK_EQ(screen_vnc_check("unix:/tmp/x", NULL), 0);
	CHECK(screen_vnc_check("unix:", NULL) < 0);
	CHECK(screen_vnc_check("0.0.0.0:5901", &err) < 0);
	CHECK(strstr(err.text, "not encrypted") != NULL);
	CHECK(screen_vnc_check("here", NULL) < 0);
	CHECK(screen_vnc_check("", NULL) < 0);
	CHECK_EQ(cp437_utf8('A', utf8), 1);
	CHECK_EQ(cp437_utf8(0x9b, utf8), 2);
	CHECK_EQ(cp437_utf8(0xdb, utf8), 3);
}

int main(void)
{
	test_chords();
	test_pace();
	test_terminal_keys();
	test_text();
	test_addresses();
	return check_done();
}
