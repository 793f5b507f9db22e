/*
 * Damaged qcow2 images: a good one with some of its metadata changed is opened, read, written, checked
 * and repaired. Nothing may crash, hang, or grow the file beyond what its disk needs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/image.h"
#include "backend/qcow2.h"
#include "base/log.h"
#include "fuzz.h"

#define DISK_SIZE  (256 * KIB)
#define IMAGE_MAX  (1 * MIB)
#define GROWTH_MAX (64 * MIB)
#define KINDS	   3

struct template {
	uint8_t bytes[IMAGE_MAX];
	size_t len;
	uint64_t cluster_size;
};

static void require(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

/* Some data, a zeroed part and a hole. */
static void make_template(struct template *t, unsigned cluster_bits)
{
	char path[64];
	struct image_create_options o = {.path = path, .format = IMAGE_QCOW2, .size = DISK_SIZE};
	struct image_options how = {.path = path, .format = IMAGE_QCOW2, .writable = true};
	static uint8_t data[32 * KIB];
	struct image *img = NULL;
	int fd;

	snprintf(path, sizeof(path), "/tmp/lamina-fuzz-%d.qcow2", (int)getpid());
	o.cluster_size = 1u << cluster_bits;
	require(image_create(&o, NULL) == 0 && image_open(&img, &how, NULL) == 0, "no template");
	memset(data, 0x5a, sizeof(data));
	require(!image_write(img, data, 1000 * 64, sizeof(data)), "no data");
	require(!img->ops->zero(img, 160 * KIB, 32 * KIB, false), "no zeros");
	require(!image_close(img), "not closed");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	t->len = (size_t)pread(fd, t->bytes, sizeof(t->bytes), 0);
	t->cluster_size = o.cluster_size;
	close(fd);
	unlink(path);
}

/* Numbers that mean something, near and far. */
static uint64_t value(struct fuzz_input *in, const struct template *t)
{
	uint64_t cluster = t->cluster_size * (fuzz_take(in, 1) % 16);

	switch (fuzz_take(in, 1) % 10) {
	case 0:
		return fuzz_take(in, 8);
	case 1:
		return cluster;
	case 2:
		return cluster | QCOW2_COPIED;
	case 3:
		return cluster | QCOW2_ZERO;
	case 4:
		return cluster | QCOW2_COMPRESSED | (fuzz_take(in, 2) << 48 & ~QCOW2_COPIED);
	case 5:
		return LM_BIT(fuzz_take(in, 1) % 64);
	case 6:
		return cluster | LM_BIT(fuzz_take(in, 1) % 64) | QCOW2_COPIED;
	case 7:
		return t->len - fuzz_take(in, 1);
	default:
		return fuzz_take(in, 1);
	}
}

/* Where metadata are: fields of the header, and the tables' first entries. */
static uint64_t place(struct fuzz_input *in, const struct template *t)
{
	uint64_t cluster = fuzz_take(in, 1) % (t->len / t->cluster_size);

	switch (fuzz_take(in, 1) % 3) {
	case 0:
		return fuzz_take(in, 1) % QCOW2_HEADER_OURS;
	case 1:
		return cluster * t->cluster_size + fuzz_take(in, 1) * 8;
	default:
		return fuzz_take(in, 3) % t->len;
	}
}

static int damaged_file(struct fuzz_input *in, const struct template *t)
{
	static const uint8_t sizes[] = {1, 2, 4, 8, 8, 8};
	int fd = memfd_create("image", MFD_CLOEXEC);
	unsigned changes = (unsigned)fuzz_take(in, 1) % 6;

	require(fd >= 0 && write(fd, t->bytes, t->len) == (ssize_t)t->len, "no file");
	for (unsigned k = 0; k < changes; k++) {
		uint64_t at = place(in, t), v = value(in, t);
		unsigned size = sizes[fuzz_take(in, 1) % sizeof(sizes)];
		uint8_t b[8];

		be_store(b, v, size);
		require(pwrite(fd, b, size, (off_t)at) == (ssize_t)size, "no change");
	}
	if (fuzz_take(in, 1) < 20)
		require(ftruncate(fd, (off_t)(fuzz_take(in, 3) % t->len)) == 0, "no cut");
	return fd;
}

static void step(struct image *img, struct fuzz_input *in)
{
	static uint8_t buf[80 * KIB];
	uint64_t sectors = LM_MIN(img->size, DISK_SIZE * 4) / 512;
	uint64_t offset = fuzz_take(in, 2) % sectors * 512;
	uint64_t len = LM_MIN((1 + fuzz_take(in, 1) % 160) * 512, sectors * 512 - offset);
	struct image_extent e;

	switch (fuzz_take(in, 1) % 8) {
	case 0:
	case 1:
	case 2:
		image_write(img, buf, offset, len);
		break;
	case 3:
		img->ops->zero(img, offset, len, fuzz_take(in, 1) & 1);
		break;
	case 4:
		img->ops->discard(img, offset, len);
		break;
	case 5:
		img->ops->flush(img);
		break;
	case 6:
		require(img->ops->extent(img, offset, len, &e) < 0 || (e.len && e.len <= len),
			"an extent without a length");
		break;
	default:
		image_read(img, buf, offset, len);
	}
}

static void use(struct fuzz_input *in, const char *path)
{
	struct image_options how = {.path = path, .format = IMAGE_QCOW2, .writable = true,
				    .no_check = fuzz_take(in, 1) & 1};
	struct qcow2_check found;
	struct image *img = NULL;

	if (image_open(&img, &how, NULL) < 0)
		return;
	if (fuzz_take(in, 1) < 64)
		qcow2_check(img, fuzz_take(in, 1) & 1, NULL, &found, NULL);
	for (unsigned k = 0; k < 24; k++)
		step(img, in);
	if (fuzz_take(in, 1) < 16)
		img->ops->resize(img, (1 + fuzz_take(in, 2)) * 512, NULL);
	image_close(img);
}

static void fuzz_one(struct fuzz_input *in)
{
	static struct template *t;
	struct stat st;
	char path[64];
	int fd;

	if (!t) {
		log_level = LOG_ERROR;
		t = calloc(KINDS, sizeof(*t));
		make_template(&t[0], 9);
		make_template(&t[1], 12);
		make_template(&t[2], 16);
	}
	fd = damaged_file(in, &t[fuzz_take(in, 1) % KINDS]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	use(in, path);
	require(fstat(fd, &st) == 0 && (uint64_t)st.st_blocks * 512 < GROWTH_MAX, "it grew");
	close(fd);
}
