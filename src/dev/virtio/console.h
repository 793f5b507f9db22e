/*
 * virtio-console (virtio 1.2 §5.3) with several ports, each on a character stream (dev/chardev.h).
 *
 * Port 0 is the console (hvc0 in Linux); the others have names (/dev/virtio-ports/NAME) and no
 * terminal. Nothing is lost: output that the backend does not take stays in the guest's buffer and
 * stops that port's queue; input that the guest gives no buffer for waits in the port, and when
 * that is full, in the backend.
 *
 * When the backend of a named port ends its input or loses its reader, the guest sees the port
 * closed (PORT_OPEN=0), after all input has been put into its buffers. The console stays open.
 *
 * A driver without MULTIPORT gets port 0 only.
 */
#ifndef LM_DEV_VIRTIO_CONSOLE_H
#define LM_DEV_VIRTIO_CONSOLE_H

#include <linux/virtio_console.h>

#include "dev/chardev.h"
#include "dev/virtio/virtio.h"

#define CONSOLE_MAX_PORTS  8
#define CONSOLE_QUEUE_SIZE 64
#define CONSOLE_INPUT_SIZE 4096

struct console_port_setup {
	const char *name;    /* of a named port; ignored for port 0 */
	struct chardev *chr; /* not owned; NULL: output is dropped, no input */
};

struct console_port {
	struct virtio_console *console;
	unsigned number;
	const char *name;
	struct chardev *chr;
	bool guest_open;   /* the guest's end; input is delivered only then */
	bool host_open;	   /* what the guest has been or is about to be told of ours */
	bool close_wanted; /* tell it, once all input is delivered */
	uint8_t pending;   /* control messages that wait for a buffer, a bit each */
	bool output_held;  /* `output` is being written, from byte output_done on */
	bool writing;	   /* the backend may call back from within its write */
	uint64_t output_done;
	struct vq_chain output;
	unsigned input_head, input_len; /* ring in input */
	uint8_t input[CONSOLE_INPUT_SIZE];
};

struct virtio_console {
	struct virtio_device virtio;
	struct virtio_console_config config;
	/*
	 * RESIZE messages. Off by default: Linux before 6.15 takes their two numbers in the wrong
	 * order, and a guest cannot be asked which it does.
	 */
	bool send_resize;
	unsigned ports;
	struct console_port port[CONSOLE_MAX_PORTS];
};

/* Port k is setup[k]; count from 1 to CONSOLE_MAX_PORTS. */
void virtio_console_init(struct virtio_console *con, const struct console_port_setup *setup,
			 unsigned count, struct ram *ram, struct event_loop *loop);
void virtio_console_fini(struct virtio_console *con);
/* Takes what the guest has made available on a port; false where some of it is still there. */
bool virtio_console_flush(struct virtio_console *con, unsigned port);

extern const struct fields_section virtio_console_section;

#endif
