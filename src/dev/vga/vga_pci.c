/* The PCI function: video memory in BAR 0, registers in BAR 2. */
#include "base/bits.h"
#include "dev/vga/vga.h"

#define BAR_MEMORY	 0
#define BAR_REGISTERS	 2
#define REGISTERS_SIZE	 4096
#define REGISTERS_VGA	 0x400 /* ports 0x3c0 to 0x3df */
#define REGISTERS_DISPI	 0x500 /* words, by index */
#define VGA_FIRST_PORT	 0x3c0
#define VGA_PORTS	 0x20

/* Vcpus reach the memory directly; what is left comes here. */
static uint64_t framebuffer_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct vga *vga = opaque;

	return offset + size <= VGA_MEMORY ? le_load(vga->memory + offset, size) : 0;
}

static void framebuffer_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;

	if (offset + size <= VGA_MEMORY)
		le_store(vga->memory + offset, value, size);
}

static bool is_vga(uint64_t offset)
{
	return offset >= REGISTERS_VGA && offset < REGISTERS_VGA + VGA_PORTS;
}

static bool is_dispi(uint64_t offset)
{
	return offset >= REGISTERS_DISPI && offset < REGISTERS_DISPI + 2 * VGA_DISPI;
}

static uint64_t registers_read(void *opaque, uint64_t offset, unsigned size)
{
	struct vga *vga = opaque;
	uint64_t v = 0;

	if (is_dispi(offset))
		return vga_dispi_read(vga, (unsigned)(offset - REGISTERS_DISPI) / 2) >>
		       (8 * (offset & 1));
	for (unsigned k = 0; k < size; k++)
		if (is_vga(offset + k))
			v |= (uint64_t)vga_port_read(vga, (uint16_t)(VGA_FIRST_PORT + offset + k -
								      REGISTERS_VGA))
			     << (8 * k);
	return v;
}

static void registers_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct vga *vga = opaque;

	if (is_dispi(offset)) {
		if (size == 2 && !(offset & 1))
			vga_dispi_write(vga, (unsigned)(offset - REGISTERS_DISPI) / 2,
					(uint16_t)value);
		return;
	}
	for (unsigned k = 0; k < size; k++)
		if (is_vga(offset + k))
			vga_port_write(vga,
				       (uint16_t)(VGA_FIRST_PORT + offset + k - REGISTERS_VGA),
				       (uint8_t)(value >> (8 * k)));
}

static const struct bus_ops framebuffer_ops = { framebuffer_read, framebuffer_write, 8 };
static const struct bus_ops registers_ops = { registers_read, registers_write, 2 };

static void bar_moved(struct pci_device *dev, unsigned index)
{
	struct vga *vga = dev->opaque;
	const struct bus_region *region = &dev->bar[index].region;

	if (index != BAR_MEMORY)
		return;
	ram_window_move(vga->window, region->mapped ? region->start : RAM_WINDOW_HIDDEN);
	if (vga->window_moved)
		vga->window_moved(vga->opaque);
}

static void function_reset(struct pci_device *dev)
{
	vga_reset(dev->opaque);
}

int vga_add_function(struct vga *vga, struct pci_bus *bus, uint8_t devfn, struct lm_err *err)
{
	static const struct pci_device_ops ops = { .reset = function_reset, .bar_moved = bar_moved };
	static const struct pci_identity id = {
		.vendor = 0x1234,
		.device = 0x1111,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.class_code = 0x030000, /* VGA controller */
	};
	const struct pci_bar_spec memory = {
		.name = "video memory",
		.size = VGA_MEMORY,
		.prefetchable = true,
		.ops = &framebuffer_ops,
		.opaque = vga,
	};
	const struct pci_bar_spec registers = {
		.name = "video registers",
		.size = REGISTERS_SIZE,
		.ops = &registers_ops,
		.opaque = vga,
	};

	pci_device_init(&vga->pci, "VGA", &ops, &id, vga);
	pci_add_bar(&vga->pci, BAR_MEMORY, &memory);
	pci_add_bar(&vga->pci, BAR_REGISTERS, &registers);
	return pci_bus_add(bus, &vga->pci, devfn, err);
}
