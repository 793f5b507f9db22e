#include "dev/chipset/pic.h"

#include "base/bits.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/map.h"

/* 8259A data sheet, "Programming the 8259A". */
#define ICW1_SELECT	  0x10
#define ICW1_SINGLE	  0x02
#define ICW1_IC4	  0x01
#define ICW4_AUTO_EOI	  0x02
#define ICW4_FULLY_NESTED 0x10
#define OCW3_SELECT	  0x08
#define OCW3_POLL	  0x04
#define OCW3_READ_SET	  0x02 /* bit 0 is meant */
#define OCW3_READ_ISR	  0x01
#define OCW3_MASK_SET	  0x40 /* bit 5 is meant */
#define OCW3_MASK_ON	  0x20
#define POLL_PENDING	  0x80

/* OCW2 bits 5-7. */
enum ocw2 {
	OCW2_ROTATE_AUTO_CLEAR,
	OCW2_EOI,
	OCW2_NOP,
	OCW2_EOI_SPECIFIC,
	OCW2_ROTATE_AUTO_SET,
	OCW2_ROTATE_EOI,
	OCW2_SET_PRIORITY,
	OCW2_ROTATE_EOI_SPECIFIC,
};

#define MASTER	 0
#define SLAVE	 1
#define CASCADE	 2 /* the master's IR that the slave drives */
#define NONE	 8
#define SPURIOUS 7
/* IR0 to IR2 and, of the slave, IRQ 8 and 13 are always edge triggered. */
#define ELCR_MASTER 0xf8
#define ELCR_SLAVE  0xde

/* Priority of the highest in `set`: 0 is highest, NONE for an empty set. */
static unsigned highest(const struct pic_chip *c, uint8_t set)
{
	for (unsigned prio = 0; prio < 8; prio++)
		if (set & (1u << ((c->bottom + 1 + prio) & 7)))
			return prio;
	return NONE;
}

/* The IR that INT stands for, or NONE. */
static unsigned pending(const struct pic_chip *c)
{
	uint8_t serving = c->isr;
	unsigned prio;

	if (c->step != PIC_READY)
		return NONE;
	if (c->special_mask)
		serving &= ~c->imr;
	if (c->fully_nested && c == &c->pic->chip[MASTER])
		serving &= ~(1u << CASCADE);
	prio = highest(c, c->irr & ~c->imr);
	return prio < highest(c, serving) ? (c->bottom + 1 + prio) & 7 : NONE;
}

static void chip_set_line(struct pic_chip *c, unsigned ir, bool level)
{
	uint8_t bit = 1u << ir;

	if (level && (c->elcr & bit || !(c->line & bit)))
		c->irr |= bit;
	else if (!level && c->elcr & bit)
		c->irr &= ~bit;
	c->line = level ? c->line | bit : c->line & ~bit;
}

/* Brings both INT outputs up to date, slave first. */
static void update(struct pic *pic)
{
	struct pic_chip *master = &pic->chip[MASTER], *slave = &pic->chip[SLAVE];
	bool out = pending(slave) != NONE;

	if (out != slave->out) {
		slave->out = out;
		chip_set_line(master, CASCADE, out);
	}
	out = pending(master) != NONE;
	if (out != master->out) {
		master->out = out;
		irq_set(&pic->intr, out);
	}
}

void pic_set_irq(struct pic *pic, unsigned irq, bool level)
{
	if (irq > 15 || irq == CASCADE)
		return;
	chip_set_line(&pic->chip[irq / 8], irq % 8, level);
	update(pic);
}

static void line_set(void *opaque, unsigned number, bool level)
{
	pic_set_irq(opaque, number, level);
}

struct irq_line pic_line(struct pic *pic, unsigned irq)
{
	return (struct irq_line){line_set, pic, irq};
}

/* Takes ir into service; INT drops for the length of the cycle, so that a cascade sees an edge. */
static void serve(struct pic_chip *c, unsigned ir)
{
	uint8_t bit = 1u << ir;

	if (!(c->elcr & bit))
		c->irr &= ~bit;
	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->rotate_in_auto_eoi)
		c->bottom = ir;
	if (c == &c->pic->chip[SLAVE] && c->out) {
		c->out = false;
		chip_set_line(&c->pic->chip[MASTER], CASCADE, false);
	}
}

static int chip_ack(struct pic_chip *c)
{
	unsigned ir = pending(c);

	if (ir == NONE)
		return c->vector_base | SPURIOUS;
	serve(c, ir);
	return c->vector_base | (int)ir;
}

int pic_ack(struct pic *pic)
{
	struct pic_chip *master = &pic->chip[MASTER];
	bool cascaded = pending(master) == CASCADE;
	int vector = chip_ack(master);

	if (cascaded)
		vector = chip_ack(&pic->chip[SLAVE]);
	update(pic);
	return vector;
}

static void end_of_interrupt(struct pic_chip *c, bool rotate)
{
	uint8_t set = c->special_mask ? c->isr & ~c->imr : c->isr;
	unsigned prio = highest(c, set), ir;

	if (prio == NONE)
		return;
	ir = (c->bottom + 1 + prio) & 7;
	c->isr &= ~(1u << ir);
	if (rotate)
		c->bottom = ir;
}

static void write_icw1(struct pic_chip *c, uint8_t v)
{
	c->irr = c->line & c->elcr; /* edges must come anew */
	c->imr = c->isr = 0;
	c->bottom = 7;
	c->special_mask = c->read_isr = c->poll = false;
	c->auto_eoi = c->rotate_in_auto_eoi = c->fully_nested = false;
	c->single = v & ICW1_SINGLE;
	c->expect_icw4 = v & ICW1_IC4;
	c->step = PIC_ICW2;
}

static void write_ocw2(struct pic_chip *c, uint8_t v)
{
	unsigned ir = v & 7;

	switch ((enum ocw2)(v >> 5)) {
	case OCW2_ROTATE_AUTO_CLEAR:
	case OCW2_ROTATE_AUTO_SET:
		c->rotate_in_auto_eoi = v >> 5 == OCW2_ROTATE_AUTO_SET;
		break;
	case OCW2_EOI:
	case OCW2_ROTATE_EOI:
		end_of_interrupt(c, v >> 5 == OCW2_ROTATE_EOI);
		break;
	case OCW2_EOI_SPECIFIC:
		c->isr &= ~(1u << ir);
		break;
	case OCW2_ROTATE_EOI_SPECIFIC:
		c->isr &= ~(1u << ir);
		c->bottom = ir;
		break;
	case OCW2_SET_PRIORITY:
		c->bottom = ir;
		break;
	case OCW2_NOP:
		break;
	}
}

static void write_ocw3(struct pic_chip *c, uint8_t v)
{
	if (v & OCW3_POLL)
		c->poll = true;
	if (v & OCW3_READ_SET)
		c->read_isr = v & OCW3_READ_ISR;
	if (v & OCW3_MASK_SET)
		c->special_mask = v & OCW3_MASK_ON;
}

static void write_command(struct pic_chip *c, uint8_t v)
{
	if (v & ICW1_SELECT)
		write_icw1(c, v);
	else if (v & OCW3_SELECT)
		write_ocw3(c, v);
	else
		write_ocw2(c, v);
}

/* ICW3 says how the chips are wired, which we know. */
static void write_data(struct pic_chip *c, uint8_t v)
{
	switch ((enum pic_step)c->step) {
	case PIC_ICW2:
		c->vector_base = v & 0xf8;
		c->step = !c->single ? PIC_ICW3 : c->expect_icw4 ? PIC_ICW4 : PIC_READY;
		break;
	case PIC_ICW3:
		c->step = c->expect_icw4 ? PIC_ICW4 : PIC_READY;
		break;
	case PIC_ICW4:
		c->auto_eoi = v & ICW4_AUTO_EOI;
		c->fully_nested = v & ICW4_FULLY_NESTED;
		c->step = PIC_READY;
		break;
	case PIC_READY:
	case PIC_UNINITIALIZED:
		c->imr = v;
		break;
	}
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pic_chip *c = opaque;

	if (offset == 0)
		write_command(c, (uint8_t)value);
	else
		write_data(c, (uint8_t)value);
	update(c->pic);
}

/* The read after OCW3 with the poll bit is an acknowledge cycle (data sheet, "Poll Command"). */
static uint8_t read_poll(struct pic_chip *c)
{
	unsigned ir = pending(c);

	c->poll = false;
	if (ir == NONE)
		return 0;
	serve(c, ir);
	update(c->pic);
	return POLL_PENDING | ir;
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pic_chip *c = opaque;

	if (c->poll)
		return read_poll(c);
	if (offset == 1)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pic *pic = opaque;

	return pic->chip[offset].elcr;
}

static void elcr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pic *pic = opaque;
	struct pic_chip *c = &pic->chip[offset];
	uint8_t level = value & (offset == MASTER ? ELCR_MASTER : ELCR_SLAVE);
	uint8_t changed = level ^ c->elcr;

	c->elcr = level;
	c->irr = (c->irr & ~changed) | (c->line & changed & level);
	update(pic);
}

static const struct bus_ops ports_ops = {ports_read, ports_write, 1};
static const struct bus_ops elcr_ops = {elcr_read, elcr_write, 1};

void pic_reset(struct pic *pic)
{
	for (unsigned k = 0; k < 2; k++) {
		struct pic_chip *c = &pic->chip[k];

		*c = (struct pic_chip){
		    .pic = pic,
		    .line = c->line,
		    .bottom = 7,
		    .step = PIC_UNINITIALIZED,
		    .out = c->out,
		};
	}
	update(pic);
}

int pic_init(struct pic *pic, struct bus *port, struct irq_line intr, struct lm_err *err)
{
	static const uint16_t base[2] = {PC_PORT_PIC_MASTER, PC_PORT_PIC_SLAVE};
	static const char *const name[2] = {"pic", "pic2"};
	int rc = 0;

	*pic = (struct pic){.intr = intr};
	pic_reset(pic);
	for (unsigned k = 0; k < 2 && !rc; k++) {
		pic->ports[k] =
		    (struct bus_region){name[k], base[k], 2, &ports_ops, &pic->chip[k], false};
		rc = chipset_map(port, &pic->ports[k], err);
	}
	pic->elcr = (struct bus_region){"elcr", PC_PORT_ELCR, 2, &elcr_ops, pic, false};
	return rc ? rc : chipset_map(port, &pic->elcr, err);
}

/* ---- Saved state ---- */

static const struct field chip_fields[] = {
	FIELD(struct pic_chip, line, NULL),
	FIELD(struct pic_chip, irr, NULL),
	FIELD(struct pic_chip, imr, NULL),
	FIELD(struct pic_chip, isr, NULL),
	FIELD(struct pic_chip, elcr, NULL),
	FIELD(struct pic_chip, vector_base, NULL),
	FIELD(struct pic_chip, bottom, "", .max = 7),
	FIELD(struct pic_chip, step, "", .max = PIC_UNINITIALIZED),
	FIELD(struct pic_chip, single, NULL),
	FIELD(struct pic_chip, expect_icw4, NULL),
	FIELD(struct pic_chip, auto_eoi, NULL),
	FIELD(struct pic_chip, rotate_in_auto_eoi, NULL),
	FIELD(struct pic_chip, fully_nested, NULL),
	FIELD(struct pic_chip, special_mask, NULL),
	FIELD(struct pic_chip, poll, NULL),
	FIELD(struct pic_chip, read_isr, NULL),
	FIELD(struct pic_chip, out, NULL),
	FIELD_NOT_SAVED(struct pic_chip, pic, "wiring"),
	FIELD_END,
};

static const struct field pic_fields[] = {
	FIELD_STRUCTS(struct pic, chip, chip_fields),
	FIELD_NOT_SAVED(struct pic, intr, "wiring"),
	FIELD_NOT_SAVED(struct pic, ports, "wiring"),
	FIELD_NOT_SAVED(struct pic, elcr, "wiring"),
	FIELD_END,
};

static int pic_loaded(void *object, struct lm_err *err)
{
	struct pic *pic = object;

	irq_set(&pic->intr, pic->chip[0].out);
	return 0;
}

const struct fields_section pic_section = {
	.name = "pic",
	.version = 1,
	.table = pic_fields,
	.post_load = pic_loaded,
};
