#include "dev/chipset/lpc.h"

#include "base/bits.h"
#include "dev/chipset/layout.h"

#define REG_PMBASE     0x40 /* ACPI base address, bit 0: I/O space */
#define REG_ACPI_CNTL  0x44
#define ACPI_ENABLE    0x80
#define REG_PIRQA      0x60 /* routing of PIRQA# to PIRQD#, then E to H at 0x68 */
#define REG_PIRQE      0x68
#define PIRQ_OFF       0x80
#define REG_RCBA       0xf0 /* root complex register block */

static void lpc_reset(struct pci_device *dev)
{
	pci_set(dev, REG_PMBASE, PC_PORT_PM | 1, 4);
	pci_set(dev, REG_ACPI_CNTL, ACPI_ENABLE, 1);
	for (unsigned k = 0; k < 4; k++) {
		pci_set(dev, REG_PIRQA + k, PIRQ_OFF, 1);
		pci_set(dev, REG_PIRQE + k, PIRQ_OFF, 1);
	}
}

static const struct field lpc_fields[] = {
	FIELD_STRUCT(struct lpc, pci, pci_device_fields),
	FIELD_END,
};

static void lpc_pre_save(void *object)
{
	pci_pre_save(&((struct lpc *)object)->pci);
}

static int lpc_loaded(void *object, struct lm_err *err)
{
	return pci_loaded(&((struct lpc *)object)->pci, err);
}

const struct fields_section lpc_section = {
	.name = "lpc",
	.version = 1,
	.table = lpc_fields,
	.pre_save = lpc_pre_save,
	.post_load = lpc_loaded,
};

static const struct pci_device_ops lpc_ops = { .reset = lpc_reset };

int lpc_init(struct lpc *lpc, struct pci_bus *bus, struct lm_err *err)
{
	static const struct pci_identity id = {
		.vendor = 0x8086,
		.device = 0x2918,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.class_code = 0x060100, /* ISA bridge */
		.revision = 2,
	};
	struct pci_device *dev = &lpc->pci;

	pci_device_init(dev, "ISA bridge", &lpc_ops, &id, lpc);
	for (unsigned k = 0; k < 4; k++) {
		pci_set_writable(dev, REG_PIRQA + k, 0x8f, 1);
		pci_set_writable(dev, REG_PIRQE + k, 0x8f, 1);
	}
	pci_set_writable(dev, REG_RCBA, 0xffffc001, 4);
	lpc_reset(dev);
	return pci_bus_add(bus, dev, LPC_DEVFN, err);
}
