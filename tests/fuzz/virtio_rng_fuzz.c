/* The hostile driver against virtio-rng, and with it queues and transport. */
#include "dev/virtio/rng.h"
#include "virtio_fuzz.h"

static void fuzz_one(struct fuzz_input *in)
{
	static struct virtio_fuzz f;
	static struct virtio_rng rng;

	if (!f.queues) {
		drv_init(&f.d, true);
		virtio_rng_init(&rng, &f.d.ram, &f.d.loop, 1);
		fuzz_attach(&f, &rng.virtio);
	}
	fuzz_drive(&f, in);
}
