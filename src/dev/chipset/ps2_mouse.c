#include "dev/chipset/ps2_mouse.h"

#include "base/bits.h"

#define CMD_SCALING_1	0xe6
#define CMD_SCALING_2	0xe7
#define CMD_RESOLUTION	0xe8
#define CMD_STATUS	0xe9
#define CMD_STREAM	0xea
#define CMD_READ	0xeb
#define CMD_REMOTE	0xf0
#define CMD_IDENTIFY	0xf2
#define CMD_RATE	0xf3
#define CMD_ENABLE	0xf4
#define CMD_DISABLE	0xf5
#define CMD_DEFAULTS	0xf6
#define CMD_RESET	0xff
#define ACK		0xfa
#define NOT_UNDERSTOOD	0xfe
#define SELF_TEST_OK	0xaa
#define ID_PLAIN	0
#define ID_WHEEL	3
#define DELTA_MAX	255
#define WHEEL_MAX	7
#define MOTION_MAX	4096 /* of what is kept while nobody reads */

#define PACKET_ALWAYS	0x08
#define PACKET_X_SIGN	0x10
#define PACKET_Y_SIGN	0x20

#define STATUS_REMOTE	0x40
#define STATUS_ENABLED	0x20
#define STATUS_SCALING	0x10

/* Sample rates that, one after the other, turn the wheel on. */
static const uint8_t knock[] = { 200, 100, 80 };

static void put(struct ps2_mouse *m, uint8_t v)
{
	if (m->count < PS2_MOUSE_QUEUE)
		m->queue[(m->head + m->count++) % PS2_MOUSE_QUEUE] = v;
}

static void defaults(struct ps2_mouse *m)
{
	m->rate = 100;
	m->resolution = 2;
	m->scaling = 1;
	m->reporting = m->remote = false;
	m->dx = m->dy = m->dz = 0;
}

void ps2_mouse_reset(struct ps2_mouse *m)
{
	*m = (struct ps2_mouse){ .buttons = 0 };
	defaults(m);
}

static int take_delta(int32_t *v, int limit)
{
	int d = LM_MAX(LM_MIN(*v, limit), -limit);

	*v -= d;
	return d;
}

static void put_packet(struct ps2_mouse *m)
{
	int dx = take_delta(&m->dx, DELTA_MAX), dy = take_delta(&m->dy, DELTA_MAX);

	put(m, (uint8_t)(PACKET_ALWAYS | m->buttons | (dx < 0 ? PACKET_X_SIGN : 0) |
			 (dy < 0 ? PACKET_Y_SIGN : 0)));
	put(m, (uint8_t)dx);
	put(m, (uint8_t)dy);
	if (m->wheel)
		put(m, (uint8_t)take_delta(&m->dz, WHEEL_MAX));
	m->told_buttons = m->buttons;
}

static void report(struct ps2_mouse *m)
{
	if (!m->wheel)
		m->dz = 0;
	while (m->reporting && !m->remote && m->count + 4 <= PS2_MOUSE_QUEUE &&
	       (m->dx || m->dy || m->dz || m->buttons != m->told_buttons))
		put_packet(m);
}

static void put_status(struct ps2_mouse *m)
{
	put(m, (uint8_t)((m->remote ? STATUS_REMOTE : 0) | (m->reporting ? STATUS_ENABLED : 0) |
			 (m->scaling == 2 ? STATUS_SCALING : 0) | m->buttons));
	put(m, m->resolution);
	put(m, m->rate);
}

static void argument(struct ps2_mouse *m, uint8_t command, uint8_t v)
{
	put(m, ACK);
	if (command == CMD_RESOLUTION) {
		m->resolution = v & 3;
		return;
	}
	m->rate = v;
	m->knock = v == knock[m->knock] ? m->knock + 1 : v == knock[0];
	if (m->knock < LM_ARRAY_SIZE(knock))
		return;
	m->knock = 0;
	m->wheel = true;
}

static void command(struct ps2_mouse *m, uint8_t v)
{
	put(m, v >= CMD_SCALING_1 ? ACK : NOT_UNDERSTOOD);
	switch (v) {
	case CMD_SCALING_1:
	case CMD_SCALING_2:
		m->scaling = v == CMD_SCALING_2 ? 2 : 1;
		break;
	case CMD_RESOLUTION:
	case CMD_RATE:
		m->pending = v;
		break;
	case CMD_STATUS:
		put_status(m);
		break;
	case CMD_STREAM:
	case CMD_REMOTE:
		m->remote = v == CMD_REMOTE;
		break;
	case CMD_READ:
		put_packet(m);
		break;
	case CMD_IDENTIFY:
		put(m, m->wheel ? ID_WHEEL : ID_PLAIN);
		break;
	case CMD_ENABLE:
	case CMD_DISABLE:
		m->reporting = v == CMD_ENABLE;
		break;
	case CMD_DEFAULTS:
		defaults(m);
		break;
	case CMD_RESET:
		m->count = 0;
		m->wheel = false;
		m->knock = 0;
		defaults(m);
		put(m, ACK);
		put(m, SELF_TEST_OK);
		put(m, ID_PLAIN);
		break;
	default:
		break;
	}
}

void ps2_mouse_write(struct ps2_mouse *m, uint8_t v)
{
	uint8_t pending = m->pending;

	m->pending = 0;
	if (m->count > PS2_MOUSE_QUEUE / 2)
		m->count = 0; /* a command interrupts packets that nobody has read */
	if (pending)
		argument(m, pending, v);
	else
		command(m, v);
}

static int32_t bounded(int64_t v)
{
	return (int32_t)LM_MAX(LM_MIN(v, MOTION_MAX), -MOTION_MAX);
}

void ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz, uint8_t buttons)
{
	m->buttons = buttons & (PS2_LEFT | PS2_RIGHT | PS2_MIDDLE);
	if (!m->reporting && !m->remote)
		return;
	m->dx = bounded((int64_t)m->dx + dx);
	m->dy = bounded((int64_t)m->dy + dy);
	m->dz = bounded((int64_t)m->dz + dz);
	report(m);
}

bool ps2_mouse_take(struct ps2_mouse *m, uint8_t *v)
{
	if (!m->count)
		report(m);
	if (!m->count)
		return false;
	*v = m->queue[m->head];
	m->head = (m->head + 1) % PS2_MOUSE_QUEUE;
	m->count--;
	return true;
}

const struct field ps2_mouse_fields[] = {
	FIELD_BYTES(struct ps2_mouse, queue),
	FIELD(struct ps2_mouse, head, "", .max = PS2_MOUSE_QUEUE - 1),
	FIELD(struct ps2_mouse, count, "", .max = PS2_MOUSE_QUEUE),
	FIELD(struct ps2_mouse, pending, NULL),
	FIELD(struct ps2_mouse, rate, ""),
	FIELD(struct ps2_mouse, resolution, ""),
	FIELD(struct ps2_mouse, scaling, ""),
	FIELD(struct ps2_mouse, knock, "", .max = LM_ARRAY_SIZE(knock) - 1),
	FIELD(struct ps2_mouse, wheel, NULL),
	FIELD(struct ps2_mouse, reporting, NULL),
	FIELD(struct ps2_mouse, remote, NULL),
	FIELD(struct ps2_mouse, buttons, NULL),
	FIELD(struct ps2_mouse, told_buttons, NULL),
	FIELD(struct ps2_mouse, dx, ""),
	FIELD(struct ps2_mouse, dy, ""),
	FIELD(struct ps2_mouse, dz, ""),
	FIELD_END,
};
