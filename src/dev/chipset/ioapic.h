/*
 * I/O APIC (Intel 82093AA) with 24 pins and the EOI register of version 0x20.
 *
 * Interrupts leave as messages in the MSI format (SDM vol. 3A §11.11), which is what the local
 * APICs and KVM take. The pins' levels are logical: the polarity bit is kept and has no effect, as
 * the board knows which lines are active. Destination bits 49-55 of an entry become address bits
 * 5-11, which reach APIC IDs above 255 (the "extended destination ID" of the KVM interface).
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_IOAPIC_H
#define LM_DEV_CHIPSET_IOAPIC_H

#include "base/fields.h"
#include "dev/bus.h"
#include "dev/irq.h"

#define IOAPIC_PINS 24

struct ioapic {
	uint64_t entry[IOAPIC_PINS]; /* redirection table */
	uint32_t line;		     /* levels of the pins */
	uint8_t id, select;
	struct msi_sink sink;
	struct bus_region mmio;
};

int ioapic_init(struct ioapic *io, struct bus *mmio, struct msi_sink sink, struct lm_err *err);
void ioapic_reset(struct ioapic *io);

/* Level of a pin; pins that do not exist are ignored. */
void ioapic_set_irq(struct ioapic *io, unsigned pin, bool level);
struct irq_line ioapic_line(struct ioapic *io, unsigned pin);

/*
 * A local APIC's end-of-interrupt broadcast for a level-triggered vector: pins that wait for it may
 * interrupt again, and do so at once where the line is still up.
 */
void ioapic_eoi(struct ioapic *io, uint8_t vector);

/* What a snapshot holds of it. */
extern const struct fields_section ioapic_section;

#endif
