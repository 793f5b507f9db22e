/*
 * virtio over PCI, modern only (virtio 1.2 §4.1): a PCI function with a BAR for MSI-X (BAR 1) and a
 * BAR for the virtio structures (BAR 4, 64-bit). Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_VIRTIO_PCI_TRANSPORT_H
#define LM_DEV_VIRTIO_PCI_TRANSPORT_H

#include "dev/msix.h"
#include "dev/pci.h"
#include "dev/virtio/virtio.h"

struct virtio_pci {
	struct pci_device pci;
	struct msix msix;
	struct virtio_device *dev;
	uint32_t feature_select, driver_feature_select;
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t isr;
	uint8_t cfg_cap; /* offset of the PCI configuration access capability */
};

/* Puts dev (initialized) behind vp at devfn. */
int virtio_pci_init(struct virtio_pci *vp, struct virtio_device *dev, struct pci_bus *bus,
		    uint8_t devfn, struct lm_err *err);

/* What a snapshot holds of the transport; the device has a section of its own. */
extern const struct fields_section virtio_pci_section;

#endif
