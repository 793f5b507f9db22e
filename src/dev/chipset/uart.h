/*
 * Serial port (National Semiconductor PC16550D, "16550A").
 *
 * Bytes leave as fast as the character backend takes them and come as fast as the guest takes
 * them; the divisor is kept and times nothing. A character below the receive trigger level times
 * out at once, so that no timer is needed and no byte waits. The interrupt output is gated by OUT2
 * as on the PC's board.
 *
 * Under the device lock. Owned by the board.
 */
#ifndef LM_DEV_CHIPSET_UART_H
#define LM_DEV_CHIPSET_UART_H

#include "base/fields.h"
#include "dev/bus.h"
#include "dev/chardev.h"
#include "dev/irq.h"

#define UART_FIFO 16

struct uart {
	uint8_t ier, fcr, lcr, mcr, msr, scr;
	uint16_t divisor;
	bool overrun;
	bool thr_empty_pending; /* the THR-empty interrupt was not yet seen in IIR */
	bool flushing;		/* guards against a backend that calls back from its write */
	uint8_t tx[UART_FIFO], tx_count;
	uint16_t rx[UART_FIFO]; /* a byte, plus UART_RX_BREAK */
	uint8_t rx_head, rx_count;
	struct irq_line irq;
	struct chardev *chr; /* not owned; may be NULL */
	struct bus_region ports;
};

int uart_init(struct uart *uart, const char *name, uint16_t base, struct bus *port,
	      struct irq_line irq, struct chardev *chr, struct lm_err *err);
void uart_reset(struct uart *uart);

/* What a snapshot holds of it. */
extern const struct fields_section uart_section;

#endif
