#include "dev/virtio/console.h"

#include <errno.h>
#include <string.h>
#include <linux/virtio_ids.h>

#include "base/bug.h"

/* §5.3.2: queues. */
#define CONTROL_RX     2 /* to the guest */
#define CONTROL_TX     3
#define IS_TX(queue)   ((queue)&1)
#define RX_QUEUE(port) ((port) == 0 ? 0 : 2 * (port) + 2)
#define TX_QUEUE(port) (RX_QUEUE(port) + 1)

/* struct console_port.pending, in the order in which the messages must go out (§5.3.6.2). */
enum {
	PENDING_ADD = 1 << 0,
	PENDING_CONSOLE = 1 << 1,
	PENDING_NAME = 1 << 2,
	PENDING_OPEN = 1 << 3,
	PENDING_CLOSE = 1 << 4,
	PENDING_RESIZE = 1 << 5,
};

#define MESSAGE_MAX 64 /* bytes: header and name */

static bool multiport(const struct virtio_console *con)
{
	return virtio_has(&con->virtio, VIRTIO_CONSOLE_F_MULTIPORT);
}

/* Messages to the guest. They are state, one bit each, so that a guest cannot pile them up. */

static size_t resize_message(const struct virtio_console *con, uint8_t *body)
{
	memcpy(body, &con->config.cols, 2);
	memcpy(body + 2, &con->config.rows, 2);
	return 4;
}

static size_t name_message(const struct console_port *p, uint8_t *body)
{
	size_t len = strnlen(p->name, MESSAGE_MAX - sizeof(struct virtio_console_control));

	memcpy(body, p->name, len);
	return len;
}

static size_t make_message(const struct console_port *p, unsigned bit, uint8_t buf[MESSAGE_MAX])
{
	struct virtio_console_control c = {.id = htole32(p->number)};
	uint8_t *body = buf + sizeof(c);
	uint16_t event = 0, value = 0;
	size_t len = 0;

	switch (bit) {
	case PENDING_ADD:
		event = VIRTIO_CONSOLE_PORT_ADD;
		break;
	case PENDING_CONSOLE:
		event = VIRTIO_CONSOLE_CONSOLE_PORT;
		value = 1;
		break;
	case PENDING_NAME:
		event = VIRTIO_CONSOLE_PORT_NAME;
		value = 1;
		len = name_message(p, body);
		break;
	case PENDING_OPEN:
		event = VIRTIO_CONSOLE_PORT_OPEN;
		value = 1;
		break;
	case PENDING_CLOSE:
		event = VIRTIO_CONSOLE_PORT_OPEN;
		break;
	case PENDING_RESIZE:
		event = VIRTIO_CONSOLE_RESIZE;
		len = resize_message(p->console, body);
		break;
	}
	c.event = htole16(event);
	c.value = htole16(value);
	memcpy(buf, &c, sizeof(c));
	return sizeof(c) + len;
}

static bool send_message(struct console_port *p, unsigned bit)
{
	struct virtio_device *dev = &p->console->virtio;
	uint8_t buf[MESSAGE_MAX];
	struct vq_chain chain;
	size_t len;

	if (virtio_pop(dev, CONTROL_RX, &chain) != VQ_CHAIN)
		return false;
	len = make_message(p, bit, buf);
	len = vq_chain_write(&chain, 0, buf, len);
	virtio_push(dev, CONTROL_RX, &chain, (uint32_t)len);
	p->pending &= (uint8_t)~bit;
	return true;
}

static void control_rx(struct virtio_console *con)
{
	bool more = multiport(con);

	for (unsigned k = 0; more && k < con->ports; k++)
		for (unsigned bit = PENDING_ADD; more && bit <= PENDING_RESIZE; bit <<= 1)
			if (con->port[k].pending & bit)
				more = send_message(&con->port[k], bit);
	virtio_signal(&con->virtio, CONTROL_RX);
}

static void post(struct console_port *p, unsigned bits)
{
	p->pending |= (uint8_t)bits;
	virtio_run_queue(&p->console->virtio, CONTROL_RX);
}

static void set_host_open(struct console_port *p, bool open)
{
	p->close_wanted = false;
	if (p->host_open == open)
		return;
	p->host_open = open;
	if (open)
		p->pending &= (uint8_t)~PENDING_CLOSE;
	post(p, open ? PENDING_OPEN : PENDING_CLOSE);
}

/* Input, towards the guest. */

static void close_if_delivered(struct console_port *p)
{
	if (p->close_wanted && p->guest_open && !p->input_len)
		set_host_open(p, false);
}

/* Moves input from the ring into one buffer of the guest. */
static void fill_buffer(struct console_port *p, const struct vq_chain *chain)
{
	unsigned tail = (unsigned)LM_MIN(p->input_len, CONSOLE_INPUT_SIZE - p->input_head);
	size_t done = vq_chain_write(chain, 0, p->input + p->input_head, tail);

	if (done == tail)
		done += vq_chain_write(chain, done, p->input, p->input_len - tail);
	p->input_head = (p->input_head + (unsigned)done) % CONSOLE_INPUT_SIZE;
	p->input_len -= (unsigned)done;
	virtio_push(&p->console->virtio, RX_QUEUE(p->number), chain, (uint32_t)done);
}

static void port_rx(struct console_port *p)
{
	struct virtio_device *dev = &p->console->virtio;
	unsigned queue = RX_QUEUE(p->number);
	struct vq_chain chain;
	unsigned before = p->input_len;

	if (!p->guest_open)
		return;
	while (p->input_len && virtio_pop(dev, queue, &chain) == VQ_CHAIN)
		fill_buffer(p, &chain);
	virtio_signal(dev, queue);
	if (p->input_len < before)
		chardev_accept_input(p->chr);
	close_if_delivered(p);
}

static size_t port_can_receive(void *opaque)
{
	const struct console_port *p = opaque;

	return CONSOLE_INPUT_SIZE - p->input_len;
}

static void port_receive(void *opaque, const uint8_t *bytes, size_t len)
{
	struct console_port *p = opaque;

	LM_BUG_ON(len > CONSOLE_INPUT_SIZE - p->input_len);
	for (size_t k = 0; k < len; k++)
		p->input[(p->input_head + p->input_len++) % CONSOLE_INPUT_SIZE] = bytes[k];
	virtio_run_queue(&p->console->virtio, RX_QUEUE(p->number));
}

/* Output, from the guest. */

/* Writes what is left of the held buffer; whether all of it went. */
static bool write_held(struct console_port *p)
{
	uint64_t skip = p->output_done;

	for (unsigned k = 0; k < p->output.readable; k++) {
		const struct iovec *v = &p->output.iov[k];
		size_t wanted, taken;

		if (skip >= v->iov_len) {
			skip -= v->iov_len;
			continue;
		}
		wanted = v->iov_len - skip;
		taken = chardev_write(p->chr, (const uint8_t *)v->iov_base + skip, wanted);
		p->output_done += taken;
		if (taken < wanted)
			return false;
		skip = 0;
	}
	return true;
}

static void port_tx(struct console_port *p)
{
	struct virtio_device *dev = &p->console->virtio;
	unsigned queue = TX_QUEUE(p->number);

	if (p->writing)
		return;
	p->writing = true;
	while (p->output_held || virtio_pop(dev, queue, &p->output) == VQ_CHAIN) {
		if (!p->output_held)
			p->output_done = 0;
		p->output_held = !write_held(p);
		if (p->output_held)
			break;
		virtio_push(dev, queue, &p->output, 0);
	}
	p->writing = false;
	virtio_signal(dev, queue);
}

static void port_writable(void *opaque)
{
	struct console_port *p = opaque;

	virtio_run_queue(&p->console->virtio, TX_QUEUE(p->number));
}

bool virtio_console_flush(struct virtio_console *con, unsigned port)
{
	struct console_port *p = &con->port[port];

	virtio_run_queue(&con->virtio, TX_QUEUE(port));
	return !p->output_held && vq_is_empty(&con->virtio.queue[TX_QUEUE(port)]);
}

/* The backend's events. */

static void update_size(struct virtio_console *con)
{
	uint16_t cols, rows;

	if (!chardev_size(con->port[0].chr, &cols, &rows))
		return;
	con->config.cols = htole16(cols);
	con->config.rows = htole16(rows);
}

static void port_event(void *opaque, enum chardev_event event)
{
	struct console_port *p = opaque;
	struct virtio_console *con = p->console;

	switch (event) {
	case CHARDEV_OPENED:
		set_host_open(p, true);
		break;
	case CHARDEV_INPUT_END:
		p->close_wanted = p->number != 0;
		close_if_delivered(p);
		break;
	case CHARDEV_OUTPUT_GONE:
		port_writable(p);
		if (p->number != 0 && p->guest_open)
			set_host_open(p, false);
		else
			p->close_wanted = p->number != 0;
		break;
	case CHARDEV_RESIZED:
		if (p->number != 0)
			break;
		update_size(con);
		virtio_config_changed(&con->virtio);
		if (con->send_resize)
			post(p, PENDING_RESIZE);
		break;
	case CHARDEV_BREAK: /* a virtio console has none */
		break;
	}
}

static const struct chardev_user port_user = {
    .can_receive = port_can_receive,
    .receive = port_receive,
    .writable = port_writable,
    .event = port_event,
};

/* Messages from the guest (§5.3.6.2). */

static void port_ready(struct console_port *p)
{
	struct virtio_console *con = p->console;
	unsigned bits = 0;

	if (p->number == 0)
		bits |= PENDING_CONSOLE;
	else if (*p->name)
		bits |= PENDING_NAME;
	if (p->number == 0 && con->send_resize && con->config.cols)
		bits |= PENDING_RESIZE;
	if (p->host_open)
		bits |= PENDING_OPEN;
	post(p, bits);
}

static void guest_opened(struct console_port *p, bool open)
{
	if (p->guest_open == open)
		return;
	p->guest_open = open;
	chardev_guest_open(p->chr, open);
	virtio_run_queue(&p->console->virtio, RX_QUEUE(p->number));
	close_if_delivered(p);
}

static void control_message(struct virtio_console *con, const struct virtio_console_control *c)
{
	uint32_t id = le32toh(c->id);
	uint16_t value = le16toh(c->value);
	uint16_t event = le16toh(c->event);

	if (event == VIRTIO_CONSOLE_DEVICE_READY) {
		for (unsigned k = 0; value == 1 && k < con->ports; k++)
			post(&con->port[k], PENDING_ADD);
		return;
	}
	if (id >= con->ports)
		return;
	if (event == VIRTIO_CONSOLE_PORT_READY && value == 1)
		port_ready(&con->port[id]);
	else if (event == VIRTIO_CONSOLE_PORT_OPEN)
		guest_opened(&con->port[id], value != 0);
}

static void control_tx(struct virtio_console *con)
{
	struct virtio_console_control c;
	struct vq_chain chain;

	while (virtio_pop(&con->virtio, CONTROL_TX, &chain) == VQ_CHAIN) {
		size_t len = vq_chain_read(&chain, 0, &c, sizeof(c));

		virtio_push(&con->virtio, CONTROL_TX, &chain, 0);
		if (len == sizeof(c) && multiport(con))
			control_message(con, &c);
	}
	virtio_signal(&con->virtio, CONTROL_TX);
}

/* The device. */

static void console_notify(struct virtio_device *dev, unsigned queue)
{
	struct virtio_console *con = LM_CONTAINER_OF(dev, struct virtio_console, virtio);
	unsigned port = queue < CONTROL_RX ? 0 : (queue - CONTROL_RX) / 2;

	if (queue == CONTROL_RX)
		control_rx(con);
	else if (queue == CONTROL_TX)
		control_tx(con);
	else if (IS_TX(queue))
		port_tx(&con->port[port]);
	else
		port_rx(&con->port[port]);
}

/* Without MULTIPORT nobody says that port 0 is open. */
static void console_started(struct virtio_device *dev)
{
	struct virtio_console *con = LM_CONTAINER_OF(dev, struct virtio_console, virtio);

	if (!multiport(con))
		guest_opened(&con->port[0], true);
}

static void console_reset(struct virtio_device *dev)
{
	struct virtio_console *con = LM_CONTAINER_OF(dev, struct virtio_console, virtio);

	for (unsigned k = 0; k < con->ports; k++) {
		struct console_port *p = &con->port[k];

		p->pending = 0;
		p->output_held = false;
		guest_opened(p, false);
	}
}

/* §5.3.4: a character from a driver that has no queues yet. */
static void console_config_written(struct virtio_device *dev, unsigned offset, uint32_t value,
				   unsigned size)
{
	struct virtio_console *con = LM_CONTAINER_OF(dev, struct virtio_console, virtio);
	uint8_t c = (uint8_t)value;

	if (offset == offsetof(struct virtio_console_config, emerg_wr))
		chardev_write(con->port[0].chr, &c, 1);
}

/* Saved state. */

static const struct field port_fields[] = {
	FIELD(struct console_port, guest_open, NULL),
	FIELD(struct console_port, host_open, NULL),
	FIELD(struct console_port, close_wanted, NULL),
	FIELD(struct console_port, pending, NULL),
	FIELD(struct console_port, output_held, NULL),
	FIELD(struct console_port, output_done, "bytes"),
	FIELD_STRUCT(struct console_port, output, vq_chain_fields),
	FIELD(struct console_port, input_head, "", .max = CONSOLE_INPUT_SIZE - 1),
	FIELD(struct console_port, input_len, "bytes", .max = CONSOLE_INPUT_SIZE),
	FIELD_BYTES(struct console_port, input),
	FIELD_NOT_SAVED(struct console_port, console, "wiring"),
	FIELD_NOT_SAVED(struct console_port, number, "configuration"),
	FIELD_NOT_SAVED(struct console_port, name, "configuration"),
	FIELD_NOT_SAVED(struct console_port, chr, "wiring"),
	FIELD_NOT_SAVED(struct console_port, writing, "only within a call"),
	FIELD_END,
};

static const struct field config_fields[] = {
	FIELD(struct virtio_console_config, cols, "characters"),
	FIELD(struct virtio_console_config, rows, "characters"),
	FIELD_NOT_SAVED(struct virtio_console_config, max_nr_ports, "configuration"),
	FIELD_NOT_SAVED(struct virtio_console_config, emerg_wr, "write only"),
	FIELD_END,
};

static const struct field console_fields[] = {
	FIELD_STRUCT(struct virtio_console, virtio, virtio_device_fields),
	FIELD_STRUCT(struct virtio_console, config, config_fields),
	FIELD_STRUCTS(struct virtio_console, port, port_fields,
		      FIELD_CONFIGURED(struct virtio_console, ports)),
	FIELD_NOT_SAVED(struct virtio_console, send_resize, "configuration"),
	FIELD_NOT_SAVED(struct virtio_console, ports, "configuration"),
	FIELD_END,
};

/* What the driver has made of its descriptors since is its own affair. */
static void find_held_output(struct console_port *p)
{
	struct virtio_device *dev = &p->console->virtio;

	if (!p->output_held || vq_chain_find(&dev->queue[TX_QUEUE(p->number)], &p->output))
		return;
	p->output_held = false;
	virtio_broken(dev, "changed a descriptor chain that the device holds");
}

static int check_port(const struct console_port *p, struct lm_err *err)
{
	if (p->pending >= PENDING_RESIZE << 1)
		return lm_err_set(err, -EINVAL, "port %u: pending: 0x%x is no set of messages",
				  p->number, p->pending);
	return 0;
}

static int console_loaded(void *object, struct lm_err *err)
{
	struct virtio_console *con = object;
	int rc = virtio_loaded(&con->virtio, err);

	for (unsigned k = 0; !rc && k < con->ports; k++)
		rc = check_port(&con->port[k], err);
	return rc;
}

/* The backends are others than those of before: another terminal, maybe, another reader. */
static void console_restored(void *object)
{
	struct virtio_console *con = object;

	for (unsigned k = 0; k < con->ports; k++) {
		struct console_port *p = &con->port[k];

		find_held_output(p);
		if (p->guest_open)
			chardev_guest_open(p->chr, true);
		chardev_accept_input(p->chr);
		virtio_run_queue(&con->virtio, TX_QUEUE(k));
	}
	if (virtio_is_live(&con->virtio))
		port_event(&con->port[0], CHARDEV_RESIZED);
}

const struct fields_section virtio_console_section = {
	.name = "virtio-console",
	.version = 1,
	.table = console_fields,
	.post_load = console_loaded,
	.restored = console_restored,
};

static const struct virtio_ops console_ops = {
    .name = "virtio-console",
    .id = VIRTIO_ID_CONSOLE,
    .class_code = 0x078000,
    .notify = console_notify,
    .started = console_started,
    .reset = console_reset,
    .config_written = console_config_written,
    .section = &virtio_console_section,
};

void virtio_console_init(struct virtio_console *con, const struct console_port_setup *setup,
			 unsigned count, struct ram *ram, struct event_loop *loop)
{
	struct virtio_setup virtio = {
	    .ops = &console_ops,
	    .features = LM_BIT(VIRTIO_CONSOLE_F_SIZE) | LM_BIT(VIRTIO_CONSOLE_F_MULTIPORT) |
			LM_BIT(VIRTIO_CONSOLE_F_EMERG_WRITE),
	    .queues = 2 * (count + 1),
	    .queue_size = CONSOLE_QUEUE_SIZE,
	    .config = &con->config,
	    .config_size = sizeof(con->config),
	};

	LM_BUG_ON(!count || count > CONSOLE_MAX_PORTS);
	memset(con, 0, sizeof(*con));
	con->ports = count;
	con->config.max_nr_ports = htole32(count);
	virtio_device_init(&con->virtio, &virtio, ram, loop);
	for (unsigned k = 0; k < count; k++) {
		struct console_port *p = &con->port[k];

		p->console = con;
		p->number = k;
		p->name = setup[k].name ? setup[k].name : "";
		p->chr = setup[k].chr;
		p->host_open = true;
		p->close_wanted = k && p->chr && (p->chr->input_ended || p->chr->output_gone);
		chardev_attach(p->chr, &port_user, p);
	}
	update_size(con);
}

void virtio_console_fini(struct virtio_console *con)
{
	for (unsigned k = 0; k < con->ports; k++)
		chardev_attach(con->port[k].chr, NULL, NULL);
	virtio_device_fini(&con->virtio);
}
