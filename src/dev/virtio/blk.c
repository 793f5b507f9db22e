#include "dev/virtio/blk.h"

#include <errno.h>
#include <string.h>
#include <linux/virtio_ids.h>

/* What a chain leaves for data: header and status have a descriptor each. */
#define BLK_SEG_MAX	   (BLK_QUEUE_SIZE - 2)
#define BLK_MAX_ERASE	   0x3fffff /* sectors per discard or write zeroes: 2 GiB */
#define BLK_PAGE_SECTORS   8
#define HEADER_SIZE	   sizeof(struct virtio_blk_outhdr)
#define ERASE_SEGMENT_SIZE sizeof(struct virtio_blk_discard_write_zeroes)

static void finish(struct blk_request *req, uint8_t status, uint32_t written)
{
	struct virtio_blk *blk = req->blk;

	*req->status = status;
	blk->errors += status != VIRTIO_BLK_S_OK;
	virtio_push(&blk->virtio, req->queue, &req->chain, written + 1);
	req->next_free = blk->free;
	blk->free = req;
}

/* The one that waits and is next in turn, so that none of them starves. */
static void run_stalled(struct virtio_blk *blk)
{
	for (unsigned k = 1; k <= blk->virtio.queue_count && blk->stalled && blk->free; k++) {
		unsigned queue = (blk->serving + k) % blk->virtio.queue_count;

		if (!(blk->stalled >> queue & 1))
			continue;
		blk->stalled &= (uint8_t) ~(1u << queue);
		virtio_run_queue(&blk->virtio, queue);
		return;
	}
}

static void block_done(struct block_request *block, int result)
{
	struct blk_request *req = LM_CONTAINER_OF(block, struct blk_request, block);
	struct virtio_blk *blk = req->blk;
	bool read = block->op == BLOCK_READ;

	if (LM_UNLIKELY(blk->writes.on) && block->op != BLOCK_READ && block->op != BLOCK_FLUSH)
		dirty_mark(&blk->writes, block->offset, block->len);
	finish(req, result < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK, read ? req->data_len : 0);
	if (!blk->submitting || blk->serving != req->queue)
		virtio_signal(&blk->virtio, req->queue);
	if (!blk->submitting)
		run_stalled(blk);
	virtio_release(&blk->virtio);
}

static void submit(struct blk_request *req, enum block_op op)
{
	struct virtio_blk *blk = req->blk;

	req->block.op = op;
	req->block.done = block_done;
	virtio_hold(&blk->virtio);
	blk->backend->ops->submit(blk->backend, &req->block);
}

static bool in_range(const struct virtio_blk *blk, uint64_t sector, uint64_t count)
{
	uint64_t capacity = blk->backend->size / BLOCK_SECTOR_SIZE;

	return sector <= capacity && count <= capacity - sector;
}

/* §5.2.6.2: the driver's choice, else whether it knows how to flush. */
static bool writes_through(const struct virtio_blk *blk)
{
	if (virtio_has(&blk->virtio, VIRTIO_BLK_F_CONFIG_WCE))
		return !blk->config.wce;
	return !virtio_has(&blk->virtio, VIRTIO_BLK_F_FLUSH);
}

/* IN and OUT: the data are all of one direction but the header or the status. */
static void transfer(struct blk_request *req, enum block_op op, uint64_t sector)
{
	struct vq_chain *c = &req->chain;
	bool read = op == BLOCK_READ;
	struct iovec *iov = read ? vq_writable(c) : vq_readable(c);
	unsigned count = read ? c->writable : c->readable;
	uint64_t skip = read ? 0 : HEADER_SIZE;
	uint64_t len = read ? c->writable_len - 1 : c->readable_len - HEADER_SIZE;

	if (len % BLOCK_SECTOR_SIZE || !in_range(req->blk, sector, len / BLOCK_SECTOR_SIZE) ||
	    (!read && req->blk->backend->read_only)) {
		finish(req, VIRTIO_BLK_S_IOERR, 0);
		return;
	}
	req->block.iov_count = iov_narrow(&iov, count, skip, len);
	req->block.iov = iov;
	req->block.offset = sector * BLOCK_SECTOR_SIZE;
	req->block.len = len;
	req->block.sync = writes_through(req->blk);
	req->data_len = (uint32_t)len;
	submit(req, op);
}

/* DISCARD and WRITE_ZEROES, one segment (max_…_seg is 1). */
static void erase(struct blk_request *req, enum block_op op)
{
	struct virtio_blk_discard_write_zeroes seg;
	uint32_t sectors, flags, allowed;

	if (req->chain.readable_len != HEADER_SIZE + ERASE_SEGMENT_SIZE ||
	    vq_chain_read(&req->chain, HEADER_SIZE, &seg, sizeof(seg)) != sizeof(seg)) {
		finish(req, VIRTIO_BLK_S_IOERR, 0);
		return;
	}
	sectors = le32toh(seg.num_sectors);
	flags = le32toh(seg.flags);
	allowed = op == BLOCK_WRITE_ZEROES ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0;
	if (flags & ~allowed) {
		finish(req, VIRTIO_BLK_S_UNSUPP, 0);
		return;
	}
	if (sectors > BLK_MAX_ERASE || !in_range(req->blk, le64toh(seg.sector), sectors) ||
	    req->blk->backend->read_only) {
		finish(req, VIRTIO_BLK_S_IOERR, 0);
		return;
	}
	req->block.offset = le64toh(seg.sector) * BLOCK_SECTOR_SIZE;
	req->block.len = (uint64_t)sectors * BLOCK_SECTOR_SIZE;
	req->block.may_unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	req->block.sync = writes_through(req->blk);
	submit(req, op);
}

static void get_id(struct blk_request *req)
{
	char id[VIRTIO_BLK_ID_BYTES] = {0};
	size_t room = (size_t)LM_MIN(req->chain.writable_len - 1, sizeof(id));

	memcpy(id, req->blk->backend->id, sizeof(id));
	vq_chain_write(&req->chain, 0, id, room);
	finish(req, VIRTIO_BLK_S_OK, (uint32_t)room);
}

static void execute(struct blk_request *req)
{
	struct virtio_device *dev = &req->blk->virtio;
	struct vq_chain *c = &req->chain;
	struct iovec *last = &vq_writable(c)[c->writable - 1];
	struct virtio_blk_outhdr header;

	vq_chain_read(c, 0, &header, sizeof(header));
	req->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	req->block = (struct block_request){0};
	req->data_len = 0;
	req->blk->requests++;
	switch (le32toh(header.type)) {
	case VIRTIO_BLK_T_IN:
		transfer(req, BLOCK_READ, le64toh(header.sector));
		return;
	case VIRTIO_BLK_T_OUT:
		transfer(req, BLOCK_WRITE, le64toh(header.sector));
		return;
	case VIRTIO_BLK_T_FLUSH:
		submit(req, BLOCK_FLUSH);
		return;
	case VIRTIO_BLK_T_GET_ID:
		get_id(req);
		return;
	case VIRTIO_BLK_T_DISCARD:
		if (virtio_has(dev, VIRTIO_BLK_F_DISCARD)) {
			erase(req, BLOCK_DISCARD);
			return;
		}
		break;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		if (virtio_has(dev, VIRTIO_BLK_F_WRITE_ZEROES)) {
			erase(req, BLOCK_WRITE_ZEROES);
			return;
		}
		break;
	}
	finish(req, VIRTIO_BLK_S_UNSUPP, 0);
}

static void blk_notify(struct virtio_device *dev, unsigned queue)
{
	struct virtio_blk *blk = LM_CONTAINER_OF(dev, struct virtio_blk, virtio);

	blk->submitting = true;
	blk->serving = queue;
	while (blk->free && virtio_pop(dev, queue, &blk->free->chain) == VQ_CHAIN) {
		struct blk_request *req = blk->free;

		if (req->chain.readable_len < HEADER_SIZE || !req->chain.writable_len) {
			virtio_broken(dev, "gave a request without header or status");
			break;
		}
		blk->free = req->next_free;
		req->queue = queue;
		execute(req);
	}
	blockdev_commit(blk->backend);
	if (!blk->free)
		blk->stalled |= (uint8_t)(1u << queue);
	blk->submitting = false;
	virtio_signal(dev, queue);
}

static void blk_reset(struct virtio_device *dev)
{
	struct virtio_blk *blk = LM_CONTAINER_OF(dev, struct virtio_blk, virtio);

	blk->stalled = 0;
	blk->config.wce = 1;
}

static void blk_config_written(struct virtio_device *dev, unsigned offset, uint32_t value,
			       unsigned size)
{
	struct virtio_blk *blk = LM_CONTAINER_OF(dev, struct virtio_blk, virtio);

	if (offset == offsetof(struct virtio_blk_config, wce) && size == 1 &&
	    virtio_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		blk->config.wce = value & 1;
}

static void blk_drain(struct virtio_device *dev)
{
	struct virtio_blk *blk = LM_CONTAINER_OF(dev, struct virtio_blk, virtio);

	blk->backend->ops->drain(blk->backend);
}

/* Saved state: requests are drained before. */

static const struct field blk_fields[] = {
	FIELD_STRUCT(struct virtio_blk, virtio, virtio_device_fields),
	FIELD_NOT_SAVED(struct virtio_blk, backend, "wiring"),
	FIELD_BYTES(struct virtio_blk, config),
	FIELD_NOT_SAVED(struct virtio_blk, requests, "statistics"),
	FIELD_NOT_SAVED(struct virtio_blk, errors, "statistics"),
	FIELD_NOT_SAVED(struct virtio_blk, writes, "the tracker's"),
	FIELD_NOT_SAVED(struct virtio_blk, submitting, "only within a call"),
	FIELD_NOT_SAVED(struct virtio_blk, serving, "whose turn it is; any will do"),
	FIELD_NOT_SAVED(struct virtio_blk, stalled, "nothing is in flight"),
	FIELD_NOT_SAVED(struct virtio_blk, free, "nothing is in flight"),
	FIELD_NOT_SAVED(struct virtio_blk, request, "nothing is in flight"),
	FIELD_END,
};

static int blk_loaded(void *object, struct lm_err *err)
{
	struct virtio_blk *blk = object;
	uint64_t size = le64toh(blk->config.capacity) * BLOCK_SECTOR_SIZE;

	if (size != blk->backend->size)
		return lm_err_set(err, -EINVAL, "the disk had %llu bytes and has %llu now",
				  (unsigned long long)size,
				  (unsigned long long)blk->backend->size);
	return virtio_loaded(&blk->virtio, err);
}

const struct fields_section virtio_blk_section = {
	.name = "virtio-blk",
	.version = 1,
	.table = blk_fields,
	.post_load = blk_loaded,
};

static void blk_abandon(struct virtio_device *dev)
{
	struct virtio_blk *blk = LM_CONTAINER_OF(dev, struct virtio_blk, virtio);

	blockdev_finish(blk->backend);
}

static const struct virtio_ops blk_ops = {
    .name = "virtio-blk",
    .id = VIRTIO_ID_BLOCK,
    .class_code = 0x010000,
    .notify = blk_notify,
    .reset = blk_reset,
    .drain = blk_drain,
    .abandon = blk_abandon,
    .config_written = blk_config_written,
    .section = &virtio_blk_section,
};

static uint64_t features(const struct blockdev *backend, unsigned queues)
{
	uint64_t f = LM_BIT(VIRTIO_BLK_F_SEG_MAX) | LM_BIT(VIRTIO_BLK_F_BLK_SIZE) |
		     LM_BIT(VIRTIO_BLK_F_TOPOLOGY) | LM_BIT(VIRTIO_BLK_F_FLUSH);

	if (queues > 1)
		f |= LM_BIT(VIRTIO_BLK_F_MQ);
	if (backend->read_only)
		return f | LM_BIT(VIRTIO_BLK_F_RO);
	return f | LM_BIT(VIRTIO_BLK_F_DISCARD) | LM_BIT(VIRTIO_BLK_F_WRITE_ZEROES) |
	       LM_BIT(VIRTIO_BLK_F_CONFIG_WCE);
}

static struct virtio_blk_config make_config(const struct blockdev *backend, unsigned queues)
{
	return (struct virtio_blk_config){
	    .capacity = htole64(backend->size / BLOCK_SECTOR_SIZE),
	    .seg_max = htole32(BLK_SEG_MAX),
	    .blk_size = htole32(BLOCK_SECTOR_SIZE),
	    .physical_block_exp = 3, /* 4 KiB */
	    .min_io_size = htole16(BLK_PAGE_SECTORS),
	    .wce = 1,
	    .num_queues = htole16((uint16_t)queues),
	    .max_discard_sectors = htole32(BLK_MAX_ERASE),
	    .max_discard_seg = htole32(1),
	    .discard_sector_alignment = htole32(BLK_PAGE_SECTORS),
	    .max_write_zeroes_sectors = htole32(BLK_MAX_ERASE),
	    .max_write_zeroes_seg = htole32(1),
	    .write_zeroes_may_unmap = 1,
	};
}

void virtio_blk_init(struct virtio_blk *blk, struct blockdev *backend, unsigned queues,
		     struct ram *ram, struct event_loop *loop)
{
	struct virtio_setup setup = {
	    .ops = &blk_ops,
	    .features = features(backend, queues),
	    .queues = queues,
	    .queue_size = BLK_QUEUE_SIZE,
	    .config = &blk->config,
	    .config_size = offsetof(struct virtio_blk_config, max_secure_erase_sectors),
	};

	memset(blk, 0, sizeof(*blk));
	blk->backend = backend;
	blk->config = make_config(backend, queues);
	for (unsigned k = 0; k < BLK_REQUESTS; k++) {
		blk->request[k].blk = blk;
		blk->request[k].next_free = blk->free;
		blk->free = &blk->request[k];
	}
	virtio_device_init(&blk->virtio, &setup, ram, loop);
}
