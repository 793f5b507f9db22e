/*
 * ISA bridge of a Q35 board (Intel ICH9 datasheet §13.1): the PCI function where firmware looks for
 * the ACPI ports and routes PCI interrupts.
 *
 * What it says is what the board has: the ACPI ports are at PC_PORT_PM, where SeaBIOS and OVMF put
 * them, and do not move; routing registers keep what firmware writes, since the board's wiring is the
 * one that they choose.
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_LPC_H
#define LM_DEV_CHIPSET_LPC_H

#include "dev/pci.h"

#define LPC_DEVFN PCI_DEVFN_OF(31, 0)

struct lpc {
	struct pci_device pci;
};

extern const struct fields_section lpc_section;

int lpc_init(struct lpc *lpc, struct pci_bus *bus, struct lm_err *err);

#endif
