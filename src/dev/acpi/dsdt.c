#include "dev/acpi/dsdt.h"

#include <stdio.h>

#include "dev/acpi/pm.h"
#include "dev/chipset/layout.h"

#define PCI_SLOTS   32
#define PCI_PINS    4
#define ALL_PRESENT 0x0f /* _STA: present, enabled, shown, working */
#define HIDDEN	    0x0b

/* PCI host bridge _OSC (PCI Firmware Specification 3.2 §4.5.1). */
#define PCI_OSC_UUID "33db4d5b-1ff7-401c-9657-7441c03dd766"
#define OSC_CONTROL  0x1d /* native hot plug, PME, AER, PCIe capability; no SHPC */
#define OSC_BAD_UUID 0x04
#define OSC_BAD_REV  0x08
#define OSC_MASKED   0x10

static void write_sleep(struct aml *a)
{
	aml_name(a, "\\_S5");
	aml_package(a, 4);
	aml_int(a, PM_SLP_TYP_S5);
	aml_int(a, PM_SLP_TYP_S5);
	aml_int(a, 0);
	aml_int(a, 0);
	aml_end(a);
}

/* CDW1 |= bits */
static void osc_status(struct aml *a, uint8_t bits)
{
	aml_op(a, AML_OR);
	aml_path(a, "CDW1");
	aml_int(a, bits);
	aml_path(a, "CDW1");
}

static void osc_field(struct aml *a, unsigned offset, const char *name)
{
	aml_op(a, AML_CREATE_DWORD_FIELD);
	aml_op(a, AML_ARG3);
	aml_int(a, offset);
	aml_path(a, name);
}

/* Grants what the system asks for within OSC_CONTROL: no firmware uses these functions. */
static void write_osc(struct aml *a)
{
	aml_method(a, "_OSC", 4);
	osc_field(a, 0, "CDW1");
	aml_if(a);
	aml_op(a, AML_LEQUAL);
	aml_op(a, AML_ARG0);
	aml_uuid(a, PCI_OSC_UUID);
	osc_field(a, 8, "CDW3");
	aml_op(a, AML_AND); /* Local0 = CDW3 & OSC_CONTROL */
	aml_path(a, "CDW3");
	aml_int(a, OSC_CONTROL);
	aml_op(a, AML_LOCAL0);
	aml_if(a);
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_op(a, AML_ARG1);
	aml_int(a, 1);
	osc_status(a, OSC_BAD_REV);
	aml_end(a);
	aml_if(a);
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_path(a, "CDW3");
	aml_op(a, AML_LOCAL0);
	osc_status(a, OSC_MASKED);
	aml_end(a);
	aml_op(a, AML_STORE);
	aml_op(a, AML_LOCAL0);
	aml_path(a, "CDW3");
	aml_end(a);
	aml_else(a);
	osc_status(a, OSC_BAD_UUID);
	aml_end(a);
	aml_op(a, AML_RETURN);
	aml_op(a, AML_ARG3);
	aml_end(a);
}

/* INTx by the usual rotation onto four fixed GSIs. */
static void write_prt(struct aml *a)
{
	aml_name(a, "_PRT");
	aml_package(a, PCI_SLOTS * PCI_PINS);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		for (unsigned pin = 0; pin < PCI_PINS; pin++) {
			aml_package(a, 4);
			aml_int(a, slot << 16 | 0xffff);
			aml_int(a, pin);
			aml_int(a, 0);
			aml_int(a, PC_GSI_PCI + (slot + pin) % PCI_PINS);
			aml_end(a);
		}
	}
	aml_end(a);
}

static void write_pci(struct aml *a, const struct acpi_config *c)
{
	aml_device(a, "PCI0");
	aml_name_eisa_id(a, "_HID", "PNP0A08");
	aml_name_eisa_id(a, "_CID", "PNP0A03");
	aml_name_int(a, "_UID", 0);
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_BBN", 0);
	aml_name_int(a, "_CCA", 1);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_bus_range(a, 0, 255);
	aml_res_io(a, PC_PORT_PCI_CONFIG, 8);
	aml_res_io_window(a, 0, PC_PORT_PCI_CONFIG - 1);
	aml_res_io_window(a, PC_PCI_IO_BASE, 0xffff);
	if (c->pci32_start != c->pci32_end)
		aml_res_memory_window32(a, (uint32_t)c->pci32_start, (uint32_t)(c->pci32_end - 1));
	if (c->pci64_start != c->pci64_end)
		aml_res_memory_window64(a, c->pci64_start, c->pci64_end - 1);
	aml_resources_end(a);
	write_prt(a);
	write_osc(a);
	aml_end(a);
}

/* Addresses that no driver claims: ECAM (which MCFG needs reserved) and chipset ports. */
static void write_reservations(struct aml *a, const struct acpi_config *c)
{
	aml_device(a, "MRES");
	aml_name_eisa_id(a, "_HID", "PNP0C02");
	aml_name_int(a, "_UID", 0);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_memory32(a, (uint32_t)c->ecam_base, (uint32_t)PC_ECAM_SIZE);
	aml_res_io(a, PC_PORT_FAST_A20, 1);
	aml_res_io(a, PC_PORT_ELCR, 2);
	aml_res_io(a, PC_PORT_PM, PM_PORTS);
	aml_res_io(a, PC_PORT_GPE0, GPE0_SIZE);
	aml_resources_end(a);
	aml_end(a);
}

static void write_rtc(struct aml *a)
{
	aml_device(a, "RTC");
	aml_name_eisa_id(a, "_HID", "PNP0B00");
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_io(a, PC_PORT_RTC, 2);
	aml_res_irq(a, PC_IRQ_RTC);
	aml_resources_end(a);
	aml_end(a);
}

static void write_keyboard(struct aml *a)
{
	aml_device(a, "KBD");
	aml_name_eisa_id(a, "_HID", "PNP0303");
	aml_name_int(a, "_STA", ALL_PRESENT);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_io(a, PC_PORT_KBD_DATA, 1);
	aml_res_io(a, PC_PORT_KBD_COMMAND, 1);
	aml_res_irq(a, PC_IRQ_KBD);
	aml_resources_end(a);
	aml_end(a);
}

static void write_mouse(struct aml *a)
{
	aml_device(a, "MOU");
	aml_name_eisa_id(a, "_HID", "PNP0F13");
	aml_name_int(a, "_STA", ALL_PRESENT);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_irq(a, PC_IRQ_MOUSE);
	aml_resources_end(a);
	aml_end(a);
}

static void write_uart(struct aml *a, unsigned n)
{
	static const struct {
		const char *name;
		uint16_t port;
		unsigned irq;
	} com[] = {
	    {"COM1", PC_PORT_COM1, PC_IRQ_COM1},
	    {"COM2", PC_PORT_COM2, PC_IRQ_COM2},
	    {"COM3", PC_PORT_COM3, PC_IRQ_COM1},
	    {"COM4", PC_PORT_COM4, PC_IRQ_COM2},
	};

	aml_device(a, com[n].name);
	aml_name_eisa_id(a, "_HID", "PNP0501");
	aml_name_int(a, "_UID", n + 1);
	aml_name_int(a, "_STA", ALL_PRESENT);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_io(a, com[n].port, 8);
	aml_res_irq(a, com[n].irq);
	aml_resources_end(a);
	aml_end(a);
}

static void write_pvpanic(struct aml *a)
{
	aml_device(a, "PEVT");
	aml_name_string(a, "_HID", "QEMU0001");
	aml_name_int(a, "_STA", ALL_PRESENT);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_io(a, PC_PORT_PVPANIC, 1);
	aml_resources_end(a);
	aml_io_byte(a, "PEOR", PC_PORT_PVPANIC, "PEPT");
	aml_method(a, "RDPT", 0);
	aml_op(a, AML_RETURN);
	aml_path(a, "PEPT");
	aml_end(a);
	aml_method(a, "WRPT", 1);
	aml_op(a, AML_STORE);
	aml_op(a, AML_ARG0);
	aml_path(a, "PEPT");
	aml_end(a);
	aml_end(a);
}

static void write_fw_cfg(struct aml *a)
{
	aml_device(a, "FWCF");
	aml_name_string(a, "_HID", "QEMU0002");
	aml_name_int(a, "_STA", HIDDEN);
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_res_io(a, PC_PORT_FW_CFG, PC_PORT_FW_CFG_DMA + 8 - PC_PORT_FW_CFG);
	aml_resources_end(a);
	aml_end(a);
}

static void write_cpus(struct aml *a, unsigned count)
{
	for (unsigned k = 0; k < count; k++) {
		char name[8];

		snprintf(name, sizeof(name), "C%03X", k & 0xfff);
		aml_device(a, name);
		aml_name_string(a, "_HID", "ACPI0007");
		aml_name_int(a, "_UID", k);
		aml_end(a);
	}
}

/* Virtual Machine Generation ID: where the ID is, and the event that says that it changed. */
static void write_vmgenid(struct aml *a, uint64_t gpa)
{
	aml_scope(a, "\\_SB");
	aml_device(a, "VGEN");
	aml_name_string(a, "_HID", "QEMUVGID");
	aml_name_string(a, "_CID", "VM_Gen_Counter");
	aml_name_string(a, "_DDN", "VM_Gen_Counter");
	aml_name(a, "ADDR");
	aml_package(a, 2);
	aml_int(a, (uint32_t)gpa);
	aml_int(a, gpa >> 32);
	aml_end(a);
	aml_end(a);
	aml_end(a);
	aml_scope(a, "\\_GPE");
	aml_method(a, "_E05", 0); /* PM_GPE_VMGENID */
	aml_op(a, AML_NOTIFY);
	aml_path(a, "\\_SB.VGEN");
	aml_int(a, 0x80);
	aml_end(a);
	aml_end(a);
}

void dsdt_write(struct aml *a, const struct acpi_config *c)
{
	write_sleep(a);
	aml_scope(a, "\\_SB");
	write_pci(a, c);
	write_reservations(a, c);
	write_rtc(a);
	if (c->keyboard)
		write_keyboard(a);
	if (c->mouse)
		write_mouse(a);
	for (unsigned n = 0; n < c->uarts; n++)
		write_uart(a, n);
	if (c->pvpanic)
		write_pvpanic(a);
	if (c->fw_cfg)
		write_fw_cfg(a);
	write_cpus(a, c->cpus);
	aml_end(a);
	if (c->vmgenid)
		write_vmgenid(a, c->vmgenid);
}
