#include "dev/chipset/ioapic.h"

#include "base/bits.h"
#include "base/log.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/map.h"

/* 82093AA §3.1: the memory-mapped registers, and those behind the window. */
#define IOAPIC_SIZE	0x1000
#define IOREGSEL	0x00
#define IOWIN		0x10
#define IOEOI		0x40
#define REG_ID		0x00
#define REG_VERSION	0x01
#define REG_ARBITRATION 0x02
#define REG_ENTRY0	0x10
#define VERSION_EOI	0x20

/* Redirection table entry (82093AA §3.2.4). */
#define RTE_VECTOR     UINT64_C(0xff)
#define RTE_MODE_SHIFT 8
#define RTE_LOGICAL    LM_BIT(11)
#define RTE_PENDING    LM_BIT(12) /* always 0: delivery is immediate */
#define RTE_REMOTE_IRR LM_BIT(14)
#define RTE_LEVEL      LM_BIT(15)
#define RTE_MASKED     LM_BIT(16)
#define RTE_WRITABLE   (UINT64_C(0xfffe00000001ffff) & ~(RTE_PENDING | RTE_REMOTE_IRR))

/* Delivery modes with which a level trigger means something. */
#define MODE_FIXED  0
#define MODE_LOWEST 1

/* Message address and data (SDM vol. 3A §11.11). */
#define MSI_ADDRESS UINT64_C(0xfee00000)
#define MSI_LOGICAL LM_BIT(2)
#define MSI_ASSERT  (1u << 14)
#define MSI_LEVEL   (1u << 15)

static unsigned mode_of(uint64_t entry)
{
	return bits_get(entry, RTE_MODE_SHIFT, 3);
}

static bool is_level(uint64_t entry)
{
	return entry & RTE_LEVEL && mode_of(entry) <= MODE_LOWEST;
}

static uint64_t address_of(uint64_t entry)
{
	return MSI_ADDRESS | bits_get(entry, 56, 8) << 12 | bits_get(entry, 49, 7) << 5 |
	       (entry & RTE_LOGICAL ? MSI_LOGICAL : 0);
}

static uint32_t data_of(uint64_t entry)
{
	return (uint32_t)(entry & RTE_VECTOR) | mode_of(entry) << 8 |
	       (is_level(entry) ? MSI_LEVEL | MSI_ASSERT : 0);
}

static void send(struct ioapic *io, uint64_t entry)
{
	if (io->sink.send)
		io->sink.send(io->sink.opaque, address_of(entry), data_of(entry));
}

static void tell_route(struct ioapic *io, unsigned pin)
{
	uint64_t entry = io->entry[pin];

	if (io->sink.route)
		io->sink.route(io->sink.opaque, pin, address_of(entry),
			       is_level(entry) ? data_of(entry) : 0);
}

/* A level-triggered pin interrupts while its line is up and no EOI is awaited. */
static void deliver_level(struct ioapic *io, unsigned pin)
{
	uint64_t *e = &io->entry[pin];

	if (!is_level(*e) || *e & (RTE_MASKED | RTE_REMOTE_IRR) || !(io->line & LM_BIT(pin)))
		return;
	*e |= RTE_REMOTE_IRR;
	send(io, *e);
}

void ioapic_set_irq(struct ioapic *io, unsigned pin, bool level)
{
	uint32_t before = io->line;
	uint64_t entry;

	if (pin >= IOAPIC_PINS)
		return;
	io->line = level ? before | 1u << pin : before & ~(1u << pin);
	entry = io->entry[pin];
	if (is_level(entry))
		deliver_level(io, pin);
	else if (io->line & ~before && !(entry & RTE_MASKED)) /* a masked edge is lost (§3.2.4) */
		send(io, entry);
}

static void line_set(void *opaque, unsigned number, bool level)
{
	ioapic_set_irq(opaque, number, level);
}

struct irq_line ioapic_line(struct ioapic *io, unsigned pin)
{
	return (struct irq_line){line_set, io, pin};
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t *e = &io->entry[pin];

		if (!(*e & RTE_REMOTE_IRR) || (*e & RTE_VECTOR) != vector)
			continue;
		*e &= ~RTE_REMOTE_IRR;
		deliver_level(io, pin);
	}
}

static void write_entry(struct ioapic *io, unsigned pin, bool high, uint32_t value)
{
	uint64_t *e = &io->entry[pin];
	uint64_t now =
	    high ? (*e & UINT32_MAX) | (uint64_t)value << 32 : (*e & ~(uint64_t)UINT32_MAX) | value;

	now = (now & RTE_WRITABLE) | (*e & RTE_REMOTE_IRR);
	if (!is_level(now)) /* which is how drivers clear a stuck Remote IRR */
		now &= ~RTE_REMOTE_IRR;
	*e = now;
	tell_route(io, pin);
	deliver_level(io, pin);
}

static uint32_t read_register(const struct ioapic *io)
{
	unsigned n = io->select - REG_ENTRY0;

	if (io->select >= REG_ENTRY0 && n < 2 * IOAPIC_PINS)
		return (uint32_t)(io->entry[n / 2] >> (n & 1 ? 32 : 0));
	switch (io->select) {
	case REG_ID:
	case REG_ARBITRATION:
		return (uint32_t)io->id << 24;
	case REG_VERSION:
		return VERSION_EOI | (IOAPIC_PINS - 1) << 16;
	}
	return 0;
}

static void write_register(struct ioapic *io, uint32_t value)
{
	unsigned n = io->select - REG_ENTRY0;

	if (io->select >= REG_ENTRY0 && n < 2 * IOAPIC_PINS)
		write_entry(io, n / 2, n & 1, value);
	else if (io->select == REG_ID)
		io->id = (value >> 24) & 0xf;
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ioapic *io = opaque;
	uint32_t value = 0;

	if ((offset & ~UINT64_C(3)) == IOREGSEL)
		value = io->select;
	else if ((offset & ~UINT64_C(3)) == IOWIN)
		value = read_register(io);
	return value >> (8 * (offset & 3));
}

/* The window takes whole dwords only (82093AA §3.1.2); byte-wide selects are harmless. */
static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ioapic *io = opaque;

	if (offset == IOREGSEL)
		io->select = (uint8_t)value;
	else if (offset == IOEOI)
		ioapic_eoi(io, (uint8_t)value);
	else if (offset == IOWIN && size == 4)
		write_register(io, (uint32_t)value);
	else
		log_guest_once("ioapic: ignored a %u-byte write at offset 0x%llx", size,
			       (unsigned long long)offset);
}

static const struct bus_ops mmio_ops = {mmio_read, mmio_write, 4};

void ioapic_reset(struct ioapic *io)
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		io->entry[pin] = RTE_MASKED;
		tell_route(io, pin);
	}
	io->id = 0;
	io->select = 0;
}

int ioapic_init(struct ioapic *io, struct bus *mmio, struct msi_sink sink, struct lm_err *err)
{
	*io = (struct ioapic){.sink = sink};
	io->mmio = (struct bus_region){"ioapic", PC_IOAPIC_BASE, IOAPIC_SIZE, &mmio_ops, io, false};
	ioapic_reset(io);
	return chipset_map(mmio, &io->mmio, err);
}

/* ---- Saved state ---- */

static const struct field ioapic_fields[] = {
	FIELD_ARRAY(struct ioapic, entry, NULL),
	FIELD(struct ioapic, line, NULL),
	FIELD(struct ioapic, id, NULL),
	FIELD(struct ioapic, select, NULL),
	FIELD_NOT_SAVED(struct ioapic, sink, "wiring"),
	FIELD_NOT_SAVED(struct ioapic, mmio, "wiring"),
	FIELD_END,
};

const struct fields_section ioapic_section = {
	.name = "ioapic",
	.version = 1,
	.table = ioapic_fields,
};
