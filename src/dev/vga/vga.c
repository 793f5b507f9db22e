#include "dev/vga/vga.h"

#include <string.h>

#include "base/bits.h"
#include "dev/chipset/map.h"

/* Ports (IBM VGA technical reference, "VGA function"). */
#define PORT_CRTC_INDEX_MONO 0x3b4
#define PORT_CRTC_DATA_MONO  0x3b5
#define PORT_STATUS1_MONO    0x3ba
#define PORT_ATTRIBUTE	     0x3c0
#define PORT_ATTRIBUTE_READ  0x3c1
#define PORT_MISC_WRITE	     0x3c2 /* read: input status 0 */
#define PORT_SEQ_INDEX	     0x3c4
#define PORT_SEQ_DATA	     0x3c5
#define PORT_DAC_MASK	     0x3c6
#define PORT_DAC_READ	     0x3c7 /* read: DAC state */
#define PORT_DAC_WRITE	     0x3c8
#define PORT_DAC_DATA	     0x3c9
#define PORT_FEATURE_READ    0x3ca
#define PORT_MISC_READ	     0x3cc
#define PORT_GRAPHICS_INDEX  0x3ce
#define PORT_GRAPHICS_DATA   0x3cf
#define PORT_CRTC_INDEX	     0x3d4
#define PORT_CRTC_DATA	     0x3d5
#define PORT_STATUS1	     0x3da
#define MAIN_FIRST	     0x3c0
#define MAIN_PORTS	     0x20
#define MONO_FIRST	     0x3b0
#define MONO_PORTS	     0x10

#define MISC_COLOUR	    0x01 /* the CRTC is at 0x3d4, not 0x3b4 */
#define STATUS1_TOGGLES	    0x09 /* display off, vertical retrace */
#define ATTRIBUTE_INDEX	    0x1f
#define CRTC_OVERFLOW	    0x07
#define CRTC_PROTECT	    0x11 /* bit 7: registers 0 to 7 cannot be written, but for ... */
#define CRTC_LINE_COMPARE_8 0x10 /* ... this bit of the overflow register */
#define DAC_STATE_READ	    0x00
#define DAC_STATE_WRITE	    0x03

/* Bits that exist. */
static const uint8_t sequencer_bits[VGA_SEQUENCER] = { 0x03, 0x3d, 0x0f, 0x3f, 0x0e };
static const uint8_t graphics_bits[VGA_GRAPHICS] = { 0x0f, 0x0f, 0x0f, 0x1f, 0x03,
						     0x7b, 0x0f, 0x0f, 0xff };

/* ---- Attribute controller ---- */

static void attribute_write(struct vga *vga, uint8_t v)
{
	unsigned index = vga->attribute_index & ATTRIBUTE_INDEX;

	vga->attribute_data = !vga->attribute_data;
	if (vga->attribute_data)
		vga->attribute_index = v & 0x3f;
	else if (index < VGA_ATTRIBUTE)
		vga->attribute[index] = index < 16 ? v & 0x3f : v;
}

static uint8_t attribute_read(const struct vga *vga)
{
	unsigned index = vga->attribute_index & ATTRIBUTE_INDEX;

	return index < VGA_ATTRIBUTE ? vga->attribute[index] : 0;
}

/* ---- Palette ---- */

static uint8_t *dac_next(struct vga *vga, uint8_t *index)
{
	uint8_t *now = &vga->dac[*index * 3 + vga->dac_part];

	if (++vga->dac_part == 3) {
		vga->dac_part = 0;
		++*index;
	}
	return now;
}

static void dac_select(struct vga *vga, uint8_t *index, uint8_t v, bool reading)
{
	*index = v;
	vga->dac_part = 0;
	vga->dac_reading = reading;
}

/* ---- CRTC ---- */

static void crtc_write(struct vga *vga, uint8_t v)
{
	unsigned index = vga->crtc_index;
	bool protected = index <= CRTC_OVERFLOW && vga->crtc[CRTC_PROTECT] & 0x80;

	if (index >= VGA_CRTC)
		return;
	if (!protected)
		vga->crtc[index] = v;
	else if (index == CRTC_OVERFLOW)
		vga->crtc[index] = (vga->crtc[index] & ~CRTC_LINE_COMPARE_8) |
				   (v & CRTC_LINE_COMPARE_8);
}

static uint8_t crtc_read(const struct vga *vga)
{
	return vga->crtc_index < VGA_CRTC ? vga->crtc[vga->crtc_index] : 0;
}

/* Programs wait for the beam to be here or there: at every look it is in the other place. */
static uint8_t status1_read(struct vga *vga)
{
	vga->attribute_data = false;
	vga->status ^= STATUS1_TOGGLES;
	return vga->status;
}

/* ---- Ports ---- */

/* The CRTC and status 1 answer at the monochrome or the colour address. */
static bool is_elsewhere(const struct vga *vga, uint16_t port)
{
	bool colour = vga->misc & MISC_COLOUR;

	if (port >= MONO_FIRST && port < MONO_FIRST + MONO_PORTS)
		return colour;
	return port >= PORT_CRTC_INDEX - 4 && port < PORT_CRTC_INDEX + 12 && !colour;
}

/* The monochrome ports do what the colour ones do. */
static uint16_t canonical(uint16_t port)
{
	return port >= MONO_FIRST && port < MONO_FIRST + MONO_PORTS ? port + 0x20 : port;
}

uint8_t vga_port_read(struct vga *vga, uint16_t port)
{
	if (is_elsewhere(vga, port))
		return 0xff;
	switch (canonical(port)) {
	case PORT_ATTRIBUTE:
		return vga->attribute_data ? 0 : vga->attribute_index;
	case PORT_ATTRIBUTE_READ:
		return attribute_read(vga);
	case PORT_MISC_WRITE:
		return 0;
	case PORT_SEQ_INDEX:
		return vga->sequencer_index;
	case PORT_SEQ_DATA:
		return vga->sequencer_index < VGA_SEQUENCER ? vga->sequencer[vga->sequencer_index]
							    : 0;
	case PORT_DAC_MASK:
		return vga->dac_mask;
	case PORT_DAC_READ:
		return vga->dac_reading ? DAC_STATE_WRITE : DAC_STATE_READ;
	case PORT_DAC_WRITE:
		return vga->dac_write;
	case PORT_DAC_DATA:
		return *dac_next(vga, &vga->dac_read);
	case PORT_FEATURE_READ:
		return vga->feature;
	case PORT_MISC_READ:
		return vga->misc;
	case PORT_GRAPHICS_INDEX:
		return vga->graphics_index;
	case PORT_GRAPHICS_DATA:
		return vga->graphics_index < VGA_GRAPHICS ? vga->graphics[vga->graphics_index] : 0;
	case PORT_CRTC_INDEX:
		return vga->crtc_index;
	case PORT_CRTC_DATA:
		return crtc_read(vga);
	case PORT_STATUS1:
		return status1_read(vga);
	default:
		return 0xff;
	}
}

void vga_port_write(struct vga *vga, uint16_t port, uint8_t v)
{
	if (is_elsewhere(vga, port))
		return;
	switch (canonical(port)) {
	case PORT_ATTRIBUTE:
		attribute_write(vga, v);
		break;
	case PORT_MISC_WRITE:
		vga->misc = v & ~0x10;
		break;
	case PORT_SEQ_INDEX:
		vga->sequencer_index = v & 7;
		break;
	case PORT_SEQ_DATA:
		if (vga->sequencer_index < VGA_SEQUENCER)
			vga->sequencer[vga->sequencer_index] =
				v & sequencer_bits[vga->sequencer_index];
		break;
	case PORT_DAC_MASK:
		vga->dac_mask = v;
		break;
	case PORT_DAC_READ:
		dac_select(vga, &vga->dac_read, v, true);
		break;
	case PORT_DAC_WRITE:
		dac_select(vga, &vga->dac_write, v, false);
		break;
	case PORT_DAC_DATA:
		*dac_next(vga, &vga->dac_write) = v;
		break;
	case PORT_GRAPHICS_INDEX:
		vga->graphics_index = v & 0x0f;
		break;
	case PORT_GRAPHICS_DATA:
		if (vga->graphics_index < VGA_GRAPHICS)
			vga->graphics[vga->graphics_index] = v & graphics_bits[vga->graphics_index];
		break;
	case PORT_CRTC_INDEX:
		vga->crtc_index = v;
		break;
	case PORT_CRTC_DATA:
		crtc_write(vga, v);
		break;
	case PORT_STATUS1:
		vga->feature = v & 0x13;
		break;
	default:
		break;
	}
}

static uint64_t main_read(void *opaque, uint64_t offset, unsigned size)
{
	return vga_port_read(opaque, (uint16_t)(MAIN_FIRST + offset));
}

static void main_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	vga_port_write(opaque, (uint16_t)(MAIN_FIRST + offset), (uint8_t)value);
}

static uint64_t mono_read(void *opaque, uint64_t offset, unsigned size)
{
	return vga_port_read(opaque, (uint16_t)(MONO_FIRST + offset));
}

static void mono_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	vga_port_write(opaque, (uint16_t)(MONO_FIRST + offset), (uint8_t)value);
}

static const struct bus_ops main_ops = { main_read, main_write, 1 };
static const struct bus_ops mono_ops = { mono_read, mono_write, 1 };

/* ---- Life ---- */

static void clear_registers(struct vga *vga)
{
	memset(vga->sequencer, 0, sizeof(vga->sequencer));
	memset(vga->graphics, 0, sizeof(vga->graphics));
	memset(vga->crtc, 0, sizeof(vga->crtc));
	memset(vga->attribute, 0, sizeof(vga->attribute));
	memset(vga->dac, 0, sizeof(vga->dac));
	memset(vga->dispi, 0, sizeof(vga->dispi));
}

void vga_reset(struct vga *vga)
{
	clear_registers(vga);
	vga->sequencer_index = vga->graphics_index = vga->crtc_index = vga->attribute_index = 0;
	vga->attribute_data = vga->dac_reading = false;
	vga->misc = vga->feature = vga->status = 0;
	vga->dac_mask = 0xff;
	vga->dac_write = vga->dac_read = vga->dac_part = 0;
	vga->latch = 0;
	vga->dispi_index = 0;
}

static int map_legacy(struct vga *vga, struct pci_bus *bus, struct lm_err *err)
{
	int rc;

	vga->legacy = (struct bus_region){ "VGA memory", RAM_HOLE_VGA_START,
					   RAM_HOLE_VGA_END - RAM_HOLE_VGA_START, &vga_memory_ops,
					   vga, false };
	vga->main_ports = (struct bus_region){ "VGA ports", MAIN_FIRST, MAIN_PORTS, &main_ops, vga,
					       false };
	vga->crtc_mono_ports = (struct bus_region){ "VGA monochrome ports", MONO_FIRST, MONO_PORTS,
						    &mono_ops, vga, false };
	vga->dispi_ports = (struct bus_region){ "VBE ports", 0x1ce, 3, &vga_dispi_ops, vga, false };
	rc = chipset_map(bus->mmio, &vga->legacy, err);
	if (!rc)
		rc = chipset_map(bus->port, &vga->main_ports, err);
	if (!rc)
		rc = chipset_map(bus->port, &vga->crtc_mono_ports, err);
	return rc ? rc : chipset_map(bus->port, &vga->dispi_ports, err);
}

int vga_init(struct vga *vga, struct pci_bus *bus, uint8_t devfn, struct ram *ram,
	     void (*window_moved)(void *opaque), void *opaque, struct lm_err *err)
{
	int rc;

	*vga = (struct vga){ .window_moved = window_moved, .opaque = opaque };
	vga->window = ram_add_window(ram, VGA_MEMORY, false, err);
	if (!vga->window)
		return err ? err->code : -1;
	vga->memory = vga->window->hva;
	vga->display = vga_display;
	vga->display.opaque = vga;
	vga_reset(vga);
	rc = map_legacy(vga, bus, err);
	return rc ? rc : vga_add_function(vga, bus, devfn, err);
}
