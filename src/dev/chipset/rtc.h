/*
 * Real-time clock and CMOS memory (Motorola MC146818, with the PC's 128 bytes and century byte).
 *
 * The time is the machine's wall clock plus an offset, which is what the guest changes when it
 * sets the time. Nothing ticks: flags are brought up to date when the guest looks, and a timer is
 * armed only for an interrupt that is enabled and not already flagged, so that a guest that does
 * not acknowledge costs nothing.
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_RTC_H
#define LM_DEV_CHIPSET_RTC_H

#include "base/fields.h"
#include "dev/bus.h"
#include "dev/irq.h"
#include "event/loop.h"

#define RTC_CMOS_SIZE 128
#define RTC_CENTURY   0x32 /* as the FADT tells */
#define RTC_CMOS_CPUS 0x5f /* processors minus 1, for SeaBIOS */

struct rtc {
	uint8_t cmos[RTC_CMOS_SIZE]; /* the time bytes are current only while SET is on */
	uint8_t index;
	bool nmi_masked; /* bit 7 of port 0x70 */
	int64_t offset;	 /* seconds that the guest's clock is ahead of the machine's */
	int64_t seen;	 /* guest second, and 32768 Hz tick, up to which flags are known */
	uint64_t seen_ticks;
	struct event_loop *loop;
	struct timer timer;
	struct irq_line irq;
	struct bus_region ports;
};

int rtc_init(struct rtc *rtc, struct event_loop *loop, struct bus *port, struct irq_line irq,
	     struct lm_err *err);
/* The time and the CMOS bytes survive, as the battery keeps them. */
void rtc_reset(struct rtc *rtc);

/* Fills the memory size bytes: end of RAM below 4 GiB and bytes of RAM above (mem/ram.h). */
void rtc_set_memory(struct rtc *rtc, uint64_t low_top, uint64_t high_size);
void rtc_set_cmos(struct rtc *rtc, uint8_t index, uint8_t value);

/* What a snapshot holds of it. */
extern const struct fields_section rtc_section;

#endif
