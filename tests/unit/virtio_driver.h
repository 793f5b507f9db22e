/*
 * A virtio driver for tests: one device behind the PCI transport, a small RAM, rings at fixed
 * places. It does what a guest's driver does, through the same registers, and on request what no
 * driver should.
 */
#ifndef LM_TESTS_VIRTIO_DRIVER_H
#define LM_TESTS_VIRTIO_DRIVER_H

#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "dev/virtio/pci_transport.h"
#include "check.h"

#define DRV_BAR	   UINT64_C(0xc0000000)
#define DRV_MSIX   UINT64_C(0xc0010000)
#define DRV_DEVFN  8
#define DRV_RAM	   (4 * MIB)
#define DRV_ISR	   (DRV_BAR + 0x1000)
#define DRV_CONFIG (DRV_BAR + 0x2000)
#define DRV_NOTIFY (DRV_BAR + 0x3000)

/* Guest-physical places. */
#define DRV_DESC(q)  (0x100000u + (q)*0x4000u)
#define DRV_AVAIL(q) (DRV_DESC(q) + 0x2000u)
#define DRV_USED(q)  (DRV_DESC(q) + 0x3000u)
#define DRV_DATA     0x200000u

struct driver {
	struct ram ram;
	struct event_loop loop;
	struct bus mmio, port;
	struct pci_bus bus;
	struct virtio_pci vp;
	uint16_t size[VIRTIO_MAX_QUEUES];
	uint16_t avail[VIRTIO_MAX_QUEUES], seen[VIRTIO_MAX_QUEUES];
	unsigned interrupts; /* INTA# rising edges and MSI messages */
	uint32_t last_msi;
};

static inline void drv_line(void *opaque, unsigned number, bool level)
{
	((struct driver *)opaque)->interrupts += level;
}

static inline void drv_msi(void *opaque, uint64_t address, uint32_t data)
{
	struct driver *d = opaque;

	d->interrupts++;
	d->last_msi = data;
}

/* RAM and loop first, since devices need them at their init. */
static inline void drv_init(struct driver *d, bool virtual_clock)
{
	memset(d, 0, sizeof(*d));
	CHECK_EQ(ram_init(&d->ram, DRV_RAM, NULL), 0);
	CHECK_EQ(loop_init(&d->loop, virtual_clock, NULL), 0);
}

static inline void drv_attach(struct driver *d, struct virtio_device *dev)
{
	struct irq_line line[PCI_INTX_LINES];

	for (unsigned k = 0; k < PCI_INTX_LINES; k++)
		line[k] = (struct irq_line){drv_line, d, k};
	pci_bus_init(&d->bus, &d->mmio, &d->port, line, (struct msi_sink){drv_msi, d});
	CHECK_EQ(virtio_pci_init(&d->vp, dev, &d->bus, DRV_DEVFN, NULL), 0);
	pci_config_write(&d->bus, DRV_DEVFN, PCI_BASE_ADDRESS_1, (uint32_t)DRV_MSIX, 4);
	pci_config_write(&d->bus, DRV_DEVFN, PCI_BASE_ADDRESS_4, (uint32_t)DRV_BAR, 4);
	pci_config_write(&d->bus, DRV_DEVFN, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER,
			 2);
}

static inline void drv_fini(struct driver *d)
{
	virtio_device_fini(d->vp.dev);
	loop_fini(&d->loop);
	ram_fini(&d->ram);
}

static inline void drv_set(struct driver *d, unsigned field, uint64_t value, unsigned size)
{
	bus_write(&d->mmio, DRV_BAR + field, value, size);
}

static inline uint64_t drv_get(struct driver *d, unsigned field, unsigned size)
{
	return bus_read(&d->mmio, DRV_BAR + field, size);
}

static inline uint8_t drv_status(struct driver *d)
{
	return (uint8_t)drv_get(d, VIRTIO_PCI_COMMON_STATUS, 1);
}

static inline bool drv_needs_reset(struct driver *d)
{
	return drv_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static inline uint64_t drv_offered(struct driver *d)
{
	uint64_t low;

	drv_set(d, VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
	low = drv_get(d, VIRTIO_PCI_COMMON_DF, 4);
	drv_set(d, VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	return low | drv_get(d, VIRTIO_PCI_COMMON_DF, 4) << 32;
}

/* §3.1.1 up to FEATURES_OK; whether the device accepted the features. */
static inline bool drv_negotiate(struct driver *d, uint64_t features)
{
	drv_set(d, VIRTIO_PCI_COMMON_STATUS, 0, 1);
	drv_set(d, VIRTIO_PCI_COMMON_STATUS, 1, 1);
	drv_set(d, VIRTIO_PCI_COMMON_STATUS, 3, 1);
	drv_set(d, VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	drv_set(d, VIRTIO_PCI_COMMON_GF, (uint32_t)features, 4);
	drv_set(d, VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	drv_set(d, VIRTIO_PCI_COMMON_GF, (uint32_t)(features >> 32), 4);
	drv_set(d, VIRTIO_PCI_COMMON_STATUS, 11, 1);
	return drv_status(d) & VIRTIO_CONFIG_S_FEATURES_OK;
}

static inline void drv_queue_at(struct driver *d, unsigned q, uint16_t size, uint64_t desc,
				uint64_t avail, uint64_t used)
{
	d->size[q] = size;
	d->avail[q] = d->seen[q] = 0;
	drv_set(d, VIRTIO_PCI_COMMON_Q_SELECT, q, 2);
	drv_set(d, VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
	drv_set(d, VIRTIO_PCI_COMMON_Q_MSIX, q + 1, 2);
	drv_set(d, VIRTIO_PCI_COMMON_Q_DESCLO, desc, 8);
	drv_set(d, VIRTIO_PCI_COMMON_Q_AVAILLO, avail, 8);
	drv_set(d, VIRTIO_PCI_COMMON_Q_USEDLO, used, 8);
	drv_set(d, VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

static inline void drv_queue(struct driver *d, unsigned q, uint16_t size)
{
	memset(ram_ptr(&d->ram, GPA(DRV_DESC(q)), 0x4000), 0, 0x4000);
	drv_queue_at(d, q, size, DRV_DESC(q), DRV_AVAIL(q), DRV_USED(q));
}

static inline void drv_ok(struct driver *d)
{
	drv_set(d, VIRTIO_PCI_COMMON_STATUS, 15, 1);
}

#define DRV_VERSION_1 LM_BIT(VIRTIO_F_VERSION_1)

/* The usual start: given features, the first `queues` queues with `size` entries, DRIVER_OK. */
static inline void drv_start(struct driver *d, uint64_t features, unsigned queues, uint16_t size)
{
	CHECK(drv_negotiate(d, features | DRV_VERSION_1));
	for (unsigned q = 0; q < queues; q++)
		drv_queue(d, q, size);
	drv_ok(d);
	CHECK_EQ(drv_status(d), 15);
}

static inline uint8_t *drv_ptr(struct driver *d, uint64_t gpa)
{
	return ram_ptr(&d->ram, GPA(gpa), 1);
}

static inline void drv_desc_at(struct driver *d, uint64_t table, unsigned n, uint64_t addr,
			       uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc desc = {addr, len, flags, next};

	memcpy(drv_ptr(d, table + n * sizeof(desc)), &desc, sizeof(desc));
}

static inline void drv_desc(struct driver *d, unsigned q, unsigned n, uint64_t addr, uint32_t len,
			    uint16_t flags, uint16_t next)
{
	drv_desc_at(d, DRV_DESC(q), n, addr, len, flags, next);
}

static inline void drv_offer(struct driver *d, unsigned q, uint16_t head)
{
	uint8_t *avail = drv_ptr(d, DRV_AVAIL(q));

	le_store(avail + 4 + 2 * (d->avail[q] % d->size[q]), head, 2);
	d->avail[q]++;
	le_store(avail + 2, d->avail[q], 2);
}

static inline void drv_kick(struct driver *d, unsigned q)
{
	bus_write(&d->mmio, DRV_NOTIFY + 4 * q, q, 2);
}

/* The next used element, if there is one. */
static inline bool drv_used(struct driver *d, unsigned q, uint32_t *id, uint32_t *len)
{
	const uint8_t *used = drv_ptr(d, DRV_USED(q));
	const uint8_t *e = used + 4 + 8 * (d->seen[q] % d->size[q]);

	*id = *len = 0;
	if ((uint16_t)le_load(used + 2, 2) == d->seen[q])
		return false;
	*id = (uint32_t)le_load(e, 4);
	*len = (uint32_t)le_load(e + 4, 4);
	d->seen[q]++;
	return true;
}

/* One chain of one piece, from offering to its used length; -1 where it did not come back. */
static inline int64_t drv_one(struct driver *d, unsigned q, uint64_t addr, uint32_t len,
			      uint16_t flags)
{
	uint32_t id, used;

	drv_desc(d, q, 0, addr, len, flags, 0);
	drv_offer(d, q, 0);
	drv_kick(d, q);
	return drv_used(d, q, &id, &used) ? (int64_t)used : -1;
}

#endif
