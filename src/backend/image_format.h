/* What image.c needs of each format: opening on an open file, and laying out a new one. */
#ifndef LM_BACKEND_IMAGE_FORMAT_H
#define LM_BACKEND_IMAGE_FORMAT_H

#include "backend/image.h"

#define QCOW_MAGIC UINT32_C(0x514649fb) /* "QFI\xfb" */

/* The file stays the caller's on failure, else it is in (*out)->file. */
int image_raw_open(struct image **out, struct host_file *file, const struct image_options *o,
		   struct lm_err *err);
int image_qcow2_open(struct image **out, struct host_file *file, const struct image_options *o,
		     struct lm_err *err);

/* fd is a new, empty file. The contents need not be on stable storage. */
int image_raw_create(int fd, const struct image_create_options *o, struct lm_err *err);
int image_qcow2_create(int fd, const struct image_create_options *o, struct lm_err *err);

/*
 * The backing file as the image names it, in two strings of the heap (NULL for none). -EINVAL where
 * it has one whose format it does not say.
 */
int image_qcow2_backing(struct image *img, char **name, enum image_format *format,
			struct lm_err *err);

#endif
