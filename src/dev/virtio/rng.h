/* virtio-entropy (virtio 1.2 §5.4), fed by the host's getrandom. */
#ifndef LM_DEV_VIRTIO_RNG_H
#define LM_DEV_VIRTIO_RNG_H

#include "dev/virtio/virtio.h"

struct virtio_rng {
	struct virtio_device virtio;
	uint64_t bytes; /* given to the guest so far */
	/* Deterministic machines draw from this seed instead of from the host; 0 for the host. */
	uint64_t seed;
};

void virtio_rng_init(struct virtio_rng *rng, struct ram *ram, struct event_loop *loop,
		     uint64_t seed);

extern const struct fields_section virtio_rng_section;

#endif
