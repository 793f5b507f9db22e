/*
 * Ephemeral writes: an unlinked sparse file over a base image, with one bit for each 4 KiB block
 * that says where the block is. Called by worker threads concurrently; locks for itself.
 */
#ifndef LM_BACKEND_BLOCK_OVERLAY_H
#define LM_BACKEND_BLOCK_OVERLAY_H

#include <pthread.h>
#include <stdint.h>

#include "base/err.h"
#include "dev/blockdev.h"

#define OVERLAY_BLOCK 4096

struct overlay {
	int base_fd; /* not owned */
	int fd;
	uint64_t size;		    /* bytes of the image */
	uint64_t *in_overlay;	    /* one bit a block; set after the block's data are in fd */
	pthread_mutex_t write_lock; /* one writer at a time, as blocks are filled from the base */
};

int overlay_init(struct overlay *o, int base_fd, uint64_t size, struct lm_err *err);
void overlay_fini(struct overlay *o);
/* 0 or negative errno. */
int overlay_run(struct overlay *o, const struct block_request *req);

#endif
