/* What a snapshot holds of the VGA. */
#include <errno.h>

#include "base/fields.h"
#include "dev/vga/vga.h"

static const struct field vga_fields[] = {
	FIELD_BYTES(struct vga, sequencer),
	FIELD(struct vga, sequencer_index, ""),
	FIELD_BYTES(struct vga, graphics),
	FIELD(struct vga, graphics_index, ""),
	FIELD_BYTES(struct vga, crtc),
	FIELD(struct vga, crtc_index, ""),
	FIELD_BYTES(struct vga, attribute),
	FIELD(struct vga, attribute_index, ""),
	FIELD(struct vga, attribute_data, NULL),
	FIELD(struct vga, misc, NULL),
	FIELD(struct vga, feature, NULL),
	FIELD(struct vga, status, NULL),
	FIELD_BYTES(struct vga, dac),
	FIELD(struct vga, dac_mask, NULL),
	FIELD(struct vga, dac_write, ""),
	FIELD(struct vga, dac_read, ""),
	FIELD(struct vga, dac_part, "", .max = 2),
	FIELD(struct vga, dac_reading, NULL),
	FIELD(struct vga, latch, NULL),
	FIELD_ARRAY(struct vga, dispi, NULL),
	FIELD(struct vga, dispi_index, ""),
	FIELD_STRUCT(struct vga, pci, pci_device_fields),
	FIELD_NOT_SAVED(struct vga, memory, "the board's"),
	FIELD_NOT_SAVED(struct vga, window, "from pci"),
	FIELD_NOT_SAVED(struct vga, window_moved, "wiring"),
	FIELD_NOT_SAVED(struct vga, opaque, "wiring"),
	FIELD_NOT_SAVED(struct vga, legacy, "wiring"),
	FIELD_NOT_SAVED(struct vga, crtc_mono_ports, "wiring"),
	FIELD_NOT_SAVED(struct vga, main_ports, "wiring"),
	FIELD_NOT_SAVED(struct vga, dispi_ports, "wiring"),
	FIELD_NOT_SAVED(struct vga, display, "wiring"),
	FIELD_END,
};

static void vga_pre_save(void *object)
{
	pci_pre_save(&((struct vga *)object)->pci);
}

static int vga_loaded(void *object, struct lm_err *err)
{
	struct vga *vga = object;

	if (vga_dispi_on(vga) && !vga_dispi_fits(vga))
		return lm_err_set(err, -EINVAL, "dispi: no mode that can be shown");
	return pci_loaded(&vga->pci, err);
}

const struct fields_section vga_section = {
	.name = "vga",
	.version = 1,
	.table = vga_fields,
	.pre_save = vga_pre_save,
	.post_load = vga_loaded,
};
