/*
 * ACPI fixed hardware (ACPI 6.4 §4.8): PM1a event and control blocks, the PM timer, the GPE0
 * block, and the reset control register of PC chipsets (port 0xcf9).
 *
 * There is no legacy mode: SCI_EN reads as 1 and the FADT has no SMI command port. The SCI is a
 * level. Port 0xcf9 lies inside the PCI address register, so its owner hands us the writes.
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_ACPI_PM_H
#define LM_DEV_ACPI_PM_H

#include "base/fields.h"
#include "dev/bus.h"
#include "dev/irq.h"
#include "event/loop.h"

#define PM_TIMER_HZ 3579545
/* Offsets from PC_PORT_PM, and sizes, for the FADT. */
#define PM1A_EVENT	  0
#define PM1A_EVENT_SIZE	  4
#define PM1A_CONTROL	  4
#define PM1A_CONTROL_SIZE 2
#define PM_TIMER	  8
#define PM_TIMER_SIZE	  4
#define PM_PORTS	  16
#define GPE0_SIZE	  4    /* 16 status bits, 16 enable bits */
#define PM_SLP_TYP_S5	  5    /* what \_S5 says */
#define PM_SLP_TYP_FIRMWARE 0  /* the same as SeaBIOS and OVMF write it, who know QEMU's \_S5 */
#define PM_RESET_VALUE	  0x0e /* to port 0xcf9: full reset */

/* General-purpose events; each has its \_GPE._Exx method. */
#define PM_GPE_VMGENID 5

struct acpi_pm_ops {
	void (*power_off)(void *opaque);
	void (*reset)(void *opaque);
	void *opaque;
};

struct acpi_pm {
	uint16_t pm1_status, pm1_enable, pm1_control;
	uint16_t gpe_status, gpe_enable;
	uint64_t timer_seen; /* PM timer ticks up to which TMR_STS is known */
	struct event_loop *loop;
	struct timer timer; /* armed only while TMR_EN */
	struct irq_line sci;
	struct acpi_pm_ops ops;
	struct bus_region ports, gpe;
};

int acpi_pm_init(struct acpi_pm *pm, struct event_loop *loop, struct bus *port, struct irq_line sci,
		 struct acpi_pm_ops ops, struct lm_err *err);
void acpi_pm_reset(struct acpi_pm *pm);

/* The user presses the power button: the guest should shut down. */
void acpi_pm_power_button(struct acpi_pm *pm);
/* Raises general-purpose event 0 to 15. */
void acpi_pm_raise_gpe(struct acpi_pm *pm, unsigned event);
/* The guest wrote value to port 0xcf9. opaque is the acpi_pm (pci_host's reset_written). */
void acpi_pm_reset_control(void *opaque, uint8_t value);

/* What a snapshot holds of it. */
extern const struct fields_section acpi_pm_section;

#endif
