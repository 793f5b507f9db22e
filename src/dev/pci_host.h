/*
 * The PCI host bridge: device 00:00.0 and the two ways to configuration space.
 *
 * It says that it is Intel's Q35 memory controller hub (8086:29c0), because SeaBIOS and OVMF look
 * at this id to find out what machine they are on and Linux has nothing special to do for it. Of
 * its registers we implement PCIEXBAR (where ECAM is); the RAM attribute and SMM registers only
 * keep what firmware writes, since the memory behind them is plain RAM here.
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_PCI_HOST_H
#define LM_DEV_PCI_HOST_H

#include "base/fields.h"
#include "dev/pci.h"

#define PCI_CONFIG_PORT 0xcf8 /* to 0xcff; 0xcf9 is the reset control register */
#define PCI_ECAM_SIZE	(UINT64_C(256) << 20)

struct pci_host {
	struct pci_bus bus;
	struct pci_device bridge;
	struct bus_region ports, ecam;
	uint64_t ecam_base; /* at reset */
	uint32_t address;   /* what the guest wrote to 0xcf8 */
	uint8_t reset_control;
	/* A byte written to port 0xcf9, which lies inside the address register; may be NULL. */
	void (*reset_written)(void *opaque, uint8_t value);
	void *reset_opaque;
};

/*
 * Initializes host->bus as pci_bus_init does, adds the bridge, and maps the ports and ECAM (at
 * ecam_base, a multiple of PCI_ECAM_SIZE, for buses 0 to 255).
 */
int pci_host_init(struct pci_host *host, struct bus *mmio, struct bus *port,
		  const struct irq_line line[PCI_INTX_LINES], struct msi_sink msi,
		  uint64_t ecam_base, struct lm_err *err);
void pci_host_reset(struct pci_host *host);

/* What a snapshot holds of it. */
extern const struct fields_section pci_host_section;

#endif
