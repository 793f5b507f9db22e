/* 16550A: identification, loopback, interrupts, FIFOs, flow control both ways. */
#include "dev/chipset/uart.h"

#include <string.h>

#include "check.h"

#define BASE 0x3f8
#define THR  (BASE + 0)
#define IER  (BASE + 1)
#define IIR  (BASE + 2)
#define FCR  (BASE + 2)
#define LCR  (BASE + 3)
#define MCR  (BASE + 4)
#define LSR  (BASE + 5)
#define MSR  (BASE + 6)
#define SCR  (BASE + 7)

static struct bus port;
static struct uart uart;
static bool irq;
static unsigned edges;

static uint8_t host[256];
static size_t host_len, host_room;
static const uint8_t *input;
static size_t input_len;

static size_t host_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	size_t n = len < host_room ? len : host_room;

	memcpy(host + host_len, bytes, n);
	host_len += n;
	host_room -= n;
	chardev_writable(chr); /* a backend may call back at once */
	return n;
}

static void host_accept_input(struct chardev *chr)
{
	size_t n = chardev_can_receive(chr);

	n = n < input_len ? n : input_len;
	if (!n)
		return;
	input += n;
	input_len -= n;
	chardev_receive(chr, input - n, n);
}

static const struct chardev_ops host_ops = {.write = host_write, .accept_input = host_accept_input};
static struct chardev chr = {.ops = &host_ops};

static void note_irq(void *opaque, unsigned number, bool up)
{
	edges += up && !irq;
	irq = up;
}

static void out(uint16_t p, uint8_t v)
{
	bus_write(&port, p, v, 1);
}

static uint8_t in(uint16_t p)
{
	return (uint8_t)bus_read(&port, p, 1);
}

static void start(void)
{
	port = (struct bus){.name = "port"};
	irq = false;
	edges = 0;
	host_len = input_len = 0;
	host_room = sizeof(host);
	CHECK_EQ(
	    uart_init(&uart, "com1", BASE, &port, (struct irq_line){note_irq, NULL, 0}, &chr, NULL),
	    0);
}

/* The steps of Linux' autoconfig for a 16550A. */
static void test_identification(void)
{
	start();
	out(IER, 0);
	CHECK_EQ(in(IER), 0);
	out(IER, 0xff);
	CHECK_EQ(in(IER), 0x0f);
	out(IER, 0);
	out(MCR, 0x1a);
	CHECK_EQ(in(MSR)&0xf0, 0x90);
	out(MCR, 0);
	CHECK_EQ(in(MSR)&0xf0, 0xb0);
	out(SCR, 0xa5);
	CHECK_EQ(in(SCR), 0xa5);
	CHECK_EQ(in(IIR), 0x01);
	out(FCR, 1);
	CHECK_EQ(in(IIR), 0xc1);
	out(FCR, 0x21); /* no 64-byte FIFO of a 16750 */
	CHECK_EQ(in(IIR), 0xc1);
	out(LCR, 0x83);
	out(THR, 0x01);
	out(IER, 0x02);
	CHECK_EQ(in(THR) | in(IER) << 8, 0x0201);
	out(LCR, 0x03);
	CHECK_EQ(in(LCR), 0x03);
	CHECK_EQ(in(LSR), 0x60);
}

static void test_loopback(void)
{
	start();
	out(MCR, 0x18);
	out(FCR, 1);
	for (unsigned k = 0; k < 17; k++)
		out(THR, (uint8_t)('a' + k));
	CHECK_EQ(host_len, 0);
	CHECK_EQ(chardev_can_receive(&chr), 0);
	CHECK_EQ(in(LSR), 0x63); /* overrun: the 17th was lost */
	CHECK_EQ(in(LSR), 0x61);
	for (unsigned k = 0; k < 16; k++)
		CHECK_EQ(in(THR), 'a' + k);
	CHECK_EQ(in(LSR), 0x60);
	in(MSR);
	out(MCR, 0x1c); /* RI rises: no delta; it falls: delta */
	CHECK_EQ(in(MSR), 0xc0);
	out(MCR, 0x18);
	CHECK_EQ(in(MSR), 0x84);
	CHECK_EQ(in(MSR), 0x80);
}

static void test_transmit(void)
{
	start();
	out(MCR, 0x0b);
	out(FCR, 1);
	out(IER, 0x02); /* enabling it while THR is empty interrupts */
	CHECK(irq);
	CHECK_EQ(in(IIR), 0xc2);
	CHECK(!irq); /* reading IIR acknowledged it */
	CHECK_EQ(in(IIR), 0xc1);
	out(THR, 'x');
	CHECK(irq);
	CHECK_EQ(in(LSR), 0x60);
	CHECK_EQ(host_len, 1);
	CHECK_EQ(in(IIR), 0xc2);
	CHECK_EQ(edges, 2);
	out(IER, 0x02); /* no change, no new interrupt */
	CHECK(!irq);
}

static void test_blocked_backend(void)
{
	start();
	host_room = 3;
	out(MCR, 0x0b);
	out(FCR, 1);
	out(IER, 0x02);
	in(IIR);
	for (unsigned k = 0; k < 21; k++)
		out(THR, (uint8_t)('a' + k));
	CHECK_EQ(host_len, 3);
	CHECK_EQ(in(LSR), 0x00); /* THR not empty */
	CHECK_EQ(in(IIR), 0xc1);
	host_room = 5;
	chardev_writable(&chr);
	CHECK_EQ(host_len, 8);
	CHECK_EQ(in(LSR), 0x00);
	host_room = 100;
	chardev_writable(&chr);
	CHECK_EQ(host_len, 19); /* 16 were kept behind the first 3, two were lost */
	CHECK_EQ(memcmp(host, "abcdefghijklmnopqrs", 19), 0);
	CHECK_EQ(in(LSR), 0x60);
	CHECK(irq);
	CHECK_EQ(in(IIR), 0xc2);
}

static void test_receive(void)
{
	start();
	out(MCR, 0x0b);
	out(FCR, 0x81); /* trigger level 8 */
	out(IER, 0x05);
	CHECK_EQ(chardev_can_receive(&chr), 16);
	chardev_receive(&chr, (const uint8_t *)"hello", 5);
	CHECK(irq);
	CHECK_EQ(in(IIR), 0xcc);
	CHECK_EQ(chardev_can_receive(&chr), 11);
	chardev_receive(&chr, (const uint8_t *)"world", 5);
	CHECK_EQ(in(IIR), 0xc4);
	for (unsigned k = 0; k < 10; k++)
		CHECK_EQ(in(THR), "helloworld"[k]);
	CHECK(!irq);
	CHECK_EQ(in(THR), 0);
	chardev_send_event(&chr, CHARDEV_BREAK);
	CHECK_EQ(in(IIR), 0xc6); /* line status comes first */
	CHECK_EQ(in(LSR), 0xf9);
	CHECK_EQ(in(LSR), 0x61);
	CHECK_EQ(in(IIR), 0xcc);
	CHECK_EQ(in(THR), 0);
}

static void test_flow_control(void)
{
	start();
	input = (const uint8_t *)"0123456789abcdefghijklmnopqrstuvwxyz";
	input_len = 36;
	host_accept_input(&chr);
	CHECK_EQ(input_len, 35); /* without FIFO there is room for one */
	for (unsigned k = 0; k < 20; k++)
		CHECK_EQ(in(THR), "0123456789abcdefghijklmn"[k]);
	out(FCR, 3); /* drops the one it holds, takes 16 */
	for (unsigned k = 0; k < 15; k++)
		CHECK_EQ(in(THR), "lmnopqrstuvwxyz"[k]);
	CHECK_EQ(in(LSR), 0x60);
	CHECK_EQ(input_len, 0);
}

static void test_gate_and_modem(void)
{
	start();
	out(IER, 0x0a);
	CHECK(!irq); /* OUT2 is off */
	out(MCR, 0x08);
	CHECK(irq);
	CHECK_EQ(in(IIR), 0x02);
	CHECK(!irq);
	out(MCR, 0x18); /* loopback: CTS and DSR fall */
	CHECK(irq);
	CHECK_EQ(in(IIR), 0x00);
	CHECK_EQ(in(MSR), 0x83);
	CHECK(!irq);
	uart_reset(&uart);
	CHECK_EQ(in(MSR), 0xb0);
}

static void test_without_backend(void)
{
	struct uart quiet;
	struct bus other = {.name = "port"};

	CHECK_EQ(uart_init(&quiet, "com2", 0x2f8, &other, (struct irq_line){0}, NULL, NULL), 0);
	bus_write(&other, 0x2f8, 'x', 1);
	CHECK_EQ(bus_read(&other, 0x2fd, 1), 0x60);
	CHECK_EQ(bus_read(&other, 0x2f8, 1), 0);
}

int main(void)
{
	test_identification();
	test_loopback();
	test_transmit();
	test_blocked_backend();
	test_receive();
	test_flow_control();
	test_gate_and_modem();
	test_without_backend();
	return check_done();
}
