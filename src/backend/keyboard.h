/*
 * What people and programs type, on its way to the keyboard controller: a queue of presses and
 * releases, since the controller takes a few bytes only, at the pace at which the guest reads them.
 *
 * Under the device lock.
 */
#ifndef LM_BACKEND_KEYBOARD_H
#define LM_BACKEND_KEYBOARD_H

#include "backend/keys.h"
#include "event/loop.h"

#define KEYBOARD_QUEUE 2048 /* presses and releases */
#define KEYBOARD_CHORD 8

struct keyboard_event {
	const struct key *key;
	bool press;
};

struct keyboard {
	/* A press or release, whole; false: not now. */
	bool (*inject)(void *opaque, const uint8_t *bytes, size_t len);
	void *opaque;
	struct event_loop *loop;
	struct timer timer;
	struct keyboard_event queue[KEYBOARD_QUEUE];
	unsigned head, count;
	unsigned refused; /* times in a row that inject said no */
};

void keyboard_init(struct keyboard *k, struct event_loop *loop,
		   bool (*inject)(void *opaque, const uint8_t *bytes, size_t len), void *opaque);
/* Stops its timer. */
void keyboard_fini(struct keyboard *k);

/* False, and nothing queued, where there is no room. */
bool keyboard_event(struct keyboard *k, const struct key *key, bool press);
/* All keys go down in order, and up again. */
bool keyboard_chord(struct keyboard *k, const struct key *const *keys, unsigned count);
unsigned keyboard_room(const struct keyboard *k);

#endif
