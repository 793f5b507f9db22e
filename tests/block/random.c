/*
 * random IMAGE MODEL SEED OPERATIONS [THREADS]: random requests on an image and on a plain file of
 * the same size, which must read the same at any time. The image is opened anew now and then; a
 * backing file is allowed. Prints what differs and ends with status 1.
 *
 * With threads they share the clusters: each has its own 4 KiB units of the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/image.h"
#include "base/bits.h"

#define SECTOR	    512
#define UNIT	    4096
#define MAX_LEN	    (512 * KIB)
#define MAX_THREADS 8

static struct image *image;
static const char *path;
static uint8_t *model;
static uint64_t size;

struct worker {
	unsigned index, count;
	uint64_t seed, operations;
	uint8_t *buf;
	pthread_t thread;
};

/* splitmix64 */
static uint64_t next(struct worker *w)
{
	uint64_t z = w->seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void fail(const char *what, uint64_t offset, uint64_t len, int rc)
{
	printf("%s of %llu bytes at %llu: %s\n", what, (unsigned long long)len,
	       (unsigned long long)offset, rc ? strerror(-rc) : "wrong data");
	exit(1);
}

static void need(int rc, const char *what, uint64_t offset, uint64_t len)
{
	if (rc)
		fail(what, offset, len, rc);
}

/* A range of sectors; often at the places where clusters meet. */
static void choose(struct worker *w, uint64_t *offset, uint64_t *len)
{
	uint64_t r = next(w);

	if (w->count > 1) {
		uint64_t units = size / UNIT / w->count, first = r % 8;

		*offset = ((next(w) % units) * w->count + w->index) * UNIT + first * SECTOR;
		*len = (1 + next(w) % (8 - first)) * SECTOR;
		return;
	}
	*len = (r & 3 ? 1 + next(w) % 16 : 1 + next(w) % (MAX_LEN / SECTOR)) * SECTOR;
	*offset = next(w) % (size / SECTOR) * SECTOR;
	if (r & 4)
		*offset = align_down(*offset, 4 * KIB << (r >> 8) % 6);
	*len = LM_MIN(*len, size - *offset);
}

/* In pieces, which are not aligned when the seed says so. */
static void write_range(struct worker *w, uint64_t offset, uint64_t len)
{
	uint64_t cut = 1 + next(w) % len, odd = next(w) % 2;
	uint8_t *buf = w->buf + odd, fill = (uint8_t)next(w);
	struct iovec iov[2] = {{buf, cut}, {buf + cut, len - cut}};

	for (uint64_t k = 0; k < len; k++)
		buf[k] = (uint8_t)(fill + k / SECTOR + k);
	need(image->ops->write(image, offset, iov, 2, 0, len), "write", offset, len);
	memcpy(model + offset, buf, len);
}

static void read_range(struct worker *w, uint64_t offset, uint64_t len)
{
	uint8_t *buf = w->buf + next(w) % 2;

	memset(buf, 0xa5, len);
	need(image_read(image, buf, offset, len), "read", offset, len);
	if (memcmp(buf, model + offset, len))
		fail("read", offset, len, 0);
}

static bool is_zero(const uint8_t *p)
{
	return !*p && !memcmp(p, p + 1, SECTOR - 1);
}

/* A sector keeps its content or reads as zeros. */
static void discard_range(struct worker *w, uint64_t offset, uint64_t len)
{
	need(image->ops->discard(image, offset, len), "discard", offset, len);
	need(image_read(image, w->buf, offset, len), "read", offset, len);
	for (uint64_t k = 0; k < len; k += SECTOR) {
		if (is_zero(w->buf + k))
			memset(model + offset + k, 0, SECTOR);
		else if (memcmp(w->buf + k, model + offset + k, SECTOR))
			fail("read after discard", offset + k, SECTOR, 0);
	}
}

static void open_image(void)
{
	struct image_options o = {
	    .path = path, .writable = true, .direct = true, .allow_backing = true};
	struct lm_err err = {0};

	if (image_open(&image, &o, &err) < 0) {
		puts(err.text);
		exit(1);
	}
}

static void one(struct worker *w)
{
	uint64_t offset, len, op = next(w) % 100;

	choose(w, &offset, &len);
	if (op < 50)
		write_range(w, offset, len);
	else if (op < 80)
		read_range(w, offset, len);
	else if (op < 90) {
		need(image->ops->zero(image, offset, len, op & 1), "zero", offset, len);
		memset(model + offset, 0, len);
	} else if (op < 96 && w->count == 1)
		discard_range(w, offset, len);
	else if (op < 99)
		need(image->ops->flush(image), "flush", 0, 0);
	else if (w->count == 1) {
		need(image_close(image), "close", 0, 0);
		open_image();
	}
}

static void *work(void *opaque)
{
	struct worker *w = opaque;

	w->buf = malloc(MAX_LEN + 1);
	for (uint64_t k = 0; k < w->operations; k++)
		one(w);
	free(w->buf);
	return NULL;
}

static void read_model(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	model = calloc(1, size);
	if (fd < 0 || pread(fd, model, size, 0) < 0) {
		perror(name);
		exit(2);
	}
	close(fd);
}

static void write_model(const char *name)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || pwrite(fd, model, size, 0) != (ssize_t)size) {
		perror(name);
		exit(2);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	unsigned threads = argc > 5 ? (unsigned)atoi(argv[5]) : 1;
	struct worker w[MAX_THREADS];

	if (argc < 5 || !threads || threads > MAX_THREADS)
		return 2;
	path = argv[1];
	open_image();
	size = image->size;
	read_model(argv[2]);
	for (unsigned k = 0; k < threads; k++) {
		w[k] = (struct worker){k, threads, strtoull(argv[3], NULL, 0) + k * 7919,
				       strtoull(argv[4], NULL, 0), NULL, 0};
		if (pthread_create(&w[k].thread, NULL, work, &w[k]))
			return 2;
	}
	for (unsigned k = 0; k < threads; k++)
		pthread_join(w[k].thread, NULL);
	for (uint64_t at = 0; at < size; at += MAX_LEN) {
		uint64_t len = LM_MIN(size - at, MAX_LEN);
		uint8_t *buf = malloc(len);

		need(image_read(image, buf, at, len), "read", at, len);
		if (memcmp(buf, model + at, len))
			fail("read at the end", at, len, 0);
		free(buf);
	}
	need(image_close(image), "close", 0, 0);
	write_model(argv[2]);
	free(model);
	return 0;
}
