#include "machine/pc.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bits.h"
#include "dev/acpi/loader.h"
#include "dev/chipset/layout.h"
#include "machine/pc_disk.h"
#include "machine/pc_firmware.h"

/* ---- The engine's way to devices ---- */

static uint64_t io_mmio_read(void *opaque, gpa_t gpa, unsigned size)
{
	struct pc *pc = opaque;
	uint64_t v;

	loop_lock(pc->loop);
	v = bus_read(&pc->mmio, gpa.v, size);
	loop_unlock(pc->loop);
	return v;
}

static void io_mmio_write(void *opaque, gpa_t gpa, uint64_t value, unsigned size)
{
	struct pc *pc = opaque;

	loop_lock(pc->loop);
	bus_write(&pc->mmio, gpa.v, value, size);
	loop_unlock(pc->loop);
}

static uint32_t io_port_read(void *opaque, uint16_t port, unsigned size)
{
	struct pc *pc = opaque;
	uint32_t v;

	loop_lock(pc->loop);
	v = (uint32_t)bus_read(&pc->port, port, size);
	loop_unlock(pc->loop);
	return v;
}

static void io_port_write(void *opaque, uint16_t port, uint32_t value, unsigned size)
{
	struct pc *pc = opaque;

	loop_lock(pc->loop);
	bus_write(&pc->port, port, value, size);
	loop_unlock(pc->loop);
}

/* ---- Interrupt wiring ---- */

/* An ISA interrupt reaches the PIC and the IOAPIC's pin of its number; IRQ 0 is pin 2. */
static void isa_irq(void *opaque, unsigned irq, bool level)
{
	struct pc *pc = opaque;

	pic_set_irq(&pc->pic, irq, level);
	ioapic_set_irq(&pc->ioapic, irq == PC_IRQ_PIT ? PC_GSI_PIT : irq, level);
}

static struct irq_line isa_line(struct pc *pc, unsigned irq)
{
	return (struct irq_line){ isa_irq, pc, irq };
}

/* INTA# to INTD# have IOAPIC pins of their own and share two PIC inputs. */
static const uint8_t intx_pic_irq[PCI_INTX_LINES] = { 10, 10, 11, 11 };

static void intx_irq(void *opaque, unsigned line, bool level)
{
	struct pc *pc = opaque;
	uint32_t shared = 0;

	pc->intx_levels = (pc->intx_levels & ~(1u << line)) | (uint32_t)level << line;
	for (unsigned k = 0; k < PCI_INTX_LINES; k++)
		if (intx_pic_irq[k] == intx_pic_irq[line])
			shared |= pc->intx_levels & 1u << k;
	pic_set_irq(&pc->pic, intx_pic_irq[line], shared != 0);
	ioapic_set_irq(&pc->ioapic, PC_GSI_PCI + line, level);
}

static void message(void *opaque, uint64_t address, uint32_t data)
{
	struct pc *pc = opaque;

	lapic_message(pc->sys, address, data);
}

static void route(void *opaque, unsigned pin, uint64_t address, uint32_t data)
{
	struct pc *pc = opaque;

	if (pc->sys->irqchip)
		pc->sys->irqchip->route(pc->sys, pin, address, data);
}

/* The PIC's INTR goes to LINT0 of the boot vCPU. */
static void intr_line(void *opaque, unsigned number, bool level)
{
	struct pc *pc = opaque;

	x86_extint_set(pc->sys->cpu[0], level);
}

static int sys_pic_ack(void *opaque)
{
	struct pc *pc = opaque;
	int vector;

	loop_lock(pc->loop);
	vector = pic_ack(&pc->pic);
	loop_unlock(pc->loop);
	return vector;
}

static void sys_eoi(void *opaque, uint8_t vector)
{
	struct pc *pc = opaque;

	loop_lock(pc->loop);
	ioapic_eoi(&pc->ioapic, vector);
	loop_unlock(pc->loop);
}

/* ---- What the guest does to the board ---- */

static void on_power_off(void *opaque)
{
	struct pc *pc = opaque;

	pc->ops.power_off(pc->ops.opaque);
}

static void on_reset(void *opaque)
{
	struct pc *pc = opaque;

	pc->ops.reset(pc->ops.opaque);
}

static void on_panic(void *opaque, uint8_t events)
{
	struct pc *pc = opaque;

	if (events & PVPANIC_PANICKED)
		pc->ops.panicked(pc->ops.opaque);
}

static void on_debug_exit(void *opaque, uint32_t status)
{
	struct pc *pc = opaque;

	pc->ops.debug_exit(pc->ops.opaque, status);
}

/* ---- Devices ---- */

static int add_interrupt_controllers(struct pc *pc, struct lm_err *err)
{
	struct irq_line intr = { intr_line, pc, 0 };
	struct msi_sink sink = { message, pc, route };
	int rc = pic_init(&pc->pic, &pc->port, intr, err);

	return rc < 0 ? rc : ioapic_init(&pc->ioapic, &pc->mmio, sink, err);
}

static int add_uarts(struct pc *pc, struct chardev *serial, struct lm_err *err)
{
	int rc = uart_init(&pc->uart[0], "COM1", PC_PORT_COM1, &pc->port, isa_line(pc, PC_IRQ_COM1),
			   serial, err);

	if (rc < 0)
		return rc;
	return uart_init(&pc->uart[1], "COM2", PC_PORT_COM2, &pc->port, isa_line(pc, PC_IRQ_COM2),
			 NULL, err);
}

static void on_watchdog(void *opaque)
{
	struct pc *pc = opaque;

	pc->ops.watchdog(pc->ops.opaque);
}

static int add_watchdog(struct pc *pc, struct lm_err *err)
{
	pc->watchdog = calloc(1, sizeof(*pc->watchdog));
	if (!pc->watchdog)
		return lm_err_set(err, -ENOMEM, "no memory for the watchdog");
	return watchdog_init(pc->watchdog, pc->loop, &pc->port, on_watchdog, pc, err);
}

static int add_legacy(struct pc *pc, const struct pc_config *config, struct lm_err *err)
{
	struct i8042_reset_line reset = { on_reset, pc };
	struct acpi_pm_ops pm = { on_power_off, on_reset, pc };
	int rc = pit_init(&pc->pit, pc->loop, &pc->port, isa_line(pc, PC_IRQ_PIT), err);

	if (!rc)
		rc = rtc_init(&pc->rtc, pc->loop, &pc->port, isa_line(pc, PC_IRQ_RTC), err);
	if (!rc)
		rc = add_uarts(pc, config->serial, err);
	if (!rc)
		rc = i8042_init(&pc->kbc, &pc->port, isa_line(pc, PC_IRQ_KBD), reset, err);
	if (!rc && config->firmware.code)
		i8042_connect_mouse(&pc->kbc, isa_line(pc, PC_IRQ_MOUSE));
	if (!rc)
		rc = acpi_pm_init(&pc->pm, pc->loop, &pc->port, isa_line(pc, PC_IRQ_SCI), pm, err);
	if (!rc)
		rc = pvpanic_init(&pc->pvpanic, &pc->port, on_panic, pc, err);
	if (!rc && config->watchdog)
		rc = add_watchdog(pc, err);
	return rc;
}

static int add_test_devices(struct pc *pc, const struct pc_config *config, struct lm_err *err)
{
	struct testdev_ops ops = { .exit = on_debug_exit, .opaque = pc };

	if (!config->test_devices)
		return 0;
	for (unsigned k = 0; k < TESTDEV_IRQS; k++)
		ops.irq[k] = k < 16 ? isa_line(pc, k) : ioapic_line(&pc->ioapic, k);
	pc->testdev = calloc(1, sizeof(*pc->testdev));
	if (!pc->testdev)
		return lm_err_set(err, -ENOMEM, "no memory for the test devices");
	return testdev_init(pc->testdev, &pc->mmio, &pc->port, &ops, true, err);
}

int pc_add_virtio(struct pc *pc, struct virtio_pci *vp, struct virtio_device *dev,
		  struct lm_err *err)
{
	int slot = pci_bus_free_slot(&pc->pci.bus, 1);

	if (slot < 0)
		return lm_err_set(err, -ENOSPC, "no PCI slot left for %s", dev->ops->name);
	pc->virtio[pc->virtios++] = dev;
	return virtio_pci_init(vp, dev, &pc->pci.bus, PCI_DEVFN_OF(slot, 0), err);
}

/* SATA disks need their controller, which comes behind the others. */
static int add_disks(struct pc *pc, const struct pc_config *config, bool sata, struct lm_err *err)
{
	int rc = 0;

	for (unsigned k = 0; !rc && k < config->disks; k++)
		if ((config->disk_interface[k] == DISK_SATA) == sata)
			rc = pc_add_disk(pc, config->disk[k], config->disk_interface[k], err);
	return rc;
}

static bool has_sata(const struct pc_config *config)
{
	for (unsigned k = 0; k < config->disks; k++)
		if (config->disk_interface[k] == DISK_SATA)
			return true;
	return config->cdroms || config->firmware.code;
}

static int add_net(struct pc *pc, struct netdev *backend, unsigned pairs, struct lm_err *err)
{
	struct pc_net *n = calloc(1, sizeof(*n));
	int rc;

	if (!n)
		return lm_err_set(err, -ENOMEM, "no memory for a network device");
	pc->net[pc->nets++] = n;
	rc = virtio_net_init(&n->net, backend, pairs, pc->ram, pc->loop, err);
	return rc < 0 ? rc : pc_add_virtio(pc, &n->pci, &n->net.virtio, err);
}

static int add_ahci(struct pc *pc, const struct pc_config *config, struct lm_err *err)
{
	int slot = pci_bus_free_slot(&pc->pci.bus, 1), rc;

	pc->ahci = calloc(1, sizeof(*pc->ahci));
	if (!pc->ahci || slot < 0)
		return lm_err_set(err, -ENOMEM, "no memory or PCI slot for the SATA controller");
	rc = ahci_init(pc->ahci, &pc->pci.bus, PCI_DEVFN_OF(slot, 0), pc->ram, err);
	for (unsigned k = 0; !rc && k < config->cdroms; k++)
		ahci_connect(pc->ahci, k, config->cdrom[k], true);
	pc->ahci_ports = config->cdroms;
	return rc;
}

static int add_share(struct pc *pc, struct fsdev *backend, struct lm_err *err)
{
	struct pc_share *s = calloc(1, sizeof(*s));

	if (!s)
		return lm_err_set(err, -ENOMEM, "no memory for a shared folder");
	pc->share[pc->shares++] = s;
	virtio_fs_init(&s->fs, backend, pc->ram, pc->loop);
	return pc_add_virtio(pc, &s->pci, &s->fs.virtio, err);
}

static int add_vsock(struct pc *pc, struct vsockdev *backend, uint64_t cid, struct lm_err *err)
{
	if (!backend)
		return 0;
	pc->vsock = calloc(1, sizeof(*pc->vsock));
	if (!pc->vsock)
		return lm_err_set(err, -ENOMEM, "no memory for a socket device");
	virtio_vsock_init(&pc->vsock->vsock, backend, cid, pc->ram, pc->loop);
	return pc_add_virtio(pc, &pc->vsock->pci, &pc->vsock->vsock.virtio, err);
}

static int add_balloon(struct pc *pc, struct lm_err *err)
{
	pc->balloon = calloc(1, sizeof(*pc->balloon));
	if (!pc->balloon)
		return lm_err_set(err, -ENOMEM, "no memory for the balloon");
	virtio_balloon_init(&pc->balloon->balloon, pc->ram, pc->loop);
	return pc_add_virtio(pc, &pc->balloon->pci, &pc->balloon->balloon.virtio, err);
}

static int add_pci(struct pc *pc, const struct pc_config *config, struct lm_err *err)
{
	struct irq_line line[PCI_INTX_LINES];
	struct msi_sink sink = { message, pc };
	int rc;

	for (unsigned k = 0; k < PCI_INTX_LINES; k++)
		line[k] = (struct irq_line){ intx_irq, pc, k };
	rc = pci_host_init(&pc->pci, &pc->mmio, &pc->port, line, sink, PC_ECAM_BASE, err);
	if (rc < 0)
		return rc;
	pc->pci.reset_written = acpi_pm_reset_control;
	pc->pci.reset_opaque = &pc->pm;
	rc = add_disks(pc, config, false, err);
	if (rc < 0)
		return rc;
	for (unsigned k = 0; k < config->nets; k++) {
		rc = add_net(pc, config->net[k], config->net_pairs[k], err);
		if (rc < 0)
			return rc;
	}
	rc = add_vsock(pc, config->vsock, config->vsock_cid, err);
	if (rc < 0)
		return rc;
	if (has_sata(config))
		rc = add_ahci(pc, config, err);
	if (!rc)
		rc = add_disks(pc, config, true, err);
	if (rc < 0)
		return rc;
	virtio_console_init(&pc->console, config->port, config->ports, pc->ram, pc->loop);
	rc = pc_add_virtio(pc, &pc->console_pci, &pc->console.virtio, err);
	if (rc < 0)
		return rc;
	virtio_rng_init(&pc->rng, pc->ram, pc->loop, config->entropy_seed);
	rc = pc_add_virtio(pc, &pc->rng_pci, &pc->rng.virtio, err);
	for (unsigned k = 0; !rc && k < config->shares; k++)
		rc = add_share(pc, config->share[k], err);
	if (!rc && config->balloon)
		rc = add_balloon(pc, err);
	return rc;
}

static struct pci_windows pci_windows(const struct pc *pc)
{
	uint64_t high = align_up(RAM_HIGH_START + ram_high_size(pc->ram), PC_PCI64_ALIGN);

	return (struct pci_windows){
		.mem32_start = PC_PCI32_BASE,
		.mem32_end = PC_PCI32_END,
		.mem64_start = high,
		.mem64_end = high + 64 * GIB,
		.io_start = PC_PCI_IO_BASE,
		.io_end = 0x10000,
		.irq = { intx_pic_irq[0], intx_pic_irq[1], intx_pic_irq[2], intx_pic_irq[3] },
	};
}

static bool has_firmware(const struct pc *pc)
{
	return pc->firmware.code != NULL;
}

static struct acpi_config acpi_config(const struct pc *pc)
{
	struct pci_windows w = pci_windows(pc);

	return (struct acpi_config){
		.cpus = pc->sys->cpu_count,
		.pci32_start = w.mem32_start,
		.pci32_end = w.mem32_end,
		.pci64_start = w.mem64_start,
		.pci64_end = w.mem64_end,
		.ecam_base = PC_ECAM_BASE,
		.uarts = PC_UARTS,
		.keyboard = true,
		.mouse = pc->kbc.has_mouse,
		.pvpanic = true,
		.watchdog = pc->watchdog != NULL,
		.fw_cfg = true,
		.vmgenid = has_firmware(pc) ? 0 : PC_VMGENID,
	};
}

static int write_acpi(struct pc *pc, struct lm_err *err)
{
	struct acpi_config config = acpi_config(pc);
	uint8_t *at = ram_ptr(pc->ram, GPA(PC_ACPI_BASE), PC_VMGENID - PC_ACPI_BASE);
	int rc = at ? acpi_build(&config, PC_ACPI_BASE, at, PC_VMGENID - PC_ACPI_BASE, err)
		    : lm_err_set(err, -ENOMEM, "no memory for the ACPI tables");

	if (at)
		ram_note_write(pc->ram, at, PC_VMGENID - PC_ACPI_BASE);
	pc->rsdp = PC_ACPI_BASE;
	return rc < 0 ? rc : 0;
}

/* ---- What firmware finds in fw_cfg ---- */

/* RAM as INT 15h E820 lists it; what is reserved is the firmware's to say (QEMU hw/i386/e820). */
static int add_e820(struct pc *pc, struct lm_err *err)
{
	struct __attribute__((packed)) {
		uint64_t start, size;
		uint32_t type;
	} map[2] = { { 0, ram_low_top(pc->ram), 1 }, { RAM_HIGH_START, ram_high_size(pc->ram), 1 } };
	uint32_t used = map[1].size ? sizeof(map) : sizeof(map[0]);

	return fw_cfg_add_file(&pc->fw_cfg, "etc/e820", map, used, true, err);
}

static int add_fw_cfg(struct pc *pc, struct lm_err *err)
{
	const struct {
		uint16_t key;
		uint8_t size;
		uint64_t value;
	} numbers[] = {
		{ FW_CFG_RAM_SIZE, 8, pc->ram->size },
		{ FW_CFG_NOGRAPHIC, 2, 1 },
		{ FW_CFG_NB_CPUS, 2, pc->sys->cpu_count },
		{ FW_CFG_BOOT_MENU, 2, 0 },
		{ FW_CFG_MAX_CPUS, 2, pc->sys->cpu_count },
		{ FW_CFG_IRQ0_OVERRIDE, 1, 1 },
	};
	struct acpi_config acpi = acpi_config(pc);
	int rc = fw_cfg_init(&pc->fw_cfg, &pc->port, pc->ram, err);

	for (unsigned k = 0; !rc && k < LM_ARRAY_SIZE(numbers); k++)
		rc = fw_cfg_add_number(&pc->fw_cfg, numbers[k].key, numbers[k].value,
				       numbers[k].size, err);
	if (!rc)
		rc = add_e820(pc, err);
	return rc ? rc : acpi_loader_add(&pc->fw_cfg, &acpi, err);
}

/* What firmware would have done before it starts the kernel. */
static int power_on(struct pc *pc, struct lm_err *err)
{
	struct pci_windows windows = pci_windows(pc);
	int rc;

	if (has_firmware(pc)) {
		firmware_power_on(&pc->firmware, pc->ram);
		return 0;
	}
	rc = pci_assign(&pc->pci.bus, &windows, err);
	return rc < 0 ? rc : write_acpi(pc, err);
}

static void connect_engine(struct pc *pc)
{
	pc->io = (struct mem_io){ io_mmio_read, io_mmio_write, io_port_read, io_port_write, pc };
	pc->sys->io = &pc->io;
	pc->sys->pic_ack = sys_pic_ack;
	pc->sys->eoi = sys_eoi;
	pc->sys->opaque = pc;
}

int pc_init(struct pc *pc, const struct pc_config *config, struct ram *ram, struct x86_system *sys,
	    struct event_loop *loop, struct lm_err *err)
{
	int rc;

	*pc = (struct pc){ .ram = ram, .sys = sys, .loop = loop, .ops = config->ops };
	pc->mmio.name = "mmio";
	pc->port.name = "port";
	connect_engine(pc);
	rc = add_interrupt_controllers(pc, err);
	if (!rc)
		rc = add_legacy(pc, config, err);
	if (!rc)
		rc = add_test_devices(pc, config, err);
	if (!rc)
		rc = add_fw_cfg(pc, err);
	if (!rc)
		rc = add_pci(pc, config, err);
	if (!rc && config->firmware.code)
		rc = pc_add_firmware(pc, config, err);
	if (rc < 0)
		return rc;
	rtc_set_memory(&pc->rtc, ram_low_top(ram), ram_high_size(ram));
	return power_on(pc, err);
}

int pc_reset(struct pc *pc, struct lm_err *err)
{
	pci_host_reset(&pc->pci);
	acpi_pm_reset(&pc->pm);
	fw_cfg_reset(&pc->fw_cfg);
	i8042_reset(&pc->kbc);
	for (unsigned k = 0; k < PC_UARTS; k++)
		uart_reset(&pc->uart[k]);
	rtc_reset(&pc->rtc);
	if (pc->watchdog)
		watchdog_reset(pc->watchdog);
	pit_reset(&pc->pit);
	if (pc->testdev)
		testdev_reset(pc->testdev);
	ioapic_reset(&pc->ioapic);
	pic_reset(&pc->pic);
	pflash_reset(&pc->firmware.flash);
	return power_on(pc, err);
}

void pc_drain(struct pc *pc)
{
	for (unsigned k = 0; k < pc->virtios; k++)
		if (pc->virtio[k]->ops->drain)
			pc->virtio[k]->ops->drain(pc->virtio[k]);
	for (unsigned k = 0; k < pc->disks; k++)
		pc_disk_drain(pc->disk[k]);
	if (pc->ahci)
		ahci_drain(pc->ahci);
}

void pc_fini(struct pc *pc)
{
	for (unsigned k = 0; k < pc->disks; k++)
		pc_disk_free(pc->disk[k]);
	if (pc->vsock)
		virtio_vsock_fini(&pc->vsock->vsock);
	free(pc->vsock);
	for (unsigned k = 0; k < pc->nets; k++) {
		virtio_net_fini(&pc->net[k]->net);
		free(pc->net[k]);
	}
	for (unsigned k = 0; k < pc->shares; k++) {
		virtio_device_fini(&pc->share[k]->fs.virtio);
		free(pc->share[k]);
	}
	if (pc->balloon)
		virtio_balloon_fini(&pc->balloon->balloon);
	free(pc->balloon);
	if (pc->watchdog)
		watchdog_fini(pc->watchdog);
	free(pc->watchdog);
	if (pc->console.ports)
		virtio_console_fini(&pc->console);
	firmware_unload(&pc->firmware);
	fw_cfg_fini(&pc->fw_cfg);
	free(pc->testdev);
	free(pc->vga);
	free(pc->ahci);
}
