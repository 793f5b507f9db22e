#include "dev/chipset/i8042.h"

#include "base/bits.h"
#include "base/log.h"
#include "dev/chipset/layout.h"
#include "dev/chipset/map.h"

/* Status register. */
#define STATUS_OUT_FULL 0x01
#define STATUS_SYSTEM	0x04
#define STATUS_COMMAND	0x08
#define STATUS_UNLOCKED 0x10
#define STATUS_AUX	0x20

/* Command byte (RAM byte 0). */
#define MODE_IRQ       0x01
#define MODE_AUX_IRQ   0x02
#define MODE_SYSTEM    0x04
#define MODE_KBD_OFF   0x10
#define MODE_AUX_OFF   0x20
#define MODE_TRANSLATE 0x40

/* Output port. */
#define OUTPUT_NOT_RESET 0x01
#define OUTPUT_A20	 0x02

/* Controller commands. */
#define CMD_READ_RAM	   0x20 /* to 0x3f */
#define CMD_WRITE_RAM	   0x60 /* to 0x7f */
#define CMD_AUX_OFF	   0xa7
#define CMD_AUX_ON	   0xa8
#define CMD_AUX_TEST	   0xa9
#define CMD_SELF_TEST	   0xaa
#define CMD_KBD_TEST	   0xab
#define CMD_KBD_OFF	   0xad
#define CMD_KBD_ON	   0xae
#define CMD_READ_INPUT	   0xc0
#define CMD_READ_OUTPUT	   0xd0
#define CMD_WRITE_OUTPUT   0xd1
#define CMD_WRITE_KBD_OUT  0xd2
#define CMD_WRITE_AUX_OUT  0xd3
#define CMD_WRITE_AUX	   0xd4
#define CMD_A20_OFF	   0xdd
#define CMD_A20_ON	   0xdf
#define CMD_PULSE	   0xf0 /* to 0xff: bits 0-3 that are 0 are pulsed low */
#define SELF_TEST_OK	   0x55
#define KBD_TEST_OK	   0x00
#define AUX_TEST_OK	   0x00
#define AUX_TEST_CLOCK_LOW 0x01 /* nothing is connected */
#define INPUT_PORT_DEFAULT 0x80 /* keyboard not locked */

/* Keyboard commands and answers. */
#define KBD_SET_LEDS	 0xed
#define KBD_ECHO	 0xee
#define KBD_SCAN_SET	 0xf0
#define KBD_IDENTIFY	 0xf2
#define KBD_RATE	 0xf3
#define KBD_ENABLE	 0xf4
#define KBD_DISABLE	 0xf5
#define KBD_DEFAULTS	 0xf6
#define KBD_ALL_KEYS	 0xf7 /* to 0xfa */
#define KBD_SET_KEYS	 0xfb /* to 0xfd, a key follows */
#define KBD_RESEND	 0xfe
#define KBD_RESET	 0xff
#define KBD_ACK		 0xfa
#define KBD_SELF_TEST_OK 0xaa
#define KBD_ID1		 0xab
#define KBD_ID2		 0x83
#define KBD_BREAK_PREFIX 0xf0
#define ANSWER_ROOM	 4 /* of the queue; keys leave it for answers */

/* Port 0x92. */
#define PORT92_RESET 0x01
#define PORT92_A20   0x02

/* Scan code set 2 to set 1; codes beyond have themselves except 0x83 (F7) and 0x84 (SysRq). */
static const uint8_t set1[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

static uint8_t translate(uint8_t c)
{
	if (c < LM_ARRAY_SIZE(set1))
		return set1[c];
	return c == 0x83 ? 0x41 : c == 0x84 ? 0x54 : c;
}

static void update_irq(struct i8042 *k)
{
	irq_set(&k->irq, k->out_full && !k->out_aux && k->ram[0] & MODE_IRQ);
	irq_set(&k->mouse_irq, k->out_full && k->out_aux && k->ram[0] & MODE_AUX_IRQ);
}

/* A byte of the controller's own: it replaces what the guest did not read. */
static void put_out_of(struct i8042 *k, uint8_t c, bool aux)
{
	irq_set(&k->irq, false); /* so that every byte is an edge */
	irq_set(&k->mouse_irq, false);
	k->out = c;
	k->out_full = true;
	k->out_aux = aux;
	update_irq(k);
}

static void put_out(struct i8042 *k, uint8_t c)
{
	put_out_of(k, c, false);
}

static void next_mouse_byte(struct i8042 *k)
{
	uint8_t c;

	if (k->has_mouse && !k->out_full && !(k->ram[0] & MODE_AUX_OFF) &&
	    ps2_mouse_take(&k->mouse, &c))
		put_out_of(k, c, true);
}

/* Moves the next byte of the keyboard, else of the mouse, to the empty output buffer. */
static void next_byte(struct i8042 *k)
{
	while (k->count && !k->out_full && !(k->ram[0] & MODE_KBD_OFF)) {
		uint8_t c = k->queue[k->head];

		k->head = (k->head + 1) % I8042_QUEUE;
		k->count--;
		if (!(k->ram[0] & MODE_TRANSLATE)) {
			put_out(k, c);
		} else if (c == KBD_BREAK_PREFIX) {
			k->break_prefix = true;
		} else {
			put_out(k, translate(c) | (k->break_prefix ? 0x80 : 0));
			k->break_prefix = false;
		}
	}
	next_mouse_byte(k);
}

static void kbd_send(struct i8042 *k, uint8_t c)
{
	if (k->count == I8042_QUEUE)
		return;
	k->queue[(k->head + k->count) % I8042_QUEUE] = c;
	k->count++;
	k->kbd_last = c;
}

static void kbd_defaults(struct i8042 *k, bool scanning)
{
	k->scanning = scanning;
	k->scan_set = 2;
}

static void kbd_command(struct i8042 *k, uint8_t v)
{
	switch (v) {
	case KBD_SET_LEDS:
	case KBD_SCAN_SET:
	case KBD_RATE:
	case KBD_SET_KEYS ... KBD_SET_KEYS + 2:
		k->kbd_pending = v;
		kbd_send(k, KBD_ACK);
		break;
	case KBD_ECHO:
		kbd_send(k, KBD_ECHO);
		break;
	case KBD_IDENTIFY:
		kbd_send(k, KBD_ACK);
		kbd_send(k, KBD_ID1);
		kbd_send(k, KBD_ID2);
		break;
	case KBD_ENABLE:
		k->head = k->count = 0;
		k->scanning = true;
		kbd_send(k, KBD_ACK);
		break;
	case KBD_DISABLE:
	case KBD_DEFAULTS:
		kbd_defaults(k, v == KBD_DEFAULTS);
		kbd_send(k, KBD_ACK);
		break;
	case KBD_ALL_KEYS ... KBD_ALL_KEYS + 3:
		kbd_send(k, KBD_ACK);
		break;
	case KBD_RESET:
		k->head = k->count = 0;
		k->leds = 0;
		kbd_defaults(k, true);
		kbd_send(k, KBD_ACK);
		kbd_send(k, KBD_SELF_TEST_OK);
		break;
	case KBD_RESEND:
		kbd_send(k, k->kbd_last);
		break;
	default:
		kbd_send(k, KBD_RESEND);
		break;
	}
}

static void kbd_argument(struct i8042 *k, uint8_t command, uint8_t v)
{
	kbd_send(k, KBD_ACK);
	if (command == KBD_SET_LEDS)
		k->leds = v & 7;
	else if (command == KBD_SCAN_SET && v == 0)
		kbd_send(k, k->scan_set);
	else if (command == KBD_SCAN_SET && v <= 3)
		k->scan_set = v;
}

/* A byte for the keyboard; writing to it also turns its interface on. */
static void kbd_write(struct i8042 *k, uint8_t v)
{
	uint8_t command = k->kbd_pending;

	k->ram[0] &= ~MODE_KBD_OFF;
	k->kbd_pending = 0;
	if (command && v < KBD_SET_LEDS)
		kbd_argument(k, command, v);
	else
		kbd_command(k, v);
	next_byte(k);
}

bool i8042_inject(struct i8042 *k, const uint8_t *bytes, size_t len)
{
	if (!k->scanning || len > I8042_QUEUE - ANSWER_ROOM ||
	    k->count + len > I8042_QUEUE - ANSWER_ROOM)
		return false;
	for (size_t n = 0; n < len; n++)
		kbd_send(k, bytes[n]);
	next_byte(k);
	return true;
}

static void pull_reset(struct i8042 *k)
{
	if (k->reset.reset)
		k->reset.reset(k->reset.opaque);
}

static void write_output_port(struct i8042 *k, uint8_t v)
{
	k->output_port = v | OUTPUT_NOT_RESET;
	if (!(v & OUTPUT_NOT_RESET))
		pull_reset(k);
}

/* The data byte of the pending controller command. */
static void command_data(struct i8042 *k, uint8_t command, uint8_t v)
{
	switch (command) {
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + I8042_RAM - 1:
		k->ram[command - CMD_WRITE_RAM] = v;
		next_byte(k);
		update_irq(k);
		break;
	case CMD_WRITE_OUTPUT:
		write_output_port(k, v);
		break;
	case CMD_WRITE_KBD_OUT:
		put_out(k, v);
		break;
	case CMD_WRITE_AUX_OUT: /* without a mouse a keyboard byte, so that drivers see no AUX port */
		put_out_of(k, v, k->has_mouse);
		break;
	default: /* CMD_WRITE_AUX */
		if (k->has_mouse)
			ps2_mouse_write(&k->mouse, v);
		next_byte(k);
		break;
	}
}

static void write_data(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *k = opaque;
	uint8_t command = k->pending;

	k->after_command = false;
	k->pending = 0;
	if (command)
		command_data(k, command, (uint8_t)value);
	else
		kbd_write(k, (uint8_t)value);
}

static void self_test(struct i8042 *k)
{
	k->ram[0] = MODE_SYSTEM | MODE_KBD_OFF | MODE_AUX_OFF | MODE_TRANSLATE;
	put_out(k, SELF_TEST_OK);
}

static void set_mode(struct i8042 *k, uint8_t clear, uint8_t set)
{
	k->ram[0] = (k->ram[0] & ~clear) | set;
	next_byte(k);
}

static void write_command(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *k = opaque;
	uint8_t v = (uint8_t)value;

	k->after_command = true;
	k->pending = 0;
	switch (v) {
	case CMD_READ_RAM ... CMD_READ_RAM + I8042_RAM - 1:
		put_out(k, k->ram[v - CMD_READ_RAM]);
		break;
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + I8042_RAM - 1:
	case CMD_WRITE_OUTPUT:
	case CMD_WRITE_KBD_OUT:
	case CMD_WRITE_AUX_OUT:
	case CMD_WRITE_AUX:
		k->pending = v;
		break;
	case CMD_AUX_OFF:
		set_mode(k, 0, MODE_AUX_OFF);
		break;
	case CMD_AUX_ON:
		set_mode(k, MODE_AUX_OFF, 0);
		break;
	case CMD_AUX_TEST:
		put_out(k, k->has_mouse ? AUX_TEST_OK : AUX_TEST_CLOCK_LOW);
		break;
	case CMD_SELF_TEST:
		self_test(k);
		break;
	case CMD_KBD_TEST:
		put_out(k, KBD_TEST_OK);
		break;
	case CMD_KBD_OFF:
		set_mode(k, 0, MODE_KBD_OFF);
		break;
	case CMD_KBD_ON:
		set_mode(k, MODE_KBD_OFF, 0);
		break;
	case CMD_READ_INPUT:
		put_out(k, INPUT_PORT_DEFAULT);
		break;
	case CMD_READ_OUTPUT:
		put_out(k, k->output_port);
		break;
	case CMD_A20_OFF:
		k->output_port &= ~OUTPUT_A20;
		break;
	case CMD_A20_ON:
		k->output_port |= OUTPUT_A20;
		break;
	case CMD_PULSE ... CMD_PULSE + 15:
		if (!(v & OUTPUT_NOT_RESET))
			pull_reset(k);
		break;
	default:
		log_guest_once("i8042: ignored command 0x%02x", v);
		break;
	}
}

static uint64_t read_data(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *k = opaque;
	uint8_t v = k->out;

	k->out_full = false;
	update_irq(k);
	next_byte(k);
	return v;
}

static uint64_t read_status(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *k = opaque;
	uint8_t v = STATUS_UNLOCKED | (k->ram[0] & MODE_SYSTEM ? STATUS_SYSTEM : 0);

	if (k->out_full)
		v |= STATUS_OUT_FULL | (k->out_aux ? STATUS_AUX : 0);
	if (k->after_command)
		v |= STATUS_COMMAND;
	return v;
}

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned size)
{
	struct i8042 *k = opaque;

	return k->output_port & OUTPUT_A20 ? PORT92_A20 : 0;
}

static void port92_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct i8042 *k = opaque;

	k->output_port &= ~OUTPUT_A20;
	if (value & PORT92_A20)
		k->output_port |= OUTPUT_A20;
	if (value & PORT92_RESET)
		pull_reset(k);
}

static const struct bus_ops data_ops = {read_data, write_data, 1};
static const struct bus_ops command_ops = {read_status, write_command, 1};
static const struct bus_ops port92_ops = {port92_read, port92_write, 1};

void i8042_reset(struct i8042 *k)
{
	for (unsigned n = 0; n < I8042_RAM; n++)
		k->ram[n] = 0;
	/* As PC firmware leaves it: interrupts on, translating, auxiliary interface off. */
	k->ram[0] = MODE_IRQ | MODE_SYSTEM | MODE_AUX_OFF | MODE_TRANSLATE;
	k->output_port = OUTPUT_NOT_RESET | OUTPUT_A20;
	k->pending = k->kbd_pending = k->kbd_last = 0;
	k->out = 0;
	k->out_full = k->after_command = k->break_prefix = false;
	k->head = k->count = k->leds = 0;
	k->out_aux = false;
	kbd_defaults(k, true);
	ps2_mouse_reset(&k->mouse);
	update_irq(k);
}

void i8042_connect_mouse(struct i8042 *k, struct irq_line irq)
{
	k->has_mouse = true;
	k->mouse_irq = irq;
}

void i8042_move_mouse(struct i8042 *k, int dx, int dy, int dz, uint8_t buttons)
{
	if (!k->has_mouse)
		return;
	ps2_mouse_move(&k->mouse, dx, dy, dz, buttons);
	next_byte(k);
}

int i8042_init(struct i8042 *k, struct bus *port, struct irq_line irq,
	       struct i8042_reset_line reset, struct lm_err *err)
{
	int rc;

	*k = (struct i8042){.irq = irq, .reset = reset};
	k->data = (struct bus_region){"kbd-data", PC_PORT_KBD_DATA, 1, &data_ops, k, false};
	k->command =
	    (struct bus_region){"kbd-command", PC_PORT_KBD_COMMAND, 1, &command_ops, k, false};
	k->port92 = (struct bus_region){"port92", PC_PORT_FAST_A20, 1, &port92_ops, k, false};
	i8042_reset(k);
	rc = chipset_map(port, &k->data, err);
	if (rc == 0)
		rc = chipset_map(port, &k->command, err);
	return rc ? rc : chipset_map(port, &k->port92, err);
}

/* ---- Saved state ---- */

static const struct field i8042_fields[] = {
	FIELD_BYTES(struct i8042, ram),
	FIELD(struct i8042, pending, NULL),
	FIELD(struct i8042, output_port, NULL),
	FIELD(struct i8042, out, NULL),
	FIELD(struct i8042, out_full, NULL),
	FIELD(struct i8042, after_command, NULL),
	FIELD_BYTES(struct i8042, queue),
	FIELD(struct i8042, head, "", .max = I8042_QUEUE - 1),
	FIELD(struct i8042, count, "", .max = I8042_QUEUE),
	FIELD(struct i8042, kbd_pending, NULL),
	FIELD(struct i8042, kbd_last, NULL),
	FIELD(struct i8042, scan_set, ""),
	FIELD(struct i8042, leds, NULL),
	FIELD(struct i8042, scanning, NULL),
	FIELD(struct i8042, break_prefix, NULL),
	FIELD_STRUCT(struct i8042, mouse, ps2_mouse_fields, .since = 2),
	FIELD(struct i8042, out_aux, NULL, .since = 2),
	FIELD_NOT_SAVED(struct i8042, has_mouse, "configuration"),
	FIELD_NOT_SAVED(struct i8042, mouse_irq, "wiring"),
	FIELD_NOT_SAVED(struct i8042, irq, "wiring"),
	FIELD_NOT_SAVED(struct i8042, reset, "wiring"),
	FIELD_NOT_SAVED(struct i8042, data, "wiring"),
	FIELD_NOT_SAVED(struct i8042, command, "wiring"),
	FIELD_NOT_SAVED(struct i8042, port92, "wiring"),
	FIELD_END,
};

const struct fields_section i8042_section = {
	.name = "i8042",
	.version = 2,
	.table = i8042_fields,
};
