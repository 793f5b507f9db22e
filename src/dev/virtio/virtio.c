#include "dev/virtio/virtio.h"

#include <errno.h>
#include <string.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "base/bug.h"
#include "base/log.h"

#define COMMON_FEATURES                                                                            \
	(LM_BIT(VIRTIO_F_VERSION_1) | LM_BIT(VIRTIO_RING_F_INDIRECT_DESC) |                        \
	 LM_BIT(VIRTIO_RING_F_EVENT_IDX))
#define DRIVER_STATUS                                                                              \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |        \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)

static void run_again(void *opaque)
{
	struct virtio_device *dev = opaque;
	uint64_t again = dev->again;

	dev->again = 0;
	for (unsigned k = 0; k < dev->queue_count; k++)
		if (again & LM_BIT(k))
			virtio_run_queue(dev, k);
}

void virtio_device_init(struct virtio_device *dev, const struct virtio_setup *setup,
			struct ram *ram, struct event_loop *loop)
{
	LM_BUG_ON(setup->queues > VIRTIO_MAX_QUEUES);
	memset(dev, 0, sizeof(*dev));
	dev->ops = setup->ops;
	dev->ram = ram;
	dev->loop = loop;
	dev->io = loop;
	dev->offered = setup->features | COMMON_FEATURES;
	dev->config = setup->config;
	dev->config_size = setup->config_size;
	dev->queue_count = setup->queues;
	for (unsigned k = 0; k < setup->queues; k++)
		vq_init(&dev->queue[k], ram, setup->queue_size);
	timer_init(&dev->continue_timer, loop, run_again, dev);
}

static void finish_requests(struct virtio_device *dev)
{
	if (dev->ops->drain)
		dev->ops->drain(dev);
	if (dev->ops->abandon)
		dev->ops->abandon(dev);
}

void virtio_device_fini(struct virtio_device *dev)
{
	if (dev->ops)
		finish_requests(dev);
	if (dev->loop)
		timer_cancel(&dev->continue_timer);
}

bool virtio_is_live(const struct virtio_device *dev)
{
	return dev->status & VIRTIO_CONFIG_S_DRIVER_OK &&
	       !(dev->status & VIRTIO_CONFIG_S_NEEDS_RESET) && !dev->reset_pending;
}

static void interrupt(struct virtio_device *dev, int queue)
{
	if (dev->interrupt)
		dev->interrupt(dev->interrupt_opaque, queue);
}

void virtio_broken(struct virtio_device *dev, const char *what)
{
	if (dev->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	dev->broken_count++;
	log_guest_once("%s: the guest's driver %s; the device waits for a reset", dev->ops->name,
		       what);
	dev->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK)
		virtio_config_changed(dev);
}

void virtio_config_changed(struct virtio_device *dev)
{
	dev->generation++;
	if (dev->status & VIRTIO_CONFIG_S_DRIVER_OK && !dev->reset_pending)
		interrupt(dev, VIRTIO_CONFIG_IRQ);
}

/* Queues. */

/*
 * A driver that adds chains as fast as we take them would keep the device lock forever: after a
 * queue's worth of chains the rest waits for the event loop.
 */
enum vq_result virtio_pop(struct virtio_device *dev, unsigned queue, struct vq_chain *chain)
{
	enum vq_result result;

	if (!virtio_is_live(dev))
		return VQ_EMPTY;
	if (!dev->queue[queue].budget) {
		dev->again |= LM_BIT(queue);
		timer_arm(&dev->continue_timer, clock_now(&dev->loop->clock));
		return VQ_EMPTY;
	}
	result = vq_pop(&dev->queue[queue], chain);
	if (result == VQ_CHAIN)
		dev->queue[queue].budget--;
	if (result == VQ_BROKEN)
		virtio_broken(dev, "gave an invalid descriptor chain");
	return result;
}

void virtio_push(struct virtio_device *dev, unsigned queue, const struct vq_chain *chain,
		 uint32_t written)
{
	/* All that the device may have written, whatever it says it has: engines drop stale code. */
	for (unsigned k = 0; k < chain->writable; k++)
		ram_note_write(dev->ram, chain->iov[chain->readable + k].iov_base,
			       chain->iov[chain->readable + k].iov_len);
	vq_push(&dev->queue[queue], chain, written);
}

void virtio_interrupt(struct virtio_device *dev, unsigned queue)
{
	if (virtio_is_live(dev))
		interrupt(dev, (int)queue);
}

void virtio_signal(struct virtio_device *dev, unsigned queue)
{
	if (virtio_is_live(dev) && vq_wants_interrupt(&dev->queue[queue]))
		interrupt(dev, (int)queue);
}

void virtio_run_queue(struct virtio_device *dev, unsigned queue)
{
	if (queue >= dev->queue_count || !virtio_is_live(dev) || !dev->queue[queue].ready)
		return;
	dev->queue[queue].budget = dev->queue[queue].size;
	dev->ops->notify(dev, queue);
}

bool virtio_queue_configurable(const struct virtio_device *dev, unsigned queue)
{
	return queue < dev->queue_count && !dev->queue[queue].ready && !dev->reset_pending;
}

void virtio_enable_queue(struct virtio_device *dev, unsigned queue)
{
	struct virtqueue *vq = &dev->queue[queue];
	bool usable;

	if (!virtio_queue_configurable(dev, queue) || !(dev->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	vq->event_idx = virtio_has(dev, VIRTIO_RING_F_EVENT_IDX);
	vq->indirect = virtio_has(dev, VIRTIO_RING_F_INDIRECT_DESC);
	loop_lock(dev->io);
	usable = vq_start(vq);
	loop_unlock(dev->io);
	if (!usable)
		virtio_broken(dev, "enabled a queue with unusable addresses");
}

/* Status and features (§2.1, §2.2, §3.1.1). */

static void finish_reset(struct virtio_device *dev)
{
	dev->reset_pending = false;
	dev->status = 0;
	dev->accepted = 0;
	dev->again = 0;
	timer_cancel(&dev->continue_timer);
	loop_lock(dev->io);
	for (unsigned k = 0; k < dev->queue_count; k++)
		vq_reset(&dev->queue[k]);
	if (dev->ops->reset)
		dev->ops->reset(dev);
	loop_unlock(dev->io);
}

/* Memory of requests in flight is still ours: the driver sees the reset when they are done. */
static void begin_reset(struct virtio_device *dev)
{
	if (dev->in_flight)
		dev->reset_pending = true;
	else
		finish_reset(dev);
}

void virtio_reset_now(struct virtio_device *dev)
{
	begin_reset(dev);
	if (dev->reset_pending)
		finish_requests(dev);
}

void virtio_hold(struct virtio_device *dev)
{
	dev->in_flight++;
}

void virtio_release(struct virtio_device *dev)
{
	LM_BUG_ON(!dev->in_flight);
	dev->in_flight--;
	if (!dev->in_flight && dev->reset_pending)
		finish_reset(dev);
}

static bool features_acceptable(const struct virtio_device *dev)
{
	return !(dev->accepted & ~dev->offered) && virtio_has(dev, VIRTIO_F_VERSION_1);
}

/* Bits are only ever added; 0 resets. */
void virtio_set_status(struct virtio_device *dev, uint8_t status)
{
	uint8_t added = status & DRIVER_STATUS & (uint8_t)~dev->status;

	if (dev->reset_pending)
		return;
	if (!status) {
		begin_reset(dev);
		return;
	}
	if (added & VIRTIO_CONFIG_S_FEATURES_OK && !features_acceptable(dev))
		added &= (uint8_t) ~(VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	if (added & VIRTIO_CONFIG_S_DRIVER_OK &&
	    !((dev->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	dev->status |= added;
	if (added & VIRTIO_CONFIG_S_DRIVER_OK && virtio_is_live(dev) && dev->ops->started)
		dev->ops->started(dev);
}

void virtio_set_features(struct virtio_device *dev, unsigned word, uint32_t bits)
{
	unsigned shift = 32 * word;

	if (dev->status & VIRTIO_CONFIG_S_FEATURES_OK || dev->reset_pending || word > 1)
		return;
	dev->accepted &= ~(UINT64_C(0xffffffff) << shift);
	dev->accepted |= (uint64_t)bits << shift;
}

/* Configuration space. */

uint64_t virtio_config_read(const struct virtio_device *dev, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned k = 0; k < size; k++)
		if (offset + k < dev->config_size)
			value |= (uint64_t)((const uint8_t *)dev->config)[offset + k] << (8 * k);
	return value;
}

void virtio_config_write(struct virtio_device *dev, uint64_t offset, uint32_t value, unsigned size)
{
	if (offset + size <= dev->config_size && dev->ops->config_written && !dev->reset_pending)
		dev->ops->config_written(dev, (unsigned)offset, value, size);
}

/* Saved state. */

const struct field virtio_device_fields[] = {
	FIELD(struct virtio_device, accepted, NULL),
	FIELD(struct virtio_device, status, NULL),
	FIELD(struct virtio_device, generation, ""),
	FIELD_STRUCTS(struct virtio_device, queue, virtqueue_fields,
		      FIELD_CONFIGURED(struct virtio_device, queue_count)),
	FIELD(struct virtio_device, again, NULL),
	FIELD_NOT_SAVED(struct virtio_device, offered, "configuration"),
	FIELD_NOT_SAVED(struct virtio_device, queue_count, "configuration"),
	FIELD_NOT_SAVED(struct virtio_device, reset_pending, "nothing is in flight"),
	FIELD_NOT_SAVED(struct virtio_device, in_flight, "nothing is in flight"),
	FIELD_NOT_SAVED(struct virtio_device, broken_count, "statistics"),
	FIELD_NOT_SAVED(struct virtio_device, ops, "wiring"),
	FIELD_NOT_SAVED(struct virtio_device, ram, "wiring"),
	FIELD_NOT_SAVED(struct virtio_device, loop, "wiring"),
	FIELD_NOT_SAVED(struct virtio_device, continue_timer, "from again"),
	FIELD_NOT_SAVED(struct virtio_device, config, "the device's own"),
	FIELD_NOT_SAVED(struct virtio_device, config_size, "configuration"),
	FIELD_NOT_SAVED(struct virtio_device, interrupt, "wiring"),
	FIELD_NOT_SAVED(struct virtio_device, interrupt_opaque, "wiring"),
	FIELD_END,
};

int virtio_loaded(struct virtio_device *dev, struct lm_err *err)
{
	if (dev->status & VIRTIO_CONFIG_S_FEATURES_OK && !features_acceptable(dev))
		return lm_err_set(err, -ENOTSUP,
				  "the guest uses features 0x%llx, this machine's device has 0x%llx",
				  (unsigned long long)dev->accepted,
				  (unsigned long long)dev->offered);
	for (unsigned k = 0; k < dev->queue_count; k++) {
		int rc = vq_loaded(&dev->queue[k], err);

		if (rc < 0)
			return rc;
	}
	if (dev->again)
		timer_arm(&dev->continue_timer, clock_now(&dev->loop->clock));
	return 0;
}
