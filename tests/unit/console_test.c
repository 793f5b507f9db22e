/* virtio-console: handshake, ports, both flow controls, end of input, hostile control messages. */
#include "dev/virtio/console.h"
#include "virtio_driver.h"

#define WRITE	VRING_DESC_F_WRITE
#define QSIZE	64
#define MULTI	LM_BIT(VIRTIO_CONSOLE_F_MULTIPORT)
#define BUF(q)	(DRV_DATA + (q)*0x10000u) /* 64 buffers of 1 KiB for each queue */
#define PORT_RX 4			  /* port 1 */
#define PORT_TX 5

/* A backend that keeps what it is given and takes as much as the test allows. */
struct backend {
	struct chardev chr;
	uint8_t out[8192];
	size_t out_len, room;
	unsigned accepts;
	bool guest_open;
	uint16_t cols, rows;
};

static size_t backend_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	struct backend *b = LM_CONTAINER_OF(chr, struct backend, chr);
	size_t n = LM_MIN(LM_MIN(len, b->room), sizeof(b->out) - b->out_len);

	memcpy(b->out + b->out_len, bytes, n);
	b->out_len += n;
	b->room -= n;
	return n;
}

static void backend_accept(struct chardev *chr)
{
	LM_CONTAINER_OF(chr, struct backend, chr)->accepts++;
}

static void backend_guest_open(struct chardev *chr, bool open)
{
	LM_CONTAINER_OF(chr, struct backend, chr)->guest_open = open;
}

static bool backend_size(struct chardev *chr, uint16_t *cols, uint16_t *rows)
{
	struct backend *b = LM_CONTAINER_OF(chr, struct backend, chr);

	*cols = b->cols;
	*rows = b->rows;
	return b->cols != 0;
}

static const struct chardev_ops backend_ops = {
    .write = backend_write,
    .accept_input = backend_accept,
    .guest_open = backend_guest_open,
    .size = backend_size,
};

struct fixture {
	struct driver d;
	struct virtio_console con;
	struct backend tty, named;
};

static void setup(struct fixture *f)
{
	struct console_port_setup ports[] = {
	    {NULL, &f->tty.chr},
	    {"lamina.ctl", &f->named.chr},
	    {"nobody", NULL},
	};

	memset(f, 0, sizeof(*f));
	f->tty = (struct backend){.chr.ops = &backend_ops, .room = 4096, .cols = 80, .rows = 25};
	f->named = (struct backend){.chr.ops = &backend_ops, .room = 4096};
	drv_init(&f->d, true);
	virtio_console_init(&f->con, ports, 3, &f->d.ram, &f->d.loop);
	drv_attach(&f->d, &f->con.virtio);
}

static void teardown(struct fixture *f)
{
	virtio_console_fini(&f->con);
	drv_fini(&f->d);
}

/* Offers buffer n of a receive queue. */
static void offer_rx(struct fixture *f, unsigned q, unsigned n, uint32_t len)
{
	drv_desc(&f->d, q, n, BUF(q) + n * 1024, len, WRITE, 0);
	drv_offer(&f->d, q, (uint16_t)n);
}

/* The next filled buffer as text; "" for an empty one, NULL where there is none. */
static const char *received(struct fixture *f, unsigned q, uint32_t *len)
{
	uint32_t id;
	char *text;

	if (!drv_used(&f->d, q, &id, len))
		return NULL;
	text = (char *)drv_ptr(&f->d, BUF(q) + id * 1024);
	text[*len] = 0;
	return text;
}

static bool got(struct fixture *f, unsigned q, const char *want)
{
	uint32_t len;
	const char *text = received(f, q, &len);

	if (text && !strcmp(text, want))
		return true;
	fprintf(stderr, "queue %u: got %s, not %s\n", q, text ? text : "nothing", want);
	return false;
}

static bool got_nothing(struct fixture *f, unsigned q)
{
	uint32_t len;

	return !received(f, q, &len);
}

static void send(struct fixture *f, unsigned q, const void *bytes, uint32_t len)
{
	uint32_t id, used;

	memcpy(drv_ptr(&f->d, BUF(q)), bytes, len);
	drv_desc(&f->d, q, 0, BUF(q), len, 0, 0);
	drv_offer(&f->d, q, 0);
	drv_kick(&f->d, q);
	while (drv_used(&f->d, q, &id, &used))
		;
}

static void send_control(struct fixture *f, uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control c = {id, event, value};

	send(f, 3, &c, sizeof(c));
}

static bool got_control(struct fixture *f, uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control c;
	uint32_t len;
	const char *text = received(f, 2, &len);

	if (!text || len < sizeof(c))
		return false;
	memcpy(&c, text, sizeof(c));
	if (c.id == id && c.event == event && c.value == value)
		return true;
	fprintf(stderr, "control: port %u event %u value %u\n", c.id, c.event, c.value);
	return false;
}

static void start(struct fixture *f)
{
	drv_start(&f->d, MULTI, 8, QSIZE);
	for (unsigned k = 0; k < 32; k++)
		offer_rx(f, 2, k, 128);
	drv_kick(&f->d, 2);
}

/* Everything up to an open port 1, with the control messages of it taken away. */
static void open_port1(struct fixture *f)
{
	uint32_t len;

	start(f);
	send_control(f, ~0u, VIRTIO_CONSOLE_DEVICE_READY, 1);
	send_control(f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	send_control(f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	while (received(f, 2, &len))
		;
}

static void test_handshake(void)
{
	struct fixture f;
	uint32_t len;
	const char *text;

	setup(&f);
	CHECK_EQ(bus_read(&f.d.mmio, DRV_CONFIG, 4), 25 << 16 | 80);
	CHECK_EQ(bus_read(&f.d.mmio, DRV_CONFIG + 4, 4), 3);
	start(&f);
	send_control(&f, ~0u, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (unsigned k = 0; k < 3; k++)
		CHECK(got_control(&f, k, VIRTIO_CONSOLE_PORT_ADD, 0));
	CHECK(got_nothing(&f, 2));
	send_control(&f, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	CHECK(got_control(&f, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1));
	CHECK(got_control(&f, 0, VIRTIO_CONSOLE_PORT_OPEN, 1));
	CHECK(got_nothing(&f, 2));
	send_control(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	text = received(&f, 2, &len);
	CHECK(text && len == 18 && !memcmp(text + 8, "lamina.ctl", 10));
	CHECK(got_control(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1));
	CHECK(!f.named.guest_open);
	send_control(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	CHECK(f.named.guest_open);
	CHECK(!f.tty.guest_open);
	teardown(&f);
}

/* Without buffers the messages wait, are not repeated, and keep their order. */
static void test_control_without_buffers(void)
{
	struct fixture f;

	setup(&f);
	drv_start(&f.d, MULTI, 8, QSIZE);
	for (unsigned k = 0; k < 1000; k++) {
		send_control(&f, ~0u, VIRTIO_CONSOLE_DEVICE_READY, 1);
		send_control(&f, 0, VIRTIO_CONSOLE_PORT_READY, 1);
		f.d.loop.clock.virtual_ns++;
		loop_run_timers(&f.d.loop);
	}
	for (unsigned k = 0; k < 32; k++)
		offer_rx(&f, 2, k, 128);
	drv_kick(&f.d, 2);
	CHECK(got_control(&f, 0, VIRTIO_CONSOLE_PORT_ADD, 0));
	CHECK(got_control(&f, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1));
	CHECK(got_control(&f, 0, VIRTIO_CONSOLE_PORT_OPEN, 1));
	CHECK(got_control(&f, 1, VIRTIO_CONSOLE_PORT_ADD, 0));
	CHECK(got_control(&f, 2, VIRTIO_CONSOLE_PORT_ADD, 0));
	CHECK(got_nothing(&f, 2));
	teardown(&f);
}

static void test_output(void)
{
	struct fixture f;

	setup(&f);
	open_port1(&f);
	send(&f, 1, "console", 7);
	send(&f, PORT_TX, "named", 5);
	send(&f, 7, "dropped", 7); /* a port without backend */
	CHECK(f.tty.out_len == 7 && !memcmp(f.tty.out, "console", 7));
	CHECK(f.named.out_len == 5 && !memcmp(f.named.out, "named", 5));
	CHECK(virtio_console_flush(&f.con, 2));
	bus_write(&f.d.mmio, DRV_CONFIG + 8, '!', 4); /* emergency write */
	CHECK_EQ(f.tty.out[7], '!');
	bus_write(&f.d.mmio, DRV_CONFIG, 1, 2); /* the size is ours */
	CHECK_EQ(bus_read(&f.d.mmio, DRV_CONFIG, 2), 80);
	teardown(&f);
}

/* A backend that is slow: the guest's buffer is kept, nothing is lost, order stays. */
static void test_output_flow(void)
{
	struct fixture f;

	setup(&f);
	open_port1(&f);
	f.named.room = 3;
	send(&f, PORT_TX, "abcdefgh", 8);
	CHECK_EQ(f.named.out_len, 3);
	CHECK(!virtio_console_flush(&f.con, 1));
	drv_desc(&f.d, PORT_TX, 1, BUF(PORT_TX) + 1024, 2, 0, 0);
	memcpy(drv_ptr(&f.d, BUF(PORT_TX) + 1024), "ij", 2);
	drv_offer(&f.d, PORT_TX, 1);
	drv_kick(&f.d, PORT_TX);
	CHECK_EQ(f.named.out_len, 3);
	f.named.room = 4;
	chardev_writable(&f.named.chr);
	CHECK_EQ(f.named.out_len, 7);
	f.named.room = 100;
	chardev_writable(&f.named.chr);
	CHECK(f.named.out_len == 10 && !memcmp(f.named.out, "abcdefghij", 10));
	CHECK(virtio_console_flush(&f.con, 1));
	send(&f, 1, "tty", 3); /* the other port never stopped */
	CHECK_EQ(f.tty.out_len, 3);
	teardown(&f);
}

static void test_output_gone(void)
{
	struct fixture f;

	setup(&f);
	open_port1(&f);
	f.named.room = 3;
	send(&f, PORT_TX, "abcdefgh", 8);
	chardev_send_event(&f.named.chr, CHARDEV_OUTPUT_GONE);
	CHECK(got_control(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0));
	CHECK(virtio_console_flush(&f.con, 1));
	send(&f, PORT_TX, "more", 4);
	CHECK(virtio_console_flush(&f.con, 1));
	CHECK_EQ(f.named.out_len, 3);
	chardev_send_event(&f.tty.chr, CHARDEV_OUTPUT_GONE);
	CHECK(got_nothing(&f, 2)); /* the console stays open */
	chardev_send_event(&f.named.chr, CHARDEV_OPENED);
	CHECK(got_control(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1));
	teardown(&f);
}

static void give(struct backend *b, const char *text)
{
	chardev_receive(&b->chr, (const uint8_t *)text, strlen(text));
}

/* Input waits for the guest to open the port, then for buffers. */
static void test_input(void)
{
	struct fixture f;
	unsigned accepts;

	setup(&f);
	start(&f);
	offer_rx(&f, PORT_RX, 0, 100);
	give(&f.named, "early");
	CHECK(got_nothing(&f, PORT_RX));
	send_control(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	CHECK(got(&f, PORT_RX, "early"));
	accepts = f.named.accepts;
	give(&f.named, "abcdef"); /* no buffer */
	CHECK_EQ(chardev_can_receive(&f.named.chr), CONSOLE_INPUT_SIZE - 6);
	offer_rx(&f, PORT_RX, 1, 4);
	offer_rx(&f, PORT_RX, 2, 4);
	drv_kick(&f.d, PORT_RX);
	CHECK(got(&f, PORT_RX, "abcd"));
	CHECK(got(&f, PORT_RX, "ef"));
	CHECK_EQ(chardev_can_receive(&f.named.chr), CONSOLE_INPUT_SIZE);
	CHECK_EQ(f.named.accepts, accepts + 1);
	teardown(&f);
}

static void test_input_ring_wraps(void)
{
	struct fixture f;
	char line[1001];
	unsigned wrong = 0;

	setup(&f);
	open_port1(&f);
	for (unsigned k = 0; k < 50; k++) {
		memset(line, 'a' + k % 26, 1000);
		line[1000] = 0;
		give(&f.named, line);
		offer_rx(&f, PORT_RX, k, 1001);
		drv_kick(&f.d, PORT_RX);
		wrong += !got(&f, PORT_RX, line);
	}
	CHECK_EQ(wrong, 0);
	for (unsigned k = 0; k < 4; k++)
		give(&f.named, line);
	CHECK_EQ(chardev_can_receive(&f.named.chr), 96);
	teardown(&f);
}

/* End of input: the data first, then PORT_OPEN=0. */
static void test_input_end(void)
{
	struct fixture f;

	setup(&f);
	open_port1(&f);
	give(&f.named, "last");
	chardev_send_event(&f.named.chr, CHARDEV_INPUT_END);
	CHECK(got_nothing(&f, 2));
	offer_rx(&f, PORT_RX, 0, 100);
	drv_kick(&f.d, PORT_RX);
	CHECK(got(&f, PORT_RX, "last"));
	CHECK(got_control(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0));
	send(&f, PORT_TX, "still", 5);
	CHECK_EQ(f.named.out_len, 5);
	send_control(&f, 0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	chardev_send_event(&f.tty.chr, CHARDEV_INPUT_END);
	CHECK(got_nothing(&f, 2));
	teardown(&f);
}

/* Input that ended before the guest came: it is told "open", then "closed". */
static void test_input_ended_early(void)
{
	struct fixture f;
	uint32_t len;

	setup(&f);
	chardev_send_event(&f.named.chr, CHARDEV_INPUT_END);
	start(&f);
	send_control(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	CHECK(received(&f, 2, &len) != NULL); /* name */
	CHECK(got_control(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1));
	CHECK(got_nothing(&f, 2));
	send_control(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	CHECK(got_control(&f, 1, VIRTIO_CONSOLE_PORT_OPEN, 0));
	teardown(&f);
}

static void test_single_port_driver(void)
{
	struct fixture f;

	setup(&f);
	drv_start(&f.d, 0, 2, QSIZE);
	CHECK(f.tty.guest_open);
	offer_rx(&f, 0, 0, 100);
	give(&f.tty, "key");
	CHECK(got(&f, 0, "key"));
	send(&f, 1, "out", 3);
	CHECK_EQ(f.tty.out_len, 3);
	drv_set(&f.d, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	CHECK(!f.tty.guest_open);
	teardown(&f);
}

static void test_resize(void)
{
	struct fixture f;
	uint32_t len;
	const char *text;
	unsigned generation;

	setup(&f);
	open_port1(&f);
	generation = (unsigned)drv_get(&f.d, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	f.tty.cols = 132;
	chardev_send_event(&f.tty.chr, CHARDEV_RESIZED);
	CHECK_EQ(bus_read(&f.d.mmio, DRV_CONFIG, 2), 132);
	CHECK(drv_get(&f.d, VIRTIO_PCI_COMMON_CFGGENERATION, 1) != generation);
	CHECK_EQ(bus_read(&f.d.mmio, DRV_ISR, 1) & VIRTIO_PCI_ISR_CONFIG, VIRTIO_PCI_ISR_CONFIG);
	CHECK(got_nothing(&f, 2));
	f.con.send_resize = true;
	chardev_send_event(&f.tty.chr, CHARDEV_RESIZED);
	text = received(&f, 2, &len);
	CHECK(text && len == 12 && le_load(text + 8, 4) == (25 << 16 | 132));
	teardown(&f);
}

static void test_hostile_control(void)
{
	struct fixture f;

	setup(&f);
	open_port1(&f);
	send_control(&f, 3, VIRTIO_CONSOLE_PORT_READY, 1); /* ports that are none */
	send_control(&f, ~0u, VIRTIO_CONSOLE_PORT_OPEN, 1);
	send_control(&f, 1, 99, 1);
	send(&f, 3, "short", 5);
	CHECK(got_nothing(&f, 2));
	CHECK(!drv_needs_reset(&f.d));
	CHECK_EQ(drv_one(&f.d, 2, DRV_DATA, 16, 0), -1); /* waits: nothing to say */
	send_control(&f, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	CHECK(!drv_needs_reset(&f.d)); /* a message into a buffer without room is lost */
	CHECK_EQ(drv_one(&f.d, PORT_TX, DRV_RAM, 16, 0), -1);
	CHECK(drv_needs_reset(&f.d));
	CHECK(virtio_console_flush(&f.con, 1));
	give(&f.named, "x");
	chardev_send_event(&f.named.chr, CHARDEV_INPUT_END);
	teardown(&f);
}

/* The backend loses its reader in the middle of a write. */
static size_t fail_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	chardev_send_event(chr, CHARDEV_OUTPUT_GONE);
	return 0;
}

static void test_gone_within_write(void)
{
	static const struct chardev_ops fail_ops = {.write = fail_write};
	struct fixture f;
	uint32_t id, len, returned = 0;

	setup(&f);
	open_port1(&f);
	f.d.seen[PORT_TX] = 0;
	f.named.chr.ops = &fail_ops;
	for (unsigned k = 0; k < 5; k++) {
		drv_desc(&f.d, PORT_TX, k, BUF(PORT_TX), 10, 0, 0);
		drv_offer(&f.d, PORT_TX, (uint16_t)k);
	}
	drv_kick(&f.d, PORT_TX);
	CHECK(virtio_console_flush(&f.con, 1));
	while (drv_used(&f.d, PORT_TX, &id, &len))
		returned |= 1u << id;
	CHECK_EQ(returned, 0x1f); /* each once */
	CHECK_EQ(f.con.virtio.queue[PORT_TX].next_used, 5);
	teardown(&f);
}

int main(void)
{
	test_handshake();
	test_control_without_buffers();
	test_output();
	test_output_flow();
	test_output_gone();
	test_input();
	test_input_ring_wraps();
	test_input_end();
	test_input_ended_early();
	test_single_port_driver();
	test_resize();
	test_hostile_control();
	test_gone_within_write();
	return check_done();
}
