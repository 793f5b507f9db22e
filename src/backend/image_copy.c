#include "backend/image_copy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"

#define CHUNK	  (2 * MIB)
#define ZERO_UNIT (64 * KIB)

struct copy {
	struct image *from, *to;
	uint8_t *buf;
	unsigned layers; /* only what the upper ones have; 0: all */
	const struct image_progress *progress;
};

static bool all_zero(const uint8_t *p, uint64_t len)
{
	return !*p && !memcmp(p, p + 1, len - 1);
}

/* Data that is zeros is left out, by units, as the new image reads as zeros there. */
static int write_data(struct copy *c, uint64_t offset, uint64_t len)
{
	for (uint64_t at = 0; at < len;) {
		uint64_t start = at, n = 0;
		int rc;

		while (at < len && !all_zero(c->buf + at, LM_MIN(ZERO_UNIT, len - at))) {
			n += LM_MIN(ZERO_UNIT, len - at);
			at += LM_MIN(ZERO_UNIT, len - at);
		}
		rc = n ? image_write(c->to, c->buf + start, offset + start, n) : 0;
		if (rc < 0)
			return rc;
		if (!n)
			at += LM_MIN(ZERO_UNIT, len - at);
	}
	return 0;
}

static int copy_data(struct copy *c, uint64_t offset, uint64_t len)
{
	int rc = 0;

	while (!rc && len) {
		uint64_t n = LM_MIN(len, CHUNK - offset % CHUNK);

		rc = image_read(c->from, c->buf, offset, n);
		if (!rc)
			rc = c->layers ? image_write(c->to, c->buf, offset, n)
					 : write_data(c, offset, n);
		offset += n;
		len -= n;
		if (!rc && c->progress)
			c->progress->tell(c->progress->opaque, offset, c->from->size);
	}
	return rc;
}

static int copy_extent(struct copy *c, uint64_t offset, const struct image_extent *e)
{
	if (e->kind == IMAGE_DATA || (e->kind == IMAGE_BACKING && !c->layers && c->from->backing))
		return copy_data(c, offset, e->len);
	if (e->kind == IMAGE_ZERO && c->layers)
		return c->to->ops->zero(c->to, offset, e->len, true);
	return 0;
}

int image_top_extent(struct image *img, unsigned layers, uint64_t at, uint64_t len,
		     struct image_extent *e)
{
	int rc = img->ops->extent(img, at, len, e);

	if (rc < 0 || e->kind != IMAGE_BACKING || layers <= 1 || !img->backing)
		return rc;
	return image_top_extent(img->backing, layers - 1, at, e->len, e);
}

static int copy_all(struct copy *c)
{
	for (uint64_t at = 0; at < c->from->size;) {
		struct image_extent e;
		int rc = image_top_extent(c->from, c->layers, at, c->from->size - at, &e);

		if (!rc)
			rc = copy_extent(c, at, &e);
		if (rc < 0)
			return rc;
		at += e.len;
		if (c->progress)
			c->progress->tell(c->progress->opaque, at, c->from->size);
	}
	return 0;
}

static int copy_into(struct copy *c, const struct image_create_options *to, struct lm_err *err)
{
	struct image_options how = {
	    .path = to->path,
	    .format = to->format,
	    .writable = true,
	    .allow_backing = true,
	};
	int rc = image_open(&c->to, &how, err), closed;

	if (rc < 0)
		return rc;
	c->buf = aligned_alloc(4096, CHUNK);
	rc = c->buf ? copy_all(c) : -ENOMEM;
	closed = image_close(c->to);
	free(c->buf);
	rc = rc < 0 ? rc : closed;
	return rc < 0 ? lm_err_errno(err, rc, "cannot copy the disk") : 0;
}

static int copy(struct copy *c, const struct image_create_options *to, struct lm_err *err)
{
	int rc = image_create(to, err);

	if (rc < 0)
		return rc;
	rc = copy_into(c, to, err);
	if (rc < 0)
		unlink(to->path);
	return rc;
}

int image_copy(struct image *from, const struct image_create_options *to,
	       const struct image_progress *progress, struct lm_err *err)
{
	struct copy c = {.from = from, .progress = progress};

	return copy(&c, to, err);
}

int image_copy_top(struct image *from, unsigned layers, const struct image_create_options *to,
		   struct lm_err *err)
{
	struct copy c = {.from = from, .layers = layers};

	return copy(&c, to, err);
}
