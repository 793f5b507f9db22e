#include "dev/ahci/ahci.h"

#include <errno.h>

#include "base/bits.h"

#define ABAR	       5
#define PORTS_AT       0x100
#define PORT_SIZE      0x80
#define ABAR_SIZE      0x1000

/* Generic host control (AHCI 1.3.1 §3.1). */
#define HBA_CAP	       0x00
#define HBA_GHC	       0x04
#define HBA_IS	       0x08
#define HBA_PI	       0x0c
#define HBA_VS	       0x10
#define CAP_64BIT      0x80000000u
#define CAP_AHCI_ONLY  0x00040000u
#define CAP_GEN1       0x00100000u
#define CAP_SLOTS      ((AHCI_SLOTS - 1u) << 8)
#define GHC_RESET      0x00000001u
#define GHC_IE	       0x00000002u
#define GHC_AHCI       0x80000000u
#define VERSION	       0x00010300

/* Port registers (§3.3). */
#define PORT_CLB       0x00
#define PORT_CLBU      0x04
#define PORT_FB	       0x08
#define PORT_FBU       0x0c
#define PORT_IS	       0x10
#define PORT_IE	       0x14
#define PORT_CMD       0x18
#define PORT_TFD       0x20
#define PORT_SIG       0x24
#define PORT_SSTS      0x28
#define PORT_SCTL      0x2c
#define PORT_SERR      0x30
#define PORT_CI	       0x38

#define IS_PCS	       0x00000040u /* connection changed: follows SERR.DIAG.X */
#define IS_WRITE_CLEAR 0xffffffbfu
#define IE_BITS	       0xfdc000ffu
#define CMD_SUD	       0x0002u
#define CMD_POD	       0x0004u
#define CMD_CLO	       0x0008u
#define CMD_CCS	       0x1f00u
#define CMD_FR	       0x4000u
#define CMD_CR	       0x8000u
#define CMD_ATAPI      0x01000000u
#define CMD_WRITABLE   (PORT_CMD_ST | CMD_SUD | CMD_POD | PORT_CMD_FRE | CMD_ATAPI)
#define SCTL_DET       0x0fu
#define SERR_DIAG_X    0x04000000u
#define SSTS_UP	       0x113u /* device there, generation 1, active */
#define TFD_NONE       0x7fu

static bool is_connected(const struct ahci_port *p)
{
	return p->backend != NULL;
}

void ahci_update_irq(struct ahci *ahci)
{
	ahci->is = 0;
	for (unsigned k = 0; k < AHCI_PORTS; k++)
		if (ahci->port[k].is & ahci->port[k].ie)
			ahci->is |= 1u << k;
	pci_intx_set(&ahci->pci, ahci->is && ahci->ghc & GHC_IE);
}

/* ---- Ports ---- */

/* What is in flight is done, and no other command starts. */
static void stop_commands(struct ahci_port *p)
{
	p->stopped = true;
	if (p->slot != AHCI_NO_SLOT)
		blockdev_finish(p->backend);
	p->ci = 0;
	p->stopped = false;
}

/* The link comes up and the drive tells what it is (COMRESET, SATA 3.0 §8.4.1). */
static void link_reset(struct ahci_port *p)
{
	stop_commands(p);
	p->soft_reset = false;
	if (!is_connected(p)) {
		p->ssts = 0;
		p->tfd = TFD_NONE;
		return;
	}
	p->ssts = SSTS_UP;
	p->serr |= SERR_DIAG_X;
	p->is |= IS_PCS;
	ahci_send_signature(p);
}

static void write_sctl(struct ahci_port *p, uint32_t v)
{
	uint32_t was = p->sctl & SCTL_DET;

	p->sctl = v & 0xfff;
	if ((v & SCTL_DET) == 1) {
		stop_commands(p);
		p->ssts = 0;
		p->tfd = TFD_NONE;
	} else if (was == 1 && (v & SCTL_DET) == 0) {
		link_reset(p);
	}
}

static void write_cmd(struct ahci_port *p, uint32_t v)
{
	bool was_on = p->cmd & PORT_CMD_ST;

	p->cmd = v & CMD_WRITABLE;
	if (v & CMD_CLO)
		p->tfd &= ~(uint32_t)(ATA_BSY | ATA_DRQ);
	if (was_on && !(v & PORT_CMD_ST))
		stop_commands(p);
	if (p->cmd & PORT_CMD_FRE && p->signature_waits)
		ahci_send_signature(p);
	ahci_port_run(p);
}

static uint32_t read_cmd(const struct ahci_port *p)
{
	uint32_t v = p->cmd;

	if (v & PORT_CMD_FRE)
		v |= CMD_FR;
	if (v & PORT_CMD_ST)
		v |= CMD_CR;
	if (p->slot != AHCI_NO_SLOT)
		v |= (uint32_t)p->slot << 8 & CMD_CCS;
	return v;
}

static void set_half(uint64_t *v, bool high, uint32_t half)
{
	*v = high ? (*v & UINT32_MAX) | (uint64_t)half << 32 : (*v & ~(uint64_t)UINT32_MAX) | half;
}

static uint32_t port_read(const struct ahci_port *p, unsigned reg)
{
	switch (reg) {
	case PORT_CLB:
		return (uint32_t)p->list;
	case PORT_CLBU:
		return (uint32_t)(p->list >> 32);
	case PORT_FB:
		return (uint32_t)p->fis;
	case PORT_FBU:
		return (uint32_t)(p->fis >> 32);
	case PORT_IS:
		return p->is;
	case PORT_IE:
		return p->ie;
	case PORT_CMD:
		return read_cmd(p);
	case PORT_TFD:
		return p->tfd;
	case PORT_SIG:
		return p->sig;
	case PORT_SSTS:
		return p->ssts;
	case PORT_SCTL:
		return p->sctl;
	case PORT_SERR:
		return p->serr;
	case PORT_CI:
		return p->ci;
	default:
		return 0;
	}
}

static void write_serr(struct ahci_port *p, uint32_t v)
{
	p->serr &= ~v;
	if (!(p->serr & SERR_DIAG_X))
		p->is &= ~IS_PCS;
}

static void port_write(struct ahci_port *p, unsigned reg, uint32_t v)
{
	switch (reg) {
	case PORT_CLB:
	case PORT_CLBU:
		set_half(&p->list, reg == PORT_CLBU, reg == PORT_CLB ? v & ~0x3ffu : v);
		break;
	case PORT_FB:
	case PORT_FBU:
		set_half(&p->fis, reg == PORT_FBU, reg == PORT_FB ? v & ~0xffu : v);
		break;
	case PORT_IS:
		p->is &= ~(v & IS_WRITE_CLEAR);
		break;
	case PORT_IE:
		p->ie = v & IE_BITS;
		break;
	case PORT_CMD:
		write_cmd(p, v);
		break;
	case PORT_SCTL:
		write_sctl(p, v);
		break;
	case PORT_SERR:
		write_serr(p, v);
		break;
	case PORT_CI:
		if (p->cmd & PORT_CMD_ST)
			p->ci |= v;
		ahci_port_run(p);
		break;
	default:
		break;
	}
}

static void port_reset(struct ahci_port *p)
{
	if (is_connected(p))
		stop_commands(p);
	p->list = p->fis = 0;
	p->is = p->ie = p->cmd = p->sctl = p->serr = p->ci = 0;
	p->sense_key = p->sense_code = p->sense_qualifier = 0;
	p->signature_waits = p->soft_reset = p->stopped = p->medium_locked = false;
	p->sig = UINT32_MAX;
	link_reset(p);
}

/* ---- The controller ---- */

static void controller_reset(struct ahci *ahci)
{
	ahci->ghc = GHC_AHCI;
	for (unsigned k = 0; k < AHCI_PORTS; k++)
		port_reset(&ahci->port[k]);
	ahci_update_irq(ahci);
}

static uint32_t controller_read(const struct ahci *ahci, unsigned reg)
{
	switch (reg) {
	case HBA_CAP:
		return CAP_64BIT | CAP_AHCI_ONLY | CAP_GEN1 | CAP_SLOTS | (AHCI_PORTS - 1);
	case HBA_GHC:
		return ahci->ghc;
	case HBA_IS:
		return ahci->is;
	case HBA_PI:
		return (1u << AHCI_PORTS) - 1;
	case HBA_VS:
		return VERSION;
	default:
		return 0;
	}
}

/* IS follows the ports' registers, so its bits go away when the guest has cleared those. */
static void controller_write(struct ahci *ahci, unsigned reg, uint32_t v)
{
	if (reg != HBA_GHC)
		return;
	if (v & GHC_RESET)
		controller_reset(ahci);
	else
		ahci->ghc = GHC_AHCI | (v & GHC_IE);
}

static uint64_t abar_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ahci *ahci = opaque;
	unsigned at = (unsigned)offset & ~3u, port = (at - PORTS_AT) / PORT_SIZE;
	uint32_t v = 0;

	if (at < PORTS_AT)
		v = controller_read(ahci, at);
	else if (port < AHCI_PORTS)
		v = port_read(&ahci->port[port], (at - PORTS_AT) % PORT_SIZE);
	return v >> (8 * (offset & 3));
}

static void abar_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ahci *ahci = opaque;
	unsigned at = (unsigned)offset, port = (at - PORTS_AT) / PORT_SIZE;

	if (size != 4 || at & 3) /* §3: dwords */
		return;
	if (at < PORTS_AT)
		controller_write(ahci, at, (uint32_t)value);
	else if (port < AHCI_PORTS)
		port_write(&ahci->port[port], (at - PORTS_AT) % PORT_SIZE, (uint32_t)value);
	ahci_update_irq(ahci);
}

static const struct bus_ops abar_ops = { abar_read, abar_write, 4 };

static void function_reset(struct pci_device *dev)
{
	controller_reset(dev->opaque);
}

static void add_sata_capability(struct pci_device *dev)
{
	uint8_t at = pci_add_capability(dev, PCI_CAP_ID_SATA, 8);

	pci_set(dev, at + 2, 0x0010, 2); /* revision 1.0 */
}

void ahci_connect(struct ahci *ahci, unsigned port, struct blockdev *backend, bool cdrom)
{
	struct ahci_port *p = &ahci->port[port];

	p->backend = backend;
	p->cdrom = cdrom;
	port_reset(p);
}

void ahci_drain(struct ahci *ahci)
{
	for (unsigned k = 0; k < AHCI_PORTS; k++) {
		struct ahci_port *p = &ahci->port[k];

		if (p->slot != AHCI_NO_SLOT)
			p->backend->ops->drain(p->backend);
	}
}

int ahci_init(struct ahci *ahci, struct pci_bus *bus, uint8_t devfn, struct ram *ram,
	      struct lm_err *err)
{
	static const struct pci_device_ops ops = { .reset = function_reset };
	static const struct pci_identity id = {
		.vendor = 0x8086,
		.device = 0x2922,
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.class_code = 0x010601, /* SATA controller, AHCI */
		.revision = 2,
		.interrupt_pin = 1,
	};
	const struct pci_bar_spec abar = {
		.name = "AHCI registers", .size = ABAR_SIZE, .ops = &abar_ops, .opaque = ahci,
	};

	*ahci = (struct ahci){ .ram = ram };
	for (unsigned k = 0; k < AHCI_PORTS; k++) {
		ahci->port[k].ahci = ahci;
		ahci->port[k].slot = AHCI_NO_SLOT;
	}
	pci_device_init(&ahci->pci, "AHCI", &ops, &id, ahci);
	pci_add_bar(&ahci->pci, ABAR, &abar);
	add_sata_capability(&ahci->pci);
	if (pci_bus_add(bus, &ahci->pci, devfn, err) < 0)
		return -EEXIST;
	controller_reset(ahci);
	return 0;
}

/* ---- Saved state: nothing is in flight then ---- */

static const struct field port_fields[] = {
	FIELD(struct ahci_port, list, "gpa"),
	FIELD(struct ahci_port, fis, "gpa"),
	FIELD(struct ahci_port, is, NULL),
	FIELD(struct ahci_port, ie, NULL),
	FIELD(struct ahci_port, cmd, NULL),
	FIELD(struct ahci_port, tfd, NULL),
	FIELD(struct ahci_port, sig, NULL),
	FIELD(struct ahci_port, ssts, NULL),
	FIELD(struct ahci_port, sctl, NULL),
	FIELD(struct ahci_port, serr, NULL),
	FIELD(struct ahci_port, ci, NULL),
	FIELD(struct ahci_port, signature_waits, NULL),
	FIELD(struct ahci_port, soft_reset, NULL),
	FIELD(struct ahci_port, stopped, NULL),
	FIELD(struct ahci_port, sense_key, NULL),
	FIELD(struct ahci_port, sense_code, NULL),
	FIELD(struct ahci_port, sense_qualifier, NULL),
	FIELD(struct ahci_port, medium_locked, NULL),
	FIELD_NOT_SAVED(struct ahci_port, ahci, "wiring"),
	FIELD_NOT_SAVED(struct ahci_port, backend, "configuration"),
	FIELD_NOT_SAVED(struct ahci_port, cdrom, "configuration"),
	FIELD_NOT_SAVED(struct ahci_port, slot, "no command is in flight"),
	FIELD_NOT_SAVED(struct ahci_port, running, "no command is in flight"),
	FIELD_NOT_SAVED(struct ahci_port, c, "no command is in flight"),
	FIELD_NOT_SAVED(struct ahci_port, block, "no command is in flight"),
	FIELD_NOT_SAVED(struct ahci_port, iov, "no command is in flight"),
	FIELD_NOT_SAVED(struct ahci_port, iov_count, "no command is in flight"),
	FIELD_NOT_SAVED(struct ahci_port, requests, "statistics"),
	FIELD_NOT_SAVED(struct ahci_port, errors, "statistics"),
	FIELD_END,
};

static const struct field ahci_fields[] = {
	FIELD_STRUCT(struct ahci, pci, pci_device_fields),
	FIELD(struct ahci, ghc, NULL),
	FIELD_STRUCTS(struct ahci, port, port_fields),
	FIELD_NOT_SAVED(struct ahci, is, "from the ports'"),
	FIELD_NOT_SAVED(struct ahci, ram, "wiring"),
	FIELD_END,
};

static void ahci_pre_save(void *object)
{
	pci_pre_save(&((struct ahci *)object)->pci);
}

static int ahci_loaded(void *object, struct lm_err *err)
{
	struct ahci *ahci = object;
	int rc;

	ahci->ghc = GHC_AHCI | (ahci->ghc & GHC_IE);
	for (unsigned k = 0; k < AHCI_PORTS; k++)
		if (!is_connected(&ahci->port[k]))
			ahci->port[k].ci = 0;
	rc = pci_loaded(&ahci->pci, err);
	if (!rc)
		ahci_update_irq(ahci);
	return rc;
}

const struct fields_section ahci_section = {
	.name = "ahci",
	.version = 1,
	.table = ahci_fields,
	.pre_save = ahci_pre_save,
	.post_load = ahci_loaded,
};
