/* virtio-blk (virtio 1.2 §5.2) on a struct blockdev. */
#ifndef LM_DEV_VIRTIO_BLK_H
#define LM_DEV_VIRTIO_BLK_H

#include <linux/virtio_blk.h>

#include "dev/blockdev.h"
#include "dev/virtio/virtio.h"
#include "mem/dirty.h"

#define BLK_QUEUE_SIZE 256
#define BLK_MAX_QUEUES 8
#define BLK_REQUESTS   256 /* in flight at a time, of all queues together */

struct blk_request {
	struct block_request block;
	struct virtio_blk *blk;
	struct vq_chain chain;
	unsigned queue;
	uint8_t *status; /* the last writable byte of the chain, in guest RAM */
	uint32_t data_len;
	struct blk_request *next_free;
};

struct virtio_blk {
	struct virtio_device virtio;
	struct blockdev *backend; /* not owned */
	struct virtio_blk_config config;
	uint64_t requests, errors;
	struct dirty_map writes; /* which 4 KiB pieces were written, and are; for migration */
	bool submitting; /* completions inside notify leave the interrupt to it */
	unsigned serving; /* the queue of the last notification */
	uint8_t stalled; /* bit a queue: goes on when a request is free again */
	struct blk_request *free;
	struct blk_request request[BLK_REQUESTS];
};

/* queues: 1 to BLK_MAX_QUEUES. */
void virtio_blk_init(struct virtio_blk *blk, struct blockdev *backend, unsigned queues,
		     struct ram *ram, struct event_loop *loop);

extern const struct fields_section virtio_blk_section;

#endif
