/* Bochs' VBE interface: modes set by number of pixels, with a linear framebuffer. */
#include "base/bits.h"
#include "dev/vga/vga.h"

#define ID_NEWEST 0xb0c5
#define ID_OLDEST 0xb0c0

static unsigned bytes_per_pixel(unsigned bpp)
{
	return (bpp + 7) / 8;
}

/* Depths that are shown; 4 bits a pixel are planes, as in VGA's own modes. */
static bool depth_is_known(unsigned bpp)
{
	return bpp == 4 || bpp == 8 || bpp == 15 || bpp == 16 || bpp == 24 || bpp == 32;
}

static uint64_t line_bytes(const struct vga *vga, unsigned pixels)
{
	unsigned bpp = vga->dispi[DISPI_BPP];

	return bpp == 4 ? pixels / 2 : (uint64_t)pixels * bytes_per_pixel(bpp);
}

/* What the guest asked for, cut to what the memory holds. */
bool vga_dispi_fits(const struct vga *vga)
{
	const uint16_t *d = vga->dispi;

	return depth_is_known(d[DISPI_BPP]) && d[DISPI_XRES] && d[DISPI_YRES] &&
	       d[DISPI_XRES] <= DISPLAY_MAX_WIDTH && d[DISPI_YRES] <= DISPLAY_MAX_HEIGHT &&
	       line_bytes(vga, d[DISPI_XRES]) * d[DISPI_YRES] <= VGA_MEMORY;
}

/* The virtual screen is at least as wide as the visible one, and as high as memory allows. */
static void set_virtual_width(struct vga *vga, uint16_t width)
{
	uint16_t *d = vga->dispi;
	uint64_t rows;

	width = LM_MAX(width, d[DISPI_XRES]);
	if (line_bytes(vga, width) * d[DISPI_YRES] > VGA_MEMORY)
		width = d[DISPI_XRES];
	d[DISPI_VIRT_WIDTH] = width;
	rows = VGA_MEMORY / LM_MAX(line_bytes(vga, width), UINT64_C(1));
	d[DISPI_VIRT_HEIGHT] = (uint16_t)LM_MIN(rows, UINT64_C(0xffff));
}

static void enable(struct vga *vga, uint16_t v)
{
	uint16_t *d = vga->dispi;
	bool was_on = vga_dispi_on(vga);

	if (v & DISPI_ENABLED && !vga_dispi_fits(vga))
		v &= ~DISPI_ENABLED;
	d[DISPI_ENABLE] = v;
	if (!(v & DISPI_ENABLED) || was_on)
		return;
	d[DISPI_BANK] = d[DISPI_X_OFFSET] = d[DISPI_Y_OFFSET] = 0;
	set_virtual_width(vga, d[DISPI_XRES]);
	if (!(v & DISPI_NOCLEAR))
		memset(vga->memory, 0, line_bytes(vga, d[DISPI_XRES]) * d[DISPI_YRES]);
}

/* With GETCAPS the registers of the mode tell their limits. */
static uint16_t capability(unsigned index, uint16_t otherwise)
{
	switch (index) {
	case DISPI_XRES:
		return DISPLAY_MAX_WIDTH;
	case DISPI_YRES:
		return DISPLAY_MAX_HEIGHT;
	case DISPI_BPP:
		return 32;
	default:
		return otherwise;
	}
}

uint16_t vga_dispi_read(const struct vga *vga, unsigned index)
{
	if (index == DISPI_ID)
		return vga->dispi[DISPI_ID] ? vga->dispi[DISPI_ID] : ID_NEWEST;
	if (index == DISPI_MEMORY_64K)
		return VGA_MEMORY / (64 * KIB);
	if (index >= VGA_DISPI)
		return 0;
	if (vga->dispi[DISPI_ENABLE] & DISPI_GETCAPS)
		return capability(index, vga->dispi[index]);
	return vga->dispi[index];
}

void vga_dispi_write(struct vga *vga, unsigned index, uint16_t v)
{
	bool on = vga_dispi_on(vga);

	switch (index) {
	case DISPI_ID:
		if (v >= ID_OLDEST && v <= ID_NEWEST)
			vga->dispi[DISPI_ID] = v;
		break;
	case DISPI_XRES:
	case DISPI_YRES:
	case DISPI_BPP: /* a mode that is on stays as it is */
		if (!on)
			vga->dispi[index] = v;
		break;
	case DISPI_ENABLE:
		enable(vga, v);
		break;
	case DISPI_VIRT_WIDTH:
		if (on)
			set_virtual_width(vga, v);
		break;
	case DISPI_BANK:
	case DISPI_X_OFFSET:
	case DISPI_Y_OFFSET:
		vga->dispi[index] = v;
		break;
	default:
		break;
	}
}

/* Index at offset 0, data at 1; some write data at 2, where a word is aligned. */
static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct vga *vga = opaque;

	return offset ? vga_dispi_read(vga, vga->dispi_index) : vga->dispi_index;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;

	if (offset)
		vga_dispi_write(vga, vga->dispi_index, (uint16_t)value);
	else
		vga->dispi_index = (uint16_t)value;
}

const struct bus_ops vga_dispi_ops = { ports_read, ports_write, 2 };
