/*
 * Keys of a PC keyboard with the US layout: by name, by character, by X11 keysym; and what each sends
 * in scan code set 2 (IBM PS/2 Hardware Interface Technical Reference, "Keyboards").
 */
#ifndef LM_BACKEND_KEYS_H
#define LM_BACKEND_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct key {
	const char *name;
	uint8_t code;
	bool extended;        /* 0xe0 goes in front */
	char plain, shifted;  /* characters, 0 for none */
	uint32_t keysym;      /* 0 where it is the character */
};

#define KEY_BYTES_MAX 3

const struct key *key_by_name(const char *name, size_t len);
/* *shift: whether the shift key makes it. NULL where no key types it. */
const struct key *key_by_character(char c, bool *shift);
const struct key *key_by_keysym(uint32_t keysym);
/* The bytes of a press or release; their number. */
unsigned key_bytes(const struct key *key, bool press, uint8_t bytes[KEY_BYTES_MAX]);

/*
 * A chord such as "ctrl-alt-delete", "shift-a", "A", "-": keys in the order in which they go down.
 * The number of keys, or 0 where the text is none.
 */
unsigned keys_parse_chord(const char *text, const struct key **keys, unsigned max);

#endif
