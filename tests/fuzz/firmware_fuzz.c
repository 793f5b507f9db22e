/*
 * The devices of firmware machines under a hostile guest: VGA with its memory window, DISPI registers
 * and pictures of whatever results, and flash commands.
 */
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"
#include "base/log.h"
#include "dev/chipset/lpc.h"
#include "dev/chipset/pflash.h"
#include "dev/pci_host.h"
#include "dev/vga/vga.h"
#include "fuzz.h"

#define FLASH_BASE UINT64_C(0xffc00000)
#define FLASH_SIZE (8 * PFLASH_BLOCK)
#define VGA_SLOT   8

static struct {
	struct bus mmio, port;
	struct ram ram;
	struct pci_host host;
	struct vga vga;
	struct lpc lpc;
	struct pflash flash;
	uint8_t array[FLASH_SIZE + 64];
	uint32_t pixels[DISPLAY_MAX_WIDTH * DISPLAY_MAX_HEIGHT];
	struct display_cell cells[DISPLAY_MAX_COLUMNS * DISPLAY_MAX_ROWS];
} t;

static void no_line(void *opaque, unsigned number, bool level)
{
}

static void moved(void *opaque)
{
}

static void set_up(void)
{
	struct irq_line line[PCI_INTX_LINES];
	int rc = 0;

	for (unsigned k = 0; k < PCI_INTX_LINES; k++)
		line[k] = (struct irq_line){ no_line, NULL, k };
	rc |= ram_init(&t.ram, RAM_MIN, NULL);
	rc |= pci_host_init(&t.host, &t.mmio, &t.port, line, (struct msi_sink){ 0 }, 0xb0000000,
			    NULL);
	rc |= vga_init(&t.vga, &t.host.bus, VGA_SLOT, &t.ram, moved, NULL, NULL);
	rc |= lpc_init(&t.lpc, &t.host.bus, NULL);
	rc |= pflash_init(&t.flash, &t.mmio, FLASH_BASE, t.array, FLASH_SIZE, NULL);
	LM_BUG_ON(rc);
}

/* The picture is within the promised limits, and drawing it stays within the memory. */
static void look(void)
{
	struct display *d = &t.vga.display;
	struct display_mode mode;

	d->mode(d->opaque, &mode);
	LM_BUG_ON(!mode.width || mode.width > DISPLAY_MAX_WIDTH);
	LM_BUG_ON(!mode.height || mode.height > DISPLAY_MAX_HEIGHT);
	if (mode.kind == DISPLAY_TEXT) {
		LM_BUG_ON(!mode.columns || mode.columns > DISPLAY_MAX_COLUMNS);
		LM_BUG_ON(!mode.rows || mode.rows > DISPLAY_MAX_ROWS);
		LM_BUG_ON(mode.cursor && (mode.cursor_column >= mode.columns ||
					  mode.cursor_row >= mode.rows));
		d->cells(d->opaque, &mode, t.cells);
	}
	if ((uint64_t)mode.width * mode.height < 400000)
		d->pixels(d->opaque, &mode, t.pixels);
}

static void dispi(struct fuzz_input *in)
{
	static const uint16_t likely[] = { 0, 1, 8, 15, 16, 24, 32, 4, 640, 480, 800, 2560, 0x41, 0xffff };
	uint16_t index = (uint16_t)(fuzz_take(in, 1) % 12), v = (uint16_t)fuzz_take(in, 2);

	if (v & 0x8000)
		v = likely[v % LM_ARRAY_SIZE(likely)];
	bus_write(&t.port, 0x1ce, index, 2);
	bus_write(&t.port, 0x1cf, v, 2);
	bus_read(&t.port, 0x1cf, 2);
}

static void flash(struct fuzz_input *in)
{
	static const uint8_t commands[] = { 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xd0, 0xe8, 0xff };
	uint64_t at = FLASH_BASE + fuzz_take(in, 2) % (FLASH_SIZE + 16) - 8;
	uint8_t v = (uint8_t)fuzz_take(in, 1);
	unsigned size = 1u << (fuzz_take(in, 1) & 3);

	bus_write(&t.mmio, at, v & 1 ? commands[v % sizeof(commands)] : fuzz_take(in, 8), size);
	bus_read(&t.mmio, at, size);
	for (unsigned k = 0; k < 64; k++)
		LM_BUG_ON(t.array[FLASH_SIZE + k]);
}

static void one(struct fuzz_input *in)
{
	uint32_t v = (uint32_t)fuzz_take(in, 4), at = (uint32_t)fuzz_take(in, 3);
	unsigned size = 1u << (at >> 20 & 3);

	switch (fuzz_take(in, 1) % 10) {
	case 0:
	case 1:
		bus_write(&t.port, 0x3b0 + at % 0x30, v, LM_MIN(size, 4u));
		bus_read(&t.port, 0x3b0 + at % 0x30, LM_MIN(size, 4u));
		break;
	case 2:
		bus_write(&t.mmio, RAM_HOLE_VGA_START + at % 0x20000, v, size);
		bus_read(&t.mmio, RAM_HOLE_VGA_START + at % 0x20000, size);
		break;
	case 3:
		pci_config_write(&t.host.bus, VGA_SLOT, at & 0xfc, v, 4);
		break;
	case 4:
		pci_config_write(&t.host.bus, VGA_SLOT, PCI_BASE_ADDRESS_0 + (at & 8), v & 0xff000000, 4);
		pci_config_write(&t.host.bus, VGA_SLOT, PCI_COMMAND, 7, 2);
		bus_write(&t.mmio, (v & 0xff000000) + at % (VGA_MEMORY + 16), v, size);
		bus_read(&t.mmio, (v & 0xff000000) + at % 0x1000, size);
		break;
	case 5:
		pci_config_write(&t.host.bus, LPC_DEVFN, at & 0xff & ~3u, v, 4);
		break;
	case 6:
		dispi(in);
		break;
	case 7:
	case 8:
		flash(in);
		break;
	case 9:
		if (at % 16 == 0)
			look();
		break;
	}
}

static void fuzz_one(struct fuzz_input *in)
{
	if (!t.host.bus.device[0])
		set_up();
	pci_host_reset(&t.host);
	pflash_reset(&t.flash);
	while (in->p < in->end)
		one(in);
	look();
}
