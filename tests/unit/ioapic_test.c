/* I/O APIC: register file, edge and level delivery, EOI, message composition. */
#include "dev/chipset/ioapic.h"
#include "check.h"

#define BASE 0xfec00000

static struct bus mmio;
static struct ioapic io;
static unsigned sent;
static uint64_t last_address;
static uint32_t last_data;

static void note_msi(void *opaque, uint64_t address, uint32_t data)
{
	sent++;
	last_address = address;
	last_data = data;
}

static void set(unsigned reg, uint32_t value)
{
	bus_write(&mmio, BASE, reg, 4);
	bus_write(&mmio, BASE + 0x10, value, 4);
}

static uint32_t get(unsigned reg)
{
	bus_write(&mmio, BASE, reg, 4);
	return (uint32_t)bus_read(&mmio, BASE + 0x10, 4);
}

static void route(unsigned pin, uint32_t low, uint32_t high)
{
	set(0x11 + 2 * pin, high);
	set(0x10 + 2 * pin, low);
}

static void start(void)
{
	mmio = (struct bus){.name = "mmio"};
	sent = 0;
	CHECK_EQ(ioapic_init(&io, &mmio, (struct msi_sink){note_msi, NULL}, NULL), 0);
}

static void test_registers(void)
{
	start();
	CHECK_EQ(get(1), 0x00170020);
	set(0, 0xff000000);
	CHECK_EQ(get(0), 0x0f000000);
	CHECK_EQ(get(2), 0x0f000000);
	CHECK_EQ(get(0x10), 0x00010000);
	CHECK_EQ(get(0x3f), 0);
	CHECK_EQ(get(0x40), 0);
	route(5, 0xffffffff, 0xffffffff);
	CHECK_EQ(get(0x1a), 0x0001afff); /* the read-only bits 12 and 14 stay 0 */
	CHECK_EQ(get(0x1b), 0xfffe0000);
	bus_write(&mmio, BASE + 0x10, 0, 2); /* not a whole dword */
	CHECK_EQ(get(0x1b), 0xfffe0000);
}

static void test_edge(void)
{
	start();
	route(4, 0x0000000 | 0x31, 0x02000000);
	ioapic_set_irq(&io, 4, true);
	CHECK_EQ(sent, 1);
	CHECK_EQ(last_address, 0xfee02000);
	CHECK_EQ(last_data, 0x31);
	ioapic_set_irq(&io, 4, true);
	CHECK_EQ(sent, 1);
	ioapic_set_irq(&io, 4, false);
	set(0x18, 0x10031);
	ioapic_set_irq(&io, 4, true);
	set(0x18, 0x31); /* the masked edge is lost */
	CHECK_EQ(sent, 1);
	ioapic_set_irq(&io, 24, true);
	ioapic_set_irq(&io, 4000, true);
	CHECK_EQ(sent, 1);
}

static void test_message_fields(void)
{
	start();
	route(7, 0x0900 | 0x45, 0x03fe0000); /* lowest priority, logical, extended destination */
	ioapic_set_irq(&io, 7, true);
	CHECK_EQ(last_address, 0xfee03fe4);
	CHECK_EQ(last_data, 0x145);
	route(8, 0x8400, 0); /* NMI has no level */
	ioapic_set_irq(&io, 8, true);
	CHECK_EQ(last_data, 0x400);
	CHECK_EQ(get(0x20), 0x8400);
}

static void test_level(void)
{
	start();
	route(16, 0x8000 | 0x51, 0);
	ioapic_set_irq(&io, 16, true);
	CHECK_EQ(sent, 1);
	CHECK_EQ(last_data, 0xc051);
	CHECK_EQ(get(0x30), 0xc051); /* Remote IRR */
	ioapic_set_irq(&io, 16, false);
	ioapic_set_irq(&io, 16, true);
	CHECK_EQ(sent, 1);
	ioapic_eoi(&io, 0x52);
	CHECK_EQ(sent, 1);
	ioapic_eoi(&io, 0x51);
	CHECK_EQ(sent, 2); /* still up: once more */
	ioapic_set_irq(&io, 16, false);
	bus_write(&mmio, BASE + 0x40, 0x51, 4);
	CHECK_EQ(get(0x30), 0x8051);
	CHECK_EQ(sent, 2);
}

static void test_level_mask(void)
{
	start();
	route(17, 0x18000 | 0x60, 0);
	ioapic_set_irq(&io, 17, true);
	CHECK_EQ(sent, 0);
	set(0x32, 0x8060);
	CHECK_EQ(sent, 1);
	set(0x32, 0x18060);
	ioapic_eoi(&io, 0x60);
	CHECK_EQ(sent, 1);
	CHECK_EQ(get(0x32), 0x18060);
	set(0x32, 0x8060);
	CHECK_EQ(sent, 2);
	set(0x32, 0x10060); /* to edge and back clears Remote IRR without an EOI */
	CHECK_EQ(get(0x32), 0x10060);
	ioapic_set_irq(&io, 17, false);
	set(0x32, 0x8060);
	CHECK_EQ(get(0x32), 0x8060);
}

static void test_reset(void)
{
	start();
	route(1, 0x31, 0);
	ioapic_reset(&io);
	ioapic_set_irq(&io, 1, true);
	CHECK_EQ(sent, 0);
	CHECK_EQ(get(0x12), 0x10000);
}

int main(void)
{
	test_registers();
	test_edge();
	test_message_fields();
	test_level();
	test_level_mask();
	test_reset();
	return check_done();
}
