/* The small ports: debug exit, pc-testdev, debug console, pvpanic. */
#include "dev/chipset/debugcon.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/pvpanic.h"
#include "dev/chipset/testdev.h"
#include "check.h"

static struct bus mmio, port;
static struct testdev dev;
static uint32_t status;
static uint32_t levels;

static void note_exit(void *opaque, uint32_t v)
{
	status = v;
}

static void note_irq(void *opaque, unsigned number, bool level)
{
	levels = level ? levels | 1u << number : levels & ~(1u << number);
}

static void start(bool with_byte_port)
{
	struct testdev_ops ops = {.exit = note_exit};

	for (unsigned k = 0; k < TESTDEV_IRQS; k++)
		ops.irq[k] = (struct irq_line){note_irq, NULL, k};
	mmio = (struct bus){.name = "mmio"};
	port = (struct bus){.name = "port"};
	CHECK_EQ(testdev_init(&dev, &mmio, &port, &ops, with_byte_port, NULL), 0);
}

static void test_exit(void)
{
	start(false);
	bus_write(&port, 0xf4, 0x10, 4);
	CHECK_EQ(status, 0x21);
	bus_write(&port, 0xf4, 0, 1);
	CHECK_EQ(status, 1);
	CHECK_EQ(bus_read(&port, 0xf4, 1), 0);
}

static void test_ports(void)
{
	start(true);
	bus_write(&port, 0xe0, 0x12345678, 4);
	bus_write(&port, 0xe1, 0xaabb, 2);
	CHECK_EQ(bus_read(&port, 0xe0, 4), 0x12aabb78);
	CHECK_EQ(bus_read(&port, 0xe3, 1), 0x12);
	bus_write(&port, 0xe8, 0xcafe, 2);
	CHECK_EQ(bus_read(&port, 0xe0, 4), 0x12aacafe);
	CHECK_EQ(bus_read(&port, 0xe8, 4), 0x12aacafe);
	bus_write(&port, 0xe4, 0x1000, 4);
	testdev_reset(&dev);
	CHECK_EQ(bus_read(&port, 0xe0, 4), 0);
}

static void test_irq_lines(void)
{
	start(false);
	bus_write(&port, 0x2000, 1, 1);
	bus_write(&port, 0x2000 + 23, 0xff, 1);
	CHECK_EQ(levels, 0x800001);
	bus_write(&port, 0x2000, 0, 1);
	bus_write(&port, 0x2000 + 24, 1, 1);
	CHECK_EQ(levels, 0x800000);
}

static void test_memory(void)
{
	start(false);
	bus_write(&mmio, 0xff000000, 0x1122334455667788, 8);
	CHECK_EQ(bus_read(&mmio, 0xff000003, 2), 0x4455);
	bus_write(&mmio, 0xff00fffc, 0x0102030405060708, 8); /* the upper half is outside */
	CHECK_EQ(bus_read(&mmio, 0xff00fffc, 4), 0x05060708);
	CHECK_EQ(bus_read(&mmio, 0xff010000, 1), 0xff);
}

static uint8_t console_last;

static size_t console_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	console_last = bytes[len - 1];
	return len;
}

static void test_debugcon(void)
{
	static const struct chardev_ops ops = {.write = console_write};
	struct chardev chr = {.ops = &ops};
	struct debugcon con;

	start(false);
	CHECK_EQ(debugcon_init(&con, &port, PC_PORT_DEBUG_CONSOLE, &chr, NULL), 0);
	bus_write(&port, 0xe9, 'A', 1);
	CHECK_EQ(console_last, 'A');
	CHECK_EQ(bus_read(&port, 0xe9, 1), 0xe9);
	chardev_writable(&chr);
	CHECK_EQ(chardev_can_receive(&chr), 0);
}

static uint8_t events;
static unsigned panics;

static void note_panic(void *opaque, uint8_t v)
{
	events = v;
	panics++;
}

static void test_pvpanic(void)
{
	struct pvpanic pv;

	start(false);
	CHECK_EQ(pvpanic_init(&pv, &port, note_panic, NULL, NULL), 0);
	CHECK_EQ(bus_read(&port, 0x505, 1), 7);
	bus_write(&port, 0x505, 0xf8, 1);
	CHECK_EQ(panics, 0);
	bus_write(&port, 0x505, 0xf9, 1);
	CHECK_EQ(events, PVPANIC_PANICKED);
	bus_write(&port, 0x505, 2, 1);
	CHECK_EQ(events, PVPANIC_CRASHLOADED);
}

int main(void)
{
	test_exit();
	test_ports();
	test_irq_lines();
	test_memory();
	test_debugcon();
	test_pvpanic();
	return check_done();
}
