/*
 * The PC's two cascaded interrupt controllers (Intel 8259A; the slave hangs on the master's IR2)
 * with the edge/level control registers of later chipsets (82371SB §3.2.9 "ELCR1, ELCR2").
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_PIC_H
#define LM_DEV_CHIPSET_PIC_H

#include "base/fields.h"
#include "dev/bus.h"
#include "dev/irq.h"

/* Which initialization command word the data port takes next. */
enum pic_step { PIC_READY, PIC_ICW2, PIC_ICW3, PIC_ICW4, PIC_UNINITIALIZED };

struct pic_chip {
	struct pic *pic;
	uint8_t line; /* levels of IR0 to IR7 */
	uint8_t irr, imr, isr;
	uint8_t elcr;	     /* 1: level triggered */
	uint8_t vector_base; /* ICW2 bits 3-7 */
	uint8_t bottom;	     /* the IR of lowest priority; 7 after initialization */
	uint8_t step;	     /* enum pic_step */
	bool single, expect_icw4;
	bool auto_eoi, rotate_in_auto_eoi;
	bool fully_nested; /* special fully nested mode (ICW4 bit 4) */
	bool special_mask, poll, read_isr;
	bool out; /* INT */
};

struct pic {
	struct pic_chip chip[2]; /* master, slave */
	struct irq_line intr;	 /* to the CPU's INTR, or to the local APIC's LINT0 */
	struct bus_region ports[2], elcr;
};

int pic_init(struct pic *pic, struct bus *port, struct irq_line intr, struct lm_err *err);
void pic_reset(struct pic *pic);

/* Level of ISA interrupt 0 to 15. 2, the cascade, and numbers beyond are ignored. */
void pic_set_irq(struct pic *pic, unsigned irq, bool level);
/* The same as a line for a device. */
struct irq_line pic_line(struct pic *pic, unsigned irq);

/*
 * The CPU's interrupt acknowledge cycle: the vector. Where the request went away meanwhile this is
 * the spurious interrupt, IR7 of the chip concerned, for which no in-service bit is set.
 */
int pic_ack(struct pic *pic);

/* What a snapshot holds of it. */
extern const struct fields_section pic_section;

#endif
