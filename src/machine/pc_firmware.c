#include "machine/pc_firmware.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bits.h"
#include "dev/chipset/layout.h"
#include "machine/pc_disk.h"

/* SeaBIOS' settings (docs/Runtime_config.md there); OVMF reads etc/system-states as well. */
static int add_settings(struct pc *pc, const struct pc_config *config, struct lm_err *err)
{
	/* By ACPI sleep state: bit 7 says that it is there, the low bits are SLP_TYP. S3, S4 are not. */
	static const uint8_t states[] = { 0x80, 0, 0, 1, 2, 0x80 };
	static const uint8_t never[] = { 0xff, 0xff, 0xff, 0xff };
	static const uint8_t com1[] = { PC_PORT_COM1 & 0xff, PC_PORT_COM1 >> 8 };
	int rc = fw_cfg_add_file(&pc->fw_cfg, "etc/system-states", states, sizeof(states), false, err);

	/* How long it waits before it tries again to boot. */
	if (!rc)
		rc = fw_cfg_add_file(&pc->fw_cfg, "etc/boot-fail-wait", never, sizeof(never), false,
				     err);
	if (!rc && config->serial_console)
		rc = fw_cfg_add_file(&pc->fw_cfg, "etc/sercon-port", com1, sizeof(com1), false, err);
	return rc;
}

/* Open Firmware's paths, as QEMU writes them and SeaBIOS and OVMF read them. */
#define BOOT_PATH_MAX 64
#define BOOT_PATHS    (PC_MAX_DISKS + AHCI_PORTS)

static unsigned cdrom_path(char *to, const struct pc *pc, unsigned n)
{
	return (unsigned)snprintf(to, BOOT_PATH_MAX, "/pci@i0cf8/pci8086,2922@%x/drive@%x/disk@0\n",
				  pc->ahci->pci.devfn >> 3, n);
}

static int add_boot_order(struct pc *pc, const struct pc_config *config, struct lm_err *err)
{
	char order[BOOT_PATHS * BOOT_PATH_MAX + 1] = "";
	unsigned len = 0;

	for (unsigned pass = 0; pass < 2; pass++) {
		bool cdroms = (pass == 0) == config->boot_cdrom;

		for (unsigned k = 0; k < (cdroms ? config->cdroms : pc->disks); k++)
			len += cdroms ? cdrom_path(order + len, pc, k) : pc_disk_path(pc, pc->disk[k], order + len, BOOT_PATH_MAX);
	}
	if (!len)
		return 0;
	order[len - 1] = 0; /* lines end between, not behind */
	return fw_cfg_add_file(&pc->fw_cfg, "bootorder", order, len, true, err);
}

static void window_moved(void *opaque)
{
	struct pc *pc = opaque;

	for (unsigned k = 0; k < pc->sys->cpu_count; k++)
		x86_event_raise(pc->sys->cpu[k], EV_TLB);
}

static int add_vga(struct pc *pc, struct lm_err *err)
{
	int slot = pci_bus_free_slot(&pc->pci.bus, 1);

	pc->vga = calloc(1, sizeof(*pc->vga));
	if (!pc->vga || slot < 0)
		return lm_err_set(err, -ENOMEM, "no memory or PCI slot for the VGA");
	return vga_init(pc->vga, &pc->pci.bus, PCI_DEVFN_OF(slot, 0), pc->ram, window_moved, pc,
			err);
}

/* In place of an expansion ROM: with this name SeaBIOS runs it as the device's, whose BAR it will read. */
static int add_vga_bios(struct pc *pc, struct lm_err *err)
{
	if (!pc->firmware.vga)
		return 0;
	return fw_cfg_add_file(&pc->fw_cfg, "pci1234,1111.rom", pc->firmware.vga,
			       (uint32_t)pc->firmware.vga_size, false, err);
}

int pc_add_firmware(struct pc *pc, const struct pc_config *config, struct lm_err *err)
{
	int rc = firmware_load(&pc->firmware, &config->firmware, pc->ram, &pc->mmio, err);

	if (!rc)
		rc = debugcon_init(&pc->debugcon, &pc->port, PC_PORT_BIOS_CONSOLE, config->debug, err);
	if (!rc)
		rc = lpc_init(&pc->lpc, &pc->pci.bus, err);
	if (!rc)
		rc = add_vga(pc, err);
	if (!rc)
		rc = add_settings(pc, config, err);
	if (!rc)
		rc = add_boot_order(pc, config, err);
	return rc ? rc : add_vga_bios(pc, err);
}
