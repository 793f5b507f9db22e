/* Keyboard controller: self-test, keyboard commands, translation, interrupts, A20 and reset. */
#include "dev/chipset/i8042.h"
#include "check.h"

static struct bus port;
static struct i8042 kbc;
static unsigned edges, resets;
static bool irq;

static void note_irq(void *opaque, unsigned number, bool up)
{
	edges += up && !irq;
	irq = up;
}

static void note_reset(void *opaque)
{
	resets++;
}

static void start(void)
{
	port = (struct bus){.name = "port"};
	edges = resets = 0;
	irq = false;
	CHECK_EQ(i8042_init(&kbc, &port, (struct irq_line){note_irq, NULL, 1},
			    (struct i8042_reset_line){note_reset, NULL}, NULL),
		 0);
}

static void data(uint8_t v)
{
	bus_write(&port, 0x60, v, 1);
}

static void command(uint8_t v)
{
	bus_write(&port, 0x64, v, 1);
}

static uint8_t status(void)
{
	return (uint8_t)bus_read(&port, 0x64, 1);
}

/* The next byte; 0x1ff where there is none. */
static unsigned next(void)
{
	return status() & 1 ? (unsigned)bus_read(&port, 0x60, 1) : 0x1ff;
}

static void test_controller(void)
{
	start();
	CHECK_EQ(status(), 0x14);
	command(0xaa);
	CHECK_EQ(status(), 0x1d);
	CHECK_EQ(next(), 0x55);
	command(0xab);
	CHECK_EQ(next(), 0);
	command(0x60);
	data(0x47);
	CHECK_EQ(status(), 0x14);
	command(0x20);
	CHECK_EQ(next(), 0x47);
	command(0x7f);
	data(0x99);
	command(0x3f);
	CHECK_EQ(next(), 0x99);
	command(0xa8);
	command(0xa9);
	CHECK_EQ(next(), 1); /* no auxiliary device */
	command(0xd3);
	data(0x5a);
	CHECK_EQ(status() & 0x21, 1); /* comes back, but not as an AUX byte */
	CHECK_EQ(next(), 0x5a);
	command(0xd4);
	data(0xf2);
	CHECK_EQ(next(), 0x1ff);
	command(0xad);
	command(0x20);
	CHECK_EQ(next() & 0x10, 0x10);
	command(0x01); /* unknown */
	CHECK_EQ(next(), 0x1ff);
	edges = 0;
	command(0x20); /* an answer that replaces another is an edge too */
	command(0x20);
	CHECK_EQ(edges, 2);
}

static void test_keyboard(void)
{
	start();
	data(0xff);
	CHECK_EQ(next(), 0xfa);
	CHECK_EQ(next(), 0xaa);
	data(0xf2);
	CHECK_EQ(next(), 0xfa);
	CHECK_EQ(next(), 0xab);
	CHECK_EQ(next(), 0x41); /* 0x83, translated */
	data(0xed);
	CHECK_EQ(next(), 0xfa);
	data(0x05);
	CHECK_EQ(next(), 0xfa);
	CHECK_EQ(kbc.leds, 5);
	data(0xf0);
	data(0x00);
	CHECK_EQ(next(), 0xfa);
	CHECK_EQ(next(), 0xfa);
	CHECK_EQ(next(), 0x41); /* set 2: 0x02, translated */
	data(0xf3);
	data(0x20);
	CHECK_EQ(next(), 0xfa);
	CHECK_EQ(next(), 0xfa);
	data(0xee);
	CHECK_EQ(next(), 0xee);
	data(0xfe);
	CHECK_EQ(next(), 0xee);
	data(0x00);
	CHECK_EQ(next(), 0xfe);
	CHECK_EQ(next(), 0x1ff);
}

static void test_keys(void)
{
	static const uint8_t up_a[] = {0xf0, 0x1c};

	start();
	CHECK(i8042_inject(&kbc, (const uint8_t[]){0x1c}, 1));
	CHECK(i8042_inject(&kbc, up_a, 2));
	CHECK(irq);
	CHECK_EQ(next(), 0x1e);
	CHECK(irq); /* the next byte is a new edge */
	CHECK_EQ(edges, 2);
	CHECK_EQ(next(), 0x9e);
	CHECK(!irq);
	command(0x60);
	data(0x05); /* no translation */
	CHECK(i8042_inject(&kbc, up_a, 2));
	CHECK_EQ(next(), 0xf0);
	CHECK_EQ(next(), 0x1c);
	command(0xad);
	CHECK(i8042_inject(&kbc, up_a, 2)); /* kept while the interface is off */
	CHECK_EQ(next(), 0x1ff);
	command(0xae);
	CHECK_EQ(next(), 0xf0);
	data(0xf5);
	CHECK(!i8042_inject(&kbc, up_a, 2)); /* scanning is off */
}

static void test_queue_is_bounded(void)
{
	static const uint8_t key[] = {0x1c};
	unsigned n = 0;

	start();
	while (n < 1000 && i8042_inject(&kbc, key, 1))
		n++;
	CHECK(n >= 16 && n <= I8042_QUEUE);
	CHECK(!i8042_inject(&kbc, key, SIZE_MAX));
	data(0xee); /* an answer still fits */
	for (unsigned k = 0; k < n; k++)
		CHECK_EQ(next(), 0x1e);
	CHECK_EQ(next(), 0xee);
	for (unsigned k = 0; k < 1000; k++)
		data(0xf2);
	CHECK(kbc.count <= I8042_QUEUE);
}

static void test_a20_and_reset(void)
{
	start();
	CHECK_EQ(bus_read(&port, 0x92, 1), 2);
	bus_write(&port, 0x92, 0, 1);
	command(0xd0);
	CHECK_EQ(next(), 0x01);
	command(0xdf);
	CHECK_EQ(bus_read(&port, 0x92, 1), 2);
	command(0xd1);
	data(0x01);
	CHECK_EQ(bus_read(&port, 0x92, 1), 0);
	CHECK_EQ(resets, 0);
	command(0xff);
	CHECK_EQ(resets, 0);
	command(0xfe);
	CHECK_EQ(resets, 1);
	command(0xd1);
	data(0x02);
	CHECK_EQ(resets, 2);
	bus_write(&port, 0x92, 1, 1);
	CHECK_EQ(resets, 3);
	i8042_reset(&kbc);
	CHECK_EQ(status(), 0x14);
	CHECK(!irq);
}

static unsigned mouse_edges;
static bool mouse_irq;

static void note_mouse(void *opaque, unsigned number, bool up)
{
	mouse_edges += up && !mouse_irq;
	mouse_irq = up;
}

/* Sends it to the mouse, whose acknowledgement follows. */
static void mouse(uint8_t v)
{
	command(0xd4);
	data(v);
	CHECK_EQ(status() & 0x21, 0x21);
	CHECK_EQ(next(), 0xfa);
}

static void start_mouse(void)
{
	start();
	mouse_edges = 0;
	i8042_connect_mouse(&kbc, (struct irq_line){note_mouse, NULL, 12});
	command(0xa8);
	command(0x60);
	data(0x47);
}

static void test_mouse(void)
{
	start_mouse();
	command(0xa9);
	CHECK_EQ(next(), 0);
	command(0xd3);
	data(0x5a);
	CHECK_EQ(status() & 0x21, 0x21);
	CHECK_EQ(next(), 0x5a);
	mouse(0xff);
	CHECK_EQ(next(), 0xaa);
	CHECK_EQ(next(), 0);
	i8042_move_mouse(&kbc, 1, 1, 0, 0); /* not asked for yet */
	CHECK_EQ(next(), 0x1ff);
	mouse(0xf4);
	mouse_edges = edges = 0;
	i8042_move_mouse(&kbc, 5, -3, 0, PS2_LEFT);
	CHECK_EQ(mouse_edges, 1);
	CHECK_EQ(edges, 0);
	CHECK_EQ(next(), 0x29);
	CHECK_EQ(next(), 5);
	CHECK_EQ(next(), 0xfd);
	CHECK_EQ(next(), 0x1ff);
	mouse(0xe9);
	CHECK_EQ(next(), 0x21);
	CHECK_EQ(next(), 2);
	CHECK_EQ(next(), 100);
}

static void set_rate(uint8_t rate)
{
	mouse(0xf3);
	mouse(rate);
}

static void test_mouse_wheel(void)
{
	start_mouse();
	mouse(0xf2);
	CHECK_EQ(next(), 0);
	set_rate(200);
	set_rate(200);
	set_rate(100);
	set_rate(80);
	mouse(0xf2);
	CHECK_EQ(next(), 3);
	mouse(0xf4);
	i8042_move_mouse(&kbc, 0, 0, -1, 0);
	CHECK_EQ(next(), 0x08);
	CHECK_EQ(next(), 0);
	CHECK_EQ(next(), 0);
	CHECK_EQ(next(), 0xff);
}

/* Nobody reads: packets stay whole, motion adds up to a bound. */
static void test_mouse_is_bounded(void)
{
	unsigned n = 0;

	start_mouse();
	mouse(0xf4);
	for (unsigned k = 0; k < 100000; k++)
		i8042_move_mouse(&kbc, INT32_MAX, INT32_MIN, 1, k & 7);
	while (status() & 1) {
		CHECK_EQ(next() & 0x08, 0x08);
		next();
		next();
		if (++n > 1000)
			break;
	}
	CHECK(n > 10 && n < 100);
	i8042_reset(&kbc);
	CHECK_EQ(next(), 0x1ff);
	CHECK(!mouse_irq);
}

int main(void)
{
	test_mouse();
	test_mouse_wheel();
	test_mouse_is_bounded();
	test_controller();
	test_keyboard();
	test_keys();
	test_queue_is_bounded();
	test_a20_and_reset();
	return check_done();
}
