/*
 * Ephemeral writes: an unlinked sparse file over a base image, with one bit for each 4 KiB block
 * that says where the block is. An image of its own, gone when it is closed.
 */
#ifndef LM_BACKEND_BLOCK_OVERLAY_H
#define LM_BACKEND_BLOCK_OVERLAY_H

#include "backend/image.h"

#define OVERLAY_BLOCK 4096

/* Takes base over as the backing image of *out; on failure it stays the caller's. */
int overlay_open(struct image **out, struct image *base, struct lm_err *err);

#endif
