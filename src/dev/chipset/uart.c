#include "dev/chipset/uart.h"

#include <string.h>

#include "base/bits.h"
#include "dev/chipset/map.h"

/* PC16550D §8 "Registers"; offsets from the base port. */
#define RBR_THR	   0 /* divisor's low byte while LCR.DLAB */
#define IER	   1 /* divisor's high byte while LCR.DLAB */
#define IIR_FCR	   2
#define LCR	   3
#define MCR	   4
#define LSR	   5
#define MSR	   6
#define SCR	   7
#define UART_PORTS 8

#define IER_RX		0x01
#define IER_THR_EMPTY	0x02
#define IER_LINE	0x04
#define IER_MODEM	0x08
#define IER_ALL		0x0f
#define IIR_NONE	0x01
#define IIR_MODEM	0x00
#define IIR_THR_EMPTY	0x02
#define IIR_RX		0x04
#define IIR_LINE	0x06
#define IIR_RX_TIMEOUT	0x0c
#define IIR_FIFO	0xc0
#define FCR_ENABLE	0x01
#define FCR_CLEAR_RX	0x02
#define FCR_CLEAR_TX	0x04
#define LCR_DLAB	0x80
#define MCR_DTR		0x01
#define MCR_RTS		0x02
#define MCR_OUT1	0x04
#define MCR_OUT2	0x08
#define MCR_LOOP	0x10
#define MCR_ALL		0x1f
#define LSR_DATA	0x01
#define LSR_OVERRUN	0x02
#define LSR_FRAMING	0x08
#define LSR_BREAK	0x10
#define LSR_THR_EMPTY	0x20
#define LSR_TX_IDLE	0x40
#define LSR_FIFO_ERROR	0x80
#define LSR_ERRORS	(LSR_OVERRUN | LSR_FRAMING | LSR_BREAK)
#define MSR_DELTA	0x0f
#define MSR_CTS		0x10
#define MSR_DSR		0x20
#define MSR_RI		0x40
#define MSR_DCD		0x80
#define MSR_RI_TRAILING 0x04

#define UART_RX_BREAK 0x100

static bool fifo_on(const struct uart *u)
{
	return u->fcr & FCR_ENABLE;
}

static unsigned capacity(const struct uart *u)
{
	return fifo_on(u) ? UART_FIFO : 1;
}

static unsigned rx_trigger(const struct uart *u)
{
	static const uint8_t level[4] = {1, 4, 8, 14};

	return fifo_on(u) ? level[u->fcr >> 6] : 1;
}

static bool rx_break(const struct uart *u)
{
	return u->rx_count && u->rx[u->rx_head] & UART_RX_BREAK;
}

static uint8_t line_status(const struct uart *u)
{
	uint8_t v = 0;

	if (u->rx_count)
		v |= LSR_DATA;
	if (u->overrun)
		v |= LSR_OVERRUN;
	if (rx_break(u))
		v |= LSR_BREAK | LSR_FRAMING | (fifo_on(u) ? LSR_FIFO_ERROR : 0);
	if (!u->tx_count)
		v |= LSR_THR_EMPTY | LSR_TX_IDLE;
	return v;
}

/* The pending interrupt of highest priority (table III "Interrupt Control Functions"). */
static uint8_t interrupt_id(const struct uart *u)
{
	if (u->ier & IER_LINE && line_status(u) & LSR_ERRORS)
		return IIR_LINE;
	if (u->ier & IER_RX && u->rx_count)
		return u->rx_count >= rx_trigger(u) ? IIR_RX : IIR_RX_TIMEOUT;
	if (u->ier & IER_THR_EMPTY && u->thr_empty_pending)
		return IIR_THR_EMPTY;
	if (u->ier & IER_MODEM && u->msr & MSR_DELTA)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct uart *u)
{
	irq_set(&u->irq, u->mcr & MCR_OUT2 && interrupt_id(u) != IIR_NONE);
}

/* Modem inputs: a peer that is always there, or our own outputs in loopback. */
static void update_modem(struct uart *u)
{
	uint8_t now = MSR_CTS | MSR_DSR | MSR_DCD, changed;

	if (u->mcr & MCR_LOOP)
		now = (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
		      (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
	changed = (u->msr ^ now) >> 4;
	if (now & MSR_RI) /* only the trailing edge of RI counts */
		changed &= ~MSR_RI_TRAILING;
	u->msr = now | (u->msr & MSR_DELTA) | changed;
}

static void rx_push(struct uart *u, uint16_t c)
{
	if (u->rx_count == capacity(u)) {
		u->overrun = true;
		return;
	}
	u->rx[(u->rx_head + u->rx_count) % UART_FIFO] = c;
	u->rx_count++;
}

static void rx_clear(struct uart *u)
{
	u->rx_head = u->rx_count = 0;
}

/* Gives the backend what it takes. */
static void flush(struct uart *u)
{
	size_t n;

	if (u->flushing)
		return;
	u->flushing = true;
	while (u->tx_count && (n = chardev_write(u->chr, u->tx, u->tx_count))) {
		u->tx_count -= (uint8_t)n;
		memmove(u->tx, u->tx + n, u->tx_count);
		u->thr_empty_pending |= !u->tx_count;
	}
	u->flushing = false;
}

static void write_thr(struct uart *u, uint8_t c)
{
	u->thr_empty_pending = false;
	if (u->mcr & MCR_LOOP) {
		rx_push(u, c);
		u->thr_empty_pending = true;
		return;
	}
	if (u->tx_count < capacity(u)) /* else the guest did not ask LSR, and the byte is lost */
		u->tx[u->tx_count++] = c;
	flush(u);
}

/* A driver wants receive interrupts while somebody has its terminal open. */
static void write_ier(struct uart *u, uint8_t v)
{
	if (v & ~u->ier & IER_THR_EMPTY && !u->tx_count)
		u->thr_empty_pending = true;
	if ((v ^ u->ier) & IER_RX)
		chardev_guest_open(u->chr, v & IER_RX);
	u->ier = v & IER_ALL;
}

/* Returns true where the receiver was emptied. */
static bool write_fcr(struct uart *u, uint8_t v)
{
	bool toggled = (v ^ u->fcr) & FCR_ENABLE;
	bool clear_rx = toggled || v & FCR_CLEAR_RX;

	if (clear_rx)
		rx_clear(u);
	if (u->tx_count && (toggled || v & FCR_CLEAR_TX)) {
		u->tx_count = 0;
		u->thr_empty_pending = true;
	}
	u->fcr = v & FCR_ENABLE ? v & ~(FCR_CLEAR_RX | FCR_CLEAR_TX) : 0;
	return clear_rx;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct uart *u = opaque;
	uint8_t v = (uint8_t)value;
	bool dlab = u->lcr & LCR_DLAB, room = false;

	switch (offset) {
	case RBR_THR:
		if (dlab)
			u->divisor = (u->divisor & 0xff00) | v;
		else
			write_thr(u, v);
		break;
	case IER:
		if (dlab)
			u->divisor = (uint16_t)(v << 8 | (u->divisor & 0xff));
		else
			write_ier(u, v);
		break;
	case IIR_FCR:
		room = write_fcr(u, v);
		break;
	case LCR:
		u->lcr = v;
		break;
	case MCR:
		room = u->mcr & MCR_LOOP && !(v & MCR_LOOP);
		u->mcr = v & MCR_ALL;
		update_modem(u);
		break;
	case SCR:
		u->scr = v;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
	update_irq(u);
	if (room)
		chardev_accept_input(u->chr);
}

static uint8_t read_rbr(struct uart *u)
{
	uint8_t c = 0;

	if (u->rx_count) {
		c = (uint8_t)u->rx[u->rx_head];
		u->rx_head = (u->rx_head + 1) % UART_FIFO;
		u->rx_count--;
	}
	update_irq(u);
	if (!u->rx_count && !(u->mcr & MCR_LOOP))
		chardev_accept_input(u->chr);
	return c;
}

static uint8_t read_iir(struct uart *u)
{
	uint8_t id = interrupt_id(u);

	if (id == IIR_THR_EMPTY)
		u->thr_empty_pending = false;
	update_irq(u);
	return id | (fifo_on(u) ? IIR_FIFO : 0);
}

static uint8_t read_lsr(struct uart *u)
{
	uint8_t v = line_status(u);

	u->overrun = false;
	if (rx_break(u))
		u->rx[u->rx_head] &= ~UART_RX_BREAK;
	update_irq(u);
	return v;
}

static uint8_t read_msr(struct uart *u)
{
	uint8_t v = u->msr;

	u->msr &= ~MSR_DELTA;
	update_irq(u);
	return v;
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	struct uart *u = opaque;
	bool dlab = u->lcr & LCR_DLAB;

	switch (offset) {
	case RBR_THR:
		return dlab ? u->divisor & 0xff : read_rbr(u);
	case IER:
		return dlab ? u->divisor >> 8 : u->ier;
	case IIR_FCR:
		return read_iir(u);
	case LCR:
		return u->lcr;
	case MCR:
		return u->mcr;
	case LSR:
		return read_lsr(u);
	case MSR:
		return read_msr(u);
	default:
		return u->scr;
	}
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 1};

static size_t can_receive(void *opaque)
{
	struct uart *u = opaque;

	return u->mcr & MCR_LOOP || u->rx_count >= capacity(u) ? 0 : capacity(u) - u->rx_count;
}

static void receive(void *opaque, const uint8_t *bytes, size_t len)
{
	struct uart *u = opaque;

	for (size_t k = 0; k < len; k++)
		rx_push(u, bytes[k]);
	update_irq(u);
}

static void writable(void *opaque)
{
	struct uart *u = opaque;

	flush(u);
	update_irq(u);
}

static void event(void *opaque, enum chardev_event event)
{
	struct uart *u = opaque;

	if (event == CHARDEV_BREAK && !(u->mcr & MCR_LOOP))
		rx_push(u, UART_RX_BREAK);
	if (event == CHARDEV_OUTPUT_GONE)
		flush(u);
	update_irq(u);
}

static const struct chardev_user user = {can_receive, receive, writable, event};

void uart_reset(struct uart *u)
{
	write_ier(u, 0);
	u->ier = u->fcr = u->lcr = u->mcr = u->scr = 0;
	u->msr = MSR_CTS | MSR_DSR | MSR_DCD;
	u->divisor = 1;
	u->overrun = u->thr_empty_pending = false;
	u->tx_count = 0;
	rx_clear(u);
	update_irq(u);
}

int uart_init(struct uart *u, const char *name, uint16_t base, struct bus *port,
	      struct irq_line irq, struct chardev *chr, struct lm_err *err)
{
	int rc;

	*u = (struct uart){.irq = irq, .chr = chr};
	u->ports = (struct bus_region){name, base, UART_PORTS, &ports_ops, u, false};
	uart_reset(u);
	rc = chipset_map(port, &u->ports, err);
	if (rc == 0)
		chardev_attach(chr, &user, u);
	return rc;
}

/* ---- Saved state ---- */

static const struct field uart_fields[] = {
	FIELD(struct uart, ier, NULL),
	FIELD(struct uart, fcr, NULL),
	FIELD(struct uart, lcr, NULL),
	FIELD(struct uart, mcr, NULL),
	FIELD(struct uart, msr, NULL),
	FIELD(struct uart, scr, NULL),
	FIELD(struct uart, divisor, ""),
	FIELD(struct uart, overrun, NULL),
	FIELD(struct uart, thr_empty_pending, NULL),
	FIELD_BYTES(struct uart, tx, FIELD_COUNTER(struct uart, tx_count)),
	FIELD_ARRAY(struct uart, rx, NULL),
	FIELD(struct uart, rx_head, "", .max = UART_FIFO - 1),
	FIELD(struct uart, rx_count, "", .max = UART_FIFO),
	FIELD_NOT_SAVED(struct uart, flushing, "only within a call"),
	FIELD_NOT_SAVED(struct uart, irq, "wiring"),
	FIELD_NOT_SAVED(struct uart, chr, "wiring"),
	FIELD_NOT_SAVED(struct uart, ports, "wiring"),
	FIELD_END,
};

/* As with IER written: the backend of before knew it. */
static void uart_restored(void *object)
{
	struct uart *u = object;

	chardev_guest_open(u->chr, u->ier & IER_RX);
	flush(u);
	update_irq(u);
	chardev_accept_input(u->chr);
}

const struct fields_section uart_section = {
	.name = "uart",
	.version = 1,
	.table = uart_fields,
	.restored = uart_restored,
};
