/* virtio-blk (virtio 1.2 §5.2) on a struct blockdev; one queue. */
#ifndef LM_DEV_VIRTIO_BLK_H
#define LM_DEV_VIRTIO_BLK_H

#include <linux/virtio_blk.h>

#include "dev/blockdev.h"
#include "dev/virtio/virtio.h"

#define BLK_QUEUE_SIZE 128

struct blk_request {
	struct block_request block;
	struct virtio_blk *blk;
	struct vq_chain chain;
	uint8_t *status; /* the last writable byte of the chain, in guest RAM */
	uint32_t data_len;
	struct blk_request *next_free;
};

struct virtio_blk {
	struct virtio_device virtio;
	struct blockdev *backend; /* not owned */
	struct virtio_blk_config config;
	uint64_t requests, errors;
	bool submitting; /* completions inside notify leave the interrupt to it */
	bool stalled;	 /* no free request: the queue goes on when one comes back */
	struct blk_request *free;
	struct blk_request request[BLK_QUEUE_SIZE];
};

void virtio_blk_init(struct virtio_blk *blk, struct blockdev *backend, struct ram *ram,
		     struct event_loop *loop);

extern const struct fields_section virtio_blk_section;

#endif
