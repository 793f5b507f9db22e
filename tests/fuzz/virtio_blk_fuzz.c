/* The hostile driver against virtio-blk, on an image of its own, plain or ephemeral. */
#include <fcntl.h>
#include <unistd.h>

#include "backend/block.h"
#include "dev/virtio/blk.h"
#include "virtio_fuzz.h"

#define IMAGE_SIZE (64 * 512)

struct target {
	struct virtio_fuzz f;
	struct virtio_blk blk;
	struct blockdev *disk;
};

static void check(void *opaque)
{
	const struct target *t = opaque;
	unsigned free_requests = 0;

	for (const struct blk_request *r = t->blk.free; r; r = r->next_free)
		free_requests++;
	fuzz_require(free_requests == BLK_REQUESTS, "a request was lost");
}

static void open_target(struct target *t, bool ephemeral)
{
	char path[] = "/tmp/lamina-fuzz-XXXXXX";
	struct block_options o = {.path = path, .synchronous = true, .ephemeral = ephemeral};
	int fd = mkstemp(path);

	fuzz_require(fd >= 0 && ftruncate(fd, IMAGE_SIZE) == 0, "cannot make an image");
	close(fd);
	drv_init(&t->f.d, true);
	fuzz_require(block_open(&t->disk, &o, &t->f.d.loop, NULL) == 0, "cannot open the image");
	unlink(path);
	virtio_blk_init(&t->blk, t->disk, 2, &t->f.d.ram, &t->f.d.loop);
	fuzz_attach(&t->f, &t->blk.virtio);
	t->f.check = check;
	t->f.opaque = t;
}

static void fuzz_one(struct fuzz_input *in)
{
	static struct target target[2];

	if (!target[0].disk) {
		open_target(&target[0], false);
		open_target(&target[1], true);
	}
	fuzz_drive(&target[fuzz_take(in, 1) & 1].f, in);
}
