/* 8259A: initialization, priorities, EOI, rotation, special modes, polling, spurious, ELCR. */
#include "dev/chipset/pic.h"
#include "check.h"

#define CMD1  0x20
#define DATA1 0x21
#define CMD2  0xa0
#define DATA2 0xa1

static struct bus port;
static struct pic pic;
static bool intr;

static void note_intr(void *opaque, unsigned number, bool level)
{
	intr = level;
}

static void out(uint16_t p, uint8_t v)
{
	bus_write(&port, p, v, 1);
}

static uint8_t in(uint16_t p)
{
	return (uint8_t)bus_read(&port, p, 1);
}

/* As PC firmware and Linux do: master at 0x30, slave at 0x38, with the given ICW4. */
static void start(uint8_t icw4)
{
	port = (struct bus){.name = "port"};
	intr = false;
	CHECK_EQ(pic_init(&pic, &port, (struct irq_line){note_intr, NULL, 0}, NULL), 0);
	out(CMD1, 0x11);
	out(DATA1, 0x30);
	out(DATA1, 0x04);
	out(DATA1, icw4);
	out(CMD2, 0x11);
	out(DATA2, 0x38);
	out(DATA2, 0x02);
	out(DATA2, icw4);
	out(DATA1, 0);
	out(DATA2, 0);
}

static void edge(unsigned irq)
{
	pic_set_irq(&pic, irq, true);
	pic_set_irq(&pic, irq, false);
}

static void test_silent_until_initialized(void)
{
	port = (struct bus){.name = "port"};
	intr = false;
	CHECK_EQ(pic_init(&pic, &port, (struct irq_line){note_intr, NULL, 0}, NULL), 0);
	edge(0);
	CHECK(!intr);
	start(1);
	CHECK(!intr);
	CHECK_EQ(in(DATA1), 0);
	out(DATA1, 0xfb);
	CHECK_EQ(in(DATA1), 0xfb);
}

static void test_nested_priorities(void)
{
	start(1);
	edge(4);
	CHECK(intr);
	CHECK_EQ(pic_ack(&pic), 0x34);
	CHECK(!intr);
	edge(6);
	CHECK(!intr);
	edge(1);
	CHECK(intr);
	CHECK_EQ(pic_ack(&pic), 0x31);
	out(CMD1, 0x0b);
	CHECK_EQ(in(CMD1), 0x12);
	out(CMD1, 0x0a);
	CHECK_EQ(in(CMD1), 0x40);
	out(CMD1, 0x20); /* non-specific EOI ends IR1, the highest */
	CHECK(!intr);
	out(CMD1, 0x64); /* specific EOI of IR4 */
	CHECK(intr);
	CHECK_EQ(pic_ack(&pic), 0x36);
}

static void test_mask(void)
{
	start(1);
	out(DATA1, 0x10);
	edge(4);
	CHECK(!intr);
	out(DATA1, 0);
	CHECK(intr);
	CHECK_EQ(pic_ack(&pic), 0x34);
	out(CMD1, 0x20);
	edge(4);
	CHECK(intr);
	out(CMD1, 0x13); /* ICW1, single: forgets the edge */
	CHECK(!intr);
	out(DATA1, 0x40);
	out(DATA1, 0x01);
	CHECK(!intr);
	edge(4);
	CHECK_EQ(pic_ack(&pic), 0x44);
}

static void test_cascade(void)
{
	start(1);
	edge(12);
	CHECK(intr);
	CHECK_EQ(pic_ack(&pic), 0x3c);
	edge(14); /* lower priority in the slave */
	CHECK(!intr);
	edge(8); /* higher, but the master serves IR2 */
	CHECK(!intr);
	out(CMD2, 0x20);
	out(CMD1, 0x20);
	CHECK(intr);
	CHECK_EQ(pic_ack(&pic), 0x38);
	out(CMD2, 0x20);
	out(CMD1, 0x20);
	CHECK_EQ(pic_ack(&pic), 0x3e);
}

static void test_special_fully_nested(void)
{
	start(0x11);
	edge(12);
	CHECK_EQ(pic_ack(&pic), 0x3c);
	edge(8);
	CHECK(intr);
	CHECK_EQ(pic_ack(&pic), 0x38);
}

static void test_auto_eoi(void)
{
	start(3);
	edge(3);
	edge(8);
	edge(9);
	CHECK_EQ(pic_ack(&pic), 0x38);
	CHECK(intr); /* the slave's INT dropped in the cycle and came again */
	CHECK_EQ(pic_ack(&pic), 0x39);
	CHECK_EQ(pic_ack(&pic), 0x33);
	CHECK(!intr);
	out(CMD1, 0x0b);
	CHECK_EQ(in(CMD1), 0);
	out(CMD1, 0x80); /* rotate in automatic EOI */
	edge(0);
	CHECK_EQ(pic_ack(&pic), 0x30);
	edge(0);
	edge(1);
	CHECK_EQ(pic_ack(&pic), 0x31);
}

static void test_rotation(void)
{
	start(1);
	edge(0);
	CHECK_EQ(pic_ack(&pic), 0x30);
	out(CMD1, 0xa0); /* rotate on non-specific EOI: IR0 is lowest now */
	edge(0);
	edge(7);
	CHECK_EQ(pic_ack(&pic), 0x37);
	out(CMD1, 0xe7); /* rotate on specific EOI */
	CHECK_EQ(pic_ack(&pic), 0x30);
	out(CMD1, 0x20);
	out(CMD1, 0xc3); /* IR3 lowest, so IR4 highest */
	edge(3);
	edge(4);
	CHECK_EQ(pic_ack(&pic), 0x34);
}

static void test_special_mask(void)
{
	start(1);
	edge(2 + 1);
	CHECK_EQ(pic_ack(&pic), 0x33);
	edge(5);
	CHECK(!intr);
	out(DATA1, 0x08);
	CHECK(!intr);
	out(CMD1, 0x68);
	CHECK(intr);
	CHECK_EQ(pic_ack(&pic), 0x35);
	out(CMD1, 0x20); /* passes over the masked IR3 */
	out(CMD1, 0x0b);
	CHECK_EQ(in(CMD1), 0x08);
	out(CMD1, 0x48);
	out(CMD1, 0x20);
	CHECK_EQ(in(CMD1), 0);
}

static void test_poll(void)
{
	start(1);
	out(CMD1, 0x0c);
	CHECK_EQ(in(CMD1), 0);
	edge(6);
	out(CMD1, 0x0c);
	CHECK_EQ(in(CMD1), 0x86);
	CHECK(!intr);
	out(CMD1, 0x0b);
	CHECK_EQ(in(CMD1), 0x40);
}

static void test_spurious(void)
{
	start(1);
	CHECK_EQ(pic_ack(&pic), 0x37);
	out(CMD1, 0x0b);
	CHECK_EQ(in(CMD1), 0);
	out(0x4d1, 0x02); /* IRQ 9 by level */
	pic_set_irq(&pic, 9, true);
	CHECK(intr);
	out(CMD2, 0x0a);
	pic_set_irq(&pic, 9, false);
	CHECK_EQ(in(CMD2), 0);
	/* The master latched the cascade's edge: it serves IR2, the slave has nothing to give. */
	CHECK(intr);
	CHECK_EQ(pic_ack(&pic), 0x3f);
	CHECK_EQ(in(CMD1), 0x04);
	out(CMD2, 0x0b);
	CHECK_EQ(in(CMD2), 0);
}

static void test_level(void)
{
	start(1);
	out(0x4d0, 0xff);
	CHECK_EQ(in(0x4d0), 0xf8);
	out(0x4d1, 0xff);
	CHECK_EQ(in(0x4d1), 0xde);
	pic_set_irq(&pic, 5, true);
	CHECK_EQ(pic_ack(&pic), 0x35);
	out(CMD1, 0x20);
	CHECK(intr); /* still up */
	pic_set_irq(&pic, 5, false);
	CHECK(!intr);
	pic_set_irq(&pic, 0, true);
	CHECK_EQ(pic_ack(&pic), 0x30);
	out(CMD1, 0x20);
	CHECK(!intr); /* an edge counts once */
}

static void test_reset(void)
{
	start(1);
	edge(4);
	CHECK(intr);
	pic_reset(&pic);
	CHECK(!intr);
	pic_set_irq(&pic, 99, true);
	pic_set_irq(&pic, 2, true);
	CHECK(!intr);
}

int main(void)
{
	test_silent_until_initialized();
	test_nested_priorities();
	test_mask();
	test_cascade();
	test_special_fully_nested();
	test_auto_eoi();
	test_rotation();
	test_special_mask();
	test_poll();
	test_spurious();
	test_level();
	test_reset();
	return check_done();
}
