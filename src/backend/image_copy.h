/* Copying images: what is data is read and written, what is zeros is not. */
#ifndef LM_BACKEND_IMAGE_COPY_H
#define LM_BACKEND_IMAGE_COPY_H

#include "backend/image.h"

/* Called now and then with the bytes of the disk that are behind us. */
struct image_progress {
	void (*tell)(void *opaque, uint64_t done, uint64_t all);
	void *opaque;
};

/* Makes a new image with the disk of `from`, at least as large. On failure there is no file. */
int image_copy(struct image *from, const struct image_create_options *to,
	       const struct image_progress *progress, struct lm_err *err);
/*
 * The same of what is in this image, and in the `layers` - 1 images under it, and not in the one below,
 * which `to` names as its backing file.
 */
int image_copy_top(struct image *from, unsigned layers, const struct image_create_options *to,
		   struct lm_err *err);

/* As image_ops.extent, of the upper `layers` images: what none of them has is IMAGE_BACKING. */
int image_top_extent(struct image *img, unsigned layers, uint64_t at, uint64_t len,
		     struct image_extent *e);

#endif
