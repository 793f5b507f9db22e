/*
 * The memory balloon (virtio 1.2 §5.5): the guest gives memory back, on demand (inflate), as it frees
 * it (free page reporting), and tells how it uses what it has (statistics).
 */
#ifndef LM_DEV_VIRTIO_BALLOON_H
#define LM_DEV_VIRTIO_BALLOON_H

#include <linux/virtio_balloon.h>

#include "dev/virtio/virtio.h"

/* All that Linux may have; offering both of the last two is what gives them these numbers everywhere. */
enum balloon_queue {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS,
	BALLOON_HINT, /* not used: free page hinting is never asked for */
	BALLOON_REPORT,
	BALLOON_QUEUES,
};

struct virtio_balloon {
	struct virtio_device virtio;
	struct virtio_balloon_config config;
	struct timer refresh;
	/* The guest's buffer for statistics, which goes back to it to ask for newer ones. */
	struct vq_chain stats_chain;
	bool has_stats_chain;
	uint64_t stat[VIRTIO_BALLOON_S_NR]; /* by tag; all ones: never told */
	uint64_t reported;		    /* bytes given back as free, ever */
};

void virtio_balloon_init(struct virtio_balloon *b, struct ram *ram, struct event_loop *loop);
void virtio_balloon_fini(struct virtio_balloon *b);

/* Asks the guest to leave that many bytes to the host; it may take its time, or not do it. */
void virtio_balloon_set_target(struct virtio_balloon *b, uint64_t bytes);
uint64_t virtio_balloon_target(const struct virtio_balloon *b);
/* What the guest has left to the host, as it says. */
uint64_t virtio_balloon_actual(const struct virtio_balloon *b);
/* VIRTIO_BALLOON_S_MEMFREE and others, in bytes; false where the guest has not told. */
bool virtio_balloon_stat(const struct virtio_balloon *b, unsigned tag, uint64_t *value);

extern const struct fields_section virtio_balloon_section;

#endif
