/* The hostile driver against virtio-console, with backends that are slow, talk and go away. */
#include "dev/virtio/console.h"
#include "virtio_fuzz.h"

#define PORTS 4

struct target {
	struct virtio_fuzz f;
	struct virtio_console con;
	struct chardev chr[PORTS];
	size_t room;
	bool gone_in_write;
};

static struct target target;

static size_t backend_write(struct chardev *chr, const uint8_t *bytes, size_t len)
{
	size_t n = LM_MIN(len, target.room);

	for (size_t k = 0; k < n; k++)
		(void)*(const volatile uint8_t *)&bytes[k];
	target.room -= n;
	if (target.gone_in_write && n < len)
		chardev_send_event(chr, CHARDEV_OUTPUT_GONE);
	return n;
}

/* Sometimes answers at once, as a command protocol does. */
static void backend_guest_open(struct chardev *chr, bool open)
{
	if (target.room & 1 && chardev_can_receive(chr) >= 5)
		chardev_receive(chr, (const uint8_t *)"hello", 5);
}

static const struct chardev_ops ops = {
    .write = backend_write,
    .guest_open = backend_guest_open,
};

/* A control message that is well-formed but for its contents. */
static void control(struct fuzz_input *in)
{
	struct virtio_console_control c = {
	    .id = (uint32_t)fuzz_take(in, 1) % (PORTS + 1),
	    .event = (uint16_t)(fuzz_take(in, 1) % 9),
	    .value = (uint16_t)(fuzz_take(in, 1) & 1),
	};

	memcpy(drv_ptr(&target.f.d, DRV_DATA), &c, sizeof(c));
	drv_desc(&target.f.d, 3, 0, DRV_DATA, sizeof(c), 0, 0);
	drv_offer(&target.f.d, 3, 0);
	drv_kick(&target.f.d, 3);
}

/* A buffer for input. */
static void buffer(struct fuzz_input *in)
{
	unsigned queue = (unsigned)fuzz_take(in, 1) % target.f.queues;

	drv_desc(&target.f.d, queue, 1, DRV_DATA + 0x1000, (uint32_t)fuzz_take(in, 1),
		 VRING_DESC_F_WRITE, 0);
	drv_offer(&target.f.d, queue, 1);
	drv_kick(&target.f.d, queue);
}

static void event(void *opaque, struct fuzz_input *in)
{
	static const uint8_t bytes[CONSOLE_INPUT_SIZE];
	struct chardev *chr = &target.chr[fuzz_take(in, 1) % PORTS];
	unsigned what = (unsigned)fuzz_take(in, 1) % 16;
	size_t len;

	switch (what) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		chardev_send_event(chr, (enum chardev_event)what);
		break;
	case 5:
	case 6:
	case 7:
		target.room = (size_t)fuzz_take(in, 2);
		chardev_writable(chr);
		break;
	case 8:
		target.gone_in_write = fuzz_take(in, 1) & 1;
		break;
	case 9:
	case 10:
	case 11:
		control(in);
		break;
	case 12:
	case 13:
		buffer(in);
		break;
	default:
		len = (size_t)fuzz_take(in, 2);
		chardev_receive(chr, bytes, LM_MIN(len, chardev_can_receive(chr)));
	}
}

static void check(void *opaque)
{
	for (unsigned k = 0; k < PORTS; k++) {
		virtio_console_flush(&target.con, k);
		fuzz_require(target.con.port[k].input_len <= CONSOLE_INPUT_SIZE, "input overflow");
		fuzz_require(!target.con.port[k].writing, "a port stays busy");
		chardev_send_event(&target.chr[k], CHARDEV_OPENED);
	}
	target.room = 1000;
	target.gone_in_write = false;
}

/* What a start needs so that control messages mean something: here they come from fuzz_request. */
static void fuzz_one(struct fuzz_input *in)
{
	static const char *const name[PORTS] = {NULL, "in", "out", "ctl"};
	struct console_port_setup setup[PORTS];

	if (!target.f.queues) {
		drv_init(&target.f.d, true);
		for (unsigned k = 0; k < PORTS; k++) {
			target.chr[k].ops = &ops;
			setup[k] = (struct console_port_setup){name[k], &target.chr[k]};
		}
		virtio_console_init(&target.con, setup, PORTS, &target.f.d.ram, &target.f.d.loop);
		fuzz_attach(&target.f, &target.con.virtio);
		target.f.event = event;
		target.f.check = check;
	}
	fuzz_drive(&target.f, in);
}
