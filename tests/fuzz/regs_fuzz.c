/*
 * The chipset's registers under a hostile guest: random port and MMIO accesses to every device,
 * mixed with time that passes, interrupts, console traffic and resets, on the virtual clock.
 *
 * Beside what the sanitizers see, the devices' own bounds are checked after every step, and that
 * timers do not fire more often than the guest's accesses and PIT_MIN_PERIOD_NS explain.
 */
#include <string.h>

#include "base/bits.h"
#include "base/bug.h"
#include "base/log.h"
#include "dev/acpi/pm.h"
#include "dev/chipset/debugcon.h"
#include "dev/chipset/fw_cfg.h"
#include "dev/chipset/i8042.h"
#include "dev/chipset/ioapic.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/pic.h"
#include "dev/chipset/pit.h"
#include "dev/chipset/pvpanic.h"
#include "dev/chipset/rtc.h"
#include "dev/chipset/testdev.h"
#include "dev/chipset/uart.h"
#include "fuzz.h"

#define UARTS	 2
#define RAM_SIZE (2 * MIB)

struct board {
	struct event_loop loop;
	struct bus mmio, port;
	struct ram ram;
	struct pic pic;
	struct pit pit;
	struct ioapic ioapic;
	struct rtc rtc;
	struct uart uart[UARTS];
	struct i8042 kbc;
	struct fw_cfg fw_cfg;
	struct pvpanic pvpanic;
	struct debugcon debugcon;
	struct testdev testdev;
	struct acpi_pm pm;
	struct chardev chr[UARTS];
	size_t chr_room;
	uint64_t pit_edges, messages, steps;
};

static struct board board;

static void isa_set(void *opaque, unsigned irq, bool level)
{
	struct board *b = opaque;

	pic_set_irq(&b->pic, irq, level);
	ioapic_set_irq(&b->ioapic, irq == PC_IRQ_PIT ? PC_GSI_PIT : irq, level);
	b->pit_edges += irq == PC_IRQ_PIT && level;
}

static void intr_set(void *opaque, unsigned number, bool level)
{
}

static void msi_send(void *opaque, uint64_t address, uint32_t data)
{
	struct board *b = opaque;

	LM_BUG_ON(address >> 20 != 0xfee);
	b->messages++;
}

static size_t chr_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	size_t n = LM_MIN(len, board.chr_room);

	board.chr_room -= n;
	return n;
}

static const struct chardev_ops chr_ops = {.write = chr_write};

static void ignore(void *opaque)
{
}

static void ignore_exit(void *opaque, uint32_t status)
{
	LM_BUG_ON(!(status & 1));
}

static void ignore_panic(void *opaque, uint8_t events)
{
	LM_BUG_ON(!events || events & ~PVPANIC_EVENTS);
}

static struct irq_line isa(struct board *b, unsigned irq)
{
	return (struct irq_line){isa_set, b, irq};
}

static void create(struct board *b)
{
	static const uint8_t blob[5000] = {1, 2, 3};
	struct testdev_ops test_ops = {.exit = ignore_exit};
	int rc = 0;

	memset(b, 0, sizeof(*b));
	b->mmio.name = "mmio";
	b->port.name = "port";
	for (unsigned k = 0; k < TESTDEV_IRQS; k++)
		test_ops.irq[k] = isa(b, k);
	for (unsigned k = 0; k < UARTS; k++)
		b->chr[k].ops = &chr_ops;
	rc |= loop_init(&b->loop, true, NULL);
	rc |= ram_init(&b->ram, RAM_SIZE, NULL);
	rc |= pic_init(&b->pic, &b->port, (struct irq_line){intr_set, b, 0}, NULL);
	rc |= ioapic_init(&b->ioapic, &b->mmio, (struct msi_sink){msi_send, b}, NULL);
	rc |= pit_init(&b->pit, &b->loop, &b->port, isa(b, PC_IRQ_PIT), NULL);
	rc |= rtc_init(&b->rtc, &b->loop, &b->port, isa(b, PC_IRQ_RTC), NULL);
	rc |= uart_init(&b->uart[0], "com1", PC_PORT_COM1, &b->port, isa(b, PC_IRQ_COM1),
			&b->chr[0], NULL);
	rc |= uart_init(&b->uart[1], "com2", PC_PORT_COM2, &b->port, isa(b, PC_IRQ_COM2),
			&b->chr[1], NULL);
	rc |= i8042_init(&b->kbc, &b->port, isa(b, PC_IRQ_KBD),
			 (struct i8042_reset_line){ignore, NULL}, NULL);
	i8042_connect_mouse(&b->kbc, isa(b, PC_IRQ_MOUSE));
	rc |= fw_cfg_init(&b->fw_cfg, &b->port, &b->ram, NULL);
	rc |= fw_cfg_add_file(&b->fw_cfg, "blob", blob, sizeof(blob), false, NULL);
	rc |= pvpanic_init(&b->pvpanic, &b->port, ignore_panic, NULL, NULL);
	rc |= debugcon_init(&b->debugcon, &b->port, PC_PORT_DEBUG_CONSOLE, NULL, NULL);
	rc |= testdev_init(&b->testdev, &b->mmio, &b->port, &test_ops, false, NULL);
	rc |= acpi_pm_init(&b->pm, &b->loop, &b->port, isa(b, PC_IRQ_SCI),
			   (struct acpi_pm_ops){ignore, ignore, NULL}, NULL);
	LM_BUG_ON(rc);
}

static void destroy(struct board *b)
{
	fw_cfg_fini(&b->fw_cfg);
	ram_fini(&b->ram);
	loop_fini(&b->loop);
}

/* An address in or just behind a region, or any address. */
static uint64_t pick_address(struct bus *bus, struct fuzz_input *in)
{
	unsigned n = (unsigned)fuzz_take(in, 1);
	struct bus_region *r;

	if (n == 0xff)
		return fuzz_take(in, 8);
	r = bus->region[n % bus->count];
	return r->start + fuzz_take(in, r->size > 256 ? 2 : 1) % (r->size + 1);
}

static void guest_access(struct bus *bus, struct fuzz_input *in, unsigned kind, unsigned max_shift)
{
	unsigned size = 1u << (kind >> 1) % (max_shift + 1);
	uint64_t address = pick_address(bus, in);

	if (kind & 1)
		bus_read(bus, address, size);
	else
		bus_write(bus, address, fuzz_take(in, size), size);
}

/* Time passes in up to 16 jumps from timer to timer, then at once. */
static void advance(struct board *b, struct fuzz_input *in)
{
	int64_t ns = (int64_t)(fuzz_take(in, 3) << fuzz_take(in, 1) % 24);
	int64_t target = b->loop.clock.virtual_ns + ns, wait;

	for (unsigned k = 0; k < 16; k++) {
		wait = loop_run_timers(&b->loop);
		if (wait < 0 || b->loop.clock.virtual_ns + wait > target)
			break;
		b->loop.clock.virtual_ns += wait;
	}
	b->loop.clock.virtual_ns = target;
	loop_run_timers(&b->loop);
	b->steps += 18;
}

static void firmware_dma(struct board *b, struct fuzz_input *in)
{
	uint8_t raw[16] = {0};
	uint64_t gpa = fuzz_take(in, 2);

	for (unsigned k = 0; k < sizeof(raw); k++)
		raw[k] = (uint8_t)fuzz_take(in, 1);
	if (raw[15] & 1) { /* plausible: a short length, a low address */
		memset(raw + 4, 0, 2);
		memset(raw + 8, 0, 6);
	}
	raw[0] = 0;
	raw[1] &= 0x3f;
	ram_write(&b->ram, GPA(gpa), raw, sizeof(raw));
	bus_write(&b->port, PC_PORT_FW_CFG_DMA + 4, __builtin_bswap32((uint32_t)gpa), 4);
}

/* Indexed registers: a select and an access of the window. */
static void rtc_register(struct board *b, struct fuzz_input *in)
{
	unsigned index = (unsigned)fuzz_take(in, 1) % 0x22;

	bus_write(&b->port, PC_PORT_RTC, index < 0x20 ? index % 0x10 : RTC_CENTURY, 1);
	if (index & 0x10)
		bus_read(&b->port, PC_PORT_RTC + 1, 1);
	else
		bus_write(&b->port, PC_PORT_RTC + 1, fuzz_take(in, 1), 1);
}

static void ioapic_register(struct board *b, struct fuzz_input *in)
{
	unsigned reg = (unsigned)fuzz_take(in, 1) % 0x42;

	bus_write(&b->mmio, PC_IOAPIC_BASE, reg, 4);
	if (reg & 1)
		bus_read(&b->mmio, PC_IOAPIC_BASE + 0x10, 4);
	bus_write(&b->mmio, PC_IOAPIC_BASE + 0x10, fuzz_take(in, 4), 4);
}

static void console(struct board *b, struct fuzz_input *in)
{
	struct chardev *chr = &b->chr[fuzz_take(in, 1) % UARTS];
	uint8_t bytes[UART_FIFO] = {'x'};
	size_t n = chardev_can_receive(chr), want = fuzz_take(in, 1);

	LM_BUG_ON(n > UART_FIFO);
	switch (fuzz_take(in, 1) % 4) {
	case 0:
		chardev_receive(chr, bytes, LM_MIN(n, want));
		break;
	case 1:
		b->chr_room = fuzz_take(in, 1);
		chardev_writable(chr);
		break;
	case 2:
		chardev_send_event(chr, (enum chardev_event)(fuzz_take(in, 1) % 5));
		break;
	default:
		i8042_inject(&b->kbc, bytes, fuzz_take(in, 1) % sizeof(bytes));
		i8042_move_mouse(&b->kbc, (int)fuzz_take(in, 4), (int)fuzz_take(in, 4),
				 (int)fuzz_take(in, 1) - 128, (uint8_t)fuzz_take(in, 1));
		LM_BUG_ON(b->kbc.mouse.count > PS2_MOUSE_QUEUE);
		break;
	}
}

static void board_event(struct board *b, struct fuzz_input *in)
{
	unsigned n = (unsigned)fuzz_take(in, 1);

	switch (fuzz_take(in, 1) % 8) {
	case 0:
		LM_BUG_ON(pic_ack(&b->pic) & ~0xff);
		break;
	case 1:
		ioapic_eoi(&b->ioapic, (uint8_t)n);
		break;
	case 2:
		ioapic_set_irq(&b->ioapic, n, fuzz_take(in, 1) & 1);
		break;
	case 3:
		pic_set_irq(&b->pic, n, fuzz_take(in, 1) & 1);
		break;
	case 4:
		acpi_pm_power_button(&b->pm);
		break;
	case 5:
		acpi_pm_raise_gpe(&b->pm, n);
		break;
	case 6:
		acpi_pm_reset_control(&b->pm, (uint8_t)n);
		break;
	default:
		rtc_set_memory(&b->rtc, fuzz_take(in, 5), fuzz_take(in, 5));
		break;
	}
}

static void reset(struct board *b, unsigned which)
{
	switch (which % 9) {
	case 0:
		pic_reset(&b->pic);
		break;
	case 1:
		ioapic_reset(&b->ioapic);
		break;
	case 2:
		pit_reset(&b->pit);
		break;
	case 3:
		rtc_reset(&b->rtc);
		break;
	case 4:
		uart_reset(&b->uart[0]);
		break;
	case 5:
		i8042_reset(&b->kbc);
		break;
	case 6:
		fw_cfg_reset(&b->fw_cfg);
		break;
	case 7:
		testdev_reset(&b->testdev);
		break;
	default:
		acpi_pm_reset(&b->pm);
		break;
	}
}

static void check(struct board *b)
{
	for (unsigned k = 0; k < UARTS; k++) {
		LM_BUG_ON(b->uart[k].tx_count > UART_FIFO || b->uart[k].rx_count > UART_FIFO);
		LM_BUG_ON(b->uart[k].rx_head >= UART_FIFO);
	}
	for (unsigned k = 0; k < PIT_CHANNELS; k++)
		LM_BUG_ON(!b->pit.channel[k].count || b->pit.channel[k].count > 0x10000);
	for (unsigned k = 0; k < 2; k++)
		LM_BUG_ON(b->pic.chip[k].bottom > 7);
	LM_BUG_ON(b->kbc.count > I8042_QUEUE || b->kbc.head >= I8042_QUEUE);
	LM_BUG_ON(b->rtc.index >= RTC_CMOS_SIZE);
	LM_BUG_ON(b->pit_edges > 4 * b->steps + 4);
}

static void step(struct board *b, struct fuzz_input *in)
{
	unsigned op = (unsigned)fuzz_take(in, 1), kind = op >> 4;

	b->steps++;
	switch (op % 16) {
	case 0 ... 7:
		guest_access(&b->port, in, kind, 2);
		break;
	case 8 ... 9:
		guest_access(&b->mmio, in, kind, 3);
		break;
	case 10 ... 11:
		advance(b, in);
		break;
	case 12:
		firmware_dma(b, in);
		break;
	case 13:
		console(b, in);
		break;
	case 14:
		board_event(b, in);
		break;
	default:
		if (kind == 0)
			reset(b, (unsigned)fuzz_take(in, 1));
		else if (kind & 1)
			ioapic_register(b, in);
		else
			rtc_register(b, in);
		break;
	}
	check(b);
}

static void fuzz_one(struct fuzz_input *in)
{
	create(&board);
	while (in->p < in->end && board.loop.clock.virtual_ns < INT64_MAX / 4)
		step(&board, in);
	destroy(&board);
}
