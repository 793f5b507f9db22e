/*
 * MSI-X (PCI Local Bus 3.0 §6.8.2): the table and the pending bits in a BAR of their own, and the
 * capability that points to them. Vectors are sent to the bus's msi_sink. Under the device lock.
 */
#ifndef LM_DEV_MSIX_H
#define LM_DEV_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#include "dev/pci.h"

#define MSIX_MAX_VECTORS 64
#define MSIX_BAR_SIZE	 4096
#define MSIX_PBA_OFFSET	 2048

struct msix_entry {
	uint64_t address;
	uint32_t data, control;
};

struct msix {
	struct pci_device *dev;
	unsigned count;	  /* vectors, 1 to MSIX_MAX_VECTORS */
	uint8_t cap;	  /* offset of the capability */
	uint64_t pending; /* one bit a vector */
	struct msix_entry entry[MSIX_MAX_VECTORS];
};

/* Before pci_bus_add. Adds a 32-bit memory BAR of MSIX_BAR_SIZE at `bar` and the capability. */
void msix_init(struct msix *m, struct pci_device *dev, unsigned bar, unsigned count);
/* All vectors masked, none pending. */
void msix_reset(struct msix *m);

/* Whether the guest has chosen MSI-X, which turns the interrupt pin off. */
bool msix_enabled(const struct msix *m);
/* Sends the vector, or keeps it pending where it is masked. Vectors that are none: nothing. */
void msix_send(struct msix *m, unsigned vector);
/* The owner calls this from its config_written: enabling and unmasking deliver what is pending. */
void msix_config_written(struct msix *m, unsigned offset, unsigned size);

/* What a snapshot holds of it; part of the tables of those that embed one. */
extern const struct field msix_fields[];

#endif
