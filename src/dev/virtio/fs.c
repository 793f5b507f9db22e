#include "dev/virtio/fs.h"

#include <errno.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

#define FS_QUEUE_SIZE 256 /* Linux sizes its requests by the queue: 252 pages of data */

static void give_back(struct virtio_fs_request *req)
{
	req->next_free = req->owner->free[req->queue];
	req->owner->free[req->queue] = req;
}

static void request_done(struct fs_request *done)
{
	struct virtio_fs_request *req = LM_CONTAINER_OF(done, struct virtio_fs_request, fs);
	struct virtio_fs *fs = req->owner;

	virtio_push(&fs->virtio, req->queue, &req->chain, done->written);
	give_back(req);
	if (!fs->submitting) {
		virtio_signal(&fs->virtio, req->queue);
		if (fs->stalled[req->queue])
			virtio_run_queue(&fs->virtio, req->queue);
	}
	virtio_release(&fs->virtio);
}

static void submit(struct virtio_fs_request *req)
{
	struct vq_chain *c = &req->chain;

	req->fs = (struct fs_request){
	    .in = vq_readable(c),
	    .in_count = c->readable,
	    .in_len = c->readable_len,
	    .out = vq_writable(c),
	    .out_count = c->writable,
	    .out_len = c->writable_len,
	    .done = request_done,
	};
	virtio_hold(&req->owner->virtio);
	req->owner->backend->ops->submit(req->owner->backend, &req->fs);
}

static void fs_notify(struct virtio_device *dev, unsigned queue)
{
	struct virtio_fs *fs = LM_CONTAINER_OF(dev, struct virtio_fs, virtio);

	fs->submitting = true;
	while (fs->free[queue] && virtio_pop(dev, queue, &fs->free[queue]->chain) == VQ_CHAIN) {
		struct virtio_fs_request *req = fs->free[queue];

		fs->free[queue] = req->next_free;
		submit(req);
	}
	fs->stalled[queue] = !fs->free[queue];
	fs->submitting = false;
	virtio_signal(dev, queue);
}

static void fs_reset(struct virtio_device *dev)
{
	struct virtio_fs *fs = LM_CONTAINER_OF(dev, struct virtio_fs, virtio);

	memset(fs->stalled, 0, sizeof(fs->stalled));
	fs->backend->ops->reset(fs->backend);
}

static void fs_drain(struct virtio_device *dev)
{
	struct virtio_fs *fs = LM_CONTAINER_OF(dev, struct virtio_fs, virtio);

	fs->backend->ops->drain(fs->backend);
}

/* ---- Saved state: requests are drained before ---- */

static const struct field fs_fields[] = {
	FIELD_STRUCT(struct virtio_fs, virtio, virtio_device_fields),
	FIELD_NOT_SAVED(struct virtio_fs, backend, "wiring"),
	FIELD_BYTES(struct virtio_fs, config),
	FIELD_NOT_SAVED(struct virtio_fs, submitting, "only within a call"),
	FIELD_NOT_SAVED(struct virtio_fs, stalled, "nothing is in flight"),
	FIELD_NOT_SAVED(struct virtio_fs, free, "nothing is in flight"),
	FIELD_NOT_SAVED(struct virtio_fs, request, "nothing is in flight"),
	FIELD_END,
};

/* What the guest knows of the folder is the backend's, and stays with the process that had it. */
static int fs_loaded(void *object, struct lm_err *err)
{
	struct virtio_fs *fs = object;

	if (fs->virtio.status & VIRTIO_CONFIG_S_DRIVER_OK)
		return lm_err_set(err, -ENOTSUP,
				  "the guest has the shared folder %.*s in use; it must unload its "
				  "driver before it is saved",
				  FS_TAG_SIZE, fs->config.tag);
	return virtio_loaded(&fs->virtio, err);
}

const struct fields_section virtio_fs_section = {
	.name = "virtio-fs",
	.version = 1,
	.table = fs_fields,
	.post_load = fs_loaded,
};

static const struct virtio_ops fs_ops = {
    .name = "virtio-fs",
    .id = VIRTIO_ID_FS,
    .class_code = 0x018000,
    .notify = fs_notify,
    .reset = fs_reset,
    .drain = fs_drain,
    .section = &virtio_fs_section,
};

void virtio_fs_init(struct virtio_fs *fs, struct fsdev *backend, struct ram *ram,
		    struct event_loop *loop)
{
	struct virtio_setup setup = {
	    .ops = &fs_ops,
	    .queues = FS_QUEUES,
	    .queue_size = FS_QUEUE_SIZE,
	    .config = &fs->config,
	    .config_size = sizeof(fs->config),
	};

	memset(fs, 0, sizeof(*fs));
	fs->backend = backend;
	memcpy(fs->config.tag, backend->tag, sizeof(fs->config.tag));
	fs->config.num_request_queues = htole32(1);
	for (unsigned k = 0; k < LM_ARRAY_SIZE(fs->request); k++) {
		fs->request[k].owner = fs;
		fs->request[k].queue = k < FS_HIPRIO_REQUESTS ? FS_QUEUE_HIPRIO : FS_QUEUE_REQUEST;
		give_back(&fs->request[k]);
	}
	virtio_device_init(&fs->virtio, &setup, ram, loop);
}
