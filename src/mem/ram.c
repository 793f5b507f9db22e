#include "mem/ram.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bug.h"

static void add_range(struct ram *ram, uint64_t start, uint64_t end, uint64_t offset)
{
	ram->range[ram->count++] = (struct ram_range){
		.start = start,
		.size = end - start,
		.hva = ram->base + offset,
	};
}

/* The low part keeps guest-physical = memfd offset; only the part above 4 GiB is moved. */
static void lay_out(struct ram *ram)
{
	uint64_t low = LM_MIN(ram->size, RAM_LOW_MAX);

	add_range(ram, RAM_HOLE_VGA_END, low, RAM_HOLE_VGA_END);
	add_range(ram, 0, RAM_HOLE_VGA_START, 0);
	if (ram->size > low)
		add_range(ram, RAM_HIGH_START, RAM_HIGH_START + (ram->size - low), low);
}

static int map_memfd(struct ram *ram)
{
	ram->fd = memfd_create("lamina-ram", MFD_CLOEXEC);
	if (ram->fd < 0)
		return -errno;
	if (ftruncate(ram->fd, (off_t)ram->size) < 0)
		return -errno;
	ram->base = mmap(NULL, ram->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
			 ram->fd, 0);
	return ram->base == MAP_FAILED ? -errno : 0;
}

static int map_anonymous(struct ram *ram)
{
	ram->base = mmap(NULL, ram->size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return ram->base == MAP_FAILED ? -errno : 0;
}

int ram_init(struct ram *ram, uint64_t size, struct lm_err *err)
{
	int rc;

	*ram = (struct ram){ .fd = -1, .image_fd = -1, .size = size };
	if (size < RAM_MIN || size > RAM_MAX || size & PAGE_MASK)
		return lm_err_set(err, -EINVAL,
				  "memory size %llu: must be a multiple of 4K from 2M to 1T",
				  (unsigned long long)size);
	rc = map_memfd(ram);
	if (rc == -ENOSYS || rc == -EPERM || rc == -EACCES) {
		ram->fd = -1;
		rc = map_anonymous(ram);
	}
	if (rc < 0) {
		if (ram->fd >= 0)
			close(ram->fd);
		return lm_err_errno(err, rc, "cannot map %llu MiB of guest memory",
				    (unsigned long long)(size / MIB));
	}
	lay_out(ram);
	return 0;
}

struct ram_window *ram_add_window(struct ram *ram, uint64_t size, bool read_only,
				  struct lm_err *err)
{
	struct ram_window *w = &ram->window[ram->windows];
	void *p;

	LM_BUG_ON(ram->windows == RAM_MAX_WINDOWS);
	size = align_up(size, PAGE_SIZE);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		 0);
	if (p == MAP_FAILED) {
		lm_err_errno(err, -errno, "cannot map %llu KiB of firmware or video memory",
			     (unsigned long long)(size / KIB));
		return NULL;
	}
	*w = (struct ram_window){ RAM_WINDOW_HIDDEN, size, p, read_only };
	ram->windows++;
	return w;
}

void ram_fini(struct ram *ram)
{
	for (unsigned k = 0; k < ram->windows; k++)
		munmap(ram->window[k].hva, ram->window[k].size);
	ram->windows = 0;
	if (ram->base)
		munmap(ram->base, ram->size);
	if (ram->fd >= 0)
		close(ram->fd);
	if (ram->image_fd >= 0)
		close(ram->image_fd);
	code_map_fini(&ram->code);
	dirty_fini(&ram->dirty);
	ram->base = NULL;
	ram->fd = ram->image_fd = -1;
}

/* The longest piece of RAM at gpa, at most len bytes; NULL where there is none. */
static uint8_t *piece_at(const struct ram *ram, gpa_t gpa, uint64_t *len)
{
	for (unsigned k = 0; k < ram->count; k++) {
		const struct ram_range *r = &ram->range[k];
		uint64_t offset = gpa.v - r->start;

		if (offset < r->size) {
			*len = LM_MIN(*len, r->size - offset);
			return r->hva + offset;
		}
	}
	return NULL;
}

static bool all_ram(const struct ram *ram, gpa_t gpa, uint64_t len)
{
	while (len) {
		uint64_t piece = len;

		if (!piece_at(ram, gpa, &piece))
			return false;
		gpa.v += piece;
		len -= piece;
	}
	return true;
}

bool ram_read(const struct ram *ram, gpa_t gpa, void *buf, uint64_t len)
{
	uint8_t *to = buf;

	if (!all_ram(ram, gpa, len))
		return false;
	while (len) {
		uint64_t piece = len;
		const uint8_t *from = piece_at(ram, gpa, &piece);

		memcpy(to, from, piece);
		to += piece;
		gpa.v += piece;
		len -= piece;
	}
	return true;
}

bool ram_write(struct ram *ram, gpa_t gpa, const void *buf, uint64_t len)
{
	const uint8_t *from = buf;

	if (!all_ram(ram, gpa, len))
		return false;
	while (len) {
		uint64_t piece = len;
		uint8_t *to = piece_at(ram, gpa, &piece);

		memcpy(to, from, piece);
		ram_mark_dirty(ram, to, piece);
		code_map_note(&ram->code, gpa, piece);
		from += piece;
		gpa.v += piece;
		len -= piece;
	}
	return true;
}

void ram_note_write(struct ram *ram, const void *p, uint64_t len)
{
	ram_mark_dirty(ram, p, len);
	if (!ram->code.is_code)
		return;
	for (unsigned k = 0; k < ram->count; k++) {
		const struct ram_range *r = &ram->range[k];
		uint64_t offset = (uint64_t)((const uint8_t *)p - r->hva);

		if (offset < r->size)
			code_map_note(&ram->code, GPA(r->start + offset), len);
	}
}

void ram_discard(struct ram *ram, void *p, uint64_t len)
{
	uint64_t start = align_up((uint64_t)((uint8_t *)p - ram->base), PAGE_SIZE);
	uint64_t end = align_down((uint64_t)((uint8_t *)p - ram->base) + len, PAGE_SIZE);
	int rc;

	if (start >= end)
		return;
	if (ram->fd >= 0)
		rc = fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
			       (off_t)(end - start));
	else
		rc = madvise(ram->base + start, end - start, MADV_REMOVE);
	if (!rc)
		ram_note_write(ram, ram->base + start, end - start);
}

uint64_t ram_resident(const struct ram *ram)
{
	struct stat st;

	return ram->fd >= 0 && !fstat(ram->fd, &st) ? (uint64_t)st.st_blocks * 512 : 0;
}

uint64_t ram_low_top(const struct ram *ram)
{
	return LM_MIN(ram->size, RAM_LOW_MAX);
}

uint64_t ram_high_size(const struct ram *ram)
{
	return ram->size - ram_low_top(ram);
}
