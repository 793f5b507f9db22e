/*
 * A virtio device without its transport (virtio 1.2 §2): status, features, queues, configuration.
 *
 * A device embeds struct virtio_device, gives it const ops, adds queues in virtio_device_init and
 * works in `notify`: while virtio_pop gives chains, serve them and virtio_push them; at the end
 * virtio_signal. rng.c is the model. Misbehaviour of the driver goes to virtio_broken, which sets
 * DEVICE_NEEDS_RESET; nothing else of the machine is affected.
 *
 * Everything under the device lock, but for the queues of a device with an I/O loop of its own
 * (event/io_thread.h): those are under the lock of that loop, which `io` names. Owned by the board.
 */
#ifndef LM_DEV_VIRTIO_VIRTIO_H
#define LM_DEV_VIRTIO_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "dev/virtio/queue.h"
#include "event/loop.h"

#define VIRTIO_MAX_QUEUES 34
#define VIRTIO_CONFIG_IRQ (-1)

struct virtio_device;

struct virtio_ops {
	const char *name;
	uint16_t id;	     /* §5 */
	uint32_t class_code; /* PCI class, subclass, interface */
	/* The driver made buffers available in a queue. Only called between DRIVER_OK and reset. */
	void (*notify)(struct virtio_device *dev, unsigned queue);
	/* DRIVER_OK. May be NULL. */
	void (*started)(struct virtio_device *dev);
	/* The driver reset the device; no request is in flight any more. May be NULL. */
	void (*reset)(struct virtio_device *dev);
	/* Wait until nothing is in flight. NULL where nothing ever is. */
	void (*drain)(struct virtio_device *dev);
	/* Make it so, also where requests wait for the host's user. NULL where drain is enough. */
	void (*abandon)(struct virtio_device *dev);
	/* The driver wrote its configuration space; NULL where that is read-only. */
	void (*config_written)(struct virtio_device *dev, unsigned offset, uint32_t value,
			       unsigned size);
	/* What a snapshot holds; its object is the device, as struct virtio_device is its first member. */
	const struct fields_section *section;
};

struct virtio_device {
	const struct virtio_ops *ops;
	struct ram *ram;
	struct event_loop *loop;
	struct event_loop *io; /* whose lock guards the queues: loop, or the device's own */

	uint64_t offered, accepted; /* feature bits; accepted is the driver's until FEATURES_OK */
	uint8_t status;
	bool reset_pending; /* asked for, waits for requests in flight; status does not read 0 */
	uint8_t generation; /* of the configuration */
	unsigned in_flight; /* requests that others (worker threads) hold */
	uint64_t broken_count;

	unsigned queue_count;
	struct virtqueue queue[VIRTIO_MAX_QUEUES];
	uint64_t again; /* queues whose budget ran out */
	struct timer continue_timer;

	void *config; /* the device's own struct, little-endian */
	unsigned config_size;

	/* The transport's: queue number or VIRTIO_CONFIG_IRQ. */
	void (*interrupt)(void *opaque, int queue);
	void *interrupt_opaque;
};

/* What a device says of itself. */
struct virtio_setup {
	const struct virtio_ops *ops;
	uint64_t features; /* its own; VERSION_1 and the ring features are added */
	unsigned queues;
	uint16_t queue_size; /* of every queue */
	void *config;
	unsigned config_size;
};

void virtio_device_init(struct virtio_device *dev, const struct virtio_setup *setup,
			struct ram *ram, struct event_loop *loop);
void virtio_device_fini(struct virtio_device *dev);

/* For devices. */

enum vq_result virtio_pop(struct virtio_device *dev, unsigned queue, struct vq_chain *chain);
void virtio_push(struct virtio_device *dev, unsigned queue, const struct vq_chain *chain,
		 uint32_t written);
/* Interrupts the driver if it wants to know of what was pushed. */
void virtio_signal(struct virtio_device *dev, unsigned queue);
/* Interrupts the driver, without asking its queue; under the device lock. */
void virtio_interrupt(struct virtio_device *dev, unsigned queue);
/* Serves a queue as if the driver had notified it; nothing before DRIVER_OK. */
void virtio_run_queue(struct virtio_device *dev, unsigned queue);
/* The driver broke a rule, in these words (logged once). */
void virtio_broken(struct virtio_device *dev, const char *what);
/* The device changed its configuration. */
void virtio_config_changed(struct virtio_device *dev);
/* A request left for another thread, and came back. A pending reset completes with the last. */
void virtio_hold(struct virtio_device *dev);
void virtio_release(struct virtio_device *dev);

static inline bool virtio_has(const struct virtio_device *dev, unsigned feature)
{
	return dev->accepted >> feature & 1;
}

bool virtio_is_live(const struct virtio_device *dev);

/* For transports. */

void virtio_set_status(struct virtio_device *dev, uint8_t status);
void virtio_set_features(struct virtio_device *dev, unsigned word, uint32_t bits);
/* Enables a queue with the parameters that the transport stored in it. */
void virtio_enable_queue(struct virtio_device *dev, unsigned queue);
/* §2.6: only before the queue is enabled. */
bool virtio_queue_configurable(const struct virtio_device *dev, unsigned queue);
uint64_t virtio_config_read(const struct virtio_device *dev, uint64_t offset, unsigned size);
void virtio_config_write(struct virtio_device *dev, uint64_t offset, uint32_t value, unsigned size);
/* Machine reset: at once, after waiting for what is in flight. */
void virtio_reset_now(struct virtio_device *dev);

/*
 * What a snapshot holds of it, once nothing is in flight; part of the tables of devices, whose
 * post_load calls virtio_loaded first.
 */
extern const struct field virtio_device_fields[];
int virtio_loaded(struct virtio_device *dev, struct lm_err *err);

#endif
