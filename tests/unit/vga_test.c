/* VGA: text, planes and write modes, banks, DISPI modes, the framebuffer's window, hostile registers. */
#include "dev/vga/vga.h"

#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "check.h"
#include "dev/pci_host.h"

static struct bus mmio, port;
static struct ram ram;
static struct pci_host host;
static struct vga vga;
static unsigned moves;

static void moved(void *opaque)
{
	moves++;
}

static void no_line(void *opaque, unsigned number, bool level)
{
}

static void set_up(void)
{
	struct irq_line line[PCI_INTX_LINES];

	for (unsigned k = 0; k < PCI_INTX_LINES; k++)
		line[k] = (struct irq_line){ no_line, NULL, k };
	memset(&mmio, 0, sizeof(mmio));
	memset(&port, 0, sizeof(port));
	CHECK_EQ(ram_init(&ram, 4 * MIB, NULL), 0);
	CHECK_EQ(pci_host_init(&host, &mmio, &port, line, (struct msi_sink){ 0 }, 0xb0000000, NULL),
		 0);
	CHECK_EQ(vga_init(&vga, &host.bus, 8, &ram, moved, NULL, NULL), 0);
}

static void out(uint16_t at, uint8_t v)
{
	bus_write(&port, at, v, 1);
}

static uint8_t in(uint16_t at)
{
	return (uint8_t)bus_read(&port, at, 1);
}

static void indexed(uint16_t at, uint8_t index, uint8_t v)
{
	out(at, index);
	out(at + 1, v);
}

static void dispi(uint16_t index, uint16_t v)
{
	bus_write(&port, 0x1ce, index, 2);
	bus_write(&port, 0x1cf, v, 2);
}

/* Mode 3 as every BIOS sets it, as far as it matters here. */
static void set_text_mode(void)
{
	out(0x3c2, 0x67);
	indexed(0x3c4, 1, 0x00);
	indexed(0x3c4, 2, 0x03);
	indexed(0x3c4, 4, 0x02);
	indexed(0x3ce, 5, 0x10);
	indexed(0x3ce, 6, 0x0e);
	indexed(0x3d4, 0x11, 0);
	indexed(0x3d4, 0x01, 79);
	indexed(0x3d4, 0x07, 0x1f);
	indexed(0x3d4, 0x09, 0x4f);
	indexed(0x3d4, 0x12, 0x8f);
	indexed(0x3d4, 0x13, 40);
	indexed(0x3d4, 0x0a, 14);
	indexed(0x3d4, 0x0b, 15);
	in(0x3da);
	for (unsigned k = 0; k < 16; k++) {
		out(0x3c0, (uint8_t)k);
		out(0x3c0, (uint8_t)k);
	}
	out(0x3c0, 0x20);
	out(0x3c8, 0);
	for (unsigned k = 0; k < 16 * 3; k++)
		out(0x3c9, (uint8_t)(k / 3 * 4));
}

static void test_text(void)
{
	struct display_mode mode;
	static struct display_cell cells[80 * 25];
	static uint32_t pixels[720 * 400];

	set_up();
	set_text_mode();
	bus_write(&mmio, 0xb8000 + 160 + 4, 0x1f41, 2); /* white A on blue */
	indexed(0x3d4, 0x0e, 0);
	indexed(0x3d4, 0x0f, 83);
	vga.display.mode(vga.display.opaque, &mode);
	CHECK_EQ(mode.kind, DISPLAY_TEXT);
	CHECK_EQ(mode.columns, 80);
	CHECK_EQ(mode.rows, 25);
	CHECK_EQ(mode.width, 720);
	CHECK_EQ(mode.height, 400);
	CHECK(mode.cursor);
	CHECK_EQ(mode.cursor_column, 3);
	CHECK_EQ(mode.cursor_row, 1);
	vga.display.cells(vga.display.opaque, &mode, cells);
	CHECK_EQ(cells[82].character, 'A');
	CHECK_EQ(cells[82].foreground, 15);
	CHECK_EQ(cells[82].background, 1);
	CHECK_EQ(bus_read(&mmio, 0xb8000 + 164, 2), 0x1f41);
	vga.memory[4 * 32 * 'A' + 2] = 0x80; /* the font: one dot */
	vga.display.pixels(vga.display.opaque, &mode, pixels);
	CHECK_EQ(pixels[16 * 720 + 18], 0xf3f3f3);
	CHECK_EQ(pixels[16 * 720 + 19], 0x101010);
	indexed(0x3c4, 1, 0x20); /* screen off */
	vga.display.mode(vga.display.opaque, &mode);
	CHECK_EQ(mode.kind, DISPLAY_BLANK);
	ram_fini(&ram);
}

/* Mode 12h: write modes 0 to 3 with latches, set/reset and the bit mask. */
static void test_planes(void)
{
	set_up();
	indexed(0x3ce, 6, 0x05);
	indexed(0x3c4, 2, 0x0f);
	indexed(0x3ce, 8, 0xff);
	bus_write(&mmio, 0xa0000, 0xa5, 1);
	CHECK_EQ(le_load(vga.memory, 4), 0xa5a5a5a5);
	indexed(0x3c4, 2, 0x02);
	bus_write(&mmio, 0xa0000, 0x0f, 1);
	CHECK_EQ(le_load(vga.memory, 4), 0xa5a50fa5);
	indexed(0x3ce, 4, 1);
	CHECK_EQ(bus_read(&mmio, 0xa0000, 1), 0x0f);
	indexed(0x3c4, 2, 0x0f);
	indexed(0x3ce, 5, 1); /* latches copied */
	bus_write(&mmio, 0xa0001, 0, 1);
	CHECK_EQ(le_load(vga.memory + 4, 4), 0xa5a50fa5);
	indexed(0x3ce, 5, 2); /* a colour for the bits of the mask */
	indexed(0x3ce, 8, 0x80);
	vga.latch = 0;
	bus_write(&mmio, 0xa0002, 0x05, 1);
	CHECK_EQ(le_load(vga.memory + 8, 4), 0x00800080);
	indexed(0x3ce, 8, 0xff);
	indexed(0x3ce, 5, 3); /* set/reset where the data has ones */
	indexed(0x3ce, 0, 0x08);
	vga.latch = 0x11111111;
	bus_write(&mmio, 0xa0003, 0xf0, 1);
	CHECK_EQ(le_load(vga.memory + 12, 4), 0xf1010101);
	indexed(0x3ce, 5, 8); /* colour compare */
	indexed(0x3ce, 2, 0x08);
	indexed(0x3ce, 7, 0x08);
	CHECK_EQ(bus_read(&mmio, 0xa0003, 1), 0xf1);
	CHECK_EQ(bus_read(&mmio, 0xb8000, 1), 0xff); /* the window ends at 0xb0000 */
	ram_fini(&ram);
}

static void test_dispi(void)
{
	struct display_mode mode;
	static uint32_t pixels[640 * 480];

	set_up();
	bus_write(&port, 0x1ce, DISPI_ID, 2);
	CHECK_EQ(bus_read(&port, 0x1cf, 2), 0xb0c5);
	dispi(DISPI_XRES, 640);
	dispi(DISPI_YRES, 480);
	dispi(DISPI_BPP, 32);
	dispi(DISPI_ENABLE, DISPI_ENABLED | DISPI_LFB);
	vga.display.mode(vga.display.opaque, &mode);
	CHECK_EQ(mode.kind, DISPLAY_GRAPHICS);
	CHECK_EQ(mode.width, 640);
	le_store(vga.memory + 640 * 4 + 4, 0x123456, 4);
	vga.display.pixels(vga.display.opaque, &mode, pixels);
	CHECK_EQ(pixels[641], 0x123456);
	dispi(DISPI_BANK, 1);
	bus_write(&mmio, 0xa0002, 0x77, 1);
	CHECK_EQ(vga.memory[0x10002], 0x77);
	dispi(DISPI_BANK, 0xffff);
	CHECK_EQ(bus_read(&mmio, 0xa0002, 1), 0xff);
	dispi(DISPI_Y_OFFSET, 0xffff); /* beyond the memory: black */
	vga.display.pixels(vga.display.opaque, &mode, pixels);
	CHECK_EQ(pixels[641], 0);
	ram_fini(&ram);
}

static void test_dispi_limits(void)
{
	set_up();
	dispi(DISPI_XRES, 0xffff);
	dispi(DISPI_YRES, 0xffff);
	dispi(DISPI_BPP, 32);
	dispi(DISPI_ENABLE, DISPI_ENABLED);
	CHECK(!vga_dispi_on(&vga));
	dispi(DISPI_XRES, 2560);
	dispi(DISPI_YRES, 1600);
	dispi(DISPI_ENABLE, DISPI_ENABLED);
	CHECK(vga_dispi_on(&vga));
	dispi(DISPI_XRES, 100); /* not while it is on */
	CHECK_EQ(vga.dispi[DISPI_XRES], 2560);
	dispi(DISPI_ENABLE, DISPI_GETCAPS);
	bus_write(&port, 0x1ce, DISPI_XRES, 2);
	CHECK_EQ(bus_read(&port, 0x1cf, 2), DISPLAY_MAX_WIDTH);
	dispi(DISPI_BPP, 0);
	dispi(DISPI_ENABLE, DISPI_ENABLED);
	CHECK(!vga_dispi_on(&vga));
	ram_fini(&ram);
}

static void test_window(void)
{
	uint8_t *p;

	set_up();
	moves = 0;
	pci_config_write(&host.bus, 8, PCI_BASE_ADDRESS_0, 0xc0000000, 4);
	CHECK(!ram_window_at(&ram, GPA(0xc0000000), &p));
	pci_config_write(&host.bus, 8, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	CHECK(ram_window_at(&ram, GPA(0xc0000010), &p) == vga.window && p == vga.memory + 16);
	CHECK_EQ(moves, 1);
	bus_write(&mmio, 0xc0000010, 0x11223344, 4);
	CHECK_EQ(le_load(vga.memory + 16, 4), 0x11223344);
	pci_config_write(&host.bus, 8, PCI_BASE_ADDRESS_0, 0xd0000000, 4);
	CHECK(!ram_window_at(&ram, GPA(0xc0000000), &p));
	CHECK(ram_window_at(&ram, GPA(0xd0000000), &p) == vga.window);
	pci_host_reset(&host);
	CHECK(!ram_window_at(&ram, GPA(0xd0000000), &p));
	ram_fini(&ram);
}

static void test_registers_by_memory(void)
{
	set_up();
	pci_config_write(&host.bus, 8, PCI_BASE_ADDRESS_2, 0xc1000000, 4);
	pci_config_write(&host.bus, 8, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	CHECK_EQ(bus_read(&mmio, 0xc1000500, 2), 0xb0c5);
	bus_write(&mmio, 0xc1000502, 800, 2);
	CHECK_EQ(vga.dispi[DISPI_XRES], 800);
	bus_write(&mmio, 0xc1000404, 0x0f02, 2); /* sequencer: index and data */
	CHECK_EQ(vga.sequencer[2], 0x0f);
	CHECK_EQ(bus_read(&mmio, 0xc1000000, 4), 0);
	ram_fini(&ram);
}

int main(void)
{
	test_text();
	test_planes();
	test_dispi();
	test_dispi_limits();
	test_window();
	test_registers_by_memory();
	return check_done();
}
