#include "dev/msix.h"

#include <string.h>

#include "base/bits.h"
#include "base/bug.h"

#define ENTRY_SIZE 16

static uint16_t control(const struct msix *m)
{
	return (uint16_t)pci_get(m->dev, m->cap + PCI_MSIX_FLAGS, 2);
}

bool msix_enabled(const struct msix *m)
{
	return control(m) & PCI_MSIX_FLAGS_ENABLE;
}

static bool masked(const struct msix *m, unsigned vector)
{
	return control(m) & PCI_MSIX_FLAGS_MASKALL ||
	       m->entry[vector].control & PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

void msix_send(struct msix *m, unsigned vector)
{
	const struct msi_sink *sink = &m->dev->bus->msi;

	if (vector >= m->count || !msix_enabled(m))
		return;
	if (masked(m, vector)) {
		m->pending |= LM_BIT(vector);
		return;
	}
	m->pending &= ~LM_BIT(vector);
	if (sink->send)
		sink->send(sink->opaque, m->entry[vector].address, m->entry[vector].data);
}

static void deliver_pending(struct msix *m)
{
	for (unsigned k = 0; k < m->count; k++)
		if (m->pending & LM_BIT(k) && !masked(m, k))
			msix_send(m, k);
}

void msix_config_written(struct msix *m, unsigned offset, unsigned size)
{
	unsigned flags = m->cap + PCI_MSIX_FLAGS;

	if (offset < flags + 2 && offset + size > flags)
		deliver_pending(m);
}

/* Accesses other than aligned dwords and qwords are undefined; here they read as zero. */
static uint64_t table_read(const struct msix *m, uint64_t offset, unsigned size)
{
	const struct msix_entry *e = &m->entry[offset / ENTRY_SIZE];
	uint8_t image[ENTRY_SIZE];

	le_store(image + PCI_MSIX_ENTRY_LOWER_ADDR, e->address, 8);
	le_store(image + PCI_MSIX_ENTRY_DATA, e->data, 4);
	le_store(image + PCI_MSIX_ENTRY_VECTOR_CTRL, e->control, 4);
	return le_load(image + offset % ENTRY_SIZE, size);
}

static void table_write(struct msix *m, uint64_t offset, uint32_t value)
{
	struct msix_entry *e = &m->entry[offset / ENTRY_SIZE];

	switch (offset % ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		e->address = (e->address & ~UINT64_C(0xffffffff)) | (value & ~3u);
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		e->address = (uint32_t)e->address | (uint64_t)value << 32;
		break;
	case PCI_MSIX_ENTRY_DATA:
		e->data = value;
		break;
	case PCI_MSIX_ENTRY_VECTOR_CTRL:
		e->control = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
		deliver_pending(m);
		break;
	}
}

static bool well_formed(uint64_t offset, unsigned size)
{
	return size >= 4 && offset % size == 0;
}

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
	const struct msix *m = opaque;

	if (!well_formed(offset, size))
		return 0;
	if (offset < m->count * ENTRY_SIZE)
		return table_read(m, offset, size);
	if (offset - MSIX_PBA_OFFSET < 8)
		return m->pending >> (8 * (offset - MSIX_PBA_OFFSET));
	return 0;
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct msix *m = opaque;

	if (!well_formed(offset, size) || offset >= m->count * ENTRY_SIZE)
		return;
	table_write(m, offset, (uint32_t)value);
	if (size == 8)
		table_write(m, offset + 4, (uint32_t)(value >> 32));
}

static const struct bus_ops bar_ops = {bar_read, bar_write, 8};

void msix_reset(struct msix *m)
{
	m->pending = 0;
	memset(m->entry, 0, sizeof(m->entry));
	for (unsigned k = 0; k < m->count; k++)
		m->entry[k].control = PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

void msix_init(struct msix *m, struct pci_device *dev, unsigned bar, unsigned count)
{
	struct pci_bar_spec spec = {
	    .name = "MSI-X",
	    .size = MSIX_BAR_SIZE,
	    .ops = &bar_ops,
	    .opaque = m,
	};

	LM_BUG_ON(!count || count > MSIX_MAX_VECTORS);
	m->dev = dev;
	m->count = count;
	msix_reset(m);
	pci_add_bar(dev, bar, &spec);
	m->cap = pci_add_capability(dev, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	pci_set(dev, m->cap + PCI_MSIX_FLAGS, count - 1, 2);
	pci_set_writable(dev, m->cap + PCI_MSIX_FLAGS,
			 PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
	pci_set(dev, m->cap + PCI_MSIX_TABLE, bar, 4);
	pci_set(dev, m->cap + PCI_MSIX_PBA, MSIX_PBA_OFFSET | bar, 4);
}

/* Saved state. */

static const struct field entry_fields[] = {
	FIELD(struct msix_entry, address, "gpa"),
	FIELD(struct msix_entry, data, NULL),
	FIELD(struct msix_entry, control, NULL),
	FIELD_END,
};

const struct field msix_fields[] = {
	FIELD(struct msix, pending, NULL),
	FIELD_STRUCTS(struct msix, entry, entry_fields, FIELD_CONFIGURED(struct msix, count)),
	FIELD_NOT_SAVED(struct msix, dev, "wiring"),
	FIELD_NOT_SAVED(struct msix, count, "configuration"),
	FIELD_NOT_SAVED(struct msix, cap, "configuration"),
	FIELD_END,
};
