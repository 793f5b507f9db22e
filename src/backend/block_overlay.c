#include "backend/block_overlay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/block_io.h"
#include "base/bits.h"

static bool has_block(const struct overlay *o, uint64_t block)
{
	return __atomic_load_n(&o->in_overlay[block / 64], __ATOMIC_ACQUIRE) >> block % 64 & 1;
}

static void mark_blocks(struct overlay *o, uint64_t first, uint64_t end)
{
	for (uint64_t b = first; b < end; b++)
		__atomic_fetch_or(&o->in_overlay[b / 64], LM_BIT(b % 64), __ATOMIC_RELEASE);
}

static int open_temporary(const char *dir)
{
	char path[4096];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	if ((size_t)snprintf(path, sizeof(path), "%s/lamina-XXXXXX", dir) >= sizeof(path))
		return -1;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

int overlay_init(struct overlay *o, int base_fd, uint64_t size, struct lm_err *err)
{
	const char *dir = getenv("TMPDIR");
	uint64_t blocks = (size + OVERLAY_BLOCK - 1) / OVERLAY_BLOCK;

	if (!dir || !*dir)
		dir = "/var/tmp";
	*o = (struct overlay){.base_fd = base_fd, .fd = -1, .size = size};
	pthread_mutex_init(&o->write_lock, NULL);
	o->in_overlay = calloc(blocks / 64 + 1, sizeof(*o->in_overlay));
	if (!o->in_overlay)
		return lm_err_errno(err, -ENOMEM, "cannot allocate the overlay's block map");
	o->fd = open_temporary(dir);
	if (o->fd < 0)
		o->fd = open_temporary("/tmp");
	if (o->fd < 0)
		return lm_err_errno(err, -errno, "cannot create a temporary file in %s or /tmp",
				    dir);
	if (ftruncate(o->fd, (off_t)size) < 0)
		return lm_err_errno(err, -errno, "cannot size the temporary file");
	return 0;
}

void overlay_fini(struct overlay *o)
{
	if (o->fd >= 0)
		close(o->fd);
	free(o->in_overlay);
	pthread_mutex_destroy(&o->write_lock);
}

/* Runs of blocks from the same file are read in one piece. */
static int overlay_read(struct overlay *o, const struct block_request *req)
{
	uint64_t done = 0;

	while (done < req->len) {
		uint64_t at = req->offset + done;
		uint64_t block = at / OVERLAY_BLOCK;
		bool over = has_block(o, block);
		uint64_t end;
		int rc;

		do
			block++;
		while (block * OVERLAY_BLOCK < req->offset + req->len &&
		       has_block(o, block) == over);
		end = LM_MIN(block * OVERLAY_BLOCK, req->offset + req->len);
		rc = block_read(over ? o->fd : o->base_fd, at, req->iov, req->iov_count, done,
				end - at);
		if (rc < 0)
			return rc;
		done += end - at;
	}
	return 0;
}

/* Before a part of a block is written: the rest comes from the base. */
static int fill_block(struct overlay *o, uint64_t block)
{
	uint8_t buf[OVERLAY_BLOCK];
	uint64_t at = block * OVERLAY_BLOCK;
	struct iovec iov = {buf, (size_t)LM_MIN(OVERLAY_BLOCK, o->size - at)};
	int rc;

	if (has_block(o, block))
		return 0;
	rc = block_read(o->base_fd, at, &iov, 1, 0, iov.iov_len);
	return rc < 0 ? rc : block_write(o->fd, at, &iov, 1, 0, iov.iov_len);
}

static int fill_edges(struct overlay *o, uint64_t start, uint64_t end)
{
	int rc = 0;

	if (start % OVERLAY_BLOCK)
		rc = fill_block(o, start / OVERLAY_BLOCK);
	if (rc == 0 && end % OVERLAY_BLOCK && end != o->size)
		rc = fill_block(o, end / OVERLAY_BLOCK);
	return rc;
}

static int overlay_change(struct overlay *o, const struct block_request *req)
{
	uint64_t end = req->offset + req->len;
	int rc;

	if (!req->len)
		return 0;
	pthread_mutex_lock(&o->write_lock);
	rc = fill_edges(o, req->offset, end);
	if (rc == 0 && req->op == BLOCK_WRITE)
		rc = block_write(o->fd, req->offset, req->iov, req->iov_count, 0, req->len);
	else if (rc == 0)
		rc = block_zero(o->fd, req->offset, req->len, true);
	if (rc == 0)
		mark_blocks(o, req->offset / OVERLAY_BLOCK,
			    (end + OVERLAY_BLOCK - 1) / OVERLAY_BLOCK);
	pthread_mutex_unlock(&o->write_lock);
	return rc;
}

/* Flushing is for nothing: the file does not outlive us. Discarded blocks read as zeros. */
int overlay_run(struct overlay *o, const struct block_request *req)
{
	switch (req->op) {
	case BLOCK_READ:
		return overlay_read(o, req);
	case BLOCK_FLUSH:
		return 0;
	default:
		return overlay_change(o, req);
	}
}
