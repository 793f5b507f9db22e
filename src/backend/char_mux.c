#include "backend/char_mux.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"

struct front {
	struct chardev chr; /* first: a struct chardev * of ours is a struct front * */
	struct char_mux *mux;
	bool open; /* by the guest */
};

struct char_mux {
	struct chardev *back;
	struct front front[CHAR_MUX_FRONTS];
};

static struct char_mux *mux_of(struct chardev *chr)
{
	return LM_CONTAINER_OF(chr, struct front, chr)->mux;
}

/* Who gets the input. */
static struct chardev *focus(struct char_mux *mux)
{
	for (unsigned k = 0; k < CHAR_MUX_FRONTS; k++)
		if (mux->front[k].open)
			return &mux->front[k].chr;
	return &mux->front[0].chr;
}

/* ---- The devices' side ---- */

static size_t front_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	return chardev_write(mux_of(chr)->back, bytes, len);
}

static void front_accept_input(struct chardev *chr)
{
	struct char_mux *mux = mux_of(chr);

	if (chr == focus(mux))
		chardev_accept_input(mux->back);
}

static void front_guest_open(struct chardev *chr, bool open)
{
	struct char_mux *mux = mux_of(chr);

	LM_CONTAINER_OF(chr, struct front, chr)->open = open;
	chardev_accept_input(mux->back);
}

static bool front_size(struct chardev *chr, uint16_t *cols, uint16_t *rows)
{
	return chardev_size(mux_of(chr)->back, cols, rows);
}

static const struct chardev_ops front_ops = {
    .write = front_write,
    .accept_input = front_accept_input,
    .guest_open = front_guest_open,
    .size = front_size,
};

/* ---- The terminal's side ---- */

static size_t back_can_receive(void *opaque)
{
	struct char_mux *mux = opaque;

	return chardev_can_receive(focus(mux));
}

static void back_receive(void *opaque, const uint8_t *bytes, size_t len)
{
	struct char_mux *mux = opaque;

	chardev_receive(focus(mux), bytes, len);
}

static void back_writable(void *opaque)
{
	struct char_mux *mux = opaque;

	for (unsigned k = 0; k < CHAR_MUX_FRONTS; k++)
		chardev_writable(&mux->front[k].chr);
}

static void back_event(void *opaque, enum chardev_event event)
{
	struct char_mux *mux = opaque;

	for (unsigned k = 0; k < CHAR_MUX_FRONTS; k++)
		chardev_send_event(&mux->front[k].chr, event);
}

static const struct chardev_user back_user = {
    .can_receive = back_can_receive,
    .receive = back_receive,
    .writable = back_writable,
    .event = back_event,
};

int char_mux_open(struct char_mux **out, struct chardev *back, struct lm_err *err)
{
	struct char_mux *mux = calloc(1, sizeof(*mux));

	*out = mux;
	if (!mux)
		return lm_err_set(err, -ENOMEM, "no memory for the console");
	mux->back = back;
	for (unsigned k = 0; k < CHAR_MUX_FRONTS; k++) {
		mux->front[k].chr.ops = &front_ops;
		mux->front[k].mux = mux;
	}
	chardev_attach(back, &back_user, mux);
	return 0;
}

void char_mux_close(struct char_mux *mux)
{
	if (!mux)
		return;
	chardev_attach(mux->back, NULL, NULL);
	free(mux);
}

struct chardev *char_mux_front(struct char_mux *mux, unsigned n)
{
	return &mux->front[n].chr;
}
