#include "backend/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/block_io.h"
#include "backend/image_format.h"
#include "base/bits.h"

static const struct {
	enum image_format format;
	const char *name;
	int (*open)(struct image **out, struct host_file *file, const struct image_options *o,
		    struct lm_err *err);
	int (*create)(int fd, const struct image_create_options *o, struct lm_err *err);
} formats[] = {
    {IMAGE_RAW, "raw", image_raw_open, image_raw_create},
    {IMAGE_QCOW2, "qcow2", image_qcow2_open, image_qcow2_create},
};

bool image_format_parse(const char *name, enum image_format *out)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(formats); k++) {
		if (strcmp(formats[k].name, name))
			continue;
		*out = formats[k].format;
		return true;
	}
	return false;
}

const char *image_format_name(enum image_format format)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(formats); k++)
		if (formats[k].format == format)
			return formats[k].name;
	return "by name";
}

static bool ends_with(const char *text, const char *end)
{
	size_t a = strlen(text), b = strlen(end);

	return a > b && !strcmp(text + a - b, end);
}

enum image_format image_format_of_name(const char *path)
{
	return ends_with(path, ".qcow2") || ends_with(path, ".qcow") ? IMAGE_QCOW2 : IMAGE_RAW;
}

/* ---- Which format ---- */

static bool has_qcow_magic(const struct host_file *file)
{
	uint8_t b[4] = {0};
	struct iovec iov = {b, sizeof(b)};

	return host_file_read((struct host_file *)(uintptr_t)file, 0, &iov, 1, 0, 4, true) == 0 &&
	       ((uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3]) == QCOW_MAGIC;
}

/*
 * What a guest wrote into its disk never decides how the host reads it again: by content we only tell
 * formats of images that are not written to, and refuse where the name and the content disagree.
 */
static int choose_format(const struct image_options *o, const struct host_file *file,
			 enum image_format *format, struct lm_err *err)
{
	bool magic = has_qcow_magic(file);

	*format = o->format;
	if (o->format == IMAGE_QCOW2 && !magic)
		return lm_err_set(err, -EINVAL, "it is no qcow2 image: its first bytes are others");
	if (o->format != IMAGE_BY_NAME)
		return 0;
	*format = image_format_of_name(o->path);
	if ((*format == IMAGE_QCOW2) == magic)
		return 0;
	if (!magic)
		return lm_err_set(err, -EINVAL,
				  "it is no qcow2 image in spite of its name; say format=raw to "
				  "use it as it is");
	if (o->writable)
		return lm_err_set(err, -EINVAL,
				  "it begins like a qcow2 image, which its name does not say; "
				  "say format=qcow2, or format=raw to use it as it is");
	*format = IMAGE_QCOW2;
	return 0;
}

/* ---- Opening ---- */

static int open_at_depth(struct image **out, const struct image_options *o, unsigned depth,
			 struct lm_err *err);

/* Relative names are relative to the file that has them. A heap string, or NULL. */
static char *resolve(const char *image_path, const char *name)
{
	const char *slash = strrchr(image_path, '/');
	char *path;

	if (*name == '/' || !slash)
		return strdup(name);
	return asprintf(&path, "%.*s/%s", (int)(slash - image_path), image_path, name) < 0 ? NULL
											   : path;
}

static int open_backing(struct image *img, const struct image_options *o, const char *name,
			enum image_format format, unsigned depth, struct lm_err *err)
{
	struct image_options backing = {.format = format, .direct = o->direct, .allow_backing = true};
	char *path;
	int rc;

	if (!o->allow_backing)
		return lm_err_set(err, -EPERM,
				  "it has a backing file, \"%s\"; if you trust the image to name "
				  "files of yours, say backing=allow",
				  name);
	if (strchr(name, ':'))
		return lm_err_set(err, -EINVAL, "its backing file \"%s\" is no plain file name",
				  name);
	if (depth + 1 >= IMAGE_MAX_DEPTH)
		return lm_err_set(err, -ELOOP, "more than %d files back one another",
				  IMAGE_MAX_DEPTH);
	path = resolve(o->path, name);
	if (!path)
		return lm_err_errno(err, -ENOMEM, "cannot keep the backing file's name");
	backing.path = path;
	rc = open_at_depth(&img->backing, &backing, depth + 1, err);
	if (rc < 0)
		lm_err_wrap(err, "backing file %s", path);
	free(path);
	return rc;
}

static int add_backing(struct image *img, const struct image_options *o, unsigned depth,
		       struct lm_err *err)
{
	enum image_format format;
	char *name;
	int rc;

	if (o->ignore_backing)
		return 0;
	rc = image_qcow2_backing(img, &name, &format, err);
	if (!rc && name)
		rc = open_backing(img, o, name, format, depth, err);
	free(name);
	return rc;
}

static int open_format(struct image **out, struct host_file *file, const struct image_options *o,
		       struct lm_err *err)
{
	enum image_format format;
	int rc = choose_format(o, file, &format, err);

	for (unsigned k = 0; !rc && k < LM_ARRAY_SIZE(formats); k++)
		if (formats[k].format == format)
			rc = formats[k].open(out, file, o, err);
	return rc;
}

static int open_at_depth(struct image **out, const struct image_options *o, unsigned depth,
			 struct lm_err *err)
{
	struct host_file_options how = {o->path, o->writable, o->direct};
	struct host_file file;
	int rc = host_file_open(&file, &how, err);

	*out = NULL;
	if (rc < 0)
		return rc;
	rc = open_format(out, &file, o, err);
	if (rc < 0) {
		host_file_close(&file);
		return rc;
	}
	(*out)->writable = o->writable;
	rc = add_backing(*out, o, depth, err);
	if (rc < 0) {
		image_close(*out);
		*out = NULL;
	}
	return rc;
}

int image_open(struct image **out, const struct image_options *options, struct lm_err *err)
{
	return open_at_depth(out, options, 0, err);
}

int image_close(struct image *img)
{
	struct host_file file;
	struct image *backing;
	int rc = 0;

	if (!img)
		return 0;
	if (img->writable)
		rc = img->ops->flush(img);
	file = img->file;
	backing = img->backing;
	img->ops->close(img);
	host_file_close(&file);
	image_close(backing);
	return rc;
}

int image_read(struct image *img, void *buf, uint64_t offset, uint64_t len)
{
	struct iovec iov = {buf, (size_t)len};

	return img->ops->read(img, offset, &iov, 1, 0, len);
}

int image_write(struct image *img, const void *buf, uint64_t offset, uint64_t len)
{
	struct iovec iov = {(void *)(uintptr_t)buf, (size_t)len};

	return img->ops->write(img, offset, &iov, 1, 0, len);
}

/* ---- Creating ---- */

static int check_create(const struct image_create_options *o, struct lm_err *err)
{
	if (!o->size || o->size % 512)
		return lm_err_set(err, -EINVAL, "a disk's size is a positive multiple of 512");
	if (o->size > INT64_MAX)
		return lm_err_set(err, -EFBIG, "a disk has at most 2^63 - 1 bytes");
	if (o->format == IMAGE_RAW && (o->backing || o->cluster_size))
		return lm_err_set(err, -EINVAL,
				  "a raw image has neither clusters nor a backing file; use qcow2");
	return 0;
}

static int create_format(int fd, const struct image_create_options *o, struct lm_err *err)
{
	for (unsigned k = 0; k < LM_ARRAY_SIZE(formats); k++)
		if (formats[k].format == o->format)
			return formats[k].create(fd, o, err);
	return lm_err_set(err, -EINVAL, "a new image needs a format");
}

int image_create(const struct image_create_options *options, struct lm_err *err)
{
	struct image_create_options o = *options;
	int fd, rc;

	if (o.format == IMAGE_BY_NAME)
		o.format = image_format_of_name(o.path);
	rc = check_create(&o, err);
	if (rc < 0)
		return rc;
	fd = open(o.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0 && errno == EEXIST)
		return lm_err_set(err, -EEXIST, "there is such a file already, which is kept");
	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot create it");
	rc = create_format(fd, &o, err);
	if (rc < 0)
		unlink(o.path);
	close(fd);
	return rc;
}
