/* One terminal, two devices: who gets the input, and the serial port's part in it. */
#include "backend/char_mux.h"
#include "base/bits.h"
#include "dev/chipset/uart.h"
#include "check.h"

#define IER    0x3f9
#define RBR    0x3f8
#define IER_RX 1

struct terminal {
	struct chardev chr;
	unsigned written, accepts;
};

static size_t terminal_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	LM_CONTAINER_OF(chr, struct terminal, chr)->written += (unsigned)len;
	return len;
}

static void terminal_accept(struct chardev *chr)
{
	LM_CONTAINER_OF(chr, struct terminal, chr)->accepts++;
}

static const struct chardev_ops terminal_ops = {
    .write = terminal_write,
    .accept_input = terminal_accept,
};

static unsigned virtio_received, virtio_ends;

static size_t virtio_can_receive(void *opaque)
{
	return 100;
}

static void virtio_receive(void *opaque, const uint8_t *bytes, size_t len)
{
	virtio_received += (unsigned)len;
}

static void virtio_event(void *opaque, enum chardev_event event)
{
	virtio_ends += event == CHARDEV_INPUT_END;
}

static const struct chardev_user virtio_user = {
    .can_receive = virtio_can_receive,
    .receive = virtio_receive,
    .event = virtio_event,
};

struct fixture {
	struct terminal terminal;
	struct char_mux *mux;
	struct bus port;
	struct uart uart;
};

static void setup(struct fixture *f)
{
	*f = (struct fixture){.terminal.chr.ops = &terminal_ops};
	virtio_received = virtio_ends = 0;
	CHECK_EQ(char_mux_open(&f->mux, &f->terminal.chr, NULL), 0);
	CHECK_EQ(uart_init(&f->uart, "COM1", RBR, &f->port, (struct irq_line){0},
			   char_mux_front(f->mux, 0), NULL),
		 0);
	chardev_attach(char_mux_front(f->mux, 1), &virtio_user, NULL);
}

/* Whether a typed key arrives at the serial port. */
static bool key_to_serial(struct fixture *f)
{
	unsigned before = virtio_received;

	chardev_receive(&f->terminal.chr, (const uint8_t *)"k", 1);
	return bus_read(&f->port, RBR, 1) == 'k' && virtio_received == before;
}

static void test_focus(void)
{
	struct fixture f;
	struct chardev *virtio;

	setup(&f);
	virtio = char_mux_front(f.mux, 1);
	CHECK(key_to_serial(&f)); /* firmware polls */
	chardev_guest_open(virtio, true);
	CHECK(!key_to_serial(&f));
	CHECK_EQ(virtio_received, 1);
	bus_write(&f.port, IER, IER_RX, 1); /* a shell on the serial port */
	CHECK(key_to_serial(&f));
	chardev_guest_open(virtio, false);
	chardev_guest_open(virtio, true); /* found again: no reason to move */
	CHECK(key_to_serial(&f));
	bus_write(&f.port, IER, 0, 1);
	CHECK(!key_to_serial(&f));
	bus_write(&f.port, IER, IER_RX, 1);
	uart_reset(&f.uart);
	CHECK(!key_to_serial(&f));
	char_mux_close(f.mux);
}

static void test_both(void)
{
	struct fixture f;
	unsigned accepts;

	setup(&f);
	chardev_write(char_mux_front(f.mux, 0), (const uint8_t *)"ab", 2);
	chardev_write(char_mux_front(f.mux, 1), (const uint8_t *)"cd", 2);
	CHECK_EQ(f.terminal.written, 4);
	chardev_send_event(&f.terminal.chr, CHARDEV_INPUT_END);
	CHECK_EQ(virtio_ends, 1);
	accepts = f.terminal.accepts;
	chardev_accept_input(char_mux_front(f.mux, 1)); /* not its turn */
	CHECK_EQ(f.terminal.accepts, accepts);
	chardev_accept_input(char_mux_front(f.mux, 0));
	CHECK_EQ(f.terminal.accepts, accepts + 1);
	char_mux_close(f.mux);
}

int main(void)
{
	test_focus();
	test_both();
	return check_done();
}
