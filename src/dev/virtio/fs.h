/* virtio-fs (virtio 1.2 §5.11) on a struct fsdev: one request queue and one for what must not wait. */
#ifndef LM_DEV_VIRTIO_FS_H
#define LM_DEV_VIRTIO_FS_H

#include <linux/virtio_fs.h>

#include "dev/fsdev.h"
#include "dev/virtio/virtio.h"

enum virtio_fs_queue { FS_QUEUE_HIPRIO, FS_QUEUE_REQUEST, FS_QUEUES };

#define FS_HIPRIO_REQUESTS 16
#define FS_REQUESTS	   64 /* in flight at once; more wait in the queue */

struct virtio_fs_request {
	struct fs_request fs;
	struct virtio_fs *owner;
	unsigned queue;
	struct vq_chain chain;
	struct virtio_fs_request *next_free;
};

struct virtio_fs {
	struct virtio_device virtio;
	struct fsdev *backend; /* not owned */
	struct virtio_fs_config config;
	bool submitting;	 /* completions inside notify leave the interrupt to it */
	bool stalled[FS_QUEUES]; /* no free request: the queue goes on when one comes back */
	struct virtio_fs_request *free[FS_QUEUES];
	struct virtio_fs_request request[FS_HIPRIO_REQUESTS + FS_REQUESTS];
};

extern const struct fields_section virtio_fs_section;

void virtio_fs_init(struct virtio_fs *fs, struct fsdev *backend, struct ram *ram,
		    struct event_loop *loop);

#endif
