#include "dev/virtio/pci_transport.h"

#include <string.h>
#include <linux/virtio_pci.h>

#include "base/bits.h"

/* §4.1.2: identity of a non-transitional device. */
#define VIRTIO_VENDOR	   0x1af4
#define VIRTIO_DEVICE_BASE 0x1040
#define VIRTIO_SUBSYSTEM   0x1100
#define VIRTIO_REVISION	   1

/* Our BARs and what is where in the second. */
#define BAR_MSIX	  1
#define BAR_VIRTIO	  4
#define BAR_VIRTIO_SIZE	  0x4000
#define REGION_SIZE	  0x1000
#define REGION_COMMON	  0
#define REGION_ISR	  1
#define REGION_DEVICE	  2
#define REGION_NOTIFY	  3
#define NOTIFY_MULTIPLIER 4
#define COMMON_SIZE	  sizeof(struct virtio_pci_common_cfg)

/* §4.1.4.9: the capability's fields, and the window that follows them. */
#define CFG_CAP_SIZE sizeof(struct virtio_pci_cfg_cap)
#define CFG_CAP_DATA sizeof(struct virtio_pci_cap)

/* Common configuration (§4.1.4.3). */

static struct virtqueue *selected(struct virtio_pci *vp)
{
	return vp->queue_select < vp->dev->queue_count ? &vp->dev->queue[vp->queue_select] : NULL;
}

static uint32_t feature_word(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

static void common_image(struct virtio_pci *vp, struct virtio_pci_common_cfg *c)
{
	const struct virtio_device *dev = vp->dev;
	const struct virtqueue *vq = selected(vp);

	*c = (struct virtio_pci_common_cfg){
	    .device_feature_select = htole32(vp->feature_select),
	    .device_feature = htole32(feature_word(dev->offered, vp->feature_select)),
	    .guest_feature_select = htole32(vp->driver_feature_select),
	    .guest_feature = htole32(feature_word(dev->accepted, vp->driver_feature_select)),
	    .msix_config = htole16(vp->config_vector),
	    .num_queues = htole16((uint16_t)dev->queue_count),
	    .device_status = dev->status,
	    .config_generation = dev->generation,
	    .queue_select = htole16(vp->queue_select),
	};
	if (!vq)
		return;
	c->queue_size = htole16(vq->size);
	c->queue_msix_vector = htole16(vq->vector);
	c->queue_enable = htole16(vq->ready);
	c->queue_notify_off = htole16(vp->queue_select);
	c->queue_desc_lo = htole32((uint32_t)vq->desc);
	c->queue_desc_hi = htole32((uint32_t)(vq->desc >> 32));
	c->queue_avail_lo = htole32((uint32_t)vq->avail);
	c->queue_avail_hi = htole32((uint32_t)(vq->avail >> 32));
	c->queue_used_lo = htole32((uint32_t)vq->used);
	c->queue_used_hi = htole32((uint32_t)(vq->used >> 32));
}

static uint64_t common_read(struct virtio_pci *vp, uint64_t offset, unsigned size)
{
	struct virtio_pci_common_cfg c;

	if (offset + size > COMMON_SIZE)
		return 0;
	common_image(vp, &c);
	return le_load((const uint8_t *)&c + offset, size);
}

/* A vector that does not exist reads back as NO_VECTOR (§4.1.5.1.2). */
static uint16_t checked_vector(const struct virtio_pci *vp, uint32_t value)
{
	return value < vp->msix.count ? (uint16_t)value : VQ_NO_VECTOR;
}

static void set_half(uint64_t *address, bool high, uint32_t value)
{
	if (high)
		*address = (uint32_t)*address | (uint64_t)value << 32;
	else
		*address = (*address & ~UINT64_C(0xffffffff)) | value;
}

/* Fields of the selected queue; once it is enabled only its vector changes. */
static void queue_write(struct virtio_pci *vp, uint64_t offset, uint32_t value)
{
	struct virtqueue *vq = selected(vp);
	bool high = offset & 4;

	if (!vq)
		return;
	if (offset == VIRTIO_PCI_COMMON_Q_MSIX)
		vq->vector = checked_vector(vp, value);
	if (!virtio_queue_configurable(vp->dev, vp->queue_select))
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		if (is_pow2(value) && value <= vq->max_size)
			vq->size = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (value == 1)
			virtio_enable_queue(vp->dev, vp->queue_select);
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		set_half(&vq->desc, high, value);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		set_half(&vq->avail, high, value);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		set_half(&vq->used, high, value);
		break;
	}
}

static void transport_reset(struct virtio_pci *vp)
{
	vp->feature_select = vp->driver_feature_select = 0;
	vp->queue_select = 0;
	vp->config_vector = VQ_NO_VECTOR;
	vp->isr = 0;
	pci_intx_set(&vp->pci, false);
}

static void status_write(struct virtio_pci *vp, uint8_t status)
{
	virtio_set_status(vp->dev, status);
	if (!status)
		transport_reset(vp);
}

static unsigned field_size(uint64_t offset)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_STATUS:
		return 1;
	case VIRTIO_PCI_COMMON_MSIX:
	case VIRTIO_PCI_COMMON_Q_SELECT:
	case VIRTIO_PCI_COMMON_Q_SIZE:
	case VIRTIO_PCI_COMMON_Q_MSIX:
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return 2;
	default:
		return 4;
	}
}

/* §4.1.3.1: the driver writes each field with its own width; anything else is ignored. */
static void common_write(struct virtio_pci *vp, uint64_t offset, uint32_t value, unsigned size)
{
	if (size != field_size(offset) || offset + size > COMMON_SIZE)
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		vp->feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		vp->driver_feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GF:
		virtio_set_features(vp->dev, vp->driver_feature_select, value);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		vp->config_vector = checked_vector(vp, value);
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		status_write(vp, (uint8_t)value);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		vp->queue_select = (uint16_t)value;
		break;
	default:
		queue_write(vp, offset, value);
	}
}

/* Interrupts (§4.1.5.3, §4.1.5.4). */

static void interrupt(void *opaque, int queue)
{
	struct virtio_pci *vp = opaque;
	bool config = queue == VIRTIO_CONFIG_IRQ;

	if (msix_enabled(&vp->msix)) {
		msix_send(&vp->msix, config ? vp->config_vector : vp->dev->queue[queue].vector);
		return;
	}
	vp->isr |= config ? VIRTIO_PCI_ISR_CONFIG : 1;
	pci_intx_set(&vp->pci, true);
}

static uint64_t isr_read(struct virtio_pci *vp, uint64_t offset)
{
	uint8_t isr = vp->isr;

	if (offset != 0)
		return 0;
	vp->isr = 0;
	pci_intx_set(&vp->pci, false);
	return isr;
}

/* The BAR. */

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
	struct virtio_pci *vp = opaque;
	uint64_t at = offset % REGION_SIZE;

	switch (offset / REGION_SIZE) {
	case REGION_COMMON:
		return common_read(vp, at, size);
	case REGION_ISR:
		return isr_read(vp, at);
	case REGION_DEVICE:
		return virtio_config_read(vp->dev, at, size);
	default:
		return 0;
	}
}

static void bar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct virtio_pci *vp = opaque;
	uint64_t at = offset % REGION_SIZE;

	switch (offset / REGION_SIZE) {
	case REGION_COMMON:
		common_write(vp, at, (uint32_t)value, size);
		break;
	case REGION_DEVICE:
		virtio_config_write(vp->dev, at, (uint32_t)value, size);
		break;
	case REGION_NOTIFY:
		virtio_run_queue(vp->dev, (unsigned)(at / NOTIFY_MULTIPLIER));
		break;
	}
}

static const struct bus_ops bar_ops = {bar_read, bar_write, 4};

/* The window in configuration space, for firmware that cannot map BARs (§4.1.4.9). */
struct window {
	uint64_t offset;
	unsigned size; /* 0 where the driver's values make no access */
};

static struct window window_of(const struct virtio_pci *vp)
{
	uint8_t bar = (uint8_t)pci_get(&vp->pci, vp->cfg_cap + VIRTIO_PCI_CAP_BAR, 1);
	uint32_t offset = pci_get(&vp->pci, vp->cfg_cap + VIRTIO_PCI_CAP_OFFSET, 4);
	uint32_t length = pci_get(&vp->pci, vp->cfg_cap + VIRTIO_PCI_CAP_LENGTH, 4);
	struct window none = {0, 0};

	if (bar != BAR_VIRTIO || (length != 1 && length != 2 && length != 4))
		return none;
	if (offset % length || offset >= BAR_VIRTIO_SIZE)
		return none;
	return (struct window){offset, length};
}

static bool touches_window(const struct virtio_pci *vp, unsigned offset, unsigned size)
{
	unsigned data = vp->cfg_cap + (unsigned)CFG_CAP_DATA;

	return offset < data + 4 && offset + size > data;
}

static void config_reading(struct pci_device *pci, unsigned offset, unsigned size)
{
	struct virtio_pci *vp = pci->opaque;
	struct window w = window_of(vp);

	if (w.size && touches_window(vp, offset, size))
		pci_set(pci, vp->cfg_cap + CFG_CAP_DATA, (uint32_t)bar_read(vp, w.offset, w.size),
			w.size);
}

static void config_written(struct pci_device *pci, unsigned offset, unsigned size)
{
	struct virtio_pci *vp = pci->opaque;
	struct window w = window_of(vp);

	msix_config_written(&vp->msix, offset, size);
	if (w.size && touches_window(vp, offset, size))
		bar_write(vp, w.offset, pci_get(pci, vp->cfg_cap + CFG_CAP_DATA, w.size), w.size);
}

static void bus_reset(struct pci_device *pci)
{
	struct virtio_pci *vp = pci->opaque;

	virtio_reset_now(vp->dev);
	transport_reset(vp);
	msix_reset(&vp->msix);
}

static const struct pci_device_ops pci_ops = {
    .config_reading = config_reading,
    .config_written = config_written,
    .reset = bus_reset,
};

/* Start-up. */

static uint8_t add_capability(struct virtio_pci *vp, uint8_t type, unsigned region, uint32_t length,
			      uint8_t size)
{
	struct pci_device *pci = &vp->pci;
	uint8_t cap = pci_add_capability(pci, PCI_CAP_ID_VNDR, size);

	pci_set(pci, cap + VIRTIO_PCI_CAP_LEN, size, 1);
	pci_set(pci, cap + VIRTIO_PCI_CAP_CFG_TYPE, type, 1);
	pci_set(pci, cap + VIRTIO_PCI_CAP_BAR, BAR_VIRTIO, 1);
	pci_set(pci, cap + VIRTIO_PCI_CAP_OFFSET, region * REGION_SIZE, 4);
	pci_set(pci, cap + VIRTIO_PCI_CAP_LENGTH, length, 4);
	return cap;
}

static void add_capabilities(struct virtio_pci *vp)
{
	const uint8_t plain = sizeof(struct virtio_pci_cap);
	struct pci_device *pci = &vp->pci;
	uint8_t cap;

	add_capability(vp, VIRTIO_PCI_CAP_COMMON_CFG, REGION_COMMON, COMMON_SIZE, plain);
	add_capability(vp, VIRTIO_PCI_CAP_ISR_CFG, REGION_ISR, 1, plain);
	if (vp->dev->config_size)
		add_capability(vp, VIRTIO_PCI_CAP_DEVICE_CFG, REGION_DEVICE, vp->dev->config_size,
			       plain);
	cap = add_capability(vp, VIRTIO_PCI_CAP_NOTIFY_CFG, REGION_NOTIFY,
			     NOTIFY_MULTIPLIER * vp->dev->queue_count,
			     sizeof(struct virtio_pci_notify_cap));
	pci_set(pci, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, NOTIFY_MULTIPLIER, 4);
	cap = add_capability(vp, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, CFG_CAP_SIZE);
	pci_set(pci, cap + VIRTIO_PCI_CAP_BAR, 0, 1);
	pci_set_writable(pci, cap + VIRTIO_PCI_CAP_BAR, 0xff, 1);
	pci_set_writable(pci, cap + VIRTIO_PCI_CAP_OFFSET, 0xffffffff, 4);
	pci_set_writable(pci, cap + VIRTIO_PCI_CAP_LENGTH, 0xffffffff, 4);
	pci_set_writable(pci, cap + CFG_CAP_DATA, 0xffffffff, 4);
	vp->cfg_cap = cap;
}

int virtio_pci_init(struct virtio_pci *vp, struct virtio_device *dev, struct pci_bus *bus,
		    uint8_t devfn, struct lm_err *err)
{
	struct pci_identity id = {
	    .vendor = VIRTIO_VENDOR,
	    .device = (uint16_t)(VIRTIO_DEVICE_BASE + dev->ops->id),
	    .subsystem_vendor = VIRTIO_VENDOR,
	    .subsystem = VIRTIO_SUBSYSTEM,
	    .class_code = dev->ops->class_code,
	    .revision = VIRTIO_REVISION,
	    .interrupt_pin = 1,
	};
	struct pci_bar_spec bar = {
	    .name = dev->ops->name,
	    .size = BAR_VIRTIO_SIZE,
	    .is_64bit = true,
	    .prefetchable = true,
	    .ops = &bar_ops,
	    .opaque = vp,
	};

	memset(vp, 0, sizeof(*vp));
	vp->dev = dev;
	vp->config_vector = VQ_NO_VECTOR;
	pci_device_init(&vp->pci, dev->ops->name, &pci_ops, &id, vp);
	msix_init(&vp->msix, &vp->pci, BAR_MSIX, dev->queue_count + 1);
	pci_add_bar(&vp->pci, BAR_VIRTIO, &bar);
	add_capabilities(vp);
	dev->interrupt = interrupt;
	dev->interrupt_opaque = vp;
	return pci_bus_add(bus, &vp->pci, devfn, err);
}

/* Saved state. */

static const struct field transport_fields[] = {
	FIELD_STRUCT(struct virtio_pci, pci, pci_device_fields),
	FIELD_STRUCT(struct virtio_pci, msix, msix_fields),
	FIELD(struct virtio_pci, feature_select, ""),
	FIELD(struct virtio_pci, driver_feature_select, ""),
	FIELD(struct virtio_pci, queue_select, ""),
	FIELD(struct virtio_pci, config_vector, ""),
	FIELD(struct virtio_pci, isr, NULL),
	FIELD_NOT_SAVED(struct virtio_pci, dev, "wiring"),
	FIELD_NOT_SAVED(struct virtio_pci, cfg_cap, "configuration"),
	FIELD_END,
};

static void transport_pre_save(void *object)
{
	struct virtio_pci *vp = object;

	pci_pre_save(&vp->pci);
}

static int transport_loaded(void *object, struct lm_err *err)
{
	struct virtio_pci *vp = object;

	return pci_loaded(&vp->pci, err);
}

const struct fields_section virtio_pci_section = {
	.name = "virtio-pci",
	.version = 1,
	.table = transport_fields,
	.pre_save = transport_pre_save,
	.post_load = transport_loaded,
};
