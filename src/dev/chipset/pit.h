/*
 * The PC's interval timer (Intel 8254) and system control port B (0x61), which has the gate and
 * the output of channel 2.
 *
 * Nothing ticks: counts are computed from the clock when the guest looks, and one timer stands for
 * the next rising edge of channel 0. Edges missed meanwhile are one edge. A periodic channel 0
 * interrupts at most once in PIT_MIN_PERIOD_NS, whatever the guest programs.
 *
 * Known deviation: in mode 3 a new count takes effect at the end of the period, not of the half.
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_PIT_H
#define LM_DEV_CHIPSET_PIT_H

#include "base/fields.h"
#include "dev/bus.h"
#include "dev/irq.h"
#include "event/loop.h"

#define PIT_HZ		  1193182
#define PIT_MIN_PERIOD_NS 50000
#define PIT_CHANNELS	  3

struct pit_channel {
	/* What the guest programmed. */
	uint8_t mode;	/* 0 to 5 */
	uint8_t access; /* 1 low byte, 2 high byte, 3 low then high */
	bool bcd;
	bool loaded;	  /* a whole count was written since the control word */
	bool expect_high; /* the next write is the high byte */
	uint8_t low;
	bool read_high;	 /* the next unlatched read is the high byte */
	uint8_t latched; /* bytes of `latch` still to be read */
	uint16_t latch;
	bool status_latched;
	uint8_t status;
	/* The counting element. Times are in ticks since the machine's start. */
	bool gate;
	bool armed;	/* it has a count of the current mode */
	bool running;	/* armed and not held by the gate */
	uint32_t count; /* 1 to 0x10000 */
	uint32_t next;	/* taken at the end of the period or at the trigger; 0 for none */
	uint64_t start; /* while running: when it had `count` */
	uint64_t held;	/* while not running: ticks counted before */
};

struct pit {
	struct pit_channel channel[PIT_CHANNELS];
	uint8_t speaker; /* port 0x61 bits 0-3 */
	int64_t last_edge_ns;
	struct event_loop *loop;
	struct timer timer;
	struct irq_line irq; /* OUT of channel 0 */
	struct bus_region ports, port61;
};

int pit_init(struct pit *pit, struct event_loop *loop, struct bus *port, struct irq_line irq,
	     struct lm_err *err);
void pit_reset(struct pit *pit);

/* What a snapshot holds of it. */
extern const struct fields_section pit_section;

#endif
