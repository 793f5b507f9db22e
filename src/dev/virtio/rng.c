#include "dev/virtio/rng.h"

#include <sys/random.h>
#include <linux/virtio_ids.h>

/* One request gets no more, whatever its size: the device lock is held meanwhile. */
#define RNG_MAX_BYTES 4096
#define RNG_QUEUE     0

/* splitmix64 (Steele, Lea, Flood 2014): for reproducible runs, not for secrets. */
static uint64_t next_seeded(struct virtio_rng *rng)
{
	uint64_t z = rng->seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Bytes produced: up to len, in the host's mode maybe fewer. */
static size_t fill(struct virtio_rng *rng, uint8_t *buf, size_t len)
{
	ssize_t n;

	if (rng->seed) {
		for (size_t k = 0; k < len; k++)
			buf[k] = (uint8_t)next_seeded(rng);
		return len;
	}
	n = getrandom(buf, len, GRND_NONBLOCK);
	return n > 0 ? (size_t)n : 0;
}

static void rng_notify(struct virtio_device *dev, unsigned queue)
{
	struct virtio_rng *rng = LM_CONTAINER_OF(dev, struct virtio_rng, virtio);
	uint8_t buf[RNG_MAX_BYTES];
	struct vq_chain chain;

	while (virtio_pop(dev, queue, &chain) == VQ_CHAIN) {
		size_t len = fill(rng, buf, LM_MIN(chain.writable_len, sizeof(buf)));

		vq_chain_write(&chain, 0, buf, len);
		rng->bytes += len;
		virtio_push(dev, queue, &chain, (uint32_t)len);
	}
	virtio_signal(dev, queue);
}

/* Saved state. */

static const struct field rng_fields[] = {
	FIELD_STRUCT(struct virtio_rng, virtio, virtio_device_fields),
	FIELD(struct virtio_rng, seed, NULL),
	FIELD_NOT_SAVED(struct virtio_rng, bytes, "statistics"),
	FIELD_END,
};

static int rng_loaded(void *object, struct lm_err *err)
{
	struct virtio_rng *rng = object;

	return virtio_loaded(&rng->virtio, err);
}

const struct fields_section virtio_rng_section = {
	.name = "virtio-rng",
	.version = 1,
	.table = rng_fields,
	.post_load = rng_loaded,
};

static const struct virtio_ops rng_ops = {
    .name = "virtio-rng",
    .id = VIRTIO_ID_RNG,
    .class_code = 0xff0000,
    .notify = rng_notify,
    .section = &virtio_rng_section,
};

void virtio_rng_init(struct virtio_rng *rng, struct ram *ram, struct event_loop *loop,
		     uint64_t seed)
{
	struct virtio_setup setup = {.ops = &rng_ops, .queues = RNG_QUEUE + 1, .queue_size = 64};

	rng->bytes = 0;
	rng->seed = seed;
	virtio_device_init(&rng->virtio, &setup, ram, loop);
}
