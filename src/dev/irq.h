/*
 * Interrupt lines and messages, as devices see them.
 *
 * A device drives a level on a line; what is behind it (PIC and IOAPIC, a PCI INTx, a test) is
 * the board's business. MSI writes go to the machine's message sink. Under the device lock.
 */
#ifndef LM_DEV_IRQ_H
#define LM_DEV_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct irq_line {
	void (*set)(void *opaque, unsigned number, bool level);
	void *opaque;
	unsigned number;
};

static inline void irq_set(const struct irq_line *line, bool level)
{
	if (line->set)
		line->set(line->opaque, line->number, level);
}

/* An edge: up and down. */
static inline void irq_pulse(const struct irq_line *line)
{
	irq_set(line, true);
	irq_set(line, false);
}

/* Message-signalled interrupt: address 0xfeexxxxx and data as in Intel SDM vol. 3A §11.11. */
struct msi_sink {
	void (*send)(void *opaque, uint64_t address, uint32_t data);
	void *opaque;
	/*
	 * An IOAPIC says what a level-triggered pin will send, before it does (data 0: the pin is none
	 * any more): whoever passes EOIs on may have to know for which vectors. NULL: nobody wants it.
	 */
	void (*route)(void *opaque, unsigned pin, uint64_t address, uint32_t data);
};

#endif
