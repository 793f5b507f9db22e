/*
 * VGA with Bochs' extensions (VBE DISPI): what QEMU calls the standard VGA, PCI 1234:1111.
 *
 * - vga.c: the registers (IBM VGA technical reference; ports 0x3b4 to 0x3df);
 * - vga_memory.c: the window at 0xa0000 (planes, write modes, banks);
 * - vga_dispi.c: DISPI registers at ports 0x1ce and 0x1cf (Bochs' vbe_display_api.txt);
 * - vga_render.c: what is on the screen (dev/display.h);
 * - vga_pci.c: the PCI function: BAR 0 is video memory, BAR 2 the registers as QEMU has them
 *   (docs/specs/standard-vga.rst).
 *
 * Video memory keeps the four planes' bytes of an address side by side, as everybody's VGA does. It
 * is a window of guest memory (mem/ram.h), so that a linear framebuffer is as fast as RAM.
 *
 * Under the device lock, except for the memory itself. Owned by the board.
 */
#ifndef LM_DEV_VGA_VGA_H
#define LM_DEV_VGA_VGA_H

#include "dev/bus.h"
#include "dev/display.h"
#include "dev/pci.h"
#include "mem/ram.h"

#define VGA_MEMORY    (UINT64_C(16) << 20)
#define VGA_SEQUENCER 5
#define VGA_GRAPHICS  9
#define VGA_CRTC      25
#define VGA_ATTRIBUTE 21
#define VGA_DISPI     11

enum vga_dispi_index {
	DISPI_ID, DISPI_XRES, DISPI_YRES, DISPI_BPP, DISPI_ENABLE, DISPI_BANK, DISPI_VIRT_WIDTH,
	DISPI_VIRT_HEIGHT, DISPI_X_OFFSET, DISPI_Y_OFFSET, DISPI_MEMORY_64K,
};

#define DISPI_ENABLED	   0x01
#define DISPI_GETCAPS	   0x02
#define DISPI_8BIT_DAC	   0x20
#define DISPI_LFB	   0x40
#define DISPI_NOCLEAR	   0x80

struct vga {
	/* Registers that the guest sees. */
	uint8_t sequencer[VGA_SEQUENCER], sequencer_index;
	uint8_t graphics[VGA_GRAPHICS], graphics_index;
	uint8_t crtc[VGA_CRTC], crtc_index;
	uint8_t attribute[VGA_ATTRIBUTE], attribute_index;
	bool attribute_data; /* the next write to 0x3c0 is data */
	uint8_t misc, feature, status;
	uint8_t dac[256 * 3], dac_mask, dac_write, dac_read, dac_part;
	bool dac_reading;
	uint32_t latch; /* of the last read of planar memory, a plane a byte */
	uint16_t dispi[VGA_DISPI], dispi_index;

	uint8_t *memory; /* VGA_MEMORY bytes */
	struct ram_window *window;
	/* The framebuffer is elsewhere: vCPUs must forget where it was. */
	void (*window_moved)(void *opaque);
	void *opaque;
	struct pci_device pci;
	struct bus_region legacy; /* 0xa0000 */
	struct bus_region crtc_mono_ports, main_ports, dispi_ports;
	struct display display;
};

int vga_init(struct vga *vga, struct pci_bus *bus, uint8_t devfn, struct ram *ram,
	     void (*window_moved)(void *opaque), void *opaque, struct lm_err *err);
void vga_reset(struct vga *vga);

/* The memory itself is the board's to save. */
extern const struct fields_section vga_section;

/* ---- For the files of this folder ---- */

uint8_t vga_port_read(struct vga *vga, uint16_t port);
void vga_port_write(struct vga *vga, uint16_t port, uint8_t v);
uint16_t vga_dispi_read(const struct vga *vga, unsigned index);
void vga_dispi_write(struct vga *vga, unsigned index, uint16_t v);
/* A mode that DISPI set is shown, not one of VGA's own. */
static inline bool vga_dispi_on(const struct vga *vga)
{
	return vga->dispi[DISPI_ENABLE] & DISPI_ENABLED;
}

int vga_add_function(struct vga *vga, struct pci_bus *bus, uint8_t devfn, struct lm_err *err);

/* Whether the mode in the DISPI registers can be shown. */
bool vga_dispi_fits(const struct vga *vga);

extern const struct bus_ops vga_memory_ops;
extern const struct bus_ops vga_dispi_ops;
extern const struct display vga_display;

#endif
