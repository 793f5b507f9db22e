/*
 * Where things are on the PC board: ports, addresses and interrupt numbers that the board, the ACPI
 * tables and the boot code must agree on. Plain numbers; every file that needs one takes it from
 * here.
 */
#ifndef LM_DEV_CHIPSET_LAYOUT_H
#define LM_DEV_CHIPSET_LAYOUT_H

#include <stdint.h>

/* Physical addresses. RAM below 4 GiB ends at RAM_LOW_MAX (mem/ram.h), where the
 * PCI Express configuration window starts, with the PCI window behind it.
 */
#define PC_ACPI_BASE	      UINT64_C(0x000e0000) /* tables and RSDP: the BIOS area that OSes scan */
#define PC_ACPI_END	      UINT64_C(0x00100000)
#define PC_VMGENID	      UINT64_C(0x000ff000) /* generation ID; up to here the tables may grow */
#define PC_VMGENID_SIZE	      16
#define PC_ECAM_BASE	      UINT64_C(0xb0000000) /* where SeaBIOS and OVMF put it on a Q35 board */
#define PC_ECAM_SIZE	      UINT64_C(0x10000000) /* 256 buses */
#define PC_PCI32_BASE	      UINT64_C(0xc0000000)
#define PC_PCI32_END	      UINT64_C(0xfc000000)
#define PC_IOAPIC_BASE	      UINT64_C(0xfec00000)
#define PC_LAPIC_BASE	      UINT64_C(0xfee00000)
#define PC_TESTDEV_IOMEM_BASE UINT64_C(0xff000000)
#define PC_PCI64_ALIGN	      UINT64_C(0x40000000) /* the 64-bit window starts above RAM, so aligned */

/* I/O ports. */
#define PC_PORT_PIC_MASTER    0x20
#define PC_PORT_PIT	      0x40
#define PC_PORT_KBD_DATA      0x60
#define PC_PORT_SPEAKER	      0x61
#define PC_PORT_KBD_COMMAND   0x64
#define PC_PORT_RTC	      0x70
#define PC_PORT_FAST_A20      0x92
#define PC_PORT_PIC_SLAVE     0xa0
#define PC_PORT_TEST_DATA     0xe0
#define PC_PORT_TEST_FLUSH    0xe4
#define PC_PORT_TEST_BYTES    0xe8
#define PC_PORT_DEBUG_CONSOLE 0xe9
#define PC_PORT_DEBUG_EXIT    0xf4
#define PC_PORT_COM4	      0x2e8
#define PC_PORT_COM2	      0x2f8
#define PC_PORT_COM3	      0x3e8
#define PC_PORT_COM1	      0x3f8
#define PC_PORT_BIOS_CONSOLE  0x402
#define PC_PORT_ELCR	      0x4d0
#define PC_PORT_PVPANIC	      0x505
#define PC_PORT_FW_CFG	      0x510
#define PC_PORT_FW_CFG_DMA    0x514
#define PC_PORT_PM	      0x600
#define PC_PORT_GPE0	      0x620
#define PC_PORT_WATCHDOG      0x630
#define PC_PORT_PCI_CONFIG    0xcf8
#define PC_PORT_RESET	      0xcf9 /* a byte inside the PCI address register */
#define PC_PORT_TEST_IRQ      0x2000
#define PC_PCI_IO_BASE	      0xd00 /* I/O ports for PCI: from here to 0xffff */

/* ISA interrupts; each is the GSI of the same number, except that IRQ 0 is GSI 2. */
#define PC_IRQ_PIT  0
#define PC_IRQ_KBD  1
#define PC_IRQ_COM2 3 /* and COM4 */
#define PC_IRQ_COM1 4 /* and COM3 */
#define PC_IRQ_RTC  8
#define PC_IRQ_SCI  9
#define PC_IRQ_MOUSE 12
#define PC_GSI_PIT  2
#define PC_GSI_PCI  16 /* INTA# to INTD# of bus 0: GSIs 16 to 19 */

#endif
