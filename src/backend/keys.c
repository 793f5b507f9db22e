#include "backend/keys.h"

#include <string.h>

#include "base/bits.h"

#define BREAK_PREFIX	0xf0
#define EXTENDED_PREFIX 0xe0

static const struct key keys[] = {
	{ "a", 0x1c, false, 'a', 'A' },	    { "b", 0x32, false, 'b', 'B' },
	{ "c", 0x21, false, 'c', 'C' },	    { "d", 0x23, false, 'd', 'D' },
	{ "e", 0x24, false, 'e', 'E' },	    { "f", 0x2b, false, 'f', 'F' },
	{ "g", 0x34, false, 'g', 'G' },	    { "h", 0x33, false, 'h', 'H' },
	{ "i", 0x43, false, 'i', 'I' },	    { "j", 0x3b, false, 'j', 'J' },
	{ "k", 0x42, false, 'k', 'K' },	    { "l", 0x4b, false, 'l', 'L' },
	{ "m", 0x3a, false, 'm', 'M' },	    { "n", 0x31, false, 'n', 'N' },
	{ "o", 0x44, false, 'o', 'O' },	    { "p", 0x4d, false, 'p', 'P' },
	{ "q", 0x15, false, 'q', 'Q' },	    { "r", 0x2d, false, 'r', 'R' },
	{ "s", 0x1b, false, 's', 'S' },	    { "t", 0x2c, false, 't', 'T' },
	{ "u", 0x3c, false, 'u', 'U' },	    { "v", 0x2a, false, 'v', 'V' },
	{ "w", 0x1d, false, 'w', 'W' },	    { "x", 0x22, false, 'x', 'X' },
	{ "y", 0x35, false, 'y', 'Y' },	    { "z", 0x1a, false, 'z', 'Z' },
	{ "1", 0x16, false, '1', '!' },	    { "2", 0x1e, false, '2', '@' },
	{ "3", 0x26, false, '3', '#' },	    { "4", 0x25, false, '4', '$' },
	{ "5", 0x2e, false, '5', '%' },	    { "6", 0x36, false, '6', '^' },
	{ "7", 0x3d, false, '7', '&' },	    { "8", 0x3e, false, '8', '*' },
	{ "9", 0x46, false, '9', '(' },	    { "0", 0x45, false, '0', ')' },
	{ "minus", 0x4e, false, '-', '_' }, { "equal", 0x55, false, '=', '+' },
	{ "bracket_left", 0x54, false, '[', '{' },
	{ "bracket_right", 0x5b, false, ']', '}' },
	{ "backslash", 0x5d, false, '\\', '|' },
	{ "semicolon", 0x4c, false, ';', ':' },
	{ "apostrophe", 0x52, false, '\'', '"' },
	{ "grave", 0x0e, false, '`', '~' },
	{ "comma", 0x41, false, ',', '<' }, { "dot", 0x49, false, '.', '>' },
	{ "slash", 0x4a, false, '/', '?' }, { "spc", 0x29, false, ' ', ' ' },
	{ "ret", 0x5a, false, '\n', 0, 0xff0d },
	{ "tab", 0x0d, false, '\t', 0, 0xff09 },
	{ "esc", 0x76, false, 0x1b, 0, 0xff1b },
	{ "backspace", 0x66, false, 0x7f, 0, 0xff08 },
	{ "shift", 0x12, false, 0, 0, 0xffe1 },
	{ "shift_r", 0x59, false, 0, 0, 0xffe2 },
	{ "ctrl", 0x14, false, 0, 0, 0xffe3 },
	{ "ctrl_r", 0x14, true, 0, 0, 0xffe4 },
	{ "alt", 0x11, false, 0, 0, 0xffe9 },
	{ "alt_r", 0x11, true, 0, 0, 0xffea },
	{ "meta_l", 0x1f, true, 0, 0, 0xffeb },
	{ "meta_r", 0x27, true, 0, 0, 0xffec },
	{ "menu", 0x2f, true, 0, 0, 0xff67 },
	{ "caps_lock", 0x58, false, 0, 0, 0xffe5 },
	{ "num_lock", 0x77, false, 0, 0, 0xff7f },
	{ "scroll_lock", 0x7e, false, 0, 0, 0xff14 },
	{ "f1", 0x05, false, 0, 0, 0xffbe },  { "f2", 0x06, false, 0, 0, 0xffbf },
	{ "f3", 0x04, false, 0, 0, 0xffc0 },  { "f4", 0x0c, false, 0, 0, 0xffc1 },
	{ "f5", 0x03, false, 0, 0, 0xffc2 },  { "f6", 0x0b, false, 0, 0, 0xffc3 },
	{ "f7", 0x83, false, 0, 0, 0xffc4 },  { "f8", 0x0a, false, 0, 0, 0xffc5 },
	{ "f9", 0x01, false, 0, 0, 0xffc6 },  { "f10", 0x09, false, 0, 0, 0xffc7 },
	{ "f11", 0x78, false, 0, 0, 0xffc8 }, { "f12", 0x07, false, 0, 0, 0xffc9 },
	{ "insert", 0x70, true, 0, 0, 0xff63 }, { "delete", 0x71, true, 0, 0, 0xffff },
	{ "home", 0x6c, true, 0, 0, 0xff50 },	{ "end", 0x69, true, 0, 0, 0xff57 },
	{ "pgup", 0x7d, true, 0, 0, 0xff55 },	{ "pgdn", 0x7a, true, 0, 0, 0xff56 },
	{ "up", 0x75, true, 0, 0, 0xff52 },	{ "down", 0x72, true, 0, 0, 0xff54 },
	{ "left", 0x6b, true, 0, 0, 0xff51 },	{ "right", 0x74, true, 0, 0, 0xff53 },
	{ "kp_enter", 0x5a, true, 0, 0, 0xff8d },
};

const struct key *key_by_name(const char *name, size_t len)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(keys); k++)
		if (strlen(keys[k].name) == len && !memcmp(keys[k].name, name, len))
			return &keys[k];
	return NULL;
}

const struct key *key_by_character(char c, bool *shift)
{
	if (c == '\r')
		c = '\n';
	if (c == '\b')
		c = 0x7f;
	for (unsigned k = 0; c && k < LM_ARRAY_SIZE(keys); k++) {
		if (keys[k].plain != c && keys[k].shifted != c)
			continue;
		*shift = keys[k].plain != c;
		return &keys[k];
	}
	return NULL;
}

const struct key *key_by_keysym(uint32_t keysym)
{
	bool shift;

	for (unsigned k = 0; keysym && k < LM_ARRAY_SIZE(keys); k++)
		if (keys[k].keysym == keysym)
			return &keys[k];
	return keysym >= 0x20 && keysym < 0x7f ? key_by_character((char)keysym, &shift) : NULL;
}

unsigned key_bytes(const struct key *key, bool press, uint8_t bytes[KEY_BYTES_MAX])
{
	unsigned n = 0;

	if (key->extended)
		bytes[n++] = EXTENDED_PREFIX;
	if (!press)
		bytes[n++] = BREAK_PREFIX;
	bytes[n++] = key->code;
	return n;
}

/* One word: a key's name, or a character, which may need shift. */
static unsigned add_word(const char *word, size_t len, const struct key **out, unsigned max)
{
	const struct key *key = key_by_name(word, len);
	bool shift = false;
	unsigned n = 0;

	if (!key && len == 1)
		key = key_by_character(*word, &shift);
	if (!key || max < 1u + shift)
		return 0;
	if (shift)
		out[n++] = key_by_name("shift", strlen("shift"));
	out[n++] = key;
	return n;
}

unsigned keys_parse_chord(const char *text, const struct key **out, unsigned max)
{
	unsigned n = 0;

	while (*text) {
		const char *dash = strchr(text + 1, '-'); /* a dash at a word's start is the key */
		size_t len = dash ? (size_t)(dash - text) : strlen(text);
		unsigned added = add_word(text, len, out + n, max - n);

		if (!added || (dash && !dash[1]))
			return 0;
		n += added;
		text += len + (dash != NULL);
	}
	return n;
}
