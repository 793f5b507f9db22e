#include "backend/keyboard.h"

/* As a typist's: BIOSes and boot loaders keep few keys, and look at them not so often. */
#define PACE_NS	      INT64_C(20000000)
#define REFUSALS_MAX  500 /* ten seconds: the guest does not read its keyboard */

static void arm(struct keyboard *k)
{
	timer_arm(&k->timer, clock_now(&k->loop->clock) + PACE_NS);
}

static void send_next(void *opaque)
{
	struct keyboard *k = opaque;
	const struct keyboard_event *e = &k->queue[k->head];
	uint8_t bytes[KEY_BYTES_MAX];
	unsigned len;

	if (!k->count)
		return;
	len = key_bytes(e->key, e->press, bytes);
	if (k->inject(k->opaque, bytes, len)) {
		k->head = (k->head + 1) % KEYBOARD_QUEUE;
		k->count--;
		k->refused = 0;
	} else if (++k->refused == REFUSALS_MAX) {
		k->count = k->refused = 0;
	}
	if (k->count)
		arm(k);
}

bool keyboard_event(struct keyboard *k, const struct key *key, bool press)
{
	if (k->count == KEYBOARD_QUEUE)
		return false;
	k->queue[(k->head + k->count) % KEYBOARD_QUEUE] = (struct keyboard_event){ key, press };
	if (!k->count++)
		arm(k);
	return true;
}

unsigned keyboard_room(const struct keyboard *k)
{
	return KEYBOARD_QUEUE - k->count;
}

bool keyboard_chord(struct keyboard *k, const struct key *const *keys, unsigned count)
{
	if (keyboard_room(k) < 2 * count)
		return false;
	for (unsigned n = 0; n < count; n++)
		keyboard_event(k, keys[n], true);
	while (count--)
		keyboard_event(k, keys[count], false);
	return true;
}

void keyboard_init(struct keyboard *k, struct event_loop *loop,
		   bool (*inject)(void *opaque, const uint8_t *bytes, size_t len), void *opaque)
{
	k->inject = inject;
	k->opaque = opaque;
	k->loop = loop;
	k->head = k->count = k->refused = 0;
	timer_init(&k->timer, loop, send_next, k);
}

void keyboard_fini(struct keyboard *k)
{
	timer_cancel(&k->timer);
}
