/* The hostile driver against virtio-balloon, which gives its memory, rings included, back under it. */
#include "dev/virtio/balloon.h"
#include "virtio_fuzz.h"

static void event(void *opaque, struct fuzz_input *in)
{
	struct virtio_balloon *b = opaque;
	uint64_t value;

	if (fuzz_take(in, 1) & 1)
		virtio_balloon_set_target(b, fuzz_take(in, 4));
	b->virtio.loop->clock.virtual_ns += (int64_t)fuzz_take(in, 4) * 2;
	fuzz_require(virtio_balloon_actual(b) <= DRV_RAM, "more in the balloon than there is");
	virtio_balloon_stat(b, (unsigned)fuzz_take(in, 2), &value);
}

static void fuzz_one(struct fuzz_input *in)
{
	static struct virtio_fuzz f;
	static struct virtio_balloon b;

	if (!f.queues) {
		drv_init(&f.d, true);
		virtio_balloon_init(&b, &f.d.ram, &f.d.loop);
		fuzz_attach(&f, &b.virtio);
		f.event = event;
		f.opaque = &b;
	}
	fuzz_drive(&f, in);
}
