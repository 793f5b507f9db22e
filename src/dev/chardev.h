/*
 * Character streams: the joint between a device (UART, virtio-console port) and what stands behind
 * it (terminal, pipe, the command protocol).
 *
 * A backend is a struct chardev; the device attaches itself as its user. Neither side blocks:
 * - towards the host: the device calls chardev_write, which takes as many bytes as there is room
 *   for; after a short write the backend calls `writable` once there is room again;
 * - towards the guest: the backend asks can_receive and then calls receive with at most that many
 *   bytes; a device that has room again says chardev_accept_input.
 *
 * Everything under the device lock (event/loop.h). Callbacks may re-enter the other side. A device
 * without a backend has a NULL chardev, for which the calls below are harmless.
 */
#ifndef LM_DEV_CHARDEV_H
#define LM_DEV_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chardev_event {
	CHARDEV_OPENED,	     /* somebody is there, both directions work (again) */
	CHARDEV_INPUT_END,   /* end of file: everything has been given to receive, no more comes */
	CHARDEV_OUTPUT_GONE, /* nobody reads: writes are accepted and dropped from now on */
	CHARDEV_RESIZED,     /* ask chardev_size */
	CHARDEV_BREAK,	     /* serial break (SysRq) */
};

/* The device's side. Every member may be NULL. */
struct chardev_user {
	size_t (*can_receive)(void *opaque); /* bytes that receive would take now */
	void (*receive)(void *opaque, const uint8_t *bytes, size_t len);
	void (*writable)(void *opaque);
	void (*event)(void *opaque, enum chardev_event event);
};

struct chardev;

/* The backend's side. Only write is mandatory. */
struct chardev_ops {
	size_t (*write)(struct chardev *chr, const uint8_t *bytes, size_t len);
	/* May deliver at once a bounded amount; an endless source waits for the event loop. */
	void (*accept_input)(struct chardev *chr);
	/* The guest opened or closed its end (virtio-console PORT_OPEN). */
	void (*guest_open)(struct chardev *chr, bool open);
	/* Terminal size in characters; false where there is no terminal. */
	bool (*size)(struct chardev *chr, uint16_t *cols, uint16_t *rows);
};

struct chardev {
	const struct chardev_ops *ops;
	const struct chardev_user *user; /* NULL while no device is attached */
	void *opaque;			 /* the user's */
	bool input_ended, output_gone;	 /* kept by chardev_send_event */
};

/* One user at a time; NULL detaches. */
static inline void chardev_attach(struct chardev *chr, const struct chardev_user *user,
				  void *opaque)
{
	if (!chr)
		return;
	chr->user = user;
	chr->opaque = opaque;
	if (user && chr->ops->accept_input)
		chr->ops->accept_input(chr);
}

/* Device to backend: the number of bytes taken, at most len. Without a backend all are dropped. */
static inline size_t chardev_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	return chr && !chr->output_gone ? chr->ops->write(chr, bytes, len) : len;
}

static inline void chardev_accept_input(struct chardev *chr)
{
	if (chr && chr->ops->accept_input)
		chr->ops->accept_input(chr);
}

static inline void chardev_guest_open(struct chardev *chr, bool open)
{
	if (chr && chr->ops->guest_open)
		chr->ops->guest_open(chr, open);
}

static inline bool chardev_size(struct chardev *chr, uint16_t *cols, uint16_t *rows)
{
	return chr && chr->ops->size && chr->ops->size(chr, cols, rows);
}

/* Backend to device. */
static inline size_t chardev_can_receive(struct chardev *chr)
{
	if (!chr->user || !chr->user->can_receive || !chr->user->receive)
		return 0;
	return chr->user->can_receive(chr->opaque);
}

static inline void chardev_receive(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	chr->user->receive(chr->opaque, bytes, len);
}

static inline void chardev_writable(struct chardev *chr)
{
	if (chr->user && chr->user->writable)
		chr->user->writable(chr->opaque);
}

static inline void chardev_send_event(struct chardev *chr, enum chardev_event event)
{
	if (event == CHARDEV_OPENED)
		chr->input_ended = chr->output_gone = false;
	if (event == CHARDEV_INPUT_END)
		chr->input_ended = true;
	if (event == CHARDEV_OUTPUT_GONE)
		chr->output_gone = true;
	if (chr->user && chr->user->event)
		chr->user->event(chr->opaque, event);
}

#endif
