/*
 * Disk images as the rest of the backend sees them: bytes at offsets, whatever the file's format.
 * Formats are listed in image.c; the device side is block.h.
 *
 * read, write, zero, discard and flush may be called by several threads at once; everything else
 * by one thread while no such call runs.
 */
#ifndef LM_BACKEND_IMAGE_H
#define LM_BACKEND_IMAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/uio.h>

#include "backend/host_file.h"
#include "base/err.h"

#define IMAGE_MAX_DEPTH 8 /* files of a chain of backing files */

enum image_format { IMAGE_BY_NAME, IMAGE_RAW, IMAGE_QCOW2 };

struct image;

/* A stretch of the disk whose content comes from one place. */
enum image_kind {
	IMAGE_DATA,    /* bytes in this file */
	IMAGE_ZERO,    /* zeros, and this file says so */
	IMAGE_BACKING, /* not in this file: the backing file's, or zeros where there is none */
};

struct image_extent {
	enum image_kind kind;
	uint64_t len;
	bool in_place;        /* at host_offset of the file as it is (not compressed) */
	uint64_t host_offset;
};

/* Through: on stable storage, metadata too, once the data are. */
enum image_access { IMAGE_READ, IMAGE_WRITE, IMAGE_WRITE_THROUGH };

struct image_ops {
	const char *name;
	/* All return 0 or a negative errno. [skip, skip + len) are bytes of the pieces. */
	int (*read)(struct image *img, uint64_t offset, const struct iovec *iov, unsigned count,
		    uint64_t skip, uint64_t len);
	int (*write)(struct image *img, uint64_t offset, const struct iovec *iov, unsigned count,
		     uint64_t skip, uint64_t len);
	int (*zero)(struct image *img, uint64_t offset, uint64_t len, bool may_unmap);
	int (*discard)(struct image *img, uint64_t offset, uint64_t len);
	int (*flush)(struct image *img);
	/*
	 * Where a range lies in `file`, found without waiting: false where it is in pieces, needs
	 * other metadata first, or something else is in the way. True keeps the place as it is until
	 * unplace.
	 */
	bool (*place)(struct image *img, enum image_access access, uint64_t offset, uint64_t len,
		      uint64_t *host_offset);
	void (*unplace)(struct image *img);
	int (*extent)(struct image *img, uint64_t offset, uint64_t len, struct image_extent *out);
	int (*resize)(struct image *img, uint64_t size, struct lm_err *err);
	void (*close)(struct image *img); /* frees img; file and backing are closed by the caller */
};

struct image {
	const struct image_ops *ops;
	struct host_file file;
	uint64_t size; /* bytes, a multiple of 512 */
	bool writable;
	struct image *backing; /* owned; NULL for none */
};

struct image_options {
	const char *path;
	enum image_format format;
	bool writable;
	bool direct;	    /* O_DIRECT, where the file system has it */
	bool allow_backing; /* else images with a backing file are refused */
	bool ignore_backing; /* not opened: for those who only look at the image itself */
	bool no_check;	    /* for repair: opens what is marked as damaged */
};

/* Opens, locks and checks. *out is owned by the caller; NULL on failure. */
int image_open(struct image **out, const struct image_options *options, struct lm_err *err);
/* Flushes what is in memory; the error is that of the flush. NULL is allowed. */
int image_close(struct image *img);

/* Whole requests over any image; ranges are the caller's to check. */
int image_read(struct image *img, void *buf, uint64_t offset, uint64_t len);
int image_write(struct image *img, const void *buf, uint64_t offset, uint64_t len);

struct image_create_options {
	const char *path;
	enum image_format format;
	uint64_t size;
	unsigned cluster_size;	    /* qcow2; 0: 64 KiB */
	const char *backing;	    /* as it is written into the file; NULL for none */
	enum image_format backing_format;
};

/* Makes a new file; what exists is never overwritten. On failure there is no file. */
int image_create(const struct image_create_options *options, struct lm_err *err);

/* "raw" or "qcow2". False where it is neither. */
bool image_format_parse(const char *name, enum image_format *out);
const char *image_format_name(enum image_format format);
/* qcow2 for names that end in .qcow2 or .qcow, raw for all others. */
enum image_format image_format_of_name(const char *path);

#endif
